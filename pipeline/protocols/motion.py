"""The motion protocol: prediction of future poses."""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.protocols.sequences import Sequences
from pose_extraction.errors import UsageError
from recognition.data.clips import ClipSet
from recognition.data.dataset import SkeletonDataset, collate
from recognition.data.transforms import FEWEST_JOINTS
from recognition.protocols.motion import MotionDecoder, centred, fit_decoder, mean_joint_error
from recognition.protocols.settings import ProtocolSettings
from recognition.protocols.windows import window_clips, window_settings

if TYPE_CHECKING:
    from pipeline.protocols.recipe import Place


# Coordinates of NTU and PKU-MMD are in metres.
MILLIMETRES = 1000.0


def _predict(
    sequences: Sequences,
    settings: ProtocolSettings,
    place: "Place",
    scratch: bool,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    pretrained, clips, training, test = sequences.pretrained, sequences.clips, sequences.training, sequences.test
    chosen = settings.motion
    whole = chosen.seen + chosen.predicted
    starts = {int(index): _starts(clips, int(index), chosen.seen, whole) for index in (*training, *test)}
    usable = [np.array([index for index in indices if starts[int(index)]], np.int64) for indices in (training, test)]
    if min(map(len, usable)) == 0:
        raise UsageError(
            f"{clips.path}: each split needs a clip with {whole} frames and a pose at the start of the prediction; "
            "reduce motion.seen with --set"
        )
    data = window_settings(pretrained.settings.data, int(pretrained.settings.data.num_frames))
    encoder = copy.deepcopy(pretrained.encoder).to(place.device)

    def batch_of(listed: list[tuple[int, int]]) -> tuple[Any, np.ndarray, np.ndarray]:
        seen = window_clips(clips, listed, length=chosen.seen, score_threshold=data.score_threshold)
        dataset = SkeletonDataset(seen, np.arange(len(listed)), data, train=False)
        poses, extents = [], []
        for index, start in listed:
            keypoint = clips[index].keypoint[0, start : start + whole]
            moved, _, extent = centred(keypoint, chosen.seen)
            poses.append(moved[chosen.seen - 1 :])
            extents.append(extent)
        return (
            collate([dataset[row] for row in range(len(listed))]).to(place.device),
            np.stack(poses),
            np.array(extents),
        )

    def drawn(indices: np.ndarray, rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
        owners = [int(index) for index in rng.choice(indices, count)]
        return [(index, int(rng.choice(starts[index]))) for index in owners]

    def draw(rng: np.random.Generator, count: int) -> tuple[Any, torch.Tensor]:
        batch, poses, _ = batch_of(drawn(usable[0], rng, count))
        return batch, torch.as_tensor(poses).flatten(2).to(place.device)

    torch.manual_seed(settings.seed)
    values = clips.layout.num_joints * clips.dimensions
    decoder = MotionDecoder(encoder.width, values, chosen.hidden).to(place.device)
    fit_decoder(encoder, draw, decoder, chosen, seed=settings.seed, tell=tell)
    # The same stretch of each test clip for all encoders.
    rng = np.random.default_rng(settings.seed)
    told, truth, units, still = [], [], [], []
    for index in usable[1]:
        batch, poses, extents = batch_of(drawn(np.array([index]), rng, 1))
        first = torch.as_tensor(poses).flatten(2).to(place.device)
        with torch.no_grad():
            answer = decoder(encoder(batch), torch.nan_to_num(first[:, 0]), chosen.predicted)
        told.append(answer.cpu().numpy().reshape(1, chosen.predicted, *poses.shape[2:]))
        truth.append(poses[:, 1:])
        still.append(np.repeat(np.nan_to_num(poses[:, :1]), chosen.predicted, axis=1))
        units.append(extents)
    unit = np.concatenate(units) * (MILLIMETRES if clips.dimensions == 3 else 1.0)
    joined = np.concatenate(truth)
    return {
        "clips": len(joined),
        "unit": "mm" if clips.dimensions == 3 else "pixels",
        "MPJPE": mean_joint_error(np.concatenate(told), joined, unit),
        "MPJPE_of_standing_still": mean_joint_error(np.concatenate(still), joined, unit),
    }


def _starts(clips: ClipSet, index: int, seen: int, whole: int) -> list[int]:
    """Start frames of stretches with `whole` frames whose last observed frame shows enough of the first person to
    measure a body size.
    """
    keypoint = clips[index].keypoint[0]
    known = np.isfinite(keypoint).all(axis=-1).sum(axis=1) >= FEWEST_JOINTS
    return [start for start in range(len(known) - whole + 1) if known[start + seen - 1]]
