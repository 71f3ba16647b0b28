"""Calibrated probabilities and the unknown score, as tensor operations; `recognition.confidence` in NumPy."""

import numpy as np
import torch
from torch import nn

from recognition.confidence.confidence import Confidence
from recognition.confidence.feature_distance import FARTHEST, FeatureDistance


class CalibratedOutput(nn.Module):
    """From logits to probabilities and the unknown score, in float64 as in `Confidence`.

    Args:
        confidence: That of the run.
    """

    def __init__(self, confidence: Confidence) -> None:
        super().__init__()
        self.temperature, self.doubt = confidence.temperature, confidence.doubt
        self.of_descriptors = confidence.of_descriptors
        self.kind, self.spreads = confidence.kind, confidence.spreads
        self.distance = None if confidence.distance is None else _Distance(confidence.distance)

    def forward(
        self, logits: torch.Tensor, described: torch.Tensor, own: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return probabilities (N, K) and unknown scores (N,), float32.

        Args:
            logits: float32 (N, K).
            described: float32 (N, D), descriptors, NaN where unknown, or the features of the network.
            own: float32 (N, K), logits of the classifier of descriptors alone; None without one.
        """
        scaled = logits.double() / self.temperature
        certain = scaled.softmax(dim=1)
        probabilities = (1 - self.doubt) * certain + self.doubt / certain.shape[1]
        if self.of_descriptors:
            assert own is not None
            scaled = own.double() / self.temperature
            certain = scaled.softmax(dim=1)
        return probabilities.float(), self._unknown(scaled, certain, described).float()

    def _unknown(self, scaled: torch.Tensor, probabilities: torch.Tensor, described: torch.Tensor) -> torch.Tensor:
        if self.kind == "max_probability":
            return 1 - probabilities.amax(dim=1)
        if self.kind == "max_logit":
            return -scaled.amax(dim=1)
        if self.kind == "energy":
            return -scaled.logsumexp(dim=1)
        tiny = torch.finfo(torch.float64).tiny
        entropy = -(probabilities * probabilities.clamp(min=tiny).log()).sum(dim=1)
        if self.kind == "entropy":
            return entropy
        assert self.distance is not None
        distance: torch.Tensor = self.distance(described)
        return distance if self.kind == "distance" else entropy / self.spreads[0] + distance / self.spreads[1]


class _Distance(nn.Module):
    """Relative Mahalanobis distance of features (N, D), float64 (N,); see `FeatureDistance`."""

    centre: torch.Tensor
    scale: torch.Tensor
    projection: torch.Tensor
    means: torch.Tensor
    background: torch.Tensor

    def __init__(self, fitted: FeatureDistance) -> None:
        super().__init__()
        for name in ("centre", "scale", "projection", "means", "background"):
            self.register_buffer(name, torch.from_numpy(np.array(getattr(fitted, name), np.float64)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        # Those of an earlier version were fitted to fewer numbers of a descriptor.
        features = features[:, : self.centre.shape[0]]
        known = torch.where(torch.isnan(features), self.centre, features.double())
        placed = ((known - self.centre) * self.scale).clamp(-FARTHEST, FARTHEST) @ self.projection
        nearest = ((placed[:, None] - self.means) ** 2).sum(dim=2).amin(dim=1)
        return nearest - ((placed @ self.background) ** 2).sum(dim=1)
