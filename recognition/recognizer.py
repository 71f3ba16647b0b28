"""The recognizer: a backbone, and a head that classifies its representation of a clip.

A recognizer can have a second opinion: a kernel classifier on descriptors of movement, which needs few clips. Training
by gradient concerns the network alone; `forward` and `features` join the probabilities of both.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from recognition.backbones import build_backbone
from recognition.backbones.base import Backbone
from recognition.data.batches import Batch
from recognition.data.descriptors.classifier import MovementClassifier
from recognition.settings import ModelSettings


@dataclass(frozen=True)
class Encoded:
    """Output of one pathway for a batch of N clips with P persons in total.

    Args:
        pooled: float (N, V * C_r), mean of R over a person's frames and a clip's persons, joints flattened.
        dropped: float (N, V * C_r), the same after dropout; input of the head. Equal to `pooled` without dropout.
        attention: float (P, T, V), attention that each cell receives, detached; None if it was not requested.
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
        """Return the hidden layer after ReLU.

        Args:
            pooled: float (N, V * C_r).
            keep_statistics: Whether a training batch updates the running statistics. Only the standard pathway is used
                at test time, so the masked pathway must not change them.

        Returns:
            float (N, hidden).
        """
        x = self.fc1(pooled)
        norm = self.norm
        if not self.training:
            return functional.relu(norm(x))
        if len(x) == 1:
            # A single clip has no variance; the last batch of an epoch can have one clip.
            x = functional.batch_norm(
                x, norm.running_mean, norm.running_var, norm.weight, norm.bias, training=False, eps=norm.eps
            )
        elif keep_statistics:
            x = norm(x)
        else:
            x = functional.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
        return functional.relu(x)

    def forward(self, pooled: torch.Tensor, *, keep_statistics: bool = True) -> torch.Tensor:
        """Return logits (N, K) for pooled representations (N, V * C_r)."""
        return self.fc2(self.hidden(pooled, keep_statistics=keep_statistics))


