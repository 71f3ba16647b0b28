"""What the graph convolutional baselines have in common: COCO-17 as a graph, convolutions over time, the way through.

They see a person as channels over frames and joints, (S, C, T, V). Time is sampled down within; a frame of R is the
feature of the frames that it was made of. Weights begin as PYSKL's do, whose variants of these networks they are.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import nn

from recognition.backbones.base import Backbone

# Child and parent of COCO-17's joints, towards the nose.
INWARD = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 5), (12, 6), (9, 7), (7, 5), (10, 8), (8, 6), (5, 0), (6, 0), (1, 0),
    (3, 1), (2, 0), (4, 2),
)  # fmt: skip
JOINTS = 17
# Channels of the first block, and number of blocks, of three of the four networks.
WIDTH, DEPTH = 64, 10


def spatial_graph() -> torch.Tensor:
    """Adjacency (3, V, V): to itself, from a child to its parent, from a parent to its children.

    Entry [k, u, v] weighs what joint v takes from joint u; what a joint takes sums to 1.
    """
    inward, outward = torch.zeros(JOINTS, JOINTS), torch.zeros(JOINTS, JOINTS)
    for child, parent in INWARD:
        # A column is what a joint takes in.
        inward[child, parent] = 1
        outward[parent, child] = 1
    return torch.stack([torch.eye(JOINTS), _by_columns(inward), _by_columns(outward)])


def joint_distances() -> torch.Tensor:
    """Steps between joints (V, V) along the bones."""
    distance = torch.full((JOINTS, JOINTS), math.inf).fill_diagonal_(0)
    for child, parent in INWARD:
        distance[child, parent] = distance[parent, child] = 1
    for middle in range(JOINTS):
        distance = torch.minimum(distance, distance[:, middle : middle + 1] + distance[middle : middle + 1])
    return distance


def _by_columns(graph: torch.Tensor) -> torch.Tensor:
    return graph / graph.sum(dim=0, keepdim=True).clamp_min(1)


class TemporalConvolution(nn.Module):
    """A convolution over frames, each joint by itself, and its normalisation.

    Args:
        channels: C in.
        out_channels: C out.
        kernel: Frames that it reaches over.
        stride: Frames from one output to the next.
        dilation: Frames from one tap to the next.
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
    """What goes around a block: nothing in the first one, what came in where its shape stays, else a convolution."""
    if first:
        return None
    if channels == out_channels and stride == 1:
        return nn.Identity()
    return TemporalConvolution(channels, out_channels, 1, stride=stride)


def stage_plan(width: int, depth: int) -> list[tuple[int, int, int]]:
    """Channels in, out and stride of the blocks after the first: they double, and time halves, in the 5th and the 8th.

    Args:
        width: Channels of the first block.
        depth: Number of blocks, the first included.
    """
    plan, channels = [], width
    for block in range(2, depth + 1):
        widens = block in (5, 8)
        out = channels * 2 if widens else channels
        plan.append((channels, out, 2 if widens else 1))
        channels = out
    return plan


class GraphBlock(nn.Module):
    """Joints, then time, added to what came in.

    Args:
        joints: (S, C, T, V) to (S, C', T, V).
        time: (S, C', T, V) to (S, C', T', V).
        residual: What goes around both, or None.
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
    """A person's joints through normalisation and blocks.

    Args:
        channels: C of the input.
        blocks: From (S, C, T, V) to (S, C', T', V), one after the other.
        dim_representation: C' of the last block.
        max_frames: Longest sequence; nothing in the networks depends on it.
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
            raise ValueError(f"{type(self).__name__} knows neither masks nor attention: train it with cross-entropy")
        sequences, frames, joints, channels = x.shape
        x, frame_mask = self.without_padding(x, frame_mask)
        # (S, T, V, C) -> (S, V * C, T), each joint's channel normalised by itself -> (S, C, T, V)
        features = self.input_norm(x.permute(0, 2, 3, 1).reshape(sequences, joints * channels, frames))
        features = features.view(sequences, joints, channels, frames).permute(0, 2, 3, 1)
        for block in self.blocks:
            features = block(features)
        place = torch.arange(frames, device=x.device) * features.shape[2] // frames
        representation = features[:, :, place].permute(0, 2, 3, 1)  # R: (S, T, V, C_r)
        return self.zero_padding(representation, frame_mask), None


class StagedBackbone(GraphBackbone, ABC):
    """Blocks of one kind, by `stage_plan`.

    Args:
        channels: C of the input.
        width: Channels of the first block.
        depth: Number of blocks.
        max_frames: Longest sequence.
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
        """What a block does among joints, and over time."""
