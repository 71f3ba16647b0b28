"""Accuracies, confusions and intervals, compared with plain loops and scikit-learn."""

import math

import numpy as np
import pytest

from recognition.evaluation.metrics import (
    answered_of,
    measure,
    most_confused_pairs,
    top_k_accuracy,
    wilson_interval,
)


def made_scores(clips: int = 200, classes: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are correct for about half of the clips; the last class has no clip."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes - 1, clips)
    scores = rng.normal(size=(clips, classes)) + 1.5 * np.eye(classes)[labels]
    return scores, labels


def test_accuracies_and_confusions_equal_plain_counting() -> None:
    scores, labels = made_scores()
    from sklearn import metrics as reference

    result = measure(scores, labels)
    counts = [[0] * 7 for _ in range(7)]
    right5 = 0
    for row, label in zip(scores, labels, strict=True):
        counts[label][max(range(7), key=lambda k: row[k])] += 1
        right5 += label in sorted(range(7), key=lambda k: -row[k])[:5]
    assert result.confusion.tolist() == counts
    assert result.clips == sum(map(sum, counts)) == 200
    assert result.correct == sum(counts[k][k] for k in range(7))
    assert result.top5 == right5 / 200
    predicted = scores.argmax(1)
    assert result.top1 == reference.accuracy_score(labels, predicted)
    recall = reference.recall_score(labels, predicted, labels=range(6), average=None)
    assert result.mean_class == pytest.approx(recall.mean(), abs=1e-12)
    np.testing.assert_allclose(result.per_class[:6], recall)
    assert np.isnan(result.per_class[6])
    assert result.top5 == reference.top_k_accuracy_score(labels, scores, k=5, labels=range(7))


def test_class_mean_is_independent_of_class_sizes() -> None:
    scores = np.array([[1.0, 0.0]] * 9 + [[1.0, 0.0]])
    result = measure(scores, np.array([0] * 9 + [1]))
    assert (result.top1, result.mean_class) == (0.9, 0.5)


def test_only_clips_with_an_answer_count_among_the_answers() -> None:
    scores, labels = made_scores()
    unknown = np.arange(200) % 3 == 0
    found = answered_of(scores, labels, unknown)
    right = sum(
        int(np.argmax(row)) == label for row, label, out in zip(scores, labels, unknown, strict=True) if not out
    )
    assert (found.clips, found.answered, found.correct) == (200, 133, right)
    assert (found.share, found.accuracy) == (133 / 200, right / 133)
    assert answered_of(scores, labels, np.ones(200, bool)).accuracy is None


def test_with_fewer_than_five_classes_top5_is_one() -> None:
    assert measure(np.eye(3), np.array([2, 0, 1])).top5 == 1


def test_ties_count_once() -> None:
    """A network with constant output is correct as often as chance."""
    labels = np.repeat(np.arange(10), 3)
    assert top_k_accuracy(np.zeros((30, 10)), labels, 5) == 0.5
    assert measure(np.zeros((30, 10)), labels).top1 == 0.1


def test_pairs_are_summed_over_both_directions_and_over_all_failures() -> None:
    confusion = np.array([[5, 3, 0, 1], [4, 9, 2, 0], [0, 2, 7, 0], [0, 0, 0, 6]])
    pairs = most_confused_pairs(confusion, 5)
    assert [(pair.first, pair.second, pair.count) for pair in pairs] == [(0, 1, 7), (1, 2, 4), (0, 3, 1)]
    assert [pair.share for pair in pairs] == pytest.approx([7 / 12, 4 / 12, 1 / 12])
    assert most_confused_pairs(np.diag([3, 4]), 5) == ()


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.zeros((2, 3)), np.array([0, 3]), "exceed the range of 3 classes"),
        (np.zeros((2, 3)), np.array([0, -1]), "exceed the range of 3 classes"),
        (np.zeros((2, 3)), np.array([0]), "same clips"),
        (np.zeros((0, 3)), np.zeros(0, int), "same clips"),
        (np.array([[0.0, np.nan]]), np.array([0]), "1 clips have scores that are NaN"),
    ],
)
def test_invalid_results_are_refused(scores: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure(scores, labels)


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(correct: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(total - correct, total) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_wilson_interval_ends_where_the_score_test_rejects() -> None:
    for correct, total in [(3, 17), (160, 170), (20, 20)]:
        for end in wilson_interval(correct, total):
            if 0 < end < 1:
                z = abs(correct / total - end) / math.sqrt(end * (1 - end) / total)
                assert z == pytest.approx(1.959964, abs=1e-6)
