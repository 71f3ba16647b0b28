"""Calibrated probabilities, unknown scores and thresholds, compared with plain float64 code."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from recognition.confidence.confidence import (
    FEWEST_FOR_THRESHOLD,
    KEPT,
    Confidence,
    confidence_from,
    fit_confidence,
)
from recognition.confidence.feature_distance import FEWEST_CLIPS, fit_feature_distance, left_out_distances
from recognition.confidence.unknown_scores import KINDS_OF_LOGITS, unknown_score
from recognition.exporting.confidence import CalibratedOutput

NO_FEATURES = np.zeros((0, 0))


def made_clips(clips: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, 4) of a recognizer that is right for most clips, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, clips)
    return rng.normal(0, 1, (clips, 4)) + 3 * np.eye(4)[labels], labels


def plain_scores(row: list[float]) -> dict[str, float]:
    total = sum(math.exp(value) for value in row)
    shares = [math.exp(value) / total for value in row]
    return {
        "max_probability": 1 - max(shares),
        "entropy": -sum(share * math.log(share) for share in shares),
        "max_logit": -max(row),
        "energy": -math.log(total),
    }


@pytest.mark.parametrize("kind", KINDS_OF_LOGITS)
def test_unknown_scores_equal_their_definitions(kind: str) -> None:
    logits, _ = made_clips(20)
    confidence = Confidence(temperature=2.5, kind=kind)
    expected = [plain_scores([value / 2.5 for value in row])[kind] for row in logits.tolist()]
    np.testing.assert_allclose(confidence.unknown(logits, NO_FEATURES), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS_OF_LOGITS)
def test_scores_of_extreme_logits_are_finite_and_in_order(kind: str) -> None:
    sure, unsure = unknown_score(kind, np.array([[2000.0, -2000.0], [1.0, 1.0]]))
    assert math.isfinite(sure) and sure < unsure


def test_probabilities_are_those_of_the_scaled_logits() -> None:
    logits, _ = made_clips(20)
    found = Confidence(temperature=2.5).probabilities(logits.astype(np.float32))
    scaled = np.exp(logits / 2.5)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, scaled / scaled.sum(axis=1, keepdims=True), rtol=1e-5)
    doubting = Confidence(temperature=2.5, doubt=0.1)
    np.testing.assert_allclose(doubting.probabilities(logits), 0.9 * found + 0.1 / logits.shape[1], rtol=1e-5)
    np.testing.assert_array_equal(
        doubting.unknown(logits, NO_FEATURES), Confidence(temperature=2.5).unknown(logits, NO_FEATURES)
    )
    # Logits whose exponentials overflow.
    large = Confidence().probabilities(np.array([[1000, 1000 + np.log(3)]]))
    np.testing.assert_allclose(large, [[0.25, 0.75]], atol=1e-4)


@pytest.mark.parametrize("clips", [19, 20, 60, 400])
def test_threshold_keeps_the_promised_share_of_further_clips(clips: int) -> None:
    kept = []
    for seed in range(200):
        logits, labels = made_clips(clips + 1, seed=seed)
        confidence = fit_confidence(logits[:-1], labels[:-1])
        assert confidence.threshold is not None and confidence.clips == clips
        further, _ = made_clips(100, seed=1000 + seed)
        kept.append(float((confidence.unknown(further, NO_FEATURES) <= confidence.threshold).mean()))
    promised = confidence.kept
    assert promised is not None and KEPT <= promised <= KEPT + 1 / (clips + 1)
    # Four standard errors of the mean of 200 draws.
    assert np.mean(kept) == pytest.approx(promised, abs=4 * np.std(kept) / math.sqrt(200))


@pytest.mark.parametrize("clips", [1, 20, 1000])
def test_clips_that_are_all_correct_call_for_no_more_certainty_than_their_number_allows(clips: int) -> None:
    found = fit_confidence(1000 * np.eye(3)[np.arange(clips) % 3], np.arange(clips) % 3)
    # Laplace's rule of succession, and the third of the doubt that the correct one of three actions gets.
    assert found.probabilities(np.array([[1e6, 0, 0]]))[0, 0] == pytest.approx(
        (clips + 1) / (clips + 2) + 1 / (3 * (clips + 2)), rel=1e-6
    )


def test_too_few_clips_give_a_temperature_but_no_threshold() -> None:
    assert FEWEST_FOR_THRESHOLD == 19
    found = fit_confidence(*made_clips(18))
    assert (found.threshold, found.kept, found.clips) == (None, None, 18)
    assert found.temperature != 1


def made_features(clips: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, 5) of three classes around different means, with directions that differ far more than others."""
    rng = np.random.default_rng(seed)
    labels = np.arange(clips) % 3
    stretch = np.array([10.0, 1.0, 1.0, 0.2, 0.0])
    return (3 * np.eye(5)[labels] + rng.normal(size=(clips, 5))) * stretch + 7, labels


