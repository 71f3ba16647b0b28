"""What a network is given: clips of one batch, padded to one length, with masks that say what is padding."""

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Batch:
    """N clips of up to M persons and T frames.

    Args:
        keypoint: float32 (N, M, T, V, C) as the network takes it: x, y after `crop_scale` and the score, or x, y, z.
            All zero where a joint was not seen (and for none that was), a person is absent or a clip has ended.
        person_mask: bool (N, M), True where there is a person. Every clip has at least one.
        frame_mask: bool (N, T), True where the clip has a frame.
        label: int64 (N,).
        index: int64 (N,) place of each clip in its data set: what random masks are keyed to.
        names: N ids of the clips, for messages and results.
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
