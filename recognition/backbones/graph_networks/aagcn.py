"""AAGCN: graphs adapted to each clip by the similarity of its joints, and attention over joints, frames and channels.

Ten blocks of 64 to 256 channels. With 17 joints, 3 input channels and a linear layer to 60 classes it has 3,760,126
parameters, not counting the mask token. The published network has 102 more: its input normalisation distinguishes the
first person from the second, whereas here all persons share one encoder.
"""

import math

import torch
from torch import nn

from recognition.backbones.graph_networks.graph import JOINTS, StagedBackbone, TemporalConvolution, spatial_graph

KERNEL = 9


class AdaptiveGraphConvolution(nn.Module):
    """Three graphs, each a learned graph plus the similarities between a clip's joints, followed by attention.

    Args:
        channels: C of the input (S, C, T, V).
        out_channels: C' of the output (S, C', T, V).
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        graph = spatial_graph()
        inner = out_channels // 4
        self.graph = nn.Parameter(graph)
        self.share = nn.Parameter(torch.zeros(1))
        self.queries = nn.ModuleList(nn.Conv2d(channels, inner, 1) for _ in graph)
        self.keys = nn.ModuleList(nn.Conv2d(channels, inner, 1) for _ in graph)
        self.values = nn.ModuleList(nn.Conv2d(channels, out_channels, 1) for _ in graph)
        self.norm = nn.BatchNorm2d(out_channels)
        self.down: nn.Module = nn.Identity()
        if channels != out_channels:
            self.down = nn.Sequential(nn.Conv2d(channels, out_channels, 1), nn.BatchNorm2d(out_channels))
        self.joint_attention = nn.Conv1d(out_channels, 1, JOINTS, padding=JOINTS // 2)
        self.frame_attention = nn.Conv1d(out_channels, 1, KERNEL, padding=KERNEL // 2)
        self.channel_attention = nn.Sequential(
            nn.Linear(out_channels, out_channels // 2), nn.ReLU(), nn.Linear(out_channels // 2, out_channels)
        )
        self._begin(out_channels)

    def _begin(self, out_channels: int) -> None:
        # A small scale, so that the residual path dominates each block at the start of training.
        nn.init.constant_(self.norm.weight, 1e-6)
        for layer in (self.frame_attention, self.channel_attention[2]):
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.xavier_normal_(self.joint_attention.weight)
        for values in self.values:
            nn.init.normal_(values.weight, 0, math.sqrt(2 / (out_channels * len(self.values))))  # type: ignore[arg-type]

    def graphs_of(self, x: torch.Tensor) -> torch.Tensor:
        """Return the graphs (S, 3, V, V); entry [u, v] weights the contribution of joint u to joint v."""
        graphs = []
        for graph, query, key in zip(self.graph, self.queries, self.keys, strict=True):
            likeness = torch.einsum("sctu,sctv->suv", query(x), key(x)) / (query(x).shape[1] * x.shape[2])
            graphs.append(graph + torch.tanh(likeness) * self.share)
        return torch.stack(graphs, dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = None
        for graph, values in zip(self.graphs_of(x).unbind(1), self.values, strict=True):
            part = values(torch.einsum("sctu,suv->sctv", x, graph))
            mixed = part if mixed is None else mixed + part
        assert mixed is not None
        y = torch.relu(self.norm(mixed) + self.down(x))
        y = y * torch.sigmoid(self.joint_attention(y.mean(dim=2)))[:, :, None] + y
        y = y * torch.sigmoid(self.frame_attention(y.mean(dim=3)))[..., None] + y
        return y * torch.sigmoid(self.channel_attention(y.mean(dim=(2, 3))))[:, :, None, None] + y


class AAGCN(StagedBackbone):
    """The AAGCN backbone; for its arguments, see `StagedBackbone`."""

    @staticmethod
    def parts(channels: int, out_channels: int, stride: int) -> tuple[nn.Module, nn.Module]:
        return AdaptiveGraphConvolution(channels, out_channels), TemporalConvolution(
            out_channels, out_channels, KERNEL, stride=stride
        )
