"""What a step computes: the one module that Fabric wraps."""

from collections.abc import Sequence
from typing import Literal

import torch
from lightning_fabric import Fabric
from torch import nn

from recognition.batches import Batch
from recognition.maskclr import MaskCLR

# Names of a step's losses, in the order in which processes exchange them.
LOSSES = ("total", "cross_entropy", "sample", "klass", "masked_contrast")


class TrainingStep(nn.Module):
    """What a step computes, under autocast; the one module that Fabric wraps, and whose forward DDP watches.

    Not Fabric's own mixed precision, because that rounds the input too: bf16 has 8 bits, less than a joint's place.
    """

    def __init__(self, objective: MaskCLR, *, device_type: str, bf16: bool, compiled: bool) -> None:
        super().__init__()
        self.objective = objective
        self.device_type = device_type
        self.bf16 = bf16
        if compiled:
            # The backbone is nearly all of the work. In place, so that names of weights stay; dynamic, because the
            # number of persons and the length change from batch to batch.
            backbone = objective.recognizer.backbone
            backbone.encode = torch.compile(backbone.encode, dynamic=True)  # type: ignore[method-assign]

    def forward(
        self, batch: Batch, *, phase: Literal[1, 2], epoch: int, warm_prototypes: bool
    ) -> dict[str, torch.Tensor]:
        with self.autocast():
            losses = self.objective(batch, phase=phase, epoch=epoch, warm_prototypes=warm_prototypes)
        return dict(vars(losses))

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device_type, dtype=torch.bfloat16, enabled=self.bf16)


def agree(told: torch.Tensor, flags: Sequence[float], fabric: Fabric) -> list[float]:
    """What all processes know of a step in the end: one exchange, so that none stops, or saves, without the others.

    Args:
        told: float64 (parts, len(LOSSES) + 2), of each micro-batch its losses, the clips that they are means over, and
            how many clips of this process were right.
        flags: Numbers of this process to add up over all.
        fabric: Between the processes.

    Returns:
        The losses, means over all clips; how many clips were right; the sums of the flags.
    """
    weights = told[:, -2:-1] / told[:, -2].sum()
    values = torch.cat([(told[:, :-2] * weights).sum(0), told[:, -1:].sum(0), told.new_tensor(flags)])
    total: torch.Tensor = fabric.all_reduce(values, reduce_op="sum")  # type: ignore[assignment]
    agreed = total.tolist()
    return [value / fabric.world_size for value in agreed[: len(LOSSES)]] + agreed[len(LOSSES) :]
