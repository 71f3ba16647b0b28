"""Parts shared by the graph-convolutional baselines: COCO-17 as a graph, temporal convolutions, the common backbone.

These networks process a person as channels over frames and joints, (S, C, T, V). They downsample time internally; R of
a frame is the feature of the downsampled frame that it belongs to. ST-GCN++ and AAGCN are those of PYSKL; CTR-GCN and
MS-G3D have two variants, their authors' and PYSKL's.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import nn

from recognition.backbones.base import Backbone

# Edges (child, parent) of COCO-17, directed towards the nose.
INWARD = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 5), (12, 6), (9, 7), (7, 5), (10, 8), (8, 6), (5, 0), (6, 0), (1, 0),
    (3, 1), (2, 0), (4, 2),
)  # fmt: skip
JOINTS = 17
# Channels of the first block and number of blocks, for three of the four networks.
WIDTH, DEPTH = 64, 10


def spatial_graph() -> torch.Tensor:
    """Return the adjacency (3, V, V): self-loops, child to parent, parent to child.

    Entry [k, u, v] weights the contribution of joint u to joint v; the contributions to a joint sum to 1.
    """
    inward, outward = torch.zeros(JOINTS, JOINTS), torch.zeros(JOINTS, JOINTS)
    for child, parent in INWARD:
        # A column holds the contributions to one joint.
        inward[child, parent] = 1
        outward[parent, child] = 1
    return torch.stack([torch.eye(JOINTS), _by_columns(inward), _by_columns(outward)])


def joint_distances() -> torch.Tensor:
    """Return the number of bones between any two joints (V, V)."""
    distance = torch.full((JOINTS, JOINTS), math.inf).fill_diagonal_(0)
    for child, parent in INWARD:
        distance[child, parent] = distance[parent, child] = 1
    for middle in range(JOINTS):
        distance = torch.minimum(distance, distance[:, middle : middle + 1] + distance[middle : middle + 1])
    return distance


def _by_columns(graph: torch.Tensor) -> torch.Tensor:
    return graph / graph.sum(dim=0, keepdim=True).clamp_min(1)


class TemporalConvolution(nn.Module):
    """A convolution over frames of (S, C, T, V), separate for each joint, followed by batch normalisation.

    Args:
        channels: Number of input channels.
        out_channels: Number of output channels.
        kernel: Kernel size in frames.
        stride: Stride in frames.
        dilation: Dilation in frames.
        normalised: Whether batch normalisation follows.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        normalised: bool = True,
    ) -> None:
        super().__init__()
        padding = (kernel + (kernel - 1) * (dilation - 1) - 1) // 2
        self.convolution = nn.Conv2d(
            channels,
            out_channels,
            (kernel, 1),
            stride=(stride, 1),
            padding=(padding, 0),
            dilation=(dilation, 1),
        )
        nn.init.kaiming_normal_(self.convolution.weight, mode="fan_out")
        nn.init.zeros_(_bias(self.convolution))
        self.norm = nn.BatchNorm2d(out_channels) if normalised else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normalised: torch.Tensor = self.norm(self.convolution(x))
        return normalised


def _bias(convolution: nn.Conv2d) -> torch.Tensor:
    assert convolution.bias is not None
    return convolution.bias


def residual_path(channels: int, out_channels: int, stride: int, *, first: bool) -> nn.Module | None:
    """Return a block's residual path: None for the first block, the identity if the shape stays, else a convolution."""
    if first:
        return None
    if channels == out_channels and stride == 1:
        return nn.Identity()
    return TemporalConvolution(channels, out_channels, 1, stride=stride)


def stage_plan(width: int, depth: int) -> list[tuple[int, int, int]]:
    """Return (channels in, channels out, stride) of all blocks but the first; the 5th and the 8th double channels and
    halve time.

    Args:
        width: Channels of the first block.
        depth: Number of blocks, including the first.
    """
    plan, channels = [], width
    for block in range(2, depth + 1):
        widens = block in (5, 8)
        out = channels * 2 if widens else channels
        plan.append((channels, out, 2 if widens else 1))
        channels = out
    return plan


class GraphBlock(nn.Module):
    """A spatial module, then a temporal one, with a residual path around both.

    Args:
        joints: Maps (S, C, T, V) to (S, C', T, V).
        time: Maps (S, C', T, V) to (S, C', T', V).
        residual: Residual path around both, or None.
    """

    def __init__(self, joints: nn.Module, time: nn.Module, residual: nn.Module | None) -> None:
        super().__init__()
        self.joints = joints
        self.time = time
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = self.time(self.joints(x))
        return torch.relu(mixed if self.residual is None else mixed + self.residual(x))


class GraphBackbone(Backbone):
    """Input normalisation followed by a sequence of blocks.

    Args:
        channels: C, number of input channels.
        blocks: Modules from (S, C, T, V) to (S, C', T', V), applied in order.
        dim_representation: Output channels of the last block.
        max_frames: Longest sequence, in frames; no parameter depends on it.
    """

    plain_head = True
    knows_attention = False

    def __init__(
        self, *, channels: int, blocks: Iterable[nn.Module], dim_representation: int, max_frames: int = 300
    ) -> None:
        super().__init__(num_joints=JOINTS, max_frames=max_frames, dim=channels, dim_representation=dim_representation)
        self.input_norm = nn.BatchNorm1d(JOINTS * channels)
        self.blocks = nn.ModuleList(blocks)

    def encode(
        self,
        x: torch.Tensor,
        *,
        frame_mask: torch.Tensor | None = None,
        masked: torch.Tensor | None = None,
        return_attention: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        self.check_size(x)
        if masked is not None or return_attention:
            raise ValueError(f"{type(self).__name__} supports neither masks nor attention: train it with cross-entropy")
        sequences, frames, joints, channels = x.shape
        x, frame_mask = self.without_padding(x, frame_mask)
        # (S, T, V, C) -> (S, V * C, T), each channel of each joint normalised separately -> (S, C, T, V)
        features = self.input_norm(x.permute(0, 2, 3, 1).reshape(sequences, joints * channels, frames))
        features = features.view(sequences, joints, channels, frames).permute(0, 2, 3, 1)
        for block in self.blocks:
            features = block(features)
        place = torch.arange(frames, device=x.device) * features.shape[2] // frames
        representation = features[:, :, place].permute(0, 2, 3, 1)  # R: (S, T, V, C_r)
        return self.zero_padding(representation, frame_mask), None


class StagedBackbone(GraphBackbone, ABC):
    """A stack of blocks of one kind, according to `stage_plan`.

    Args:
        channels: C, number of input channels.
        width: Channels of the first block.
        depth: Number of blocks.
        max_frames: Longest sequence, in frames.
    """

    def __init__(self, *, channels: int, width: int = WIDTH, depth: int = DEPTH, max_frames: int = 300) -> None:
        plan = stage_plan(width, depth)
        first = GraphBlock(*self.parts(channels, width, 1), residual_path(channels, width, 1, first=True))
        others = [GraphBlock(*self.parts(*sizes), residual_path(*sizes, first=False)) for sizes in plan]
        super().__init__(
            channels=channels,
            blocks=[first, *others],
            dim_representation=plan[-1][1] if plan else width,
            max_frames=max_frames,
        )

    @staticmethod
    @abstractmethod
    def parts(channels: int, out_channels: int, stride: int) -> tuple[nn.Module, nn.Module]:
        """Return the spatial and the temporal module of a block."""
