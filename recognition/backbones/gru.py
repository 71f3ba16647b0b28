"""PCM3's recurrent encoder, and a recognizer's backbone made of it (section 4.2 of PCM3).

At the paper's size, with 25 joints in 3D of two persons, the encoder has 44,998,956 parameters.
"""

import torch
from torch import nn
from torch.nn import functional

from pose_extraction.errors import UsageError
from recognition.backbones.base import Backbone
from recognition.backbones.batch_norm import CellNorm
from recognition.backbones.foreign_settings import refuse_foreign
from recognition.backbones.recurrence import GRULayer
from recognition.settings import DataSettings, ModelSettings

NAME = "gru"
# Widths for hundreds of clips and a processor, and as published.
SMALL = {"dim": 128, "depth": 3}
HIDDEN, LAYERS = 1024, 3


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

    def __init__(self, values: int, *, hidden: int = HIDDEN, layers: int = LAYERS) -> None:
        super().__init__()
        self.norm = CellNorm(values)
        widths = [values] + [2 * hidden] * (layers - 1)
        self.first = nn.ModuleList(GRULayer(width, hidden) for width in widths)
        self.second = nn.ModuleList(GRULayer(width, hidden) for width in widths)
        self.width = 2 * hidden

    def normalise(self, x: torch.Tensor) -> torch.Tensor:
        """Batch normalisation over the clips of all processes and their frames, (N, T, values)."""
        normalised: torch.Tensor = self.norm(x)
        return normalised

    def recur(self, x: torch.Tensor) -> torch.Tensor:
        """Features of each frame of normalised clips, (N, T, values) to (N, T, 2 * hidden)."""
        steps = x.transpose(0, 1)  # (T, N, values)
        for first, second in zip(self.first, self.second, strict=True):
            steps = torch.cat([first(steps), second(steps)], dim=2)
        return steps.transpose(0, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features of each frame, (N, T, values) to (N, T, 2 * hidden); the last frame's are the clip's."""
        return self.recur(self.normalise(x))


class RecurrentBackbone(Backbone):
    """The encoder as a backbone for cross-entropy: R is the state after the last frame, in all frames and joints.

    Backbones take persons one by one. Each comes in the first person's place, and the places of others are empty, as
    they were for clips of one person in the pre-training.

    Args:
        num_joints: V.
        channels: C of the input.
        max_frames: Longest sequence; nothing in the network depends on it.
        persons: Places for persons in a frame, M.
        hidden: Width of a GRU.
        layers: Pairs of GRUs.
    """

    plain_head = True
    knows_attention = False

    def __init__(
        self, *, num_joints: int, channels: int, max_frames: int, persons: int, hidden: int, layers: int
    ) -> None:
        super().__init__(num_joints=num_joints, max_frames=max_frames, dim=channels, dim_representation=2 * hidden)
        self.persons = persons
        self.encoder = GRUEncoder(num_joints * channels * persons, hidden=hidden, layers=layers)

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
            raise ValueError("RecurrentBackbone knows neither masks nor attention: train it with cross-entropy")
        x, frame_mask = self.without_padding(x, frame_mask)
        # (S, T, V, C) -> (S, T, V * C * M), persons innermost as in the pre-training.
        alone = functional.pad(x[..., None], (0, self.persons - 1)).flatten(2)
        features = self.encoder(alone)
        if frame_mask is None:
            return features[:, -1, None, None].expand(-1, x.shape[1], self.num_joints, -1), None
        last = (frame_mask.sum(dim=1) - 1)[:, None, None].expand(-1, 1, features.shape[2])
        there = frame_mask[:, :, None, None].to(features.dtype)
        whole = features.gather(1, last)[:, :, None] * there  # (S, T, 1, C_r)
        return whole.expand(-1, -1, self.num_joints, -1), None


def build_recurrent(settings: ModelSettings, num_joints: int, channels: int) -> RecurrentBackbone:
    """The recurrent backbone with weights as they begin; `dim` is the width of a GRU, `depth` the pairs of them.

    Raises:
        UsageError: Sizes that it does not have.
    """
    refuse_foreign(settings, own=("persons",), besides=("heads", "dim_representation"))
    return RecurrentBackbone(
        num_joints=num_joints,
        channels=channels,
        max_frames=settings.max_frames,
        persons=settings.persons or 1,
        hidden=settings.dim or HIDDEN,
        layers=settings.depth or LAYERS,
    )


def check_recurrent(model: ModelSettings, data: DataSettings, objective: str) -> None:
    """Refuses to train the recurrent backbone by a method that needs joints and attention, or on unequal clips.

    Raises:
        UsageError: It would be.
    """
    if model.backbone != NAME:
        return
    if objective != "cross_entropy":
        raise UsageError(
            f"training.objective={objective}: model.backbone={NAME} sees frames as a whole, so that it has neither "
            "attention to mask joints by nor a mask token for them; set training.objective=cross_entropy, or begin "
            "with pcm3/finetune"
        )
    if data.num_frames == "own":
        raise UsageError(f"model.backbone={NAME} takes clips of one length: set data.num_frames, such as 64")