class PlainHead(nn.Module):
    """Mean over joints and one linear layer, as in the convolutional baselines.

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
        """Return (N, C_r) for pooled representations (N, V * C_r); `keep_statistics` has no effect."""
        return pooled.unflatten(1, (self.num_joints, -1)).mean(dim=1)

    def forward(self, pooled: torch.Tensor, *, keep_statistics: bool = True) -> torch.Tensor:
        """Return logits (N, K) for pooled representations (N, V * C_r)."""
        logits: torch.Tensor = self.fc2(self.hidden(pooled))
        return logits


class Recognizer(nn.Module):
    """Backbone and head.

    Args:
        backbone: Network that maps joints to the representation R.
        num_classes: K.
        hidden: Width of the head's hidden layer.
        dropout: Probability of zeroing an element of R in training, or of the mean that a plain head classifies, in
            [0, 1).
        movement_shape: Number of the training descriptors of its classifier of descriptors, 0 before it is fitted, and
            of the numbers in each, fewer in files of earlier versions; None if it has no such classifier.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        hidden: int = 2048,
        dropout: float = 0.5,
        movement_shape: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        joints, channels = backbone.num_joints, backbone.dim_representation
        self.head: Head | PlainHead = (
            PlainHead(joints, channels, num_classes)
            if backbone.plain_head
            else Head(joints * channels, num_classes, hidden)
        )
        self.dropout = dropout
        self.movement: MovementClassifier | None = None
        if movement_shape is not None:
            rows, numbers = movement_shape
            self.movement = MovementClassifier(numbers, num_classes, rows=rows)

    @property
    def num_classes(self) -> int:
        return self.head.fc2.out_features

    def encode(self, batch: Batch, *, masked: torch.Tensor | None = None, return_attention: bool = False) -> Encoded:
        """Run one pathway up to the head. Only persons that are present pass through the backbone.

        Args:
            batch: N clips with P persons in total.
            masked: bool (P, T, V), True where the mask token replaces a joint; persons in the order of
                `batch.person_mask.nonzero()`. None for the standard pathway.
            return_attention: Whether to return the attention.

        Returns:
            The pooled representations, in float32 or higher precision.
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
        if self.backbone.plain_head:
            # Dropout before a mean over many equal values would hardly change it.
            dropped = drop_channels(pooled, self.backbone.num_joints, self.dropout)
        else:
            kept = drop_elements(representation, self.dropout, frames_alike=self.backbone.frames_alike)
            dropped = pool(kept, num_frames, batch.person_mask)
        return Encoded(pooled, dropped, attention)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return logits (N, K) of a batch, computed by the standard pathway; see `features`."""
        return self.features(batch)[1]

    def of_network(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the head's hidden layer (N, hidden) after ReLU and the network's own logits (N, K)."""
        features = self.head.hidden(self.encode(batch).dropped)
        return features, self.head.fc2(features)

    def features(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the head's hidden layer (N, hidden) after ReLU and the logits (N, K), by the standard pathway.

        If the batch has descriptors and the classifier of these is fitted, the logits are the logarithm of the joint
        probabilities; otherwise those of the network.
        """
        return self.of_pooled(self.encode(batch).dropped, batch.descriptor)

    def of_pooled(self, pooled: torch.Tensor, descriptor: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the same as `features` from the result of `encode`.

        Args:
            pooled: (N, ...), pooled representations.
            descriptor: float32 (N, D), see `Batch`; None without.
        """
        features = self.head.hidden(pooled)
        logits = self.head.fc2(features)
        own = self.of_descriptors(descriptor)
        if own is None or self.movement is None:
            return features, logits
        return features, self.movement.joined_with(logits, own)

    def of_descriptors(self, descriptor: torch.Tensor | None) -> torch.Tensor | None:
        """Return the logits (N, K) of the classifier of descriptors alone; None before it is fitted, and without one.

        Args:
            descriptor: float32 (N, D), see `Batch`; None without.
        """
        if self.movement is None or descriptor is None or not self.movement.is_fitted:
            return None
        # Not in the precision of the network: distances and coefficients need all digits.
        with torch.autocast(descriptor.device.type, enabled=False):
            logits: torch.Tensor = self.movement(descriptor)
            return logits


def drop_elements(representation: torch.Tensor, probability: float, *, frames_alike: int = 1) -> torch.Tensor:
    """Apply dropout to R, (P, T, V, C_r).

    Args:
        representation: float (P, T, V, C_r).
        probability: Probability of zeroing an element, in [0, 1).
        frames_alike: Number of consecutive frames with the same R; an element is zeroed in all of them or in none.
    """
    if frames_alike == 1:
        return functional.dropout(representation, probability)
    persons, frames, joints, channels = representation.shape
    parts = -(-frames // frames_alike)
    factor = functional.dropout(representation.new_ones(persons, parts, joints, channels), probability)
    return representation * factor.repeat_interleave(frames_alike, dim=1)[:, :frames]


def drop_channels(pooled: torch.Tensor, num_joints: int, probability: float) -> torch.Tensor:
    """Apply dropout to the mean over joints of pooled representations (N, V * C_r): a channel is zeroed in all joints.

    Args:
        pooled: float (N, V * C_r).
        num_joints: V.
        probability: Probability of zeroing a channel, in [0, 1).
    """
    by_joints = pooled.unflatten(1, (num_joints, -1))
    factor = functional.dropout(torch.ones_like(by_joints[:, :1]), probability)
    return (by_joints * factor).flatten(1)


def pool(representation: torch.Tensor, num_frames: torch.Tensor, person_mask: torch.Tensor) -> torch.Tensor:
    """Average over the valid frames of each person, then over the persons of each clip; flatten the joints.

    Args:
        representation: float (P, T, V, C_r) of the persons that are present, zero in padded frames.
        num_frames: int (P,), number of frames that are not padding.
        person_mask: bool (N, M), True for the P persons, in order.

    Returns:
        float (N, V * C_r), float32 or higher precision.
    """
    precise = torch.promote_types(representation.dtype, torch.float32)
    total = representation.sum(dim=1, dtype=precise).flatten(1)  # (P, V * C_r)
    person = total / num_frames[:, None].to(precise)
    # Summing persons in a fixed order makes results on a GPU reproducible; the tensor is small at this point.
    placed = person.new_zeros(*person_mask.shape, person.shape[1])
    placed[person_mask] = person
    return placed.sum(dim=1) / person_mask.sum(dim=1, keepdim=True).to(precise)


def build_recognizer(
    settings: ModelSettings,
    *,
    num_joints: int,
    channels: int,
    num_classes: int,
    movement_shape: tuple[int, int] | None = None,
) -> Recognizer:
    """Build a recognizer with random weights.

    Args:
        settings: Backbone, its size, and the head.
        num_joints: V of the joint layout that the network sees.
        channels: C, values per joint.
        num_classes: K.
        movement_shape: See `Recognizer`.

    Returns:
        The network, in training mode.

    Raises:
        UsageError: The sizes are incompatible.
    """
    backbone = build_backbone(settings, num_joints=num_joints, channels=channels)
    return Recognizer(
        backbone, num_classes, hidden=settings.hidden, dropout=settings.dropout, movement_shape=movement_shape
    )
