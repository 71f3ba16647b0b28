"""MaskCLR's training objective: a standard and a masked pathway with shared weights, and their losses.

Follows Fig. 2: standard pathway, mask from its attention, masked pathway, losses of eq. 12. Only the standard pathway
is used at test time, so a trained network consists of its `Recognizer`.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from recognition.data.batches import Batch
from recognition.distributed import find_shares, gather
from recognition.keyed_noise import gumbel_noise
from recognition.maskclr.contrastive import (
    Outcomes,
    class_contrastive_loss,
    join,
    outcomes,
    sample_contrastive_loss,
    update_prototypes,
)
from recognition.maskclr.masking import attention_guided_mask, jittered, masking_contrast
from recognition.recognizer import Encoded, Recognizer
from recognition.settings import MaskCLRSettings


@dataclass(frozen=True)
class Losses:
    """Losses of a step over the clips of all processes; only `total` has a gradient. Unused terms are 0.

    Args:
        total: Scalar, eq. 12 in phase two, the cross-entropy in phase one.
        cross_entropy: Scalar, mean over the pathways.
        sample: Scalar, L_sc (eq. 5).
        class_loss: Scalar, L_cc (eq. 11).
        logits: float32 (n, K), standard pathway, clips of this process.
        masked_contrast: Scalar in [-1, 1], masked share of the 5 % most attended cells minus that of the 20 % least
            attended cells, for the clips of this process; 0 with random masks.
        clips: Scalar, number of clips that the losses are means over.
    """

    total: torch.Tensor
    cross_entropy: torch.Tensor
    sample: torch.Tensor
    class_loss: torch.Tensor
    logits: torch.Tensor
    masked_contrast: torch.Tensor
    clips: torch.Tensor


class MaskCLR(nn.Module):
    """A recognizer with MaskCLR's training objective.

    Args:
        recognizer: The network, shared by both pathways.
        settings: Settings of section 3.
        num_classes: K.
        seed: Seed of the masks.
        label_smoothing: Label smoothing of the cross-entropy, in [0, 1).
        class_weights: float (K,), weight of each class in the cross-entropy; None for 1.
    """

    prototypes: torch.Tensor
    known: torch.Tensor
    class_weights: torch.Tensor | None

    def __init__(
        self,
        recognizer: Recognizer,
        settings: MaskCLRSettings,
        *,
        num_classes: int,
        seed: int = 0,
        label_smoothing: float = 0.0,
        class_weights: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.recognizer = recognizer
        self.settings = settings
        self.seed = seed
        self.label_smoothing = label_smoothing
        joints, channels = recognizer.backbone.num_joints, recognizer.backbone.dim_representation
        hidden = recognizer.head.fc2.in_features
        width = {"joints": joints * channels, "mean": channels, "hidden": hidden}[settings.representation]
        self.register_buffer("prototypes", torch.zeros(num_classes, width))
        self.register_buffer("known", torch.zeros(num_classes, dtype=torch.bool))
        # Derived from the data, not part of the network: a resumed run computes them again.
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, batch: Batch, *, phase: Literal[1, 2], epoch: int, warm_prototypes: bool = False) -> Losses:
        """Compute the losses of a batch, and update the prototypes in training mode.

        Args:
            batch: Clips of this process.
            phase: 1: cross-entropy of the standard pathway; 2: eq. 12. In evaluation mode always 1, and only for the
                clips of this process.
            epoch: Index of the epoch; the masks depend on it.
            warm_prototypes: Whether to update the prototypes in phase 1.

        Returns:
            The losses.
        """
        if not self.training:
            logits = _precise(self.recognizer(batch))
            return _cross_entropy_only(self._cross_entropy(logits, batch.label), logits, clips=len(batch))
        if phase == 1:
            return self._standard_step(batch, warm_prototypes)
        return self._contrastive_step(batch, epoch)

    def _standard_step(self, batch: Batch, warm_prototypes: bool) -> Losses:
        standard = self.recognizer.encode(batch)
        shares = find_shares(len(batch), batch.label.device)
        label = gather(batch.label, shares)
        pooled, dropped = gather(torch.stack([standard.pooled.detach(), standard.dropped], 1), shares).unbind(1)
        hidden, logits = self._head(dropped)
        with torch.autocast(label.device.type, enabled=False):
            # DDP expects a gradient for every parameter, but nothing is masked yet, so the mask token has none.
            unused = 0 * self.recognizer.backbone.mask_token.sum()
            cross_entropy = self._cross_entropy(logits, label) + unused
            if warm_prototypes:
                sets = outcomes(logits, label, confidence=self.settings.confidence)
                self._move_prototypes(self._represent(pooled, hidden), sets)
        return _cross_entropy_only(cross_entropy, logits[shares.own], clips=len(label))

    def _contrastive_step(self, batch: Batch, epoch: int) -> Losses:
        standard = self.recognizer.encode(batch, return_attention=self.settings.mask == "attention")
        mask, contrast = self._draw_mask(batch, standard, epoch)
        masked = self.recognizer.encode(self._disturbed(batch, epoch), masked=mask)

        shares = find_shares(len(batch), batch.label.device)
        label = gather(batch.label, shares)
        parts = torch.stack([standard.pooled, standard.dropped, masked.pooled, masked.dropped], 1)
        standard_pooled, standard_dropped, masked_pooled, masked_dropped = gather(parts, shares).unbind(1)
        standard_hidden, standard_logits = self._head(standard_dropped)
        masked_hidden, masked_logits = self._head(masked_dropped, keep_statistics=False)

        settings = self.settings
        standard_sets = outcomes(standard_logits, label, confidence=settings.confidence)
        masked_sets = outcomes(masked_logits, label, confidence=settings.confidence)
        standard_r = self._represent(standard_pooled, standard_hidden)
        masked_r = self._represent(masked_pooled, masked_hidden)
        with torch.autocast(label.device.type, enabled=False):
            cross_entropy = self._cross_entropy(standard_logits, label) + self._cross_entropy(masked_logits, label)
            cross_entropy = cross_entropy / 2
            sample = sample_contrastive_loss(standard_r, masked_r, settings.similarity_temperature)
            class_loss = class_contrastive_loss(
                torch.cat([standard_r, masked_r]),
                join(standard_sets, masked_sets),
                self.prototypes,
                self.known,
                temperature=settings.similarity_temperature,
            )
            total = cross_entropy + settings.alpha * sample + settings.beta * class_loss
            # Update after the loss: eq. 6 uses the prototypes from before the step.
            self._move_prototypes(standard_r, standard_sets)
        return Losses(
            total,
            cross_entropy.detach(),
            sample.detach(),
            class_loss.detach(),
            standard_logits[shares.own].detach(),
            contrast,
            total.new_tensor(len(label)).detach(),
        )

    def _draw_mask(self, batch: Batch, standard: Encoded, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cells to mask (P, T, V), chosen by attention or at random, and the masking contrast."""
        clip, person = batch.person_mask.nonzero().unbind(1)
        _, _, num_frames, num_joints, _ = batch.keypoint.shape
        noise = gumbel_noise(batch.index[clip], person, num_frames, num_joints, seed=self.seed, epoch=epoch)
        # Only frames in which the person is seen: people can arrive late or leave early.
        present = batch.frame_mask[clip] & (batch.keypoint[clip, person] != 0).any(dim=-1).any(dim=-1)
        valid = present[:, :, None].expand(-1, -1, num_joints)
        attention = torch.zeros_like(noise) if standard.attention is None else standard.attention
        mask = attention_guided_mask(
            attention,
            valid,
            ratio=self.settings.ratio,
            temperature=self.settings.mask_temperature,
            scale=self.settings.attention_scale,
            noise=noise,
        )
        if standard.attention is None:
            return mask, noise.new_zeros(())
        top, bottom = masking_contrast(attention, mask, valid)
        return mask, top - bottom

    def _disturbed(self, batch: Batch, epoch: int) -> Batch:
        """Return the input of the masked pathway before masking."""
        if self.settings.jitter == 0:
            return batch
        clip, person = batch.person_mask.nonzero().unbind(1)
        keypoint = batch.keypoint.clone()
        keypoint[clip, person] = jittered(
            keypoint[clip, person], batch.index[clip], person, self.settings.jitter, seed=self.seed, epoch=epoch
        )
        return replace(batch, keypoint=keypoint)

    def _head(self, dropped: torch.Tensor, *, keep_statistics: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the head's hidden layer (N, hidden) and the logits (N, K), in float32 or higher precision."""
        head = self.recognizer.head
        hidden = head.hidden(dropped, keep_statistics=keep_statistics)
        return _precise(hidden), _precise(head.fc2(hidden))

    def _represent(self, pooled: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Return R^i of the contrastive losses, (N, D)."""
        if self.settings.representation == "hidden":
            return hidden
        if self.settings.representation == "mean":
            return pooled.unflatten(1, (self.recognizer.backbone.num_joints, -1)).mean(1)
        return pooled

    def _cross_entropy(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        # Divide by the number of clips, not by the sum of weights, so that micro-batches add up to the whole batch.
        return functional.cross_entropy(
            logits, label, self.class_weights, reduction="none", label_smoothing=self.label_smoothing
        ).mean()

    @torch.no_grad()
    def _move_prototypes(self, standard: torch.Tensor, sets: Outcomes) -> None:
        prototypes, known = update_prototypes(
            self.prototypes,
            self.known,
            standard.to(self.prototypes.dtype),
            sets.true_positive.to(self.prototypes.dtype),
            momentum=self.settings.momentum,
        )
        self.prototypes.copy_(prototypes)
        self.known.copy_(known)


def _cross_entropy_only(cross_entropy: torch.Tensor, logits: torch.Tensor, *, clips: int) -> Losses:
    nothing, count = cross_entropy.new_zeros(()), cross_entropy.new_tensor(clips).detach()
    return Losses(cross_entropy, cross_entropy.detach(), nothing, nothing, logits.detach(), nothing, count)


def _precise(tensor: torch.Tensor) -> torch.Tensor:
    """Convert an output of autocast to float32; float64 stays."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
