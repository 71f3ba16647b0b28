"""Motion prediction: future poses from an encoder's features, with the residual decoder of Martinez et al. (2017)."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from recognition.optimizers import SGD
from recognition.pretraining.encoder import Encoder
from recognition.protocols.settings import MotionSettings

# Number of sequences from which mean and deviation of poses are estimated.
STANDARD = 256


class MotionDecoder(nn.Module):
    """A GRU that receives a pose, predicts its change, and receives the resulting pose as next input.

    Poses and changes are standardised with the training's deviations. The initial prediction is no change.

    Args:
        width: Width of the encoder's features, which the initial state is computed from.
        values: Number of values per pose.
        hidden: Width of the state.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, width: int, values: int, hidden: int) -> None:
        super().__init__()
        self.begin = nn.Linear(width, hidden)
        self.cell = nn.GRUCell(values, hidden)
        self.change = nn.Linear(hidden, values)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)
        self.register_buffer("mean", torch.zeros(values))
        self.register_buffer("deviation", torch.ones(values))

    def standardise(self, poses: torch.Tensor) -> None:
        """Estimate mean and deviation of each value from poses (..., values), NaN where unseen."""
        flat = poses.flatten(0, -2).to(self.mean)
        self.mean = flat.nanmean(0).nan_to_num()
        deviation = (flat - self.mean).square().nanmean(0).sqrt()
        # A joint that is never seen or never moves has no deviation.
        self.deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))

    def forward(self, features: torch.Tensor, pose: torch.Tensor, steps: int) -> torch.Tensor:
        """Return the poses (N, steps, values) that follow the given one (N, values)."""
        state = self.begin(features)
        predicted = []
        for _ in range(steps):
            state = self.cell((pose - self.mean) / self.deviation, state)
            pose = pose + self.change(state) * self.deviation
            predicted.append(pose)
        return torch.stack(predicted, 1)


def centred(keypoint: np.ndarray, seen: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return poses relative to the centre of the last visible one, in units of its extent.

    Args:
        keypoint: float32 (T, V, D) of one person, NaN where unseen.
        seen: Number of input frames.

    Returns:
        float32 (T, V, D), the centre (D,), and the extent, both in units of the input.
    """
    last = keypoint[seen - 1]
    middle = np.nanmean(last, axis=0)
    extent = float(np.nanmax(np.nanmax(last, axis=0) - np.nanmin(last, axis=0)))
    return (keypoint - middle) / np.float32(extent or 1.0), middle, extent or 1.0


def fit_decoder(
    encoder: Encoder,
    draw: Callable[[np.random.Generator, int], tuple[object, torch.Tensor]],
    decoder: MotionDecoder,
    settings: MotionSettings,
    *,
    seed: int,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Train encoder and decoder together.

    Args:
        encoder: The encoder; it is trained in place.
        draw: Returns a given number of sequences: a batch of the input frames, and poses float32 (N, T, V * D) starting
            with the last input frame, NaN where unseen.
        decoder: The decoder, on the encoder's device; its mean and deviation are estimated from the first sequences.
        settings: The recipe.
        seed: Seed of the sequences.
        tell: Called with progress messages.
    """
    rng = np.random.default_rng(seed)
    decoder.standardise(draw(rng, STANDARD)[1])
    weights = [*encoder.parameters(), *decoder.parameters()]
    optimizer = SGD(weights, lr=settings.lr)
    encoder.train()
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * settings.lr_decay ** (step // settings.decay_steps)
        batch, poses = draw(rng, settings.batch_size)
        optimizer.zero_grad()
        predicted = decoder(encoder(batch), torch.nan_to_num(poses[:, 0]), poses.shape[1] - 1)
        known = torch.isfinite(poses[:, 1:])
        error = (predicted - torch.nan_to_num(poses[:, 1:])) / decoder.deviation
        loss = (error.square() * known).sum() / known.sum().clamp_min(1)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, settings.clip_gradient)
        optimizer.step()
        if (step + 1) % max(1, settings.steps // 5) == 0:
            tell(f"step {step + 1}/{settings.steps}: loss {loss.item():.5f}")
    encoder.eval()


def mean_joint_error(predicted: np.ndarray, truth: np.ndarray, extents: np.ndarray) -> float:
    """Return MPJPE, the mean distance between predicted and true joints, in the unit of the extents.

    Args:
        predicted: float (N, T, V, D), predicted joints.
        truth: float (N, T, V, D), NaN where unseen.
        extents: float (N,), extent of each sequence.
    """
    distance = np.linalg.norm(predicted - truth, axis=-1) * extents[:, None, None]
    return float(np.nanmean(distance))
