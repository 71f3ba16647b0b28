"""Statistics of predictions, compared with plain definitions."""

import numpy as np
import pytest

from recognition.robustness.statistics import UNANSWERED, accuracy, area, bootstrap_difference, class_gains, metrics_of


def test_accuracy_counts_clips_without_a_prediction_as_failures() -> None:
    labels = np.array([0, 1, 2, 1])
    found = accuracy(np.array([[0, 1, 2, UNANSWERED], [0, 0, 2, 1], [1, 1, 1, 0]]), labels)
    assert found.each.tolist() == [0.75, 0.75, 0.25]
    assert found.mean == pytest.approx(7 / 12) and found.spread == pytest.approx(np.sqrt(1 / 12))
    np.testing.assert_allclose(found.of_clips, [2 / 3, 2 / 3, 2 / 3, 1 / 3])
    assert accuracy(np.array([[0, 1, 2, 1]]), labels).spread is None


def test_bootstrap_interval_equals_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(40), rng.random(40)
    difference, low, high = bootstrap_difference(first, second, resamples=4000, seed=3)
    means = []
    for _ in range(4000):
        chosen = rng.choice(40, 40, replace=True)
        means.append(np.mean([first[k] - second[k] for k in chosen]))
    assert difference == pytest.approx(first.mean() - second.mean())
    assert (low, high) == pytest.approx(np.percentile(means, (2.5, 97.5)), abs=0.015)
    assert bootstrap_difference(first, second, resamples=4000, seed=3) == (difference, low, high)


def test_paired_clips_narrow_the_interval_and_others_are_refused() -> None:
    rng = np.random.default_rng(1)
    right = (rng.random(500) < 0.5).astype(float)
    better = right.copy()
    better[:5] = 1
    _, low, high = bootstrap_difference(better, right, resamples=500)
    assert high - low < 0.02
    assert bootstrap_difference(right, right, resamples=500) == (0, 0, 0)
    with pytest.raises(ValueError, match="same clips"):
        bootstrap_difference(right, right[1:], resamples=500)


def test_chunks_of_the_bootstrap_do_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    first, second = rng.random(50), rng.random(50)
    whole = bootstrap_difference(first, second, resamples=300)
    monkeypatch.setattr("recognition.robustness.statistics.CHUNK", 50 * 7)
    assert bootstrap_difference(first, second, resamples=300) == pytest.approx(whole)


def test_area_follows_the_trapezoidal_rule() -> None:
    assert area([1, 1, 1]) == 1
    assert area([1, 0]) == 0.5
    values = np.random.default_rng(0).random(21)
    assert area(values) == pytest.approx(np.trapezoid(values, np.linspace(0, 1, 21)))


def test_confusions_count_all_repeats_and_gains_are_class_differences() -> None:
    labels = np.array([0, 0, 1, 1])
    first = metrics_of(np.array([[0, 0, 1, 1], [0, 1, 1, UNANSWERED]]), labels, 3)
    assert first.confusion.tolist() == [[3, 1, 0], [0, 3, 0], [0, 0, 0]] and first.counts.tolist() == [4, 4, 0]
    second = metrics_of(np.array([[1, 1, 1, 1]]), labels, 3)
    gains = class_gains(first, second)
    np.testing.assert_allclose(gains[:2], [0.75, -0.25])
    assert np.isnan(gains[2])
    with pytest.raises(ValueError, match="no prediction"):
        metrics_of(np.full((1, 4), UNANSWERED), labels, 3)
