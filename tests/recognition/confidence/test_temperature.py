"""Temperatures, compared with a search over a fine grid in plain float64."""

import math

import numpy as np
import pytest

from recognition.confidence.temperature import SPREAD, fit_temperature


def made_logits(clips: int, *, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are too large by the factor `temperature`, and labels drawn from what they should be."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2.5, (clips, 6))
    exact = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(6, p=row) for row in exact])
    return logits * temperature, labels


def plain_cost(logits: np.ndarray, labels: np.ndarray, temperature: float, spread: float) -> float:
    total = 0.5 * (math.log(temperature) / spread) ** 2
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        scaled = [value / temperature for value in row]
        most = max(scaled)
        total += most + math.log(sum(math.exp(value - most) for value in scaled)) - scaled[label]
    return total


@pytest.mark.parametrize("spread", [SPREAD, math.inf])
@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_temperature_is_the_best_of_a_fine_grid(temperature: float, spread: float) -> None:
    logits, labels = made_logits(60, temperature=temperature)
    grid = np.exp(np.linspace(-2, 2, 1001))
    best = min(grid, key=lambda one: plain_cost(logits, labels, one, spread))
    assert fit_temperature(logits, labels, spread=spread) == pytest.approx(best, rel=0.005)


def test_many_clips_reveal_the_true_temperature_despite_the_prior() -> None:
    assert fit_temperature(*made_logits(5000, temperature=3.0)) == pytest.approx(3, rel=0.06)


def test_few_correct_clips_are_not_infinitely_certain() -> None:
    logits = 4 * np.eye(5)
    labels = np.arange(5)
    assert fit_temperature(logits, labels, spread=math.inf) < 0.1
    assert fit_temperature(logits, labels) > 0.5


@pytest.mark.parametrize(
    ("logits", "labels", "reason"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), "same clips"),
        (np.zeros((2, 3)), np.zeros(3, int), "same clips"),
        (np.full((1, 3), np.inf), np.zeros(1, int), "finite"),
    ],
)
def test_unusable_logits_are_refused(logits: np.ndarray, labels: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        fit_temperature(logits, labels)
