"""A recognizer: a backbone, and the head that turns its representation of a clip into an action."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from recognition.backbones import build_backbone
from recognition.backbones.base import Backbone
from recognition.batches import Batch
from recognition.settings import ModelSettings


@dataclass(frozen=True)
class Encoded:
    """What one pathway makes of a batch of N clips with P persons in all.

    Args:
        pooled: float (N, V * C_r), mean of R over a person's frames and a clip's persons, joints flattened.
        dropped: float (N, V * C_r), the same of R after dropout: what the head takes. `pooled` itself without dropout.
        attention: float (P, T, V) received by each cell, detached, or None where it was not asked for.
    """

    pooled: torch.Tensor
    dropped: torch.Tensor
    attention: torch.Tensor | None


class Head(nn.Module):
    """Linear, batch normalisation, ReLU, linear (section 4.2).

    Args:
        in_features: V * C_r.
        num_classes: K.
        hidden: Width of the hidden layer.
    """

    def __init__(self, in_features: int, num_classes: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, num_classes)

    def hidden(self, pooled: torch.Tensor, *, keep_statistics: bool = True) -> torch.Tensor:
        """Hidden layer after ReLU.

        Args:
            pooled: float (N, V * C_r).
            keep_statistics: Whether a training batch counts in the running statistics. They serve at test time, where
                there is the standard pathway only, so the masked pathway must leave them alone.

        Returns:
            float (N, hidden).
        """
        x = self.fc1(pooled)
        norm = self.norm
        if not self.training:
            return functional.relu(norm(x))
        if len(x) == 1:
            # One clip has no variance, and an epoch's last batch may well hold one clip.
            x = functional.batch_norm(
                x, norm.running_mean, norm.running_var, norm.weight, norm.bias, training=False, eps=norm.eps
            )
        elif keep_statistics:
            x = norm(x)
        else:
            x = functional.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
        return functional.relu(x)

    def forward(self, pooled: torch.Tensor, *, keep_statistics: bool = True) -> torch.Tensor:
        """Logits (N, K) of pooled representations (N, V * C_r)."""
        return self.fc2(self.hidden(pooled, keep_statistics=keep_statistics))


class PlainHead(nn.Module):
    """The mean over joints and one linear layer, as the convolutional baselines have it.

    Args:
        num_joints: V.
        channels: C_r.
        num_classes: K.
    """

    def __init__(self, num_joints: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.num_joints = num_joints
        self.fc2 = nn.Linear(channels, num_classes)
        nn.init.normal_(self.fc2.weight, std=0.01)
        nn.init.zeros_(self.fc2.bias)

    def hidden(self, pooled: torch.Tensor, *, keep_statistics: bool = True) -> torch.Tensor:
        """(N, C_r) of (N, V * C_r); there are no statistics to keep."""
        return pooled.unflatten(1, (self.num_joints, -1)).mean(dim=1)

    def forward(self, pooled: torch.Tensor, *, keep_statistics: bool = True) -> torch.Tensor:
        """Logits (N, K) of pooled representations (N, V * C_r)."""
        logits: torch.Tensor = self.fc2(self.hidden(pooled))
        return logits


class Recognizer(nn.Module):
    """Backbone and head.

    Args:
        backbone: Network from joints to R.
        num_classes: K.
        hidden: Width of the head's hidden layer.
        dropout: Probability with which an element of R is dropped in training.
    """

    def __init__(self, backbone: Backbone, num_classes: int, *, hidden: int = 2048, dropout: float = 0.5) -> None:
        super().__init__()
        self.backbone = backbone
        joints, channels = backbone.num_joints, backbone.dim_representation
        self.head: Head | PlainHead = (
            PlainHead(joints, channels, num_classes)
            if backbone.plain_head
            else Head(joints * channels, num_classes, hidden)
        )
        self.dropout = dropout

    @property
    def num_classes(self) -> int:
        return self.head.fc2.out_features

    def encode(self, batch: Batch, *, masked: torch.Tensor | None = None, return_attention: bool = False) -> Encoded:
        """One pathway up to the head. Only persons that are there pass through the backbone.

        Args:
            batch: N clips with P persons in all.
            masked: bool (P, T, V), True where the mask token takes a joint's place; persons in the order of
                `batch.person_mask.nonzero()`. None for the standard pathway.
            return_attention: Whether the attention is wanted.

        Returns:
            The pooled representations, in float32 at least.
        """
        clip_of = batch.person_mask.nonzero()[:, 0]
        frame_mask = batch.frame_mask[clip_of]
        representation, attention = self.backbone.encode(
            batch.keypoint[batch.person_mask],
            frame_mask=frame_mask,
            masked=masked,
            return_attention=return_attention,
        )  # (P, T, V, C_r)
        num_frames = frame_mask.sum(dim=1)
        pooled = pool(representation, num_frames, batch.person_mask)
        if not (self.training and self.dropout):
            return Encoded(pooled, pooled, attention)
        dropped = pool(functional.dropout(representation, self.dropout), num_frames, batch.person_mask)
        return Encoded(pooled, dropped, attention)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits (N, K) of a batch, by the standard pathway."""
        return self.head(self.encode(batch).dropped)

    def features(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The head's hidden layer (N, hidden), after ReLU, and the logits (N, K), by the standard pathway."""
        features = self.head.hidden(self.encode(batch).dropped)
        return features, self.head.fc2(features)


def pool(representation: torch.Tensor, num_frames: torch.Tensor, person_mask: torch.Tensor) -> torch.Tensor:
    """Mean over each person's own frames, then over each clip's persons; joints flattened.

    Args:
        representation: float (P, T, V, C_r) of the persons that are there, zero in padded frames.
        num_frames: int (P,), frames that are the clip's own.
        person_mask: bool (N, M) with P places True, in the order of the persons.

    Returns:
        float (N, V * C_r), float32 at least.
    """
    precise = torch.promote_types(representation.dtype, torch.float32)
    total = representation.sum(dim=1, dtype=precise).flatten(1)  # (P, V * C_r)
    person = total / num_frames[:, None].to(precise)
    # Small by now. Adding persons up in their order keeps a GPU's result the same from run to run.
    placed = person.new_zeros(*person_mask.shape, person.shape[1])
    placed[person_mask] = person
    return placed.sum(dim=1) / person_mask.sum(dim=1, keepdim=True).to(precise)


def build_recognizer(settings: ModelSettings, *, num_joints: int, channels: int, num_classes: int) -> Recognizer:
    """A recognizer with fresh weights.

    Args:
        settings: Backbone, its size, and the head.
        num_joints: V of the layout that the network sees.
        channels: C, values of a joint.
        num_classes: K.

    Returns:
        The network, in training mode.

    Raises:
        UsageError: The sizes do not fit together.
    """
    backbone = build_backbone(settings, num_joints=num_joints, channels=channels)
    return Recognizer(backbone, num_classes, hidden=settings.hidden, dropout=settings.dropout)