def test_distance_equals_its_definition_with_explicit_inverses() -> None:
    features, labels = made_features(60)
    others, _ = made_features(20, seed=1)
    # The constant feature is left out; all principal components of the others are kept.
    centre, deviation = features[:, :4].mean(0), features[:, :4].std(0)
    known, asked = (features[:, :4] - centre) / deviation, (others[:, :4] - centre) / deviation
    means = [known[labels == label].mean(0) for label in range(3)]
    within = sum(np.outer(row - means[label], row - means[label]) for row, label in zip(known, labels, strict=True))
    shrunk = 0.9 * within / 60 + 0.1 * np.trace(within / 60) / 4 * np.eye(4)
    inverse = np.linalg.inv(shrunk)
    # The covariance of all clips is shrunk where that within the classes is the identity.
    white = np.linalg.cholesky(inverse)
    whole = white.T @ (known.T @ known / 60) @ white
    of_all = np.linalg.inv(0.9 * whole + 0.1 * np.trace(whole) / 4 * np.eye(4))
    expected = [
        min((row - mean) @ inverse @ (row - mean) for mean in means) - (row @ white) @ of_all @ (row @ white)
        for row in asked
    ]
    np.testing.assert_allclose(fit_feature_distance(features, labels)(others), expected, rtol=1e-8, atol=1e-8)


def test_distance_of_an_earlier_version_uses_the_features_that_it_knows() -> None:
    features, labels = made_features(60)
    distance = fit_feature_distance(features, labels)
    more = np.concatenate([features, np.full((60, 3), 1e6)], axis=1)
    np.testing.assert_array_equal(distance(more), distance(features))
    exported = CalibratedOutput(Confidence(1.0, "distance", None, None, 60, distance, (1.0, 1.0)))
    _, found = exported(torch.zeros(60, 3), torch.from_numpy(more))
    np.testing.assert_allclose(found, distance(features), rtol=1e-5)


def test_distance_separates_a_class_that_was_not_fitted() -> None:
    features, labels = made_features(90)
    distance = fit_feature_distance(features[labels > 0], labels[labels > 0])
    further, classes = made_features(90, seed=1)
    found = distance(further)
    assert np.median(found[classes == 0]) > np.quantile(found[classes > 0], 0.9)


def test_distances_of_training_clips_come_from_the_other_groups() -> None:
    features, labels = made_features(60)
    groups = np.arange(60) // 20
    found = left_out_distances(features, labels, groups)
    for group in range(3):
        others = groups != group
        expected = fit_feature_distance(features[others], labels[others])(features[~others])
        np.testing.assert_allclose(found[~others], expected)
    # A class that only one group has.
    found = left_out_distances(features, np.where(groups == 0, 9, labels), groups)
    assert np.isnan(found[:20]).all() and np.isfinite(found[20:]).all()


def test_unknown_features_count_as_the_mean_and_a_single_extreme_one_does_not_decide() -> None:
    features, labels = made_features(60)
    distance = fit_feature_distance(features, labels)
    partly = features.copy()
    partly[:, 1] = np.nan
    partly[:30] = features[:30]
    assert np.isfinite(fit_feature_distance(partly, labels)(partly)).all()
    absent, extreme, far = features[:1].copy(), features[:1].copy(), features[:1].copy()
    absent[0, 1], extreme[0, 1], far[0, 1] = np.nan, 1e9, distance.centre[1] + 5 / distance.scale[1]
    mean = features[:1].copy()
    mean[0, 1] = distance.centre[1]
    assert distance(absent) == pytest.approx(distance(mean))
    assert distance(extreme) == pytest.approx(distance(far))


@pytest.mark.parametrize("clips", [FEWEST_CLIPS, 3 * FEWEST_CLIPS])
def test_distance_works_with_more_features_than_clips(clips: int) -> None:
    features = np.random.default_rng(0).normal(size=(clips, 200))
    found = fit_feature_distance(features, np.arange(clips) % 2)(features)
    assert np.isfinite(found).all()
    with pytest.raises(ValueError, match=f"must describe {FEWEST_CLIPS} clips"):
        fit_feature_distance(features[: FEWEST_CLIPS - 1], np.zeros(FEWEST_CLIPS - 1, int))


