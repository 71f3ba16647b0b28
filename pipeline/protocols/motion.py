"""The motion protocol: prediction of future poses."""

import copy
from typing import Any

import numpy as np
import torch

from pipeline.protocols.measurement import Measurement
from pipeline.protocols.sequences import Sequences
from pose_extraction.errors import UsageError
from recognition.data.batches import Batch
from recognition.pretraining.encoder import Encoder
from recognition.protocols.motion import MotionDecoder, fit_decoder, mean_joint_error
from recognition.protocols.stretches import StretchSampler, flat_poses
from recognition.protocols.windows import window_settings

# Coordinates of NTU and PKU-MMD are in metres.
MILLIMETRES = 1000.0


def measure_motion(measurement: Measurement, sequences: Sequences) -> dict[str, Any]:
    """Train encoder and decoder to predict poses, and measure the predictions.

    Args:
        measurement: The encoder, which is copied, its settings, and how to run it.
        sequences: Training and test sequences.

    Returns:
        Number of clips, the unit, MPJPE, and for comparison that of a person who stands still.

    Raises:
        UsageError: A split has no sequence that is long enough.
    """
    chosen, clips, device = measurement.settings.motion, sequences.clips, measurement.engine.device
    data = measurement.first.settings.data
    windows = window_settings(data, int(data.num_frames))
    training, test = (
        StretchSampler(clips, indices, windows, seen=chosen.seen, predicted=chosen.predicted)
        for indices in (sequences.training, sequences.test)
    )
    if not training.starts or not test.starts:
        raise UsageError(
            f"{clips.path}: each split needs a clip with {training.length} frames and a pose at the start of the "
            "prediction; reduce motion.seen with --set"
        )
    encoder = copy.deepcopy(measurement.first.encoder).to(device)

    def draw(rng: np.random.Generator, count: int) -> tuple[Batch, torch.Tensor]:
        drawn = training.draw(rng, count)
        return drawn.seen.to(device), flat_poses(drawn, device)

    torch.manual_seed(measurement.settings.seed)
    values = clips.layout.num_joints * clips.dimensions
    decoder = MotionDecoder(encoder.width, values, chosen.hidden).to(device)
    fit_decoder(encoder, draw, decoder, chosen, seed=measurement.settings.seed, tell=measurement.tell)
    return _errors(encoder, decoder, test, seed=measurement.settings.seed, device=device)


@torch.no_grad()
def _errors(
    encoder: Encoder, decoder: MotionDecoder, test: StretchSampler, *, seed: int, device: str
) -> dict[str, Any]:
    """Return the errors in one stretch of each test sequence, which depends on the seed, but not on the encoder."""
    rng = np.random.default_rng(seed)
    predicted, truth, units, still = [], [], [], []
    for index in test.indices:
        drawn = test.draw_from(rng, int(index))
        last = torch.nan_to_num(flat_poses(drawn, device)[:, 0])
        poses = decoder(encoder(drawn.seen.to(device)), last, test.predicted)
        predicted.append(poses.cpu().numpy().reshape(1, test.predicted, *drawn.poses.shape[2:]))
        truth.append(drawn.poses[:, 1:])
        still.append(np.repeat(np.nan_to_num(drawn.poses[:, :1]), test.predicted, axis=1))
        units.append(drawn.extents)
    in_3d = test.clips.dimensions == 3
    unit = np.concatenate(units) * (MILLIMETRES if in_3d else 1.0)
    joined = np.concatenate(truth)
    return {
        "clips": len(joined),
        "unit": "mm" if in_3d else "pixels",
        "MPJPE": mean_joint_error(np.concatenate(predicted), joined, unit),
        "MPJPE_of_standing_still": mean_joint_error(np.concatenate(still), joined, unit),
    }
