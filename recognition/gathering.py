"""What the losses and batch normalisation need of all processes: their clips, and a way back for the gradients.

Every process encodes its own clips, gathers the representations of all, and computes the head and the losses of the
whole batch. Each then holds the same loss; the gradient of a clip's representation is the sum over the processes' equal
losses, so that the mean over processes, which DDP takes of the weights' gradients, is the gradient of one process that
had the whole batch.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed


@dataclass(frozen=True)
class Shares:
    """How many clips each process has in this step, and which process this is."""

    sizes: tuple[int, ...]
    rank: int

    @property
    def own(self) -> slice:
        """Place of this process's clips among all."""
        start = sum(self.sizes[: self.rank])
        return slice(start, start + self.sizes[self.rank])


def is_distributed() -> bool:
    """Whether other processes work on the same batch."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def find_shares(num_clips: int, device: torch.device) -> Shares:
    """Asks all processes for their number of clips, which may differ.

    Args:
        num_clips: Clips of this process.
        device: Where tensors to exchange must be.

    Returns:
        The shares; of this process alone when there is no other.
    """
    if not is_distributed():
        return Shares((num_clips,), 0)
    own = torch.tensor([num_clips], device=device)
    sizes = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(sizes, own)
    return Shares(tuple(int(size) for size in sizes), distributed.get_rank())


def gather(tensor: torch.Tensor, shares: Shares) -> torch.Tensor:
    """Rows of all processes, in the order of the processes; differentiable.

    Args:
        tensor: (n, ...), this process's rows.
        shares: Rows of each process.

    Returns:
        (N, ...), the same in every process. In the backward pass a row's gradient is the sum of all processes' ones.
    """
    if len(shares.sizes) == 1:
        return tensor
    gathered: torch.Tensor = _Gather.apply(tensor, shares)
    return gathered


def gather_names(names: list[str]) -> list[str]:
    """Names of all processes, in the order of the processes."""
    if not is_distributed():
        return names
    of_all: list[list[str]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(of_all, names)
    return [name for of_one in of_all for name in of_one]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, shares: Shares) -> torch.Tensor:
        ctx.shares = shares
        # Collectives want equal shapes, so that shorter shares are padded on the way.
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
