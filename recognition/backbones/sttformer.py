"""STTFormer, the spatio-temporal tuples transformer: frames in tuples of l, attention among a tuple's l * V joints.

All tuples of a sequence share one attention map; a convolution over tuples then propagates features through time. For
masking, the sign of the attention scores has no meaning, and there is no map per frame: A is the absolute attention
that a joint of the tuple receives, averaged over heads and summed over outputs, the same for all tuples. The noise of
probabilistic masking chooses between tuples.

MaskCLR specifies depth 5 and 512 channels, whereas STTFormer itself has 8 blocks and 256 channels. `channel_plan` gives
five blocks that widen in the same way. With 17 joints there are 11,620,790 parameters at l = 3 and 11,737,835 at l = 6,
not counting the 128 of the mask token; with STTFormer's own linear layer to 60 classes, which is not part of R,
11,651,570 and 11,768,615. l = 3 divides the paper's 243 frames; other lengths are padded internally, and the padding is
masked.
"""

import itertools
import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn
from torch.nn import functional

from recognition.backbones.base import Backbone
from recognition.backbones.batch_norm import CellNorm

SLOPE = 0.1
# Kernel sizes of the convolutions: over the joints of a tuple, and over tuples.
JOINT_KERNEL, TUPLE_KERNEL = 5, 3


