"""Network input: clips of one batch, padded to a common length, with masks that mark the padding."""

from dataclasses import dataclass, replace

import torch


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
    """

    keypoint: torch.Tensor
    person_mask: torch.Tensor
    frame_mask: torch.Tensor
    label: torch.Tensor
    index: torch.Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.label)

    def to(self, device: torch.device | str) -> "Batch":
        moved = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in ("keypoint", "person_mask", "frame_mask", "label", "index")
        }
        return replace(self, **moved)
