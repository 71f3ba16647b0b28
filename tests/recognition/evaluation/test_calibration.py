"""Calibration errors, compared with plain loops over clips and bins."""

import math

import numpy as np
import pytest

from recognition.evaluation.calibration import calibration_of
from recognition.evaluation.metrics import wilson_interval


def made_probabilities(clips: int = 300, *, sharpness: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and labels that are drawn from them; then the probabilities are made sharper or flatter."""
    rng = np.random.default_rng(seed)
    exact = rng.dirichlet(np.full(5, 0.3), size=clips)
    labels = np.array([rng.choice(5, p=row) for row in exact])
    changed = exact**sharpness
    return changed / changed.sum(axis=1, keepdims=True), labels


def test_error_equals_a_plain_loop_over_the_bins() -> None:
    probabilities, labels = made_probabilities(sharpness=2)
    found = calibration_of(probabilities, labels, bins=10)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        share = max(row)
        bins.setdefault(min(math.floor(share * 10), 9), []).append((share, row.index(share) == label))
    expected = 0.0
    for number, one in zip(sorted(bins), found.bins, strict=True):
        members = bins[number]
        confidence = sum(share for share, _ in members) / len(members)
        accuracy = sum(hit for _, hit in members) / len(members)
        expected += len(members) / 300 * abs(accuracy - confidence)
        assert (one.low, one.high) == pytest.approx((number / 10, number / 10 + 0.1))
        assert (one.clips, one.confidence, one.accuracy) == pytest.approx((len(members), confidence, accuracy))
        assert one.interval == wilson_interval(sum(hit for _, hit in members), len(members))
    assert found.ece == pytest.approx(expected, rel=1e-12)
    assert found.clips == sum(one.clips for one in found.bins) == 300


def test_a_probability_of_one_lies_in_the_last_bin() -> None:
    found = calibration_of(np.eye(3), np.array([0, 1, 0]))
    assert [(one.low, one.clips) for one in found.bins] == [(0.9, 3)]
    assert found.ece == pytest.approx(1 / 3)


def test_brier_score_counts_all_classes() -> None:
    from sklearn.metrics import brier_score_loss

    probabilities, labels = made_probabilities()
    of_classes = [brier_score_loss(labels == k, probabilities[:, k]) for k in range(5)]
    assert calibration_of(probabilities, labels).brier == pytest.approx(sum(of_classes))


@pytest.mark.slow
def test_exact_probabilities_have_the_error_that_few_clips_explain() -> None:
    errors = [calibration_of(*made_probabilities(40, seed=seed)) for seed in range(40)]
    measured, explained = (np.mean([getattr(one, name) for one in errors]) for name in ("ece", "ece_if_exact"))
    # Far from zero, although the probabilities are exact.
    assert measured > 0.05
    assert explained == pytest.approx(measured, abs=0.015)
    many = calibration_of(*made_probabilities(20_000))
    assert many.ece < 0.02 and many.ece_if_exact < 0.02


def test_overconfidence_is_found() -> None:
    found = calibration_of(*made_probabilities(400, sharpness=4))
    assert found.ece > 0.1 > 2 * found.ece_if_exact
    assert sum(one.clips * (one.confidence - one.accuracy) for one in found.bins) > 0.1 * 400


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [
        (np.zeros((0, 3)), np.zeros(0, int)),
        (np.eye(3), np.array([0, 1])),
        (np.full((2, 2), 0.7), np.array([0, 1])),
        (np.array([[np.nan, 1.0]]), np.array([0])),
    ],
)
def test_what_are_not_probabilities_is_refused(probabilities: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        calibration_of(probabilities, labels)
