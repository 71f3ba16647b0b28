"""MAMP's backbone: a vanilla transformer with one token per joint and segment of l frames (section 3.2).

With 256 channels, 8 blocks, 8 heads, a feed-forward width of 1024, 120 frames in segments of 4, and 25 joints in 3D it
has 6,336,000 parameters, not counting the 256 of the mask token.
"""

import torch
from torch import nn
from torch.nn import functional

from recognition.backbones.base import Backbone
from recognition.backbones.layers import FeedForward, Projected, SelfAttention, embedding, received_attention
from recognition.backbones.relative_inputs import CHANNELS, relative_inputs

# As in the published code; the other backbones use 1e-6.
EPSILON = 1e-5
# l, default length of a segment in frames.
SEGMENT_FRAMES = 4


class DropPath(nn.Module):
    """Stochastic depth: skips a block's contribution for a random share of the sequences in training.

    The same as torchvision's `StochasticDepth`, whose import takes half a second. What is kept is divided by the
    probability of being kept.

    Args:
        probability: Share of the sequences of (S, ...) that are set to zero, in [0, 1).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (self.training and self.probability):
            return x
        kept = 1 - self.probability
        drawn = torch.rand(len(x), *[1] * (x.dim() - 1), device=x.device) < kept
        return x * drawn.to(x.dtype) / kept


class Block(nn.Module):
    """Attention among all tokens, then the feed-forward network, both with residual connections (eq. 8)."""

    def __init__(self, dim: int, heads: int, hidden: int, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPSILON)
        self.attention = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=EPSILON)
        self.feed_forward = FeedForward(dim, hidden)
        self.drop_path = DropPath(drop_path)

    def forward(
        self, x: torch.Tensor, key_mask: torch.Tensor | None = None, *, places: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, Projected]:
        """Return the block's output (S, L, C), and its queries and keys.

        Args:
            x: float (S, L, C).
            key_mask: bool (S, 1, 1, L), True for tokens, False for padding.
            places: int64 (S, Q), indices of the tokens to compute; the others only serve as keys and values. None: all.
        """
        projected = self.attention.project(self.norm1(x))
        if places is not None:
            x = x.gather(1, places[..., None].expand(-1, -1, x.shape[2]))
            heads, width = projected.query.shape[1], projected.query.shape[3]
            chosen = places[:, None, :, None].expand(-1, heads, -1, width)
            projected = projected._replace(query=projected.query.gather(2, chosen))
        x = x + self.drop_path(self.attention.attend(projected, key_mask))
        return x + self.drop_path(self.feed_forward(self.norm2(x))), projected


def begin_xavier(module: nn.Module) -> None:
    """Initialise a module, for `Module.apply`: linear weights Xavier uniform, biases zero, as in MAE and MAMP."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class SegmentTransformer(Backbone):
    """A vanilla transformer over segments.

    Args:
        num_joints: V, number of joints.
        channels: C, number of input channels.
        max_frames: Longest sequence, in frames; shorter ones use the beginning of the temporal embedding.
        segment_frames: l, frames per segment.
        dim: C_e, a multiple of `heads`; also the width of R.
        depth: L_e, number of blocks.
        heads: h, number of attention heads.
        mlp_ratio: Ratio of the feed-forward networks' width to `dim`.
        drop_path: Probability of skipping the last block for a sequence, 0 to 1; it grows linearly from 0 at the first
            block.
        relative: Whether the input also contains `relative_inputs`; for COCO-17 in 2D.
    """

    def __init__(
        self,
        *,
        num_joints: int,
        channels: int,
        max_frames: int = 120,
        segment_frames: int = SEGMENT_FRAMES,
        dim: int = 256,
        depth: int = 8,
        heads: int = 8,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        relative: bool = False,
    ) -> None:
        super().__init__(num_joints=num_joints, max_frames=max_frames, dim=dim, dim_representation=dim)
        self.relative = relative
        channels = CHANNELS if relative else channels
        self.segment_frames = self.frames_alike = segment_frames
        # l * C values of a joint's segment -> C_e, frames first.
        self.joint_embedding = nn.Linear(segment_frames * channels, dim)
        self.spatial_embedding = embedding(1, 1, num_joints, dim)
        self.temporal_embedding = embedding(1, -(-max_frames // segment_frames), 1, dim)
        rates = [drop_path * place / max(1, depth - 1) for place in range(depth)]
        self.blocks = nn.ModuleList(Block(dim, heads, int(dim * mlp_ratio), drop_path=rate) for rate in rates)
        self.norm = nn.LayerNorm(dim, eps=EPSILON)
        self.apply(begin_xavier)

    def layer_of(self, name: str) -> int:
        """Return the layer index of a parameter: 0 for the embeddings, then the blocks from 1, then the final norm."""
        first, _, rest = name.partition(".")
        if first == "blocks":
            return int(rest.partition(".")[0]) + 1
        return len(self.blocks) + 1 if first == "norm" else 0

    def embed(
        self, x: torch.Tensor, masked: torch.Tensor | None = None, *, seen: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Embed segments and add their positional embeddings (eq. 7): (S, T, V, C) to (S, T_e, V, C_e).

        The embedding of a segment is a sum with one term per frame. Where a joint is unseen or masked in a frame, that
        frame's share of the mask token replaces its term, so that a segment without any seen frame becomes the mask
        token.

        Args:
            x: float (S, T, V, C), T a multiple of l.
            masked: bool (S, T, V) or None.
            seen: bool (S, T, V), True where a joint is seen, if zeros in `x` do not indicate it; or None.
        """
        hidden = self.hidden_cells(x, masked, seen)
        if self.relative:
            unknown = (x == 0).all(dim=-1) if seen is None else ~seen
            x = relative_inputs(x, ~(unknown if masked is None else unknown | masked))
        sequences, frames, joints, channels = x.shape
        parts = frames // self.segment_frames
        cells = x.view(sequences, parts, self.segment_frames, joints, channels).transpose(2, 3)  # (S, T_e, V, l, C)
        if hidden is None:
            features = self.joint_embedding(cells.flatten(3))
        else:
            off = hidden.view(sequences, parts, self.segment_frames, joints).transpose(2, 3)  # (S, T_e, V, l)
            features = self.joint_embedding(cells.masked_fill(off[..., None], 0).flatten(3))
            share = off.to(features.dtype).mean(dim=3)[..., None]
            bias = self.joint_embedding.bias.to(features.dtype)
            features = features + share * (self.mask_token.to(features.dtype) - bias)
        return features + self.spatial_embedding + self.temporal_embedding[:, :parts]

    def through_blocks(
        self, tokens: torch.Tensor, key_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, Projected]:
        """Apply all blocks and the final normalisation to tokens (S, L, C_e); also return the last queries and keys."""
        for block in self.blocks:
            tokens, projected = block(tokens, key_mask)
        return self.norm(tokens), projected

    def encode(
        self,
        x: torch.Tensor,
        *,
        frame_mask: torch.Tensor | None = None,
        masked: torch.Tensor | None = None,
        return_attention: bool = False,
        seen: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See `Backbone.encode`. All frames of a segment share the segment's R and attention.

        `seen`, bool (S, T, V), is for unpadded sequences in which zeros in `x` do not indicate unseen joints.
        """
        self.check_size(x)
        x, frame_mask = self.without_padding(x, frame_mask)
        frames = x.shape[1]
        short = -frames % self.segment_frames
        # An exported network accepts any number of frames, so the padding is traced even if the example does not need
        # it.
        if torch.jit.is_tracing() or short:
            # The last segment is padded with frames in which nothing is seen.
            x = functional.pad(x, (0, 0, 0, 0, 0, short))
            if masked is not None:
                masked = functional.pad(masked, (0, 0, 0, short), value=True)
            if seen is not None:
                seen = functional.pad(seen, (0, 0, 0, short))
        features = self.embed(x, masked, seen=seen)  # (S, T_e, V, C_e)
        parts = features.shape[1]
        key_mask = None
        if frame_mask is not None:
            present = functional.pad(frame_mask, (0, short)).unflatten(1, (parts, self.segment_frames)).any(dim=2)
            # (S, 1, 1, T_e * V)
            key_mask = present[..., None].expand(-1, -1, self.num_joints).flatten(1)[:, None, None]
        tokens, projected = self.through_blocks(features.flatten(1, 2), key_mask)
        whole = tokens.unflatten(1, (parts, self.num_joints))
        representation = self._frames_of(whole)[:, :frames]  # R: (S, T, V, C_r)
        representation = self.zero_padding(representation, frame_mask)
        if not return_attention:
            return representation, None
        scores = received_attention(projected, key_mask).unflatten(1, (parts, self.num_joints))
        return representation, self.zero_padding(self._frames_of(scores)[:, :frames], frame_mask)

    def _frames_of(self, segments: torch.Tensor) -> torch.Tensor:
        """Expand values of segments (S, T_e, ...) to their frames, (S, T_e * l, ...).

        Exporters fix the sizes of `repeat_interleave` to those of the example; this works for any size.
        """
        whole = segments[:, :, None].expand(-1, -1, self.segment_frames, *segments.shape[2:])
        return whole.flatten(1, 2)
