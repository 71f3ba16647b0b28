"""MAMP's backbone: a vanilla transformer with one token for each joint of each segment of l frames (section 3.2).

With 256 channels, 8 blocks, 8 heads, a feed-forward width of 1024, 120 frames in segments of 4, and 25 joints in 3D it
has 6,336,000 parameters; the mask token's 256 are not counted.
"""

import torch
from torch import nn
from torch.nn import functional

from recognition.backbones.base import Backbone
from recognition.backbones.layers import FeedForward, Projected, SelfAttention, embedding, received_attention

# As in the published code, and unlike the other backbones' 1e-6.
EPSILON = 1e-5
# l, frames of a segment, where settings do not say.
SEGMENT_FRAMES = 4


class DropPath(nn.Module):
    """Leaves out a block's contribution for a random share of the sequences in training (stochastic depth)."""

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
    """Attention among all tokens, then the feed-forward network, each added to what came in (eq. 8)."""

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
        """The block's output (S, L, C), and its queries and keys.

        Args:
            x: float (S, L, C).
            key_mask: bool (S, 1, 1, L), tokens that are there.
            places: int64 (S, Q) of the tokens that are wanted, where not all are; the others are only attended to.
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
    """For `Module.apply`: linear layers from Xavier's uniform distribution, biases zero, as MAE and MAMP begin."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class SegmentTransformer(Backbone):
    """A vanilla transformer over segments.

    Args:
        num_joints: V.
        channels: C of the input.
        max_frames: Longest sequence; shorter ones use the beginning of the temporal embedding.
        segment_frames: l.
        dim: C_e, a multiple of `heads`; R is as wide.
        depth: L_e, number of blocks.
        heads: h.
        mlp_ratio: Width of the feed-forward networks over `dim`.
        drop_path: Probability of leaving out the last block for a sequence; it grows linearly from 0 at the first.
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
    ) -> None:
        super().__init__(num_joints=num_joints, max_frames=max_frames, dim=dim, dim_representation=dim)
        self.segment_frames = segment_frames
        # l * C numbers of a joint's segment -> C_e, frames first.
        self.joint_embedding = nn.Linear(segment_frames * channels, dim)
        self.spatial_embedding = embedding(1, 1, num_joints, dim)
        self.temporal_embedding = embedding(1, -(-max_frames // segment_frames), 1, dim)
        rates = [drop_path * place / max(1, depth - 1) for place in range(depth)]
        self.blocks = nn.ModuleList(Block(dim, heads, int(dim * mlp_ratio), drop_path=rate) for rate in rates)
        self.norm = nn.LayerNorm(dim, eps=EPSILON)
        self.apply(begin_xavier)

    def layer_of(self, name: str) -> int:
        """Which layer a parameter is of: 0 for the embeddings, then the blocks from 1 on."""
        first, _, rest = name.partition(".")
        if first == "blocks":
            return int(rest.partition(".")[0]) + 1
        return len(self.blocks) if first == "norm" else 0

    def embed(
        self, x: torch.Tensor, masked: torch.Tensor | None = None, *, seen: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Embedded segments with their places (eq. 7): (S, T, V, C) to (S, T_e, V, C_e).

        A segment's embedding is a sum with one share for each frame. Where a joint was not seen in a frame, or is
        masked in it, the mask token's share takes the place of that frame's, so that a segment of which nothing is seen
        is the mask token.

        Args:
            x: float (S, T, V, C), T a multiple of l.
            masked: bool (S, T, V) or None.
            seen: bool (S, T, V), where zeros in `x` do not tell it; or None.
        """
        sequences, frames, joints, channels = x.shape
        parts = frames // self.segment_frames
        cells = x.view(sequences, parts, self.segment_frames, joints, channels).transpose(2, 3)  # (S, T_e, V, l, C)
        hidden = self.hidden_cells(x, masked, seen)
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
        """Tokens (S, L, C_e) through all blocks and the last normalisation, and the last block's queries and keys."""
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
        """R of every frame is that of its segment; so is the attention that a cell receives.

        `seen`, bool (S, T, V), is for sequences without padding in which zeros do not tell what was not seen.
        """
        self.check_size(x)
        x, frame_mask = self.without_padding(x, frame_mask)
        frames = x.shape[1]
        short = -frames % self.segment_frames
        # An exported network takes any number of frames, so it must have the padding even if its example needed none.
        if torch.jit.is_tracing() or short:
            # The last segment is filled up with frames in which nothing is seen.
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
        """Values of segments (S, T_e, ...) for each of their frames, (S, T_e * l, ...).

        Exporters write `repeat_interleave` for the example's sizes alone, and this for any.
        """
        whole = segments[:, :, None].expand(-1, -1, self.segment_frames, *segments.shape[2:])
        return whole.flatten(1, 2)
