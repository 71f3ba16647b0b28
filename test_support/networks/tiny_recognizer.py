"""A backbone with a few hundred parameters, and batches for it, for tests of code that uses backbones."""

import torch
from torch import nn

from recognition.backbones.base import Backbone
from recognition.data.batches import Batch
from recognition.maskclr.objective import MaskCLR
from recognition.recognizer import Recognizer
from recognition.settings import MaskCLRSettings

NUM_JOINTS, NUM_CLASSES = 5, 4


class TinyBackbone(Backbone):
    """Mixes the joints of a frame; the attention of a joint is the energy of its embedding."""

    def __init__(self, *, num_joints: int = NUM_JOINTS, channels: int = 3, dim: int = 8, dim_representation: int = 6):
        super().__init__(num_joints=num_joints, max_frames=64, dim=dim, dim_representation=dim_representation)
        self.embed = nn.Linear(channels, dim)
        self.out = nn.Linear(dim, dim_representation)
        self.calls: list[dict[str, object]] = []

    def encode(
        self,
        x: torch.Tensor,
        *,
        frame_mask: torch.Tensor | None = None,
        masked: torch.Tensor | None = None,
        return_attention: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        self.calls.append({"keypoint": x, "persons": len(x), "masked": masked, "return_attention": return_attention})
        embedded = self.embed(x)
        if masked is not None:
            embedded = torch.where(masked[..., None], self.mask_token.to(embedded.dtype), embedded)
        representation = self.out(torch.tanh(embedded + embedded.mean(2, keepdim=True)))
        attention = embedded.detach().square().sum(-1)
        if frame_mask is not None:
            representation = representation * frame_mask[:, :, None, None]
            attention = attention * frame_mask[:, :, None]
        return representation, attention if return_attention else None


def tiny_recognizer(*, dropout: float = 0.0, seed: int = 0) -> Recognizer:
    torch.manual_seed(seed)
    return Recognizer(TinyBackbone(), NUM_CLASSES, hidden=7, dropout=dropout).double()


def made_objective(*, dropout: float = 0.0, seed: int = 3, **settings: object) -> MaskCLR:
    recognizer = tiny_recognizer(dropout=dropout)
    return MaskCLR(recognizer, MaskCLRSettings.model_validate(settings), num_classes=NUM_CLASSES, seed=seed).double()


def made_batch(num_clips: int = 8, *, seed: int = 0, num_frames: int = 6) -> Batch:
    """Return float64 clips: every other one has a single person, every third one is two frames shorter."""
    generator = torch.Generator().manual_seed(seed)
    person_mask = torch.ones(num_clips, 2, dtype=torch.bool)
    person_mask[::2, 1] = False
    frame_mask = torch.ones(num_clips, num_frames, dtype=torch.bool)
    frame_mask[::3, -2:] = False
    keypoint = torch.randn(num_clips, 2, num_frames, NUM_JOINTS, 3, generator=generator, dtype=torch.float64)
    keypoint = keypoint * person_mask[:, :, None, None, None] * frame_mask[:, None, :, None, None]
    label = torch.randint(0, NUM_CLASSES, (num_clips,), generator=generator)
    index = torch.arange(num_clips) * 7 + 3
    return Batch(keypoint, person_mask, frame_mask, label, index, tuple(f"clip{i}" for i in range(num_clips)))


def part_of(batch: Batch, clips: slice) -> Batch:
    return Batch(
        batch.keypoint[clips],
        batch.person_mask[clips],
        batch.frame_mask[clips],
        batch.label[clips],
        batch.index[clips],
        batch.names[clips],
    )
