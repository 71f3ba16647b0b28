"""DSTFormer, the dual-stream spatio-temporal transformer of MotionBERT, in the order of its figure.

Two streams, one attending to joints before frames (ST) and one to frames before joints (TS), are fused at every level
with weights computed per joint and frame. With 512 channels, 5 levels, 8 heads, a feed-forward width of 1024 and 243
frames it has 42,464,778 parameters, not counting the 512 of the mask token. MotionBERT's 'lite' variant (256 channels,
1024, R of 512) has 16,000,010; its authors also count the 1,539 of a 3D pose head, which is not part of R.
"""

from typing import Literal

import torch
from torch import nn

from recognition.backbones.base import Backbone
from recognition.backbones.layers import (
    NORM_EPSILON,
    FeedForward,
    Projected,
    SelfAttention,
    begin,
    embedding,
    received_attention,
)

AttentionSource = Literal["spatial", "average", "spatiotemporal"]


class SpatialHalf(nn.Module):
    """Attention among the joints of one frame, then the feed-forward network, both with residual connections."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPSILON)
        self.attention = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPSILON)
        self.feed_forward = FeedForward(dim, hidden)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, Projected]:
        """Map (S, T, V, C_f) to the same shape; also return queries, keys and values of S * T sequences of V joints."""
        projected = self.attention.project(self.norm1(x).flatten(0, 1))  # (S * T, h, V, C / h)
        x = x + self.attention.attend(projected).view(x.shape)
        return x + self.feed_forward(self.norm2(x)), projected


class TemporalHalf(nn.Module):
    """Attention among the frames of one joint, then the feed-forward network, both with residual connections."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPSILON)
        self.attention = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPSILON)
        self.feed_forward = FeedForward(dim, hidden)

    def forward(self, x: torch.Tensor, key_mask: torch.Tensor | None) -> tuple[torch.Tensor, Projected]:
        """Map (S, T, V, C_f) to the same shape; also return queries, keys and values of S * V sequences of T frames.

        Args:
            x: float (S, T, V, C_f).
            key_mask: bool (S * V, 1, 1, T), True for frames to attend to; None for all.
        """
        sequences, frames, joints, dim = x.shape
        # One transposition before the projection costs a third of transposing q, k and v; the one afterwards is a view.
        projected = self.attention.project(self.norm1(x).transpose(1, 2).reshape(-1, frames, dim))  # (S * V, h, T, ...)
        attended = self.attention.attend(projected, key_mask).view(sequences, joints, frames, dim)
        x = x + attended.transpose(1, 2)
        return x + self.feed_forward(self.norm2(x)), projected


class Stream(nn.Module):
    """One block of the ST stream (joints first) or of the TS stream (frames first)."""

    def __init__(self, dim: int, heads: int, hidden: int, *, spatial_first: bool) -> None:
        super().__init__()
        self.spatial_first = spatial_first
        self.spatial = SpatialHalf(dim, heads, hidden)
        self.temporal = TemporalHalf(dim, heads, hidden)

    def forward(self, x: torch.Tensor, key_mask: torch.Tensor | None) -> tuple[torch.Tensor, Projected, Projected]:
        """Return the block's output, and the queries, keys and values of its spatial and of its temporal attention.

        Args:
            x: float (S, T, V, C_f).
            key_mask: bool (S * V, 1, 1, T), True for frames to attend to; None for all.

        Returns:
            float (S, T, V, C_f); those of S * T sequences of V joints; those of S * V sequences of T frames.
        """
        if self.spatial_first:
            x, spatial = self.spatial(x)
            x, temporal = self.temporal(x, key_mask)
        else:
            x, temporal = self.temporal(x, key_mask)
            x, spatial = self.spatial(x)
        return x, spatial, temporal


