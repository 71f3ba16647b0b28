"""Network input: clips of one batch, padded to a common length, with masks that mark the padding."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from pose_extraction.formats.annotations import UNLABELLED

# C, channels of the network's input: x, y and score in 2D; x, y and z in 3D.
CHANNELS = 3


@dataclass(frozen=True)
class Batch:
    """A batch of N clips with up to M persons and T frames.

    Args:
        keypoint: float32 (N, M, T, V, C), network input: x, y after `crop_scale` and the score, or x, y, z. All zero
            where a joint was not seen, a person is absent or the clip has ended (and nowhere else).
        person_mask: bool (N, M), True where there is a person. Every clip has at least one.
        frame_mask: bool (N, T), True where the clip has a frame.
        label: int64 (N,), class of each clip, 0 to K - 1; -1 for unlabelled clips.
        index: int64 (N,), position of each clip in its data set; seeds the random masks.
        names: N clip ids, for messages and results.
        descriptor: float32 (N, D), descriptor of each clip's movement, NaN where a number is unknown; None if the run
            does not use them, and in training, where only the network is trained.
    """

    keypoint: torch.Tensor
    person_mask: torch.Tensor
    frame_mask: torch.Tensor
    label: torch.Tensor
    index: torch.Tensor
    names: tuple[str, ...]
    descriptor: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.label)

    def described(self, features: np.ndarray) -> np.ndarray:
        """Return the descriptors, float32 (N, D), or, without these, the features of a network for these clips."""
        return features if self.descriptor is None else self.descriptor.cpu().numpy()

    def to(self, device: torch.device | str) -> "Batch":
        moved = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in ("keypoint", "person_mask", "frame_mask", "label", "index")
        }
        if self.descriptor is not None:
            moved["descriptor"] = self.descriptor.to(device, non_blocking=True)
        return replace(self, **moved)


def part_of(batch: Batch, rows: Sequence[int], persons: int, frames: int) -> Batch:
    """Return some clips of a batch, with less padding.

    Args:
        batch: The batch.
        rows: Positions of the clips; they may repeat.
        persons: Number M of persons to keep.
        frames: Number T of frames to keep.
    """
    return Batch(
        keypoint=batch.keypoint[rows, :persons, :frames].contiguous(),
        person_mask=batch.person_mask[rows, :persons],
        frame_mask=batch.frame_mask[rows, :frames],
        label=batch.label[rows],
        index=batch.index[rows],
        names=tuple(batch.names[row] for row in rows) if batch.names else (),
        descriptor=None if batch.descriptor is None else batch.descriptor[rows],
    )


def as_batch(
    keypoints: Sequence[np.ndarray],
    *,
    labels: Sequence[int] | None = None,
    indices: Sequence[int] | None = None,
    names: Sequence[str] = (),
    descriptors: Sequence[np.ndarray] | None = None,
) -> Batch:
    """Combine N clips to a batch; persons and frames are padded to the maximum within the batch.

    Args:
        keypoints: float32 (M, T, V, C) of each clip, the results of `ClipTransforms`.
        labels: Class of each clip; None: all are unlabelled.
        indices: Position of each clip in its data set; None: 0 to N - 1.
        names: Ids of the clips.
        descriptors: float32 (D,), descriptor of each clip; None if they are not used.
    """
    count = len(keypoints)
    persons = max(keypoint.shape[0] for keypoint in keypoints)
    frames = max(keypoint.shape[1] for keypoint in keypoints)
    padded = torch.zeros(count, persons, frames, *keypoints[0].shape[2:])
    person_mask = torch.zeros(count, persons, dtype=torch.bool)
    frame_mask = torch.zeros(count, frames, dtype=torch.bool)
    for row, keypoint in enumerate(keypoints):
        own_persons, own_frames = keypoint.shape[:2]
        padded[row, :own_persons, :own_frames] = torch.from_numpy(keypoint)
        person_mask[row, :own_persons] = True
        frame_mask[row, :own_frames] = True
    return Batch(
        keypoint=padded,
        person_mask=person_mask,
        frame_mask=frame_mask,
        label=torch.tensor([UNLABELLED] * count if labels is None else labels, dtype=torch.int64),
        index=torch.tensor(range(count) if indices is None else indices, dtype=torch.int64),
        names=tuple(names),
        descriptor=None if descriptors is None else torch.from_numpy(np.stack(descriptors)),
    )
