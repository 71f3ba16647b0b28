"""The published recipe, done plainly: what `recognition_speed.py` compares with.

A DSTFormer whose attention is written out, softmax(Q K^T / sqrt(d)) V with the whole map in memory, and always two
persons, the second one zero where there is none. It has the parameters of MotionBERT's network, and answers as any
backbone here, so that head and losses are shared.
"""

from dataclasses import replace

import torch
from torch import nn

from recognition.backbones.base import Backbone
from recognition.batches import Batch


class PlainAttention(nn.Module):
    """Multi-head self-attention over the second to last axis of (..., L, C), one map a head held in memory."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The attended sequence, and the map (..., h, L, L); `valid`, broadcast to it, says what may be attended to."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for part in self.qkv(x).chunk(3, dim=-1)
        )  # (..., h, L, C / h)
        logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if valid is not None:
            logits = logits.masked_fill(~valid, -torch.inf)
        attention = logits.softmax(dim=-1)
        return self.proj((attention @ value).transpose(-2, -3).flatten(-2)), attention


class PlainBlock(nn.Module):
    """Spatial and temporal attention, each followed by an MLP; the temporal one goes first where `temporal_first`."""

    def __init__(self, dim: int, heads: int, hidden: int, *, temporal_first: bool) -> None:
        super().__init__()
        self.temporal_first = temporal_first
        self.norms = nn.ModuleList(nn.LayerNorm(dim, eps=1e-6) for _ in range(4))
        self.spatial, self.temporal = PlainAttention(dim, heads), PlainAttention(dim, heads)
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim)) for _ in range(2)
        )

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """(S, T, V, C), and the spatial map (S, T, h, V, V)."""
        if self.temporal_first:
            return self._across_joints(self._across_frames(x, valid))
        x, attention = self._across_joints(x)
        return self._across_frames(x, valid), attention

    def _across_joints(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        attended, attention = self.spatial(self.norms[0](x))
        x = x + attended
        return x + self.mlps[0](self.norms[1](x)), attention

    def _across_frames(self, x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        attended, _ = self.temporal(self.norms[2](x).transpose(1, 2), valid)  # (S, V, T, C)
        x = x + attended.transpose(1, 2)
        return x + self.mlps[1](self.norms[3](x))


class PlainDSTFormer(Backbone):
    """DSTFormer as its paper draws it.

    Args:
        num_joints: V.
        channels: C of the input.
        dim: C_f, and C_r.
        depth: N.
        heads: h.
        mlp_ratio: Width of the MLP over C_f.
        max_frames: Longest sequence.
    """

    def __init__(
        self, *, num_joints: int, channels: int, dim: int, depth: int, heads: int, mlp_ratio: float, max_frames: int
    ) -> None:
        super().__init__(num_joints=num_joints, max_frames=max_frames, dim=dim, dim_representation=dim)
        hidden = round(dim * mlp_ratio)
        self.embed = nn.Linear(channels, dim)
        self.spatial_embedding = nn.Parameter(0.02 * torch.randn(1, 1, num_joints, dim))
        self.temporal_embedding = nn.Parameter(0.02 * torch.randn(1, max_frames, 1, dim))
        self.spatial_first = nn.ModuleList(PlainBlock(dim, heads, hidden, temporal_first=False) for _ in range(depth))
        self.temporal_first = nn.ModuleList(PlainBlock(dim, heads, hidden, temporal_first=True) for _ in range(depth))
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
        """R and A as of any backbone."""
        # Frames that the temporal attention may look at: a sequence's own (S, 1, 1, 1, T).
        valid = None if frame_mask is None or bool(frame_mask.all()) else frame_mask[:, None, None, None]
        x = self.embed(x)  # (S, T, V, C_f)
        if masked is not None:
            x = torch.where(masked[..., None], self.mask_token.to(x.dtype), x)
        x = x + self.spatial_embedding + self.temporal_embedding[:, : x.shape[1]]
        attention = x
        for one, other, fusion in zip(self.spatial_first, self.temporal_first, self.fusions, strict=True):
            first, attention = one(x, valid)
            second, _ = other(x, valid)
            weights = fusion(torch.cat([first, second], dim=-1)).softmax(dim=-1)
            x = first * weights[..., :1] + second * weights[..., 1:]
        representation = torch.tanh(self.representation(self.norm(x)))
        received = attention.detach().float().mean(dim=2).sum(dim=-2)  # (S, T, V)
        if frame_mask is not None:
            representation = representation * frame_mask[..., None, None]
            received = received * frame_mask[..., None]
        return representation, received if return_attention else None


def with_two_persons(batch: Batch) -> Batch:
    """The batch with two persons in each clip, as the published reader makes it: the absent are zero, and take part."""
    clips, persons, frames, joints, channels = batch.keypoint.shape
    keypoint = batch.keypoint.new_zeros(clips, 2, frames, joints, channels)
    keypoint[:, :persons] = batch.keypoint[:, :2]
    return replace(batch, keypoint=keypoint, person_mask=batch.person_mask.new_ones(clips, 2))
