"""Computation of one training step: the only module that Fabric wraps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from recognition.data.batches import Batch

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class TrainingStep(nn.Module):
    """Objective under autocast; the only module that Fabric wraps, and whose `forward` DDP observes.

    Fabric's own mixed precision is not used because it also rounds the input: the 8 bits of bf16 are too few for the
    coordinates of joints.

    Args:
        objective: Called with a batch and keyword arguments. Returns a dataclass with `total`, the loss to minimise,
            `clips`, the number of clips that it is a mean over, and further tensors.
        device_type: Device type of autocast, "cpu" or "cuda".
        bf16: Whether to compute in bfloat16.
    """

    def __init__(self, objective: nn.Module, *, device_type: str, bf16: bool) -> None:
        super().__init__()
        self.objective = objective
        self.device_type = device_type
        self.bf16 = bf16

    def forward(self, batch: Batch | None, **arguments: Any) -> dict[str, torch.Tensor]:
        """Return the losses of a batch; without a batch, a `total` that leads to a gradient of zero for all weights."""
        if batch is None:
            sums = [weight.sum() for weight in self.parameters() if weight.requires_grad]
            return {"total": 0.0 * sum(sums, torch.zeros((), device=sums[0].device))}
        with self.autocast():
            losses = self.objective(batch, **arguments)
        return dict(vars(losses))

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device_type, dtype=torch.bfloat16, enabled=self.bf16)


def agree(
    of_parts: torch.Tensor, flags: Sequence[float], fabric: "Fabric", *, norm: torch.Tensor
) -> tuple[list[float], float, float, list[float]]:
    """Combine the results of a step over all processes, in one exchange.

    Every process then takes the same decision, so that none stops or saves without the others.

    Args:
        of_parts: float64 (parts, L + 2), for each micro-batch its L losses, the number of clips that they are means
            over, and the number of this process's clips that were classified correctly.
        flags: Numbers of this process that are summed over all processes.
        fabric: Connection between the processes.
        norm: Scalar, norm of this process's gradient.

    Returns:
        The losses, averaged over all clips; the gradient's norm, averaged over the processes; the number of correct
        clips; the sums of the flags.
    """
    weights = of_parts[:, -2:-1] / of_parts[:, -2].sum()
    means = (of_parts[:, :-2] * weights).sum(0)
    values = torch.cat([means, norm.to(of_parts)[None], of_parts[:, -1:].sum(0), of_parts.new_tensor(flags)])
    total: torch.Tensor = fabric.all_reduce(values, reduce_op="sum")  # type: ignore[assignment]
    agreed = total.tolist()
    losses = [value / fabric.world_size for value in agreed[: len(means)]]
    norm_sum, correct, *sums = agreed[len(means) :]
    return losses, norm_sum / fabric.world_size, correct, sums
