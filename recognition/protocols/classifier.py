"""Classifier of clips for fine-tuning: an encoder with the head of its paper."""

import torch
from torch import nn

from recognition.backbones.segments import DropPath, SegmentTransformer
from recognition.data.batches import Batch
from recognition.pretraining.encoder import Encoder
from recognition.protocols.linear import DEVIATION, EPSILON
from recognition.protocols.settings import FinetuneSettings
from recognition.recognizer import Recognizer, drop_elements


class Classifier(nn.Module):
    """An encoder with the classification head of its paper: MAMP's, or a linear layer on PCM3's last frame.

    Args:
        encoder: The encoder, which becomes a submodule.
        num_classes: K.
        settings: Sizes of the head, dropout and stochastic depth.
    """

    def __init__(self, encoder: Encoder, num_classes: int, settings: FinetuneSettings) -> None:
        super().__init__()
        self.encoder = encoder
        self.head: nn.Module
        network = encoder.network
        if isinstance(network, SegmentTransformer):
            self.head = Recognizer(network, num_classes, hidden=settings.hidden, dropout=settings.dropout).head
            self.dropout = settings.dropout
            set_drop_path(network, settings.drop_path)
        else:
            line = nn.Linear(encoder.width, num_classes)
            nn.init.normal_(line.weight, std=DEVIATION)
            nn.init.zeros_(line.bias)
            # Pre-trained features of all clips point in similar directions; the differences that separate them are
            # small.
            norm = nn.BatchNorm1d(encoder.width, eps=EPSILON, affine=False)
            self.head = nn.Sequential(norm, line) if settings.normalise else line

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return logits (N, K)."""
        if not isinstance(self.encoder.network, SegmentTransformer):
            return self.head(self.encoder(batch))
        representation = self.encoder.persons(batch)  # (P, T, V, C_r)
        if self.training:
            representation = drop_elements(representation, self.dropout, frames_alike=self.encoder.network.frames_alike)
        person = representation.mean(dim=1).flatten(1)
        placed = person.new_zeros(*batch.person_mask.shape, person.shape[1])
        placed[batch.person_mask] = person
        return self.head(placed.sum(dim=1) / batch.person_mask.sum(dim=1, keepdim=True).to(placed.dtype))


def set_drop_path(network: nn.Module, probability: float) -> None:
    """Set stochastic depth, increasing from 0 at the first block to `probability` at the last."""
    paths = [part for part in network.modules() if isinstance(part, DropPath)]
    for place, part in enumerate(paths):
        part.probability = probability * place / max(1, len(paths) - 1)
