"""MS-G3D: joints mixed with those exactly k bones away, within a frame and within windows of frames.

Three stages of 96 to 384 channels. With 17 joints, 3 input channels and a linear layer to 60 classes it has 2,975,661
parameters, not counting the mask token. The published network has 102 more: its input normalisation distinguishes the
first person from the second, whereas here all persons share one encoder.
"""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from recognition.backbones.graph_networks.graph import JOINTS, GraphBackbone, TemporalConvolution, joint_distances

Variant = Literal["authors", "pyskl"]

WIDTH = 96
# Number of distances (scales) within a frame and within a window, and window lengths in frames.
FRAME_SCALES, WINDOW_SCALES, WINDOWS = 13, 6, (3, 5)
DILATIONS = (1, 2, 3, 4)


def multi_scale_graph(distance: torch.Tensor, scales: int, variant: Variant = "authors") -> torch.Tensor:
    """Return the adjacency (scales, N, N) of nodes exactly k steps apart, k from 0, with self-loops.

    Entry [k, v, u] weights the contribution of node u to node v.

    Args:
        distance: Steps between nodes (N, N).
        scales: Number of distances.
        variant: authors: normalised by the degrees of both nodes, D^-1/2 A D^-1/2; pyskl: by the degree of the
            receiving node, D^-1 A.
    """
    own = torch.eye(len(distance))
    graphs = torch.stack([own, *((distance == k).float() + own for k in range(1, scales))])
    degree = graphs.sum(dim=-1)
    if variant == "pyskl":
        return graphs / degree[:, :, None]
    scale = degree.rsqrt()
    return scale[:, :, None] * graphs * scale[:, None, :]


def window_distances(frames: int) -> torch.Tensor:
    """Return the steps between the joints (frames * V) of a window, in which all frames are neighbours.

    A joint is one step away from itself in another frame; the distance to other joints is the same as within a frame.
    """
    distance = joint_distances().repeat(frames, frames)
    return distance.clamp_min(1).fill_diagonal_(0)


def mixed(channels: int, out: int) -> nn.Sequential:
    """A linear layer over channels, batch normalisation, ReLU."""
    return nn.Sequential(nn.Conv2d(channels, out, 1), nn.BatchNorm2d(out), nn.ReLU())


class MultiScaleGraph(nn.Module):
    """Mixes nodes with graphs of several scales, each with a small learned correction.

    Args:
        distance: Steps between nodes (N, N).
        scales: Number of graphs.
        channels: Number of input channels.
        out: Number of output channels.
        variant: Normalisation of the graphs, see `multi_scale_graph`.
    """

    graphs: torch.Tensor

    def __init__(
        self, distance: torch.Tensor, scales: int, channels: int, out: int, variant: Variant = "authors"
    ) -> None:
        super().__init__()
        self.register_buffer("graphs", multi_scale_graph(distance, scales, variant), persistent=False)
        self.learned = nn.Parameter(torch.empty_like(self.graphs).uniform_(-1e-6, 1e-6))
        self.mix = mixed(channels * scales, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (S, C, T, N) to (S, C', T, N)."""
        taken = torch.einsum("kvu,sctu->skctv", self.graphs + self.learned, x).flatten(1, 2)
        result: torch.Tensor = self.mix(taken)
        return result


class WindowGraph(nn.Module):
    """Mixes the joints within windows of neighbouring frames, and reduces each window to one frame."""

    def __init__(
        self, channels: int, out: int, frames: int, stride: int, *, first: bool, variant: Variant = "authors"
    ) -> None:
        super().__init__()
        self.frames, self.stride = frames, stride
        # The first stage widens here, the others when a window is reduced to a frame.
        inner = out if first else channels
        self.graph = MultiScaleGraph(window_distances(frames), WINDOW_SCALES, channels, inner, variant)
        self.collapse = nn.Conv3d(inner, out, (1, frames, 1))
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length, half = x.shape[2], self.frames // 2
        padded = functional.pad(x, (0, 0, half, half))
        windows = torch.stack(
            [padded[:, :, offset : offset + length : self.stride] for offset in range(self.frames)], dim=3
        )  # (S, C, T', w, V)
        together = self.graph(windows.flatten(3)).unflatten(3, (self.frames, JOINTS))
        return self.norm(self.collapse(together)[:, :, :, 0])


class TemporalBranches(nn.Module):
    """Six parallel branches with a residual path: four dilated convolutions, max-pooling, and a pointwise convolution.

    Args:
        channels: Number of input channels.
        out: Number of output channels, a multiple of 6.
        stride: Stride in frames.
        rectified: Whether ReLU follows.
    """

    def __init__(self, channels: int, out: int, *, stride: int = 1, rectified: bool = True) -> None:
        super().__init__()
        width = out // (len(DILATIONS) + 2)
        self.rectified = rectified
        self.branches = nn.ModuleList(
            nn.Sequential(
                *mixed(channels, width), TemporalConvolution(width, width, 3, stride=stride, dilation=dilation)
            )
            for dilation in DILATIONS
        )
        largest = nn.MaxPool2d((3, 1), (stride, 1), (1, 0))
        self.branches.append(nn.Sequential(*mixed(channels, width), largest, nn.BatchNorm2d(width)))
        alone = nn.Conv2d(channels, width, 1, stride=(stride, 1))
        self.branches.append(nn.Sequential(alone, nn.BatchNorm2d(width)))
        stays = channels == out and stride == 1
        self.residual: nn.Module = nn.Identity() if stays else TemporalConvolution(channels, out, 1, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result = torch.cat([branch(x) for branch in self.branches], dim=1) + self.residual(x)
        return torch.relu(result) if self.rectified else result


class Stage(nn.Module):
    """The frame-wise and the windowed paths in parallel, summed, followed by another temporal module.

    Args:
        channels: Number of input channels.
        out: Number of output channels.
        stride: Stride in frames.
        first: Whether this is the first stage, which widens in its first layer.
        variant: Normalisation of the graphs, see `multi_scale_graph`.
    """

    def __init__(
        self, channels: int, out: int, stride: int, *, first: bool = False, variant: Variant = "authors"
    ) -> None:
        super().__init__()
        inner = out if first else channels
        self.windows = nn.ModuleList(
            WindowGraph(channels, out, frames, stride, first=first, variant=variant) for frames in WINDOWS
        )
        self.frames = nn.Sequential(
            MultiScaleGraph(joint_distances(), FRAME_SCALES, channels, inner, variant),
            TemporalBranches(inner, out, stride=stride),
            TemporalBranches(out, out, rectified=False),
        )
        self.time = TemporalBranches(out, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = self.frames(x)
        for window in self.windows:
            total = total + window(x)
        result: torch.Tensor = self.time(torch.relu(total))
        return result


class MSG3D(GraphBackbone):
    """The MS-G3D backbone.

    Args:
        channels: C, number of input channels.
        width: Channels of the first stage, a multiple of 6.
        max_frames: Longest sequence, in frames.
        variant: Normalisation of the graphs, see `multi_scale_graph`.
    """

    def __init__(
        self, *, channels: int, width: int = WIDTH, max_frames: int = 300, variant: Variant = "authors"
    ) -> None:
        stages = [
            Stage(channels, width, 1, first=True, variant=variant),
            Stage(width, 2 * width, 2, variant=variant),
            Stage(2 * width, 4 * width, 2, variant=variant),
        ]
        super().__init__(channels=channels, blocks=stages, dim_representation=4 * width, max_frames=max_frames)
