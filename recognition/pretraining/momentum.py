"""MoCo's two memories: keys of clips seen before, and an encoder that follows another slowly (section 3.1)."""

import torch
from torch import nn


class KeyQueue(nn.Module):
    """The last keys, first in, first out.

    Args:
        size: How many.
        width: Of a key.
    """

    keys: torch.Tensor
    next: torch.Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        # Directions at random to begin with, as published.
        self.register_buffer("keys", nn.functional.normalize(torch.randn(size, width), dim=1))
        self.register_buffer("next", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def put(self, keys: torch.Tensor) -> None:
        """The newest keys (N, width) take the places of the oldest."""
        size = len(self.keys)
        keys = keys[-size:].to(self.keys.dtype)
        places = (self.next + torch.arange(len(keys), device=keys.device)) % size
        self.keys[places] = keys
        self.next.copy_((self.next + len(keys)) % size)


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, momentum: float) -> None:
    """theta_k <- alpha * theta_k + (1 - alpha) * theta_q, for all parameters; statistics stay each one's own."""
    torch._foreach_lerp_(list(slow.parameters()), list(fast.parameters()), 1 - momentum)
