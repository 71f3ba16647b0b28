"""ST-GCN++, PYSKL's tuned graph-convolutional baseline: learned graphs, several kinds of temporal convolution.

Ten blocks of 64 to 256 channels. With 17 joints, 3 input channels and a linear layer to 60 classes it has 1,393,016
parameters, not counting the mask token.
"""

import torch
from torch import nn

from recognition.backbones.graph_networks.graph import StagedBackbone, TemporalConvolution, spatial_graph

DILATIONS = (1, 2, 3, 4)


class GraphConvolution(nn.Module):
    """Mixes joints with three learned graphs, initialised with the skeleton, with a residual connection.

    Args:
        channels: C of the input (S, C, T, V).
        out_channels: C' of the output (S, C', T, V).
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.graph = nn.Parameter(spatial_graph())
        self.convolution = nn.Conv2d(channels, out_channels * len(self.graph), 1)
        self.norm = nn.BatchNorm2d(out_channels)
        self.down: nn.Module = nn.Identity()
        if channels != out_channels:
            self.down = nn.Sequential(nn.Conv2d(channels, out_channels, 1), nn.BatchNorm2d(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        residual = self.down(x)
        by_graph = self.convolution(x).unflatten(1, (len(self.graph), -1))  # (S, 3, C, T, V)
        return torch.relu(self.norm(torch.einsum("skctu,kuv->sctv", by_graph, self.graph)) + residual)


class ManyTemporalConvolutions(nn.Module):
    """Six parallel branches: four dilated convolutions, max-pooling over three frames, a pointwise convolution.

    Args:
        channels: C of the input (S, C, T, V) and of the output.
        stride: Step in frames; the output has T / stride frames, rounded up.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        branches = len(DILATIONS) + 2
        width = channels // branches
        # The first branch takes the remainder of the division.
        widths = [channels - width * (branches - 1), *[width] * (branches - 1)]
        self.branches = nn.ModuleList()
        for own, dilation in zip(widths, DILATIONS, strict=False):
            over_time = TemporalConvolution(own, own, 3, stride=stride, dilation=dilation, normalised=False)
            self.branches.append(nn.Sequential(nn.Conv2d(channels, own, 1), nn.BatchNorm2d(own), nn.ReLU(), over_time))
        largest = nn.MaxPool2d((3, 1), (stride, 1), (1, 0))
        self.branches.append(nn.Sequential(nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width), nn.ReLU(), largest))
        self.branches.append(nn.Conv2d(channels, width, 1, stride=(stride, 1)))
        self.mix = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 1))
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normalised: torch.Tensor = self.norm(self.mix(torch.cat([branch(x) for branch in self.branches], dim=1)))
        return normalised


class STGCNPP(StagedBackbone):
    """The ST-GCN++ backbone; for its arguments, see `StagedBackbone`."""

    @staticmethod
    def parts(channels: int, out_channels: int, stride: int) -> tuple[nn.Module, nn.Module]:
        return GraphConvolution(channels, out_channels), ManyTemporalConvolutions(out_channels, stride)
