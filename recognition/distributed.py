"""Exchange of clips between processes for losses and batch normalisation, with correct gradients.

Every process encodes its own clips, gathers the representations of all processes, and computes the head and the losses
of the whole batch. Each process therefore holds the same loss, and the gradient of a clip's representation is the sum
over the equal losses of all processes. DDP averages the weights' gradients over the processes, which gives the gradient
of a single process with the whole batch.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed


@dataclass(frozen=True)
class Shares:
    """Number of clips of each process in this step, and the rank of this process."""

    sizes: tuple[int, ...]
    rank: int

    @property
    def own(self) -> slice:
        """Slice of this process's clips within the whole batch."""
        start = sum(self.sizes[: self.rank])
        return slice(start, start + self.sizes[self.rank])


def is_distributed() -> bool:
    """Return whether other processes work on the same batch."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def find_shares(num_clips: int, device: torch.device) -> Shares:
    """Exchange the numbers of clips, which may differ between processes. A collective call.

    Args:
        num_clips: Number of clips of this process.
        device: Device on which tensors are exchanged.

    Returns:
        The shares of all processes; only this process's own if there is no other.
    """
    if not is_distributed():
        return Shares((num_clips,), 0)
    own = torch.tensor([num_clips], device=device)
    sizes = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(sizes, own)
    return Shares(tuple(int(size) for size in sizes), distributed.get_rank())


def gather(tensor: torch.Tensor, shares: Shares) -> torch.Tensor:
    """Concatenate the rows of all processes, in the order of their ranks. Differentiable.

    Args:
        tensor: (n, ...), rows of this process.
        shares: Number of rows of each process.

    Returns:
        (N, ...), the same in every process. In the backward pass, the gradient of a row is the sum over all processes.
    """
    if len(shares.sizes) == 1:
        return tensor
    gathered: torch.Tensor = _Gather.apply(tensor, shares)
    return gathered


def gather_names(names: list[str]) -> list[str]:
    """Concatenate the names of all processes, in the order of their ranks."""
    if not is_distributed():
        return names
    of_all: list[list[str]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(of_all, names)
    return [name for of_one in of_all for name in of_one]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, shares: Shares) -> torch.Tensor:
        ctx.shares = shares
        # Collectives require equal shapes, so shorter shares are padded for the exchange.
        padded = tensor.new_zeros(max(shares.sizes), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in shares.sizes]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, shares.sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total[ctx.shares.own], None
