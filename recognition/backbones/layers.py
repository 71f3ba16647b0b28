"""Parts shared by the transformers: multi-head self-attention, the feed-forward network, weight initialisation.

Pre-norm blocks, LayerNorm with epsilon 1e-6 and biases everywhere, as in ViT and DSTFormer.
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from recognition.backbones.map_attention import LONGEST as LONGEST_BY_MAPS
from recognition.backbones.map_attention import attend_by_maps

NORM_EPSILON = 1e-6
# Largest number of attention map elements that `received_attention` keeps at once: 128 MiB in float32.
MAP_LIMIT = 2**25
# Longest sequence for which the full map is kept, where that is faster (`is_short`).
LONGEST_PLAIN = 256


class Projected(NamedTuple):
    """Queries, keys and values (B, h, L, C / h) of B sequences of L tokens with h heads."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor


class SelfAttention(nn.Module):
    """Multi-head self-attention over B sequences of L tokens.

    Args:
        dim: C, a multiple of `heads`.
        heads: h, number of heads.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def project(self, x: torch.Tensor) -> Projected:
        """Return the queries, keys and values of tokens (B, L, C)."""
        sequences, tokens, dim = x.shape
        # (B, L, 3C) -> three views (B, h, L, C / h) of one result; the fused kernels accept these strides.
        qkv = self.qkv(x).view(sequences, tokens, 3, self.heads, dim // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return Projected(query, key, value)

    def attend(self, projected: Projected, key_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Attend to the tokens that `key_mask` (B, 1, 1, L) admits, and project the result: (B, L, C)."""
        query, key, value = projected
        if key_mask is None and goes_by_maps(query):
            mixed = attend_by_maps(query, key, value)
        elif is_short(query):
            mixed = attend_plainly(query, key, value, key_mask)
        else:
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=key_mask)
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def forward(self, x: torch.Tensor, key_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Attend among tokens (B, L, C), to those that `key_mask` (B, 1, 1, L) admits; None admits all."""
        return self.attend(self.project(x), key_mask)


class FeedForward(nn.Module):
    """Two linear layers with GELU between them, from (..., dim) to (..., dim).

    Args:
        dim: Width of input and output.
        hidden: Width between the layers.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


def goes_by_maps(query: torch.Tensor) -> bool:
    """Whether plain matrix products with the maps of a few heads at a time are faster than the fused kernel.

    Args:
        query: (B, h, L, D); its device, type and L decide.
    """
    bfloat16 = query.device.type == "cpu" and query.dtype == torch.bfloat16
    return bfloat16 and LONGEST_PLAIN < query.shape[2] <= LONGEST_BY_MAPS


def is_short(query: torch.Tensor) -> bool:
    """Whether plain matrix products that keep all maps are faster than the fused kernel, and the maps are small enough.

    The backward pass of the kernel is slow on a CPU in bfloat16. For 243 sequences of 17 tokens, 8 heads and 64
    channels, forward and backward took 98 ms on one core, and plain products 21 ms. For 17 sequences of 243 tokens it
    was 90 ms and 54 ms. Longer sequences: `goes_by_maps`.

    Args:
        query: (B, h, L, D); its device, type and L decide.
    """
    return query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.shape[2] <= LONGEST_PLAIN


def attend_plainly(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, key_mask: torch.Tensor | None
) -> torch.Tensor:
    """Compute softmax(Q K^T / sqrt(D)) V, and keep the maps for the backward pass.

    Unlike torch's own plain products, it does not search the scores for queries that may attend to nothing, which takes
    up to a sixth of a training step. Such a query would attend to all tokens equally; backbones have none.

    Args:
        query: (B, h, L, D).
        key: (B, h, L, D).
        value: (B, h, L, D).
        key_mask: bool (B, 1, 1, L), True for the tokens to attend to; None for all.
    """
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
    if key_mask is not None:
        lowest = torch.finfo(scores.dtype).min
        scores = scores + torch.zeros_like(key_mask, dtype=scores.dtype).masked_fill_(~key_mask, lowest)
    return scores.softmax(dim=-1) @ value


@torch.no_grad()
def received_attention(projected: Projected, key_mask: torch.Tensor | None = None) -> torch.Tensor:
    """Return the attention that each token receives: mean over heads, sum over queries (the column sums of eq. 2's
    map).

    Queries are processed in chunks, so that at most `MAP_LIMIT` elements of the L x L maps of all sequences and heads
    are kept at once (twice: scores and softmax), or one query's row if that is larger.

    Args:
        projected: Output of the block's `project`.
        key_mask: bool (B, 1, 1, L), True for tokens, False for padding; None if there is no padding.

    Returns:
        (B, L) float32, or float64 if the queries are; its mean over the unpadded tokens is 1. Zero in padding.
    """
    query, key = projected.query, projected.key
    sequences, heads, tokens, width = query.shape
    # Autocast would use bfloat16 products, which cannot distinguish 0.7 of 4131 tokens.
    with torch.autocast(query.device.type, enabled=False):
        if query.dtype != torch.float64:
            query, key = query.float(), key.float()
        query = query * width**-0.5
        keys = key.transpose(2, 3)
        received = query.new_zeros(sequences, tokens)
        chunk = max(1, MAP_LIMIT // (sequences * heads * tokens))
        for start in range(0, tokens, chunk):
            scores = query[:, :, start : start + chunk] @ keys
            if key_mask is not None:
                scores.masked_fill_(~key_mask, -torch.inf)
            attention = scores.softmax(dim=-1)
            if key_mask is not None:
                attention *= key_mask[:, :, 0, start : start + chunk, None]
            received += attention.sum(dim=(1, 2))
        return received / heads


def begin(module: nn.Module) -> None:
    """Initialise a module, for `Module.apply`: linear weights truncated normal (deviation 0.02), biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def embedding(*shape: int) -> nn.Parameter:
    """Return a learnable positional embedding of the given shape."""
    values = nn.Parameter(torch.empty(shape))
    nn.init.trunc_normal_(values, std=0.02)
    return values
