"""MoCo's queue of previous keys, and its momentum encoder (section 3.1)."""

import torch
from torch import nn


class KeyQueue(nn.Module):
    """A first-in, first-out queue of the most recent keys.

    Args:
        size: Capacity.
        width: Width of a key.
    """

    keys: torch.Tensor
    next: torch.Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        # Initialised with random directions, as published.
        self.register_buffer("keys", nn.functional.normalize(torch.randn(size, width), dim=1))
        self.register_buffer("next", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def put(self, keys: torch.Tensor) -> None:
        """Replace the oldest keys with new ones (N, width)."""
        size = len(self.keys)
        keys = keys[-size:].to(self.keys.dtype)
        places = (self.next + torch.arange(len(keys), device=keys.device)) % size
        self.keys[places] = keys
        self.next.copy_((self.next + len(keys)) % size)


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, momentum: float) -> None:
    """Update theta_k <- alpha * theta_k + (1 - alpha) * theta_q for all parameters; buffers are not updated."""
    torch._foreach_lerp_(list(slow.parameters()), list(fast.parameters()), 1 - momentum)