class DSTFormer(Backbone):
    """The dual-stream transformer.

    Args:
        num_joints: V, number of joints.
        channels: C, number of input channels.
        max_frames: Longest sequence, in frames; shorter ones use the beginning of the temporal embedding.
        dim: C_f, a multiple of `heads`.
        depth: N, number of levels.
        heads: h, number of attention heads.
        mlp_ratio: Ratio of the feed-forward networks' width to `dim`.
        dim_representation: C_r, width of R.
        attention_source: Which maps of the last level A is computed from. "spatial": the ST stream's attention among
            joints, so that A sums to V in every frame. "average": the mean of both streams' attention among joints.
            "spatiotemporal": in the ST stream, the attention that a joint receives within its frame times the attention
            that it receives from its own other frames, so that frames are ranked too; normalised to a mean of 1 over
            the unpadded cells of a sequence.
        motion: Whether the network also receives the displacement of each joint since the previous frame.
    """

    def __init__(
        self,
        *,
        num_joints: int,
        channels: int,
        max_frames: int = 243,
        dim: int = 512,
        depth: int = 5,
        heads: int = 8,
        mlp_ratio: float = 2.0,
        dim_representation: int = 512,
        attention_source: AttentionSource = "spatial",
        motion: bool = False,
    ) -> None:
        super().__init__(
            num_joints=num_joints,
            max_frames=max_frames,
            dim=dim,
            dim_representation=dim_representation,
            motion_channels=channels if motion else 0,
        )
        self.attention_source = attention_source
        hidden = int(dim * mlp_ratio)
        self.joint_embedding = nn.Linear(channels, dim)
        self.spatial_embedding = embedding(1, num_joints, dim)
        self.temporal_embedding = embedding(1, max_frames, 1, dim)
        self.streams_st = nn.ModuleList(Stream(dim, heads, hidden, spatial_first=True) for _ in range(depth))
        self.streams_ts = nn.ModuleList(Stream(dim, heads, hidden, spatial_first=False) for _ in range(depth))
        self.fusions = nn.ModuleList(nn.Linear(2 * dim, 2) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=NORM_EPSILON)
        self.representation = nn.Linear(dim, dim_representation)
        self.apply(begin)
        # Both streams start with equal weights.
        for name, weight in self.fusions.named_parameters():
            nn.init.constant_(weight, 0.5 if name.endswith("bias") else 0.0)

    def encode(
        self,
        x: torch.Tensor,
        *,
        frame_mask: torch.Tensor | None = None,
        masked: torch.Tensor | None = None,
        return_attention: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        self.check_size(x)
        x, frame_mask = self.without_padding(x, frame_mask)
        hidden = self.hidden_cells(x, masked)
        features = self.with_mask_token(
            self.with_motion(self.joint_embedding(x), x, hidden), hidden
        )  # F: (S, T, V, C_f)
        features = features + self.spatial_embedding + self.temporal_embedding[:, : x.shape[1]]
        # All joints of a sequence share one mask: (S * V, 1, 1, T).
        key_mask = None
        if frame_mask is not None:
            key_mask = frame_mask.repeat_interleave(self.num_joints, dim=0)[:, None, None]
        for stream_st, stream_ts, fusion in zip(self.streams_st, self.streams_ts, self.fusions, strict=True):
            features_st, spatial_st, temporal_st = stream_st(features, key_mask)
            features_ts, spatial_ts, _ = stream_ts(features, key_mask)
            weights = fusion(torch.cat((features_st, features_ts), dim=-1)).softmax(dim=-1)  # (S, T, V, 2)
            features = features_st * weights[..., :1] + features_ts * weights[..., 1:]
        representation = torch.tanh(self.representation(self.norm(features)))  # R: (S, T, V, C_r)
        representation = self.zero_padding(representation, frame_mask)
        if not return_attention:
            return representation, None
        attention = received_attention(spatial_st).view(x.shape[:3])
        if self.attention_source == "average":
            attention = (attention + received_attention(spatial_ts).view(x.shape[:3])) / 2
        elif self.attention_source == "spatiotemporal":
            received = received_attention(temporal_st, key_mask).view(len(x), self.num_joints, -1)
            attention = self.zero_padding(attention * received.transpose(1, 2), frame_mask)
            frames = x.shape[1] if frame_mask is None else frame_mask.sum(dim=1)[:, None, None]
            attention = attention * (frames * self.num_joints / attention.sum(dim=(1, 2), keepdim=True))
        return representation, self.zero_padding(attention, frame_mask)
