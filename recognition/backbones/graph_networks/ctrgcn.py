"""CTR-GCN: one graph per channel, refined from a shared graph by the differences between a clip's joints.

Ten blocks of 64 to 256 channels. With 17 joints, 3 input channels and a linear layer to 60 classes it has 1,436,394
parameters, not counting the mask token. The published network has 102 more: its input normalisation distinguishes the
first person from the second, whereas here all persons share one encoder.
"""

import torch
from torch import nn

from recognition.backbones.graph_networks.graph import StagedBackbone, TemporalConvolution, spatial_graph

KERNEL, DILATIONS = 5, (1, 2)


class RefinedGraph(nn.Module):
    """Mixes joints with a shared graph that each channel refines by joint differences (eq. 3 of CTR-GCN).

    Args:
        channels: Number of input channels.
        out_channels: Number of output channels.
        transposed: Whether entry [u, v] of a graph weights the contribution of joint u to joint v, as in PYSKL, instead
            of the contribution of joint v to joint u.
    """

    def __init__(self, channels: int, out_channels: int, *, transposed: bool = False) -> None:
        super().__init__()
        self.mixing = "scuv,sctu->sctv" if transposed else "scuv,sctv->sctu"
        reduced = 8 if channels <= 16 else channels // 8
        self.from_joint = nn.Conv2d(channels, reduced, 1)
        self.to_joint = nn.Conv2d(channels, reduced, 1)
        self.values = nn.Conv2d(channels, out_channels, 1)
        self.refine = nn.Conv2d(reduced, out_channels, 1)

    def forward(self, x: torch.Tensor, graph: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        """Map (S, C, T, V) to (S, C', T, V) with a shared graph (V, V) and the share of its refinement (1,)."""
        here, there = self.from_joint(x).mean(dim=2), self.to_joint(x).mean(dim=2)  # (S, C_r, V)
        difference = torch.tanh(here[..., :, None] - there[..., None, :])
        graphs = self.refine(difference) * share + graph  # (S, C', V, V)
        return torch.einsum(self.mixing, graphs, self.values(x))


class RefinedGraphConvolution(nn.Module):
    """The sum over three refined graphs, with a residual connection.

    Args:
        channels: C of the input (S, C, T, V).
        out_channels: C' of the output (S, C', T, V).
        transposed: As for `RefinedGraph`.
    """

    def __init__(self, channels: int, out_channels: int, *, transposed: bool = False) -> None:
        super().__init__()
        graph = spatial_graph()
        self.graph = nn.Parameter(graph)
        self.share = nn.Parameter(torch.zeros(1))
        self.parts = nn.ModuleList(RefinedGraph(channels, out_channels, transposed=transposed) for _ in graph)
        self.norm = nn.BatchNorm2d(out_channels)
        # A small scale, so that the residual path dominates each block at the start of training.
        nn.init.constant_(self.norm.weight, 1e-6)
        self.down: nn.Module = nn.Identity()
        if channels != out_channels:
            self.down = nn.Sequential(nn.Conv2d(channels, out_channels, 1), nn.BatchNorm2d(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = torch.stack(
            [part(x, graph, self.share) for part, graph in zip(self.parts, self.graph, strict=True)]
        ).sum(dim=0)
        return torch.relu(self.norm(mixed) + self.down(x))


class TemporalBranches(nn.Module):
    """Four parallel branches: two dilated convolutions, max-pooling over three frames, a pointwise convolution.

    Args:
        channels: Number of input and output channels.
        stride: Stride in frames.
        rectified: Whether ReLU follows.
    """

    def __init__(self, channels: int, stride: int, *, rectified: bool = False) -> None:
        super().__init__()
        self.rectified = rectified
        width = channels // (len(DILATIONS) + 2)

        def narrowed() -> list[nn.Module]:
            return [nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width), nn.ReLU()]

        self.branches = nn.ModuleList(
            nn.Sequential(*narrowed(), TemporalConvolution(width, width, KERNEL, stride=stride, dilation=dilation))
            for dilation in DILATIONS
        )
        largest = nn.MaxPool2d((3, 1), (stride, 1), (1, 0))
        self.branches.append(nn.Sequential(*narrowed(), largest, nn.BatchNorm2d(width)))
        alone = nn.Conv2d(channels, width, 1, stride=(stride, 1))
        self.branches.append(nn.Sequential(alone, nn.BatchNorm2d(width)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result = torch.cat([branch(x) for branch in self.branches], dim=1)
        return torch.relu(result) if self.rectified else result


class CTRGCN(StagedBackbone):
    """The CTR-GCN backbone as published by its authors; for its arguments, see `StagedBackbone`."""

    @staticmethod
    def parts(channels: int, out_channels: int, stride: int) -> tuple[nn.Module, nn.Module]:
        return RefinedGraphConvolution(channels, out_channels), TemporalBranches(out_channels, stride)


class PysklCTRGCN(StagedBackbone):
    """CTR-GCN as in PYSKL: the graphs are transposed, and ReLU follows the temporal branches of a block."""

    @staticmethod
    def parts(channels: int, out_channels: int, stride: int) -> tuple[nn.Module, nn.Module]:
        return (
            RefinedGraphConvolution(channels, out_channels, transposed=True),
            TemporalBranches(out_channels, stride, rectified=True),
        )
