"""PCM3's recurrent encoder, and a recognizer's backbone built on it (section 4.2 of PCM3).

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
# Sizes for a few hundred clips and a CPU, and the published ones.
SMALL = {"dim": 128, "depth": 3}
HIDDEN, LAYERS = 1024, 3


class GRUEncoder(nn.Module):
    """A stack of pairs of GRUs over the flattened joints of a frame.

    The published encoder is a bidirectional GRU that is called for one frame at a time with the state carried over, so
    that both of its directions run forward in time. This is the same network, computed layer by layer: the concatenated
    outputs of each pair are the input of the next pair.

    Args:
        values: Number of values per frame, V * C * M.
        hidden: Width of one GRU; features are twice as wide.
        layers: Number of pairs of GRUs.
    """

    def __init__(self, values: int, *, hidden: int = HIDDEN, layers: int = LAYERS) -> None:
        super().__init__()
        self.norm = CellNorm(values)
        widths = [values] + [2 * hidden] * (layers - 1)
        self.first = nn.ModuleList(GRULayer(width, hidden) for width in widths)
        self.second = nn.ModuleList(GRULayer(width, hidden) for width in widths)
        self.width = 2 * hidden

    def normalise(self, x: torch.Tensor) -> torch.Tensor:
        """Apply batch normalisation over the clips of all processes and their frames, (N, T, values)."""
        normalised: torch.Tensor = self.norm(x)
        return normalised

    def recur(self, x: torch.Tensor) -> torch.Tensor:
        """Map normalised clips (N, T, values) to features of each frame (N, T, 2 * hidden)."""
        steps = x.transpose(0, 1)  # (T, N, values)
        for first, second in zip(self.first, self.second, strict=True):
            steps = torch.cat([first(steps), second(steps)], dim=2)
        return steps.transpose(0, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map clips (N, T, values) to features of each frame (N, T, 2 * hidden); the last ones represent the clip."""
        return self.recur(self.normalise(x))


class RecurrentBackbone(Backbone):
    """The encoder as a backbone for cross-entropy: R is the state after the last frame, for all frames and joints.

    A backbone receives each person separately. Each person takes the place of the first, and the other places are
    empty, as in pre-training for clips of one person.

    Args:
        num_joints: V, number of joints.
        channels: C, number of input channels.
        max_frames: Longest sequence, in frames; no parameter depends on it.
        persons: M, number of places for persons in a frame.
        hidden: Width of one GRU.
        layers: Number of pairs of GRUs.
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
            raise ValueError("RecurrentBackbone supports neither masks nor attention: train it with cross-entropy")
        x, frame_mask = self.without_padding(x, frame_mask)
        # (S, T, V, C) -> (S, T, V * C * M), persons innermost as in pre-training.
        alone = functional.pad(x[..., None], (0, self.persons - 1)).flatten(2)
        features = self.encoder(alone)
        if frame_mask is None:
            return features[:, -1, None, None].expand(-1, x.shape[1], self.num_joints, -1), None
        last = (frame_mask.sum(dim=1) - 1)[:, None, None].expand(-1, 1, features.shape[2])
        there = frame_mask[:, :, None, None].to(features.dtype)
        whole = features.gather(1, last)[:, :, None] * there  # (S, T, 1, C_r)
        return whole.expand(-1, -1, self.num_joints, -1), None


def build_recurrent(settings: ModelSettings, num_joints: int, channels: int) -> RecurrentBackbone:
    """Build the recurrent backbone with initial weights; `dim` is the width of one GRU, `depth` the number of pairs.

    Args:
        settings: Name and sizes of the backbone.
        num_joints: V, number of joints.
        channels: C, number of input channels.

    Raises:
        UsageError: The backbone does not have one of the sizes.
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
    """Check that the recurrent backbone supports the objective and the clip length; do nothing for other backbones.

    Args:
        model: Model settings.
        data: Data settings.
        objective: Training objective.

    Raises:
        UsageError: The objective requires joints and attention, or clips have different lengths.
    """
    if model.backbone != NAME:
        return
    if objective != "cross_entropy":
        raise UsageError(
            f"training.objective={objective}: model.backbone={NAME} encodes whole frames, so that it has neither "
            "attention to mask joints by nor a mask token for them; set training.objective=cross_entropy, or start "
            "from pcm3/finetune"
        )
    if data.num_frames == "own":
        raise UsageError(f"model.backbone={NAME} requires clips of one length: set data.num_frames, such as 64")
