"""ST-GCN++, the graph convolutional baseline that PYSKL tuned: learned graphs, convolutions over time of many kinds.

Ten blocks of 64 to 256 channels. With 17 joints, 3 input channels and a linear layer to 60 classes it has 1,393,016
parameters, the mask token's not counted.
"""

import torch
from torch import nn

from recognition.backbones.graph import StagedBackbone, TemporalConvolution, spatial_graph

DILATIONS = (1, 2, 3, 4)


class GraphConvolution(nn.Module):
    """Features of joints mixed by three learned graphs that begin as the body's, added to what came in."""

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
    """Six branches side by side: four dilations, the largest of three frames, and each frame alone."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        branches = len(DILATIONS) + 2
        width = channels // branches
        # The first branch takes what does not divide.
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
    """The network; its arguments are those of `StagedBackbone`."""

    @staticmethod
    def parts(channels: int, out_channels: int, stride: int) -> tuple[nn.Module, nn.Module]:
        return GraphConvolution(channels, out_channels), ManyTemporalConvolutions(out_channels, stride)
