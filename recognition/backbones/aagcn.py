"""AAGCN: graphs that each clip completes by the likeness of its joints, and attention to joints, frames and channels.

Ten blocks of 64 to 256 channels. With 17 joints, 3 input channels and a linear layer to 60 classes it has 3,760,126
parameters, the mask token's not counted. As published it has 102 more: the normalisation of its input knows the first
person from the second there, while here all persons are encoded alike.
"""

import math

import torch
from torch import nn

from recognition.backbones.graph import (
    JOINTS,
    StagedBackbone,
    TemporalConvolution,
    spatial_graph,
)

KERNEL = 9


class AdaptiveGraphConvolution(nn.Module):
    """Three graphs, each the sum of a learned one and of the clip's own likenesses between joints, then attention."""

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
        # Small, so that a block begins as little more than what goes around it.
        nn.init.constant_(self.norm.weight, 1e-6)
        for layer in (self.frame_attention, self.channel_attention[2]):
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.xavier_normal_(self.joint_attention.weight)
        for values in self.values:
            nn.init.normal_(values.weight, 0, math.sqrt(2 / (out_channels * len(self.values))))  # type: ignore[arg-type]

    def graphs_of(self, x: torch.Tensor) -> torch.Tensor:
        """(S, 3, V, V): entry [u, v] weighs what joint v takes from joint u."""
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
    """The network; its arguments are those of `StagedBackbone`."""

    @staticmethod
    def parts(channels: int, out_channels: int, stride: int) -> tuple[nn.Module, nn.Module]:
        return AdaptiveGraphConvolution(channels, out_channels), TemporalConvolution(
            out_channels, out_channels, KERNEL, stride=stride
        )
