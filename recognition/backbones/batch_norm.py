"""Batch normalisation that ignores padded cells and computes its statistics over all processes."""

from typing import Any

import torch
from torch import distributed, nn
from torch.nn import functional

from recognition.distributed import is_distributed


class CellNorm(nn.BatchNorm1d):
    """Normalises each channel of the last axis over all unpadded cells of all training processes.

    Computes in float32 even under autocast, or in float64 if the cells are float64. In evaluation mode it is identical
    to `torch.nn.BatchNorm1d`.
    """

    def forward(
        self, cells: torch.Tensor, there: torch.Tensor | None = None, *, keep_statistics: bool = True
    ) -> torch.Tensor:
        """Return the normalised cells.

        Args:
            cells: float (..., C).
            there: bool (..., 1), True for cells that take part, False for padding; None if there is no padding.
            keep_statistics: Whether to update the running statistics in training mode.
        """
        flat = cells.flatten(0, -2)
        if not self.training or (there is None and not is_distributed()):
            if keep_statistics or not self.training:
                return super().forward(flat).view(cells.shape)
            normalised = functional.batch_norm(flat, None, None, self.weight, self.bias, training=True, eps=self.eps)
            return normalised.view(cells.shape)
        with torch.autocast(cells.device.type, enabled=False):
            flat = flat.to(torch.promote_types(flat.dtype, torch.float32))
            weight = flat.new_ones(len(flat), 1) if there is None else there.flatten(0, -2).to(flat.dtype)
            count = sum_over_processes(weight.sum(dim=0))
            mean = sum_over_processes((flat * weight).sum(dim=0)) / count
            centred = flat - mean
            variance = sum_over_processes((centred.square() * weight).sum(dim=0)) / count
            if keep_statistics:
                self._keep(mean, variance, count)
            normalised = centred * (variance + self.eps).rsqrt() * self.weight + self.bias
        return normalised.to(cells.dtype).view(cells.shape)

    @torch.no_grad()
    def _keep(self, mean: torch.Tensor, variance: torch.Tensor, count: torch.Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = 0.1 if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        # Like torch, keep the unbiased variance as the running variance.
        unbiased = variance * count / (count - 1).clamp(min=1)
        self.running_var.lerp_(unbiased.to(self.running_var), share)


def sum_over_processes(values: torch.Tensor) -> torch.Tensor:
    """Sum the values over all processes; differentiable, and the result is the same in every process.

    Args:
        values: Tensor of any shape, the same in all processes; returned as it is if there is one process.
    """
    if not is_distributed():
        return values
    summed: torch.Tensor = _Sum.apply(values)
    return summed


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total
