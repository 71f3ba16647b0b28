"""The kernel classifier as a part of a network, so that it is stored, moved and exported with it."""

from typing import Any

import torch
from torch import nn

from recognition.data.descriptors.kernel_ridge import LARGEST, SCALES, KernelRidge

# Below this, 1 - exp(-x) is the sum of so many terms of its Taylor series, up to 3e-11 of its value.
_SMALL, _TERMS = 0.5, 10


class MovementClassifier(nn.Module):
    """A fitted `KernelRidge` in float32; without centres it is not fitted yet.

    Its arrays are buffers of any size: those of a state dict replace its own.

    Args:
        size: D, numbers of a descriptor.
        num_classes: K.
        rows: R, training descriptors; 0 before it is fitted.
    """

    names = ("mean", "scale", "weight", "centres", "coefficients", "numbers")
    mean: torch.Tensor
    scale: torch.Tensor
    weight: torch.Tensor
    centres: torch.Tensor
    coefficients: torch.Tensor
    numbers: torch.Tensor

    def __init__(self, size: int, num_classes: int, *, rows: int = 0) -> None:
        super().__init__()
        for name in self.names[:3]:
            self.register_buffer(name, torch.zeros(size))
        self.register_buffer("centres", torch.zeros(rows, size))
        self.register_buffer("coefficients", torch.zeros(rows, num_classes))
        # Width of the kernel, whether it is Gaussian, sharpness, share of the network in the joint probabilities.
        self.register_buffer("numbers", torch.zeros(4))
        # The centres that `_centres_in_float64` was last called for, their version, and what it computed.
        self._kept: tuple[torch.Tensor, int, torch.Tensor, torch.Tensor] | None = None

    @property
    def is_fitted(self) -> bool:
        return len(self.centres) > 0

    @property
    def network_share(self) -> float:
        """Share of the network's probabilities in the joint ones, in [0, 1]."""
        return float(self.numbers[3])

    def set_fitted(self, fitted: KernelRidge, *, network_share: float) -> None:
        """Take over a fitted classifier."""
        arrays = (fitted.mean, fitted.scale, fitted.weight, fitted.centres, fitted.coefficients)
        for name, array in zip(self.names, arrays, strict=False):
            setattr(self, name, torch.as_tensor(array, dtype=torch.float32, device=self.mean.device))
        gaussian = float(fitted.kernel == "gaussian")
        self.numbers = self.numbers.new_tensor([fitted.width, gaussian, fitted.sharpness, network_share])

    def set_network_share(self, share: float) -> None:
        self.numbers[3] = share

    def forward(self, descriptor: torch.Tensor) -> torch.Tensor:
        """Return logits (N, K) for descriptors (N, D) in which unknown numbers are NaN; they count as the mean."""
        # A classifier of an earlier version knows fewer numbers.
        descriptor = descriptor[:, : self.mean.shape[0]]
        known = torch.where(torch.isnan(descriptor), self.mean, descriptor)
        rows = ((known - self.mean) * self.scale).clamp(-LARGEST, LARGEST) * self.weight
        # In float64, because small distances are differences of large numbers, and so are the scores: in float32 they
        # would depend on the number of clips that are computed together.
        rows = rows.double()
        centres, lengths = self._centres_in_float64()
        squared = (rows**2).sum(dim=1, keepdim=True) + lengths - 2 * rows @ centres.T
        squared = squared.clamp_min(1e-12)
        width, gaussian, sharpness, _ = self.numbers.double()
        distance = width * torch.where(gaussian > 0, squared / 2, squared.sqrt())
        # A wide kernel is close to 1 everywhere, and its coefficients nearly cancel each other: an engine that computes
        # in float32 has ten times more digits of the difference.
        less = torch.stack([_one_minus_exp(scale * distance) for scale in SCALES])
        coefficients = self.coefficients.double()
        scores = coefficients.sum(dim=0) - less.mean(dim=0) @ coefficients
        return (sharpness * scores).to(self.coefficients.dtype)

    def _centres_in_float64(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the centres (R, D) and their squared lengths (R,), computed once: this takes longer than the rest."""
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            centres = self.centres.double()
            return centres, (centres**2).sum(dim=1)
        own = self.centres
        # The tensor itself, not its address, which another one can have later.
        if self._kept is None or self._kept[0] is not own or self._kept[1] != own._version:
            with torch.inference_mode(False), torch.no_grad():
                centres = own.double()
                self._kept = (own, own._version, centres, (centres**2).sum(dim=1))
        return self._kept[2], self._kept[3]

    def joined(self, logits: torch.Tensor, descriptor: torch.Tensor) -> torch.Tensor:
        """Return the logarithm of the mean of the network's and the classifier's probabilities, weighted; (N, K).

        Args:
            logits: (N, K) of the network.
            descriptor: (N, D), see `forward`.
        """
        # Not in the precision of the network: distances and coefficients need all digits.
        with torch.autocast(logits.device.type, enabled=False):
            return self.joined_with(logits, self(descriptor))

    def joined_with(self, logits: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """Return the same as `joined`, from the classifier's own logits (N, K)."""
        share = self.numbers[3]
        both = share * logits.float().softmax(dim=1) + (1 - share) * own.softmax(dim=1)
        return both.clamp_min(1e-9).log()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any, **options: Any) -> None:
        for name in self.names:
            given = state_dict.get(prefix + name)
            if isinstance(given, torch.Tensor):
                setattr(self, name, torch.zeros_like(given, device=self.mean.device))
        super()._load_from_state_dict(state_dict, prefix, *arguments, **options)


def _one_minus_exp(value: torch.Tensor) -> torch.Tensor:
    """Return 1 - exp(-value) for values >= 0, with all digits of small ones.

    ONNX has no function for it, and those that it follows from, such as tanh, are inexact in float32 in some engines.
    """
    if not torch.jit.is_tracing():
        return -torch.expm1(-value)
    small = value.clamp_max(_SMALL)
    series = torch.ones_like(value)
    for number in range(_TERMS, 1, -1):
        series = 1 - small / number * series
    return torch.where(value < _SMALL, small * series, 1 - torch.exp(-value))
