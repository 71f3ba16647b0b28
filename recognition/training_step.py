"""What a step computes: the one module that Fabric wraps."""

from typing import Literal

import torch
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
