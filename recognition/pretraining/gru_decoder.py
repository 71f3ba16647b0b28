"""The parts of PCM3 that exist only in pre-training: the projection head and the decoder (section 4.2).

At the paper's size, with 25 joints in 3D of two persons, the decoder has 4,541,590 parameters.
"""

import torch
from torch import nn

from recognition.backbones.batch_norm import CellNorm
from recognition.backbones.recurrence import GRULayer


class Projector(nn.Sequential):
    """Projects features to the space of the contrastive loss."""

    def __init__(self, width: int, embedding: int) -> None:
        last = nn.Linear(width, embedding)
        # As published, unlike the first layer.
        nn.init.xavier_uniform_(last.weight)
        super().__init__(nn.Linear(width, width), nn.ReLU(), last)


class GRUDecoder(nn.Module):
    """Decodes features of each frame to its joints.

    Args:
        width: Width of the features.
        hidden: Width of the decoder.
        values: Number of values per frame.
    """

    def __init__(self, width: int, hidden: int, values: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.norm = CellNorm(hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.layers = nn.ModuleList(GRULayer(hidden, hidden) for _ in range(2))
        self.out = nn.Linear(hidden, values)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (N, T, width) to (N, T, values)."""
        frames = self.norm(self.fc1(features))
        steps = self.fc2(frames.relu()).transpose(0, 1)
        for layer in self.layers:
            steps = layer(steps)
        return self.out(steps).transpose(0, 1)
