"""Plain implementation of the published recipe, as the baseline of `recognition_speed.py`.

A DSTFormer with explicit attention, softmax(Q K^T / sqrt(d)) V, which keeps the whole map in memory, and with two
persons in every clip; an absent second person is zero. It has the parameters of MotionBERT's network and the interface
of the backbones here, so that head and losses are shared.
"""

from dataclasses import replace

import torch
from torch import nn

from recognition.backbones.base import Backbone
from recognition.data.batches import Batch


class PlainAttention(nn.Module):
    """Multi-head self-attention over the second to last axis of (..., L, C), with one explicit map per head."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the attended sequence and the map (..., h, L, L); `valid`, broadcast to it, marks valid keys."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for part in self.qkv(x).chunk(3, dim=-1)
        )  # (..., h, L, C / h)
        logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if valid is not None:
            logits = logits.masked_fill(~valid, -torch.inf)
        attention = logits.softmax(dim=-1)
        return self.proj((attention @ value).transpose(-2, -3).flatten(-2)), attention


class PlainHalf(nn.Module):
    """Attention over the second to last axis, then an MLP, each with a residual connection."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attention = PlainAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.feed_forward = nn.ModuleDict({"fc1": nn.Linear(dim, hidden), "fc2": nn.Linear(hidden, dim)})

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        attended, attention = self.attention(self.norm1(x), valid)
        x = x + attended
        hidden = nn.functional.gelu(self.feed_forward["fc1"](self.norm2(x)))
        return x + self.feed_forward["fc2"](hidden), attention


class PlainStream(nn.Module):
    """Attention across joints and across frames; attention across frames comes first if `temporal_first`."""

    def __init__(self, dim: int, heads: int, hidden: int, *, temporal_first: bool) -> None:
        super().__init__()
        self.temporal_first = temporal_first
        self.spatial, self.temporal = PlainHalf(dim, heads, hidden), PlainHalf(dim, heads, hidden)

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (S, T, V, C) and the spatial map (S, T, h, V, V)."""
        if self.temporal_first:
            return self.spatial(self._across_frames(x, valid))
        x, attention = self.spatial(x)
        return self._across_frames(x, valid), attention

    def _across_frames(self, x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        return self.temporal(x.transpose(1, 2), valid)[0].transpose(1, 2)


class PlainDSTFormer(Backbone):
    """DSTFormer as in its paper; parameters have the same names as in the package.

    Args:
        num_joints: V.
        channels: C of the input.
        dim: C_f, and C_r.
        depth: N.
        heads: h.
        mlp_ratio: Width of the MLP divided by C_f.
        max_frames: Maximum sequence length.
    """

    def __init__(
        self, *, num_joints: int, channels: int, dim: int, depth: int, heads: int, mlp_ratio: float, max_frames: int
    ) -> None:
        super().__init__(num_joints=num_joints, max_frames=max_frames, dim=dim, dim_representation=dim)
        hidden = int(dim * mlp_ratio)
        self.joint_embedding = nn.Linear(channels, dim)
        self.spatial_embedding = nn.Parameter(0.02 * torch.randn(1, num_joints, dim))
        self.temporal_embedding = nn.Parameter(0.02 * torch.randn(1, max_frames, 1, dim))
        self.streams_st, self.streams_ts = (
            nn.ModuleList(PlainStream(dim, heads, hidden, temporal_first=first) for _ in range(depth))
            for first in (False, True)
        )
        self.fusions = nn.ModuleList(nn.Linear(2 * dim, 2) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.representation = nn.Linear(dim, dim)

    def encode(
        self,
        x: torch.Tensor,
        *,
        frame_mask: torch.Tensor | None = None,
        masked: torch.Tensor | None = None,
        return_attention: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return R and A like any backbone."""
        # Frames that temporal attention may use: those of the sequence, (S, 1, 1, 1, T).
        valid = None if frame_mask is None or bool(frame_mask.all()) else frame_mask[:, None, None, None]
        x = self.joint_embedding(x)  # (S, T, V, C_f)
        if masked is not None:
            x = torch.where(masked[..., None], self.mask_token.to(x.dtype), x)
        x = x + self.spatial_embedding + self.temporal_embedding[:, : x.shape[1]]
        attention = x
        for stream_st, stream_ts, fusion in zip(self.streams_st, self.streams_ts, self.fusions, strict=True):
            first, attention = stream_st(x, valid)
            second, _ = stream_ts(x, valid)
            weights = fusion(torch.cat([first, second], dim=-1)).softmax(dim=-1)
            x = first * weights[..., :1] + second * weights[..., 1:]
        representation = torch.tanh(self.representation(self.norm(x)))
        received = attention.detach().float().mean(dim=2).sum(dim=-2)  # (S, T, V)
        if frame_mask is not None:
            representation = representation * frame_mask[..., None, None]
            received = received * frame_mask[..., None]
        return representation, received if return_attention else None


def with_two_persons(batch: Batch) -> Batch:
    """Return the batch with two persons per clip, as in the published reader: absent persons are zero and take part."""
    clips, persons, frames, joints, channels = batch.keypoint.shape
    keypoint = batch.keypoint.new_zeros(clips, 2, frames, joints, channels)
    keypoint[:, :persons] = batch.keypoint[:, :2]
    return replace(batch, keypoint=keypoint, person_mask=batch.person_mask.new_ones(clips, 2))