def channel_plan(dim: int, depth: int) -> list[tuple[int, int, int]]:
    """Return channels in, channels out, and the width of queries and keys of each block.

    Channels are `dim` / 4, `dim` / 2 and `dim`, spread over the blocks as evenly as possible; the queries of a head
    have a quarter of the output channels. (512, 5) gives (128,128,32), (128,256,64), (256,256,64), (256,512,128),
    (512,512,128).

    Args:
        dim: Channels of the last block, a multiple of 16.
        depth: Number of blocks.
    """
    stages = [math.ceil(2 * block / (depth - 1)) for block in range(depth)] if depth > 1 else [2]
    widths = [dim // 4, *(dim // 4 * 2**stage for stage in stages)]
    return [(before, after, after // 4) for before, after in itertools.pairwise(widths)]


class TupleBlock(nn.Module):
    """Attention within tuples, a feed-forward layer, then a convolution over neighbouring tuples.

    Tensors are (S, n, U, C): n tuples of U = l * V cells. Convolutions see them as (S, C, n, U) in channels-last memory
    format, which is the same memory layout.
    """

    position: torch.Tensor

    def __init__(self, channels: int, out_channels: int, width: int, *, cells: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.register_buffer("position", sinusoid(cells, channels), persistent=False)
        self.query_key = nn.Linear(channels, 2 * heads * width)
        self.scale = nn.Parameter(torch.ones(heads, 1, 1))
        self.base_attention = nn.Parameter(torch.full((heads, cells, cells), 1 / cells))
        self.mix = nn.Conv2d(channels * heads, out_channels, (1, JOINT_KERNEL), padding=(0, JOINT_KERNEL // 2))
        self.mix_norm = CellNorm(out_channels)
        self.feed_forward = nn.Linear(out_channels, out_channels)
        self.feed_forward_norm = CellNorm(out_channels)
        self.across = nn.Conv2d(out_channels, out_channels, (TUPLE_KERNEL, 1), padding=(TUPLE_KERNEL // 2, 0))
        self.across_norm = CellNorm(out_channels)
        self.widens = channels != out_channels
        if self.widens:
            self.residual = nn.Linear(channels, out_channels)
            self.residual_norm = CellNorm(out_channels)
            self.across_residual = nn.Linear(out_channels, out_channels)
            self.across_residual_norm = CellNorm(out_channels)

    def forward(
        self, x: torch.Tensor, there: torch.Tensor | None, *, keep_statistics: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the output, queries and keys (S, n, U, h, C_qk); `there` is bool (S, n, U, 1) or None."""

        def norm(layer: nn.Module, cells: torch.Tensor) -> torch.Tensor:
            normalised: torch.Tensor = layer(cells, there, keep_statistics=keep_statistics)
            return normalised

        query_key = silence(self.query_key(x + self.position.to(x.dtype)), there).unflatten(-1, (2, self.heads, -1))
        query, key = query_key.unbind(dim=3)
        attention = self.attention_map(
            query, key, there
        )  # (S, h, U, U), from a source (third axis) to an output (last)
        by_output = attention.permute(0, 3, 1, 2).flatten(1, 2)[:, None]  # (S, 1, U * h, U)
        # The values are the features themselves: (S, n, U * h, C), viewed as (S, n, U, h * C).
        mixed = (by_output.to(x.dtype) @ x).view(*x.shape[:3], -1)
        residual = norm(self.residual_norm, self.residual(x)) if self.widens else x
        y = leaky(norm(self.mix_norm, convolve(self.mix, silence(mixed, there))) + residual)
        y = silence(leaky(norm(self.feed_forward_norm, self.feed_forward(y)) + residual), there)
        residual = norm(self.across_residual_norm, self.across_residual(y)) if self.widens else y
        out = leaky(norm(self.across_norm, convolve(self.across, y)) + residual)
        return silence(out, there), query, key

    def attention_map(self, query: torch.Tensor, key: torch.Tensor, there: torch.Tensor | None) -> torch.Tensor:
        """Return the map (S, h, U, U): scaled tanh of the mean product over tuples and channels, plus a learned map."""
        tuples: int | torch.Tensor = query.shape[1]
        if there is not None:
            # Number of tuples that contain a frame: (S, 1, 1, 1, 1).
            tuples = there.any(dim=2).sum(dim=1).view(-1, 1, 1, 1, 1).to(query.dtype)
        # Divide before the product: OpenVINO would divide every sequence's product by the first sequence's count.
        mean = torch.einsum("snuhc,snvhc->shuv", query / (self.width * tuples), key)
        return mean.tanh() * self.scale + self.base_attention


class STTFormer(Backbone):
    """The spatio-temporal tuples transformer.

    Args:
        num_joints: V, number of joints.
        channels: C, number of input channels.
        max_frames: Longest sequence, in frames; no parameter depends on it.
        plan: Channels in, channels out and query width of each block; the first input is C_f, the last output C_r.
        heads: h, number of attention heads.
        tuple_length: l, frames per tuple.
        motion: Whether the network also receives the displacement of each joint since the previous frame.
    """

    def __init__(
        self,
        *,
        num_joints: int,
        channels: int,
        max_frames: int = 243,
        plan: Sequence[tuple[int, int, int]] = (*channel_plan(512, 5),),
        heads: int = 3,
        tuple_length: int = 3,
        motion: bool = False,
    ) -> None:
        super().__init__(
            num_joints=num_joints,
            max_frames=max_frames,
            dim=plan[0][0],
            dim_representation=plan[-1][1],
            motion_channels=channels if motion else 0,
        )
        self.tuple_length = tuple_length
        self.joint_embedding = nn.Linear(channels, self.dim)
        self.joint_embedding_norm = CellNorm(self.dim)
        self.blocks = nn.ModuleList(
            TupleBlock(before, after, width, cells=tuple_length * num_joints, heads=heads)
            for before, after, width in plan
        )
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=SLOPE, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

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
        sequences, frames, joints, _ = x.shape
        extra = -frames % self.tuple_length
        # An exported network accepts any number of frames, so the padding is traced even if the example does not need
        # it.
        if torch.jit.is_tracing() or extra:
            if frame_mask is None:
                frame_mask = x.new_ones(sequences, frames, dtype=torch.bool)
            x = functional.pad(x, (0, 0, 0, 0, 0, extra))
            frame_mask = functional.pad(frame_mask, (0, extra))
            masked = None if masked is None else functional.pad(masked, (0, 0, 0, extra))
        there = None if frame_mask is None else frame_mask[:, :, None, None].expand(-1, -1, joints, 1)
        # Running statistics are used at test time, where only the standard pathway exists.
        keep = masked is None
        hidden = self.hidden_cells(x, masked)
        features = self.with_motion(self.joint_embedding(x), x, hidden)
        features = leaky(self.joint_embedding_norm(features, there, keep_statistics=keep))
        features = silence(self.with_mask_token(features, hidden), there)  # F: (S, T, V, C_f)
        tuples = features.view(sequences, -1, self.tuple_length * joints, self.dim)  # (S, T / l, l * V, C_f)
        if there is not None:
            there = there.reshape(*tuples.shape[:3], 1)
        for block in self.blocks:
            tuples, query, key = block(tuples, there, keep_statistics=keep)
        representation = tuples.view(sequences, -1, joints, self.dim_representation)[:, :frames]  # R: (S, T, V, C_r)
        if not return_attention:
            return representation, None
        last = cast(TupleBlock, self.blocks[-1])
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            if query.dtype != torch.float64:
                query, key = query.float(), key.float()
            received = received_of(last.attention_map(query, key, there))
        scores = received.view(sequences, self.tuple_length, joints).repeat(1, tuples.shape[1], 1)[:, :frames]
        return representation, self.zero_padding(scores, None if frame_mask is None else frame_mask[:, :frames])


def received_of(attention: torch.Tensor) -> torch.Tensor:
    """Return the attention that each cell of a tuple receives, (S, l * V) with mean 1, from maps (S, h, l * V, l * V).

    The maps are not distributions. Normalising to mean 1 gives A the same scale in all backbones.
    """
    received = attention.abs().mean(dim=1).sum(dim=-1)
    return received / received.mean(dim=-1, keepdim=True).clamp_min(torch.finfo(received.dtype).tiny)


def sinusoid(positions: int, channels: int) -> torch.Tensor:
    """Fixed positional embedding (positions, channels): sine in even channels, cosine in odd ones."""
    frequency = torch.exp(torch.arange(0, channels, 2, dtype=torch.float64) * (-math.log(10000) / channels))
    angle = torch.arange(positions, dtype=torch.float64)[:, None] * frequency
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1).float()


def leaky(x: torch.Tensor) -> torch.Tensor:
    """Return x, with negative values times `SLOPE`; any shape."""
    return functional.leaky_relu(x, SLOPE)


def convolve(convolution: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Apply a convolution to cells (S, n, U, C), keeping them channels-last."""
    return convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def silence(x: torch.Tensor, there: torch.Tensor | None) -> torch.Tensor:
    """Set padding to zero, so that it does not spread.

    Args:
        x: float (S, n, U, C), cells of the sequence.
        there: bool that broadcasts to `x`, False in padding; None if there is no padding.
    """
    return x if there is None else x.masked_fill(~there, 0)
