"""The vanilla transformer: ViT's encoder with one token per joint and frame (supplementary, section 1).

With 512 channels, 5 blocks, 8 heads and a feed-forward width of 2048, its encoder has 15,898,112 parameters for 17
joints and 243 frames, and the layer to C_r = 512 has 262,656; the 512 of the mask token are not counted.
"""

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


class Block(nn.Module):
    """Attention among all tokens, then the feed-forward network, both with residual connections."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPSILON)
        self.attention = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPSILON)
        self.feed_forward = FeedForward(dim, hidden)

    def forward(self, x: torch.Tensor, key_mask: torch.Tensor | None) -> tuple[torch.Tensor, Projected]:
        """Return the block's output (S, L, C), and its queries and keys."""
        projected = self.attention.project(self.norm1(x))
        x = x + self.attention.attend(projected, key_mask)
        return x + self.feed_forward(self.norm2(x)), projected


class Transformer(Backbone):
    """The vanilla transformer.

    Args:
        num_joints: V, number of joints.
        channels: C, number of input channels.
        max_frames: Longest sequence, in frames; shorter ones use the beginning of the temporal embedding.
        dim: C_f, a multiple of `heads`.
        depth: N, number of blocks.
        heads: h, number of attention heads.
        mlp_ratio: Ratio of the feed-forward networks' width to `dim`.
        dim_representation: C_r, width of R.
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
        mlp_ratio: float = 4.0,
        dim_representation: int = 512,
        motion: bool = False,
    ) -> None:
        super().__init__(
            num_joints=num_joints,
            max_frames=max_frames,
            dim=dim,
            dim_representation=dim_representation,
            motion_channels=channels if motion else 0,
        )
        self.joint_embedding = nn.Linear(channels, dim)
        self.spatial_embedding = embedding(1, num_joints, dim)
        self.temporal_embedding = embedding(1, max_frames, 1, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, int(dim * mlp_ratio)) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=NORM_EPSILON)
        self.representation = nn.Linear(dim, dim_representation)
        self.apply(begin)

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
        tokens = features.flatten(1, 2)  # (S, T * V, C_f)
        key_mask = None
        if frame_mask is not None:
            key_mask = frame_mask.repeat_interleave(self.num_joints, dim=1)[:, None, None]  # (S, 1, 1, T * V)
        for block in self.blocks:
            tokens, projected = block(tokens, key_mask)
        representation = self.representation(self.norm(tokens)).unflatten(1, x.shape[1:3])  # R: (S, T, V, C_r)
        representation = self.zero_padding(representation, frame_mask)
        if not return_attention:
            return representation, None
        return representation, received_attention(projected, key_mask).unflatten(1, x.shape[1:3])