def test_combined_score_counts_entropy_and_distance_by_their_spreads() -> None:
    features, labels = made_features(60)
    logits = 2 * np.eye(3)[labels] + np.random.default_rng(0).normal(size=(60, 3))
    distance = fit_feature_distance(features, labels)
    found = fit_confidence(logits, labels, distance=distance, distances=distance(features))
    entropy = unknown_score("entropy", logits / found.temperature)
    spreads = [np.quantile(one, 0.9) - np.quantile(one, 0.1) for one in (entropy, distance(features))]
    expected = entropy / spreads[0] + distance(features) / spreads[1]
    np.testing.assert_allclose(found.unknown(logits, features), expected, rtol=1e-9)
    assert found.threshold == pytest.approx(sorted(expected)[math.ceil(61 * KEPT) - 1])
    with pytest.raises(ValueError, match="distances must be 60 finite numbers"):
        fit_confidence(logits, labels, distance=distance)


def test_the_unknown_score_can_come_from_other_logits_than_the_probabilities() -> None:
    (joint, labels), (own, _) = made_clips(40), made_clips(40, seed=1)
    found = fit_confidence(joint, labels, of_descriptors=own)
    assert found.of_descriptors and found.temperature == fit_confidence(joint, labels).temperature
    rank = math.ceil(41 * KEPT - 1e-9)
    expected = sorted(plain_scores([value / found.temperature for value in row])["entropy"] for row in own.tolist())
    assert found.threshold == pytest.approx(expected[rank - 1], rel=1e-12)
    stored = confidence_from(found.plain())
    assert stored.of_descriptors
    # Files of earlier versions do not say so: theirs came from the joint logits.
    earlier = {name: value for name, value in found.plain().items() if name != "of_descriptors"}
    assert not confidence_from(earlier).of_descriptors
    with pytest.raises(ValueError, match=r"of_descriptors has shape \(39, 4\), but logits have \(40, 4\)"):
        fit_confidence(joint, labels, of_descriptors=own[:39])


def test_certain_held_out_clips_do_not_make_the_slightest_doubt_decide() -> None:
    features, labels = made_features(60)
    distance = fit_feature_distance(features, labels)
    found = fit_confidence(99 * np.eye(3)[labels], labels, distance=distance, distances=np.zeros(60))
    assert found.spreads == (pytest.approx(0.1 * math.log(3)), 1.0)


def test_rejection_by_probability_or_by_the_stored_threshold() -> None:
    stored = Confidence(threshold=0.4, kept=0.95, clips=20)
    for given in ("auto", None):
        by_score = stored.rejection(given)  # type: ignore[arg-type]
        assert by_score.applies_to(0.9, 0.41) and not by_score.applies_to(0.1, 0.4)
    by_probability = stored.rejection(0.5)
    assert by_probability.applies_to(0.49, 0.0) and not by_probability.applies_to(0.5, 9.0)
    without = Confidence(clips=7)
    assert not without.rejection(None).applies_to(0.0, 9.0)
    with pytest.raises(ValueError, match="no threshold was derived from 7 clips"):
        without.rejection("auto")


def test_stored_confidence_is_the_same_and_its_absence_changes_nothing(tmp_path: Path) -> None:
    features, labels = made_features(60)
    logits, _ = made_clips(60)
    distance = fit_feature_distance(features, labels)
    fitted = fit_confidence(logits, labels, distance=distance, distances=distance(features))
    torch.save(fitted.plain(), tmp_path / "stored.pt")
    # Of a run file, and of the description of weights in a safetensors file.
    for content in (torch.load(tmp_path / "stored.pt", weights_only=True), json.loads(json.dumps(fitted.plain()))):
        stored = confidence_from(content)
        for name in ("temperature", "kind", "threshold", "kept", "clips", "spreads", "doubt"):
            assert getattr(stored, name) == getattr(fitted, name)
        np.testing.assert_array_equal(stored.unknown(logits, features), fitted.unknown(logits, features))
    plain = confidence_from(None)
    assert plain == Confidence(temperature=1.0, kind="entropy") == confidence_from(Confidence().plain())


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0},
        {"temperature": math.nan},
        {"doubt": 1.5},
        {"kind": "magic"},
        {"kind": "combined"},
        {"distance": {"centre": 1}},
        {"more": 1},
    ],
)
def test_damaged_content_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises((AttributeError, TypeError, ValueError)):
        confidence_from(Confidence().plain() | wrong)
