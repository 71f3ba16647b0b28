"""A pre-trained encoder for downstream tasks: clips in, features of clips or of their frames out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn

from pose_extraction.engines.checkpoints import apply_state_dict
from pose_extraction.errors import WeightsError
from pose_extraction.skeleton import LAYOUTS, Skeleton, layout_by_shape
from recognition import runs
from recognition.backbones.gru import GRUEncoder
from recognition.backbones.segments import SegmentTransformer
from recognition.data.batches import Batch
from recognition.pretraining.motion import as_motion
from recognition.pretraining.networks import KEPT, build_encoder
from recognition.pretraining.pcm3 import flatten_frames
from recognition.pretraining.settings import PretrainSettings
from recognition.pretraining.streams import bone_parents, to_stream
from recognition.run_file import is_run_file, load, load_facts


class Encoder(nn.Module):
    """A common interface for the networks of both methods.

    Args:
        network: MAMP's or PCM3's encoder.
        settings: Settings of the pre-training.
        layout: Joint layout that the network receives.
        dimensions: 2 or 3, coordinates per joint.
    """

    parents: torch.Tensor

    def __init__(self, network: nn.Module, settings: PretrainSettings, layout: Skeleton, dimensions: int) -> None:
        super().__init__()
        self.network = network
        self.stream = settings.shown
        self.max_persons = settings.data.max_persons
        self.dimensions = dimensions
        parents = np.arange(layout.num_joints)
        if self.stream == "bone":
            parents = bone_parents(layout, settings.pcm3.bones)
        self.register_buffer("parents", torch.as_tensor(parents), persistent=False)

    @property
    def width(self) -> int:
        """Width of a feature."""
        if isinstance(self.network, GRUEncoder):
            return self.network.width
        assert isinstance(self.network, SegmentTransformer)
        return self.network.dim

    def frames(self, batch: Batch) -> torch.Tensor:
        """Return features of each frame, (N, T, width); for MAMP the mean over persons and joints."""
        if isinstance(self.network, GRUEncoder):
            keypoint = to_stream(batch.keypoint, self.stream, dimensions=self.dimensions, parents=self.parents)
            absent = self.max_persons - keypoint.shape[1]
            if absent > 0:
                keypoint = nn.functional.pad(keypoint, (0, 0, 0, 0, 0, 0, 0, absent))
            return self.network(flatten_frames(keypoint))
        return self._mean_person(batch).mean(dim=2)

    def frames_by_joints(self, batch: Batch) -> torch.Tensor:
        """Return features of each frame that distinguish joints, (N, T, frame_width): MAMP's joints concatenated."""
        if isinstance(self.network, GRUEncoder):
            return self.frames(batch)
        return self._mean_person(batch).flatten(2)

    @property
    def frame_width(self) -> int:
        """Width of `frames_by_joints`."""
        if isinstance(self.network, GRUEncoder):
            return self.width
        return len(self.parents) * self.width

    def persons(self, batch: Batch) -> torch.Tensor:
        """Return MAMP's representation of each present person, (P, T, V, C), clip by clip."""
        assert isinstance(self.network, SegmentTransformer)
        x, seen = batch.keypoint[batch.person_mask], None
        if self.stream == "motion":
            x, seen = as_motion(x, (x != 0).any(dim=-1), dimensions=self.dimensions)
        return self.network.encode(x, seen=seen)[0]

    def _mean_person(self, batch: Batch) -> torch.Tensor:
        """Return MAMP's representation averaged over the present persons, (N, T, V, C)."""
        persons = self.persons(batch)
        placed = persons.new_zeros(*batch.person_mask.shape, *persons.shape[1:])
        placed[batch.person_mask] = persons
        return placed.sum(dim=1) / batch.person_mask.sum(dim=1)[:, None, None, None].to(placed.dtype)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return features of each clip, (N, width): MAMP's mean over persons, frames and joints, PCM3's last frame."""
        frames = self.frames(batch)
        return frames[:, -1] if isinstance(self.network, GRUEncoder) else frames.mean(dim=1)

    def depth_of(self, name: str) -> int:
        """Return the layer index of a parameter of this module: 0 for embeddings, then the blocks from 1."""
        own = name.removeprefix("network.")
        if isinstance(self.network, SegmentTransformer):
            return self.network.layer_of(own)
        return 0 if own.startswith("norm.") else int(own.split(".")[1]) + 1

    @property
    def depth(self) -> int:
        """Number of blocks or layers."""
        if isinstance(self.network, GRUEncoder):
            return len(self.network.first)
        assert isinstance(self.network, SegmentTransformer)
        return len(self.network.blocks)


@dataclass(frozen=True)
class Pretrained:
    """An encoder loaded from a run.

    Args:
        encoder: The encoder, in evaluation mode and on the CPU.
        settings: Resolved settings of the run.
        layout: Name of the joint layout that the network receives.
        dimensions: 2 or 3, coordinates per joint.
        epoch: Number of completed epochs.
        content_digest: SHA-256 of the training clips; None if the file does not contain it.
        path: The run file.
    """

    encoder: Encoder
    settings: PretrainSettings
    layout: str
    dimensions: int
    epoch: int
    content_digest: str | None
    path: Path


def is_pretrained(run: str | Path) -> bool:
    """Whether a run was created by `skelpipe pretrain`.

    Args:
        run: A run directory, or one of its files of weights.

    Raises:
        WeightsError: The run does not exist, or its file is damaged.
    """
    path = pretrained_file(run)
    return is_run_file(path) and "method" in load_facts(path)


def pretrained_file(run: str | Path) -> Path:
    """Return the file of a run's finished encoder or, if it is unfinished, its last checkpoint."""
    return runs.saved_file(run)


def load_pretrained(run: str | Path, *, scratch: bool = False, seed: int = 0) -> Pretrained:
    """Load the encoder of a run.

    Args:
        run: A directory of `skelpipe pretrain`, or one of its files of weights.
        scratch: Whether to return randomly initialised weights, as a baseline.
        seed: Seed of the random weights.

    Raises:
        WeightsError: The run does not exist, is not a pre-training run, or its file is damaged.
    """
    path = pretrained_file(run)
    content = load(path)
    if "method" not in content:
        raise WeightsError(f"{path}: is a recognizer, not a pre-trained encoder; give a run of `skelpipe pretrain`")
    try:
        settings = PretrainSettings.model_validate(content["settings"])
        joints, dimensions = content["num_joints"], content["dimensions"]
        layout = LAYOUTS.get(content["layout"]) or layout_by_shape(joints, dimensions)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            network = build_encoder(settings, layout)
        if not scratch:
            weights = {
                name.removeprefix(KEPT): tensor for name, tensor in content["model"].items() if name.startswith(KEPT)
            }
            apply_state_dict(network, weights, source=path, ignore=())
        encoder = Encoder(network, settings, layout, dimensions).eval()
        return Pretrained(
            encoder,
            settings,
            content["layout"],
            dimensions,
            content["epoch"],
            content.get("content_digest"),
            path,
        )
    except (KeyError, TypeError, ValidationError) as error:
        raise WeightsError(
            f"{path}: is incomplete ({error}); pre-train again, or use another of the run's files"
        ) from (error)
