"""Motion prediction: the next poses from an encoder's features, by the residual decoder of Martinez et al. (2017)."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from recognition.pretraining.encoder import Encoder
from recognition.protocols.settings import MotionSettings

# Sequences whose poses say what is usual.
STANDARD = 256


class MotionDecoder(nn.Module):
    """A GRU that is given a pose, tells how it changes, and is given the changed one.

    It sees poses, and tells changes, in the deviations of the training's poses, and it begins by telling none.

    Args:
        width: Of the encoder's features, from which its first state comes.
        values: Numbers of a pose.
        hidden: Width of its state.
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
        """Takes the mean and the deviation of each number of poses (..., values), NaN where not seen."""
        flat = poses.flatten(0, -2).to(self.mean)
        self.mean = flat.nanmean(0).nan_to_num()
        deviation = (flat - self.mean).square().nanmean(0).sqrt()
        # A joint that is never seen, or never moves, has none.
        self.deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))

    def forward(self, features: torch.Tensor, pose: torch.Tensor, steps: int) -> torch.Tensor:
        """Poses (N, steps, values) after the given one (N, values)."""
        state = self.begin(features)
        told = []
        for _ in range(steps):
            state = self.cell((pose - self.mean) / self.deviation, state)
            pose = pose + self.change(state) * self.deviation
            told.append(pose)
        return torch.stack(told, 1)


def centred(keypoint: np.ndarray, seen: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Poses from the middle of the last one seen, in units of its extent.

    Args:
        keypoint: float32 (T, V, D) of one person, NaN where not seen.
        seen: Frames that are given.

    Returns:
        float32 (T, V, D), that middle (D,), and the extent.
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
    """Trains encoder and decoder together.

    Args:
        encoder: Encodes what is given.
        draw: Gives that many sequences: a batch of the frames that are seen, and poses float32 (N, T, V * D) from the
            last seen one on, NaN where not seen.
        decoder: On the encoder's device; takes the first sequences' mean and deviation.
        settings: The recipe.
        seed: Of the draw.
        tell: Told a line now and then.
    """
    rng = np.random.default_rng(seed)
    decoder.standardise(draw(rng, STANDARD)[1])
    weights = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.SGD(weights, lr=settings.lr)
    encoder.train()
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * settings.lr_decay ** (step // settings.decay_steps)
        batch, poses = draw(rng, settings.batch_size)
        optimizer.zero_grad()
        told = decoder(encoder(batch), torch.nan_to_num(poses[:, 0]), poses.shape[1] - 1)
        known = torch.isfinite(poses[:, 1:])
        error = (told - torch.nan_to_num(poses[:, 1:])) / decoder.deviation
        loss = (error.square() * known).sum() / known.sum().clamp_min(1)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, settings.clip_gradient)
        optimizer.step()
        if (step + 1) % max(1, settings.steps // 5) == 0:
            tell(f"step {step + 1}/{settings.steps}: loss {loss.item():.5f}")
    encoder.eval()


def mean_joint_error(told: np.ndarray, truth: np.ndarray, extents: np.ndarray) -> float:
    """MPJPE, the mean distance of joints from where they are, in the unit of the extents.

    Args:
        told: float (N, T, V, D).
        truth: float (N, T, V, D), NaN where not seen.
        extents: float (N,), the unit of each sequence.
    """
    distance = np.linalg.norm(told - truth, axis=-1) * extents[:, None, None]
    return float(np.nanmean(distance))
