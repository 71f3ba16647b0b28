"""What a step computes: the one module that Fabric wraps."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from recognition.batches import Batch

# Names of the losses of a recognizer's step, in the order in which processes exchange them.
LOSSES = ("total", "cross_entropy", "sample", "klass", "masked_contrast")


class TrainingStep(nn.Module):
    """What a step computes, under autocast; the one module that Fabric wraps, and whose forward DDP watches.

    Not Fabric's own mixed precision, because that rounds the input too: bf16 has 8 bits, less than a joint's place.

    Args:
        objective: Called with a batch and what else it is told; gives a dataclass with `total`, the loss, `clips`, what
            it is a mean over, and further tensors.
        device_type: Where it runs.
        bf16: Whether its products are in bfloat16.
    """

    def __init__(self, objective: nn.Module, *, device_type: str, bf16: bool) -> None:
        super().__init__()
        self.objective = objective
        self.device_type = device_type
        self.bf16 = bf16

    def forward(self, batch: Batch, **arguments: Any) -> dict[str, torch.Tensor]:
        with self.autocast():
            losses = self.objective(batch, **arguments)
        return dict(vars(losses))

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device_type, dtype=torch.bfloat16, enabled=self.bf16)


def agree(told: torch.Tensor, flags: Sequence[float], fabric: Fabric, *, norm: torch.Tensor) -> list[float]:
    """What all processes know of a step in the end: one exchange, so that none stops, or saves, without the others.

    Args:
        told: float64 (parts, L + 2), of each micro-batch its L losses, the clips that they are means over, and how many
            clips of this process were right.
        flags: Numbers of this process to add up over all.
        fabric: Between the processes.
        norm: (), of this process's gradient.

    Returns:
        The losses, means over all clips; the gradient's norm, mean over the processes; how many clips were right; the
        sums of the flags.
    """
    losses = told.shape[1] - 2
    weights = told[:, -2:-1] / told[:, -2].sum()
    values = torch.cat(
        [(told[:, :-2] * weights).sum(0), norm.to(told)[None], told[:, -1:].sum(0), told.new_tensor(flags)]
    )
    total: torch.Tensor = fabric.all_reduce(values, reduce_op="sum")  # type: ignore[assignment]
    agreed = total.tolist()
    means = losses + 1
    return [value / fabric.world_size for value in agreed[:means]] + agreed[means:]
