"""PCM3's networks: the recurrent encoder, the projection head and the decoder (section 4.2).

At the paper's size, with 25 joints in 3D of two persons, the encoder has 44,998,956 parameters and the decoder
4,541,590.
"""

import torch
from torch import nn

from recognition.pretraining.recurrence import GRULayer


class GRUEncoder(nn.Module):
    """Layers of pairs of GRUs over the flattened joints of a frame.

    The published encoder is a bidirectional GRU that is called for one frame at a time with the state carried over, so
    that both of its directions run forward. This is that network, a layer at a time: what each pair puts out, side by
    side, is the next pair's input.

    Args:
        values: Numbers of a frame, V * C * M.
        hidden: Width of a GRU; features have twice as many.
        layers: Pairs of GRUs, one after another.
    """

    def __init__(self, values: int, *, hidden: int = 1024, layers: int = 3) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(values)
        widths = [values] + [2 * hidden] * (layers - 1)
        self.first = nn.ModuleList(GRULayer(width, hidden) for width in widths)
        self.second = nn.ModuleList(GRULayer(width, hidden) for width in widths)
        self.width = 2 * hidden

    def normalise(self, x: torch.Tensor) -> torch.Tensor:
        """Batch normalisation over clips and frames, (N, T, values)."""
        return self.norm(x.transpose(1, 2)).transpose(1, 2)

    def recur(self, x: torch.Tensor) -> torch.Tensor:
        """Features of each frame of normalised clips, (N, T, values) to (N, T, 2 * hidden)."""
        steps = x.transpose(0, 1)  # (T, N, values)
        for first, second in zip(self.first, self.second, strict=True):
            steps = torch.cat([first(steps), second(steps)], dim=2)
        return steps.transpose(0, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features of each frame, (N, T, values) to (N, T, 2 * hidden); the last frame's are the clip's."""
        return self.recur(self.normalise(x))


class Projector(nn.Sequential):
    """From features to what is contrasted."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, embedding))


class GRUDecoder(nn.Module):
    """From features of each frame to its joints.

    Args:
        width: Of the features.
        hidden: Of the decoder.
        values: Numbers of a frame.
    """

    def __init__(self, width: int, hidden: int, values: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.layers = nn.ModuleList(GRULayer(hidden, hidden) for _ in range(2))
        self.out = nn.Linear(hidden, values)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, T, width) to (N, T, values)."""
        frames = self.norm(self.fc1(features).flatten(0, 1)).unflatten(0, features.shape[:2])
        steps = self.fc2(frames.relu()).transpose(0, 1)
        for layer in self.layers:
            steps = layer(steps)
        return self.out(steps).transpose(0, 1)
