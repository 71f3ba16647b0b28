"""PCM3's views of a clip, mixtures of two clips, and masks (sections 3.1 and 3.2)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import Dataset

from pose_extraction.errors import UsageError
from pose_extraction.skeleton import Skeleton
from recognition.data.clips import ClipSet
from recognition.data.dataset import Sample, SkeletonDataset
from recognition.settings import DataSettings

# Views per clip: for the query, for the key, and for masking.
VIEWS = 3
# Share of corrupted joints: 15 of 25.
CORRUPTED = 0.6
# Shares of a batch's mixtures, as published.
CUT, RESIZE = 0.5, 0.25
MIXED_PARTS, MIXED_FRAMES, FRAME_STEP = (2, 3), (28, 44), 4
# Clip length, in frames, for which these were published.
PUBLISHED_FRAMES = 64


def body_parts(layout: Skeleton) -> tuple[tuple[int, ...], ...]:
    """Return joint indices of the trunk (with all joints that belong to no limb), the arms and the legs.

    Args:
        layout: Joint layout.

    Raises:
        UsageError: The layout has no body parts.
    """
    if not layout.parts:
        raise UsageError(
            f"the body parts of {layout.name} are not known; pre-train with method=mamp, or name data.layout"
        )
    first, *limbs = layout.parts.values()
    loose = set(range(layout.num_joints)) - {joint for limb in (first, *limbs) for joint in limb}
    return (tuple(sorted({*first, *loose})), *limbs)


class ViewDataset(Dataset[Sample]):
    """Three views of each clip of a file, concatenated in time.

    Each view is a different part of the clip. The first two are either corrupted in some joints or sheared, the third
    is always sheared.

    Args:
        clips: The skeleton file.
        indices: int64 (N,), indices of the clips to use.
        settings: Data settings; `shear` must be 0.
        seed: Random seed.
    """

    def __init__(self, clips: ClipSet, indices: np.ndarray, settings: DataSettings, *, seed: int) -> None:
        # Different seeds, so that the three parts of a clip are independent.
        self.views = [
            SkeletonDataset(clips, indices, settings, train=True, seed=seed * VIEWS + view) for view in range(VIEWS)
        ]
        self.lengths = self.views[0].lengths
        self.layout = self.views[0].layout
        self.max_persons = settings.max_persons
        self.dimensions = clips.dimensions

    def __len__(self) -> int:
        return len(self.views[0])

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        samples = [view[key] for view in self.views]
        index = samples[0].index
        rng = np.random.default_rng([self.views[0].seed, key[0], index, VIEWS])
        parts = []
        for view, sample in enumerate(samples):
            changed = disturbed(sample.keypoint, self.dimensions, rng, corrupt=view < VIEWS - 1)
            absent = self.max_persons - len(changed)
            parts.append(np.pad(changed, ((0, absent), (0, 0), (0, 0), (0, 0))))
        return Sample(np.concatenate(parts, axis=1), samples[0].label, index, samples[0].name)


def disturbed(keypoint: np.ndarray, dimensions: int, rng: np.random.Generator, *, corrupt: bool) -> np.ndarray:
    """Corrupt joints with probability 1/2 if `corrupt`, and shear them otherwise.

    Corruption chooses three fifths of the joints and, with equal probability, hides them or multiplies their
    coordinates by one matrix drawn from U(-1, 1). The shear matrix has ones on its diagonal and U(-1, 1) elsewhere.

    Args:
        keypoint: float32 (M, T, V, C), zero where unseen.
        dimensions: D, number of coordinate channels.
        rng: Random generator.
        corrupt: Whether joints may be corrupted.
    """
    result = keypoint.copy()
    if corrupt and rng.random() < 0.5:
        joints = keypoint.shape[2]
        chosen = rng.permutation(joints)[: round(CORRUPTED * joints)]
        if rng.random() < 0.5:
            result[:, :, chosen] = 0
        else:
            matrix = rng.uniform(-1, 1, (dimensions, dimensions)).astype(np.float32)
            result[:, :, chosen, :dimensions] = result[:, :, chosen, :dimensions] @ matrix.T
        return result
    matrix = rng.uniform(-1, 1, (dimensions, dimensions)).astype(np.float32)
    np.fill_diagonal(matrix, 1)
    result[..., :dimensions] = result[..., :dimensions] @ matrix.T
    return result


@dataclass(frozen=True)
class Mixture:
    """How each clip of a batch is mixed with the previous one.

    Args:
        kind: "cut", "resize" or "mixup".
        share: lambda, share of the other clip, 0 to 1.
        frames: Exchanged frames, for the first two kinds.
        joints: Exchanged joints, for the first two kinds.
    """

    kind: str
    share: float
    frames: slice
    joints: tuple[int, ...]


def draw_mixture(num_frames: int, num_joints: int, parts: tuple[tuple[int, ...], ...]) -> Mixture:
    """Draw the mixture of a batch from torch's generator: CutMix with probability 1/2, ResizeMix and Mixup with 1/4
    each.

    Args:
        num_frames: T, frames per clip.
        num_joints: V, number of joints.
        parts: Joint indices of each body part.
    """
    kind, share, where, length_draw, count_draw = torch.rand(5).tolist()
    if kind >= CUT + RESIZE:
        return Mixture("mixup", share, slice(0, 0), ())
    low, high = (frames * num_frames // PUBLISHED_FRAMES // FRAME_STEP for frames in MIXED_FRAMES)
    length = min(num_frames, max(1, FRAME_STEP * (low + int(length_draw * (high - low + 1)))))
    start = FRAME_STEP * int(where * ((num_frames - length) // FRAME_STEP + 1))
    count = MIXED_PARTS[0] + int(count_draw * (MIXED_PARTS[1] - MIXED_PARTS[0] + 1))
    chosen = torch.randperm(len(parts))[:count].tolist()
    joints = tuple(sorted(joint for part in chosen for joint in parts[part]))
    cells = length * len(joints) / (num_frames * num_joints)
    return Mixture("cut" if kind < CUT else "resize", cells, slice(start, start + length), joints)


def mix(keypoint: torch.Tensor, mixture: Mixture) -> torch.Tensor:
    """Mix clips (N, M, T, V, C) with parts of the previous clip in the batch."""
    other = keypoint.roll(1, dims=0)
    if mixture.kind == "mixup":
        return (1 - mixture.share) * keypoint + mixture.share * other
    frames, joints = mixture.frames, list(mixture.joints)
    length = frames.stop - frames.start
    if mixture.kind == "resize":
        # The beginning of the other clip at twice its speed.
        source = other[:, :, : min(2 * length, other.shape[2])]
        flat = source.permute(0, 1, 3, 4, 2).flatten(1, 3)  # (N, M * V * C, T)
        resized = functional.interpolate(flat, size=length, mode="nearest")
        persons, _, num_joints, channels = keypoint.shape[1:]
        patch = resized.view(-1, persons, num_joints, channels, length).permute(0, 1, 4, 2, 3)
    else:
        patch = other[:, :, frames]
    mixed = keypoint.clone()
    mixed[:, :, frames, joints] = patch[..., joints, :]
    return mixed


def draw_visible(
    num_frames: int,
    num_joints: int,
    parts: tuple[tuple[int, ...], ...],
    *,
    strategy: str,
    ratio: float,
    chunk: int,
) -> torch.Tensor:
    """Draw the visible joints of the masked view, shared by all clips of a batch, bool (T, V), from torch's generator.

    With the strategy "topology", the same `masked_parts` body parts are masked in all frames of a chunk; with "random",
    every joint of every frame is masked with probability `ratio`.

    Args:
        num_frames: T, frames per clip.
        num_joints: V, number of joints.
        parts: Joint indices of each body part.
        strategy: "topology" or "random".
        ratio: Share of masked parts or joints, 0 to 1.
        chunk: Number of consecutive frames with the same masked parts.
    """
    if strategy == "random":
        return torch.rand(num_frames, num_joints) >= ratio
    visible = torch.ones(num_frames, num_joints, dtype=torch.bool)
    for start in range(0, num_frames, chunk):
        for part in torch.randperm(len(parts))[: masked_parts(len(parts), ratio)].tolist():
            visible[start : start + chunk, list(parts[part])] = False
    return visible


def masked_parts(parts: int, ratio: float) -> int:
    """Return the number of masked body parts at a ratio."""
    return int(parts * ratio + 1e-6)
