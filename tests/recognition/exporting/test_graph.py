"""An exported recognizer as tensor operations equals the run's own predictions, step by step and as a whole."""

import numpy as np
import pytest
import torch

from pose_extraction.engines.engine import Engine
from recognition.data.descriptors.movement import describe_clip
from recognition.exporting.descriptors import describe_clips
from recognition.exporting.graph import ClipsToActions
from recognition.inference.arrays import arrays_of
from recognition.inference.predictor import Predictor
from recognition.runs import Trained
from test_support.networks.exportable_runs import DSTFORMER, RUNS, SMALL, clips_for, made_clips, made_trained

ENGINE = Engine("cpu", "torch", "fp32")


def expected_of(trained: Trained, clips: list) -> tuple[np.ndarray, np.ndarray]:
    found = Predictor(trained, ENGINE).classify(clips)
    return found.probabilities, found.unknown


def computed_by(trained: Trained, clips: list) -> tuple[np.ndarray, np.ndarray]:
    with torch.inference_mode():
        found = ClipsToActions(trained).eval()(*map(torch.from_numpy, arrays_of(clips)))
    return found[0].numpy(), found[1].numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_probabilities_and_unknown_scores_are_those_of_the_run(name: str) -> None:
    data, model, form = RUNS[name]
    trained = made_trained(data, model, **form)
    clips = clips_for(name, 13)
    probabilities, unknown = expected_of(trained, clips)
    together, scores = computed_by(trained, clips)
    np.testing.assert_allclose(together, probabilities, atol=1e-4)
    np.testing.assert_allclose(scores, unknown, rtol=1e-4, atol=1e-4)
    alone = np.concatenate([computed_by(trained, [clip])[0] for clip in clips[:8]])
    np.testing.assert_allclose(alone, probabilities[:8], atol=1e-4)
    # The clips differ enough for errors to show.
    assert np.ptp(probabilities, axis=0).max() > 0.02


@pytest.mark.parametrize("kind", ["max_probability", "entropy", "max_logit", "energy", "distance"])
def test_every_unknown_score_is_that_of_the_run(kind: str) -> None:
    trained = made_trained(SMALL, {**DSTFORMER, "max_frames": 32}, kind=kind)
    clips = made_clips(6)
    np.testing.assert_allclose(computed_by(trained, clips)[1], expected_of(trained, clips)[1], rtol=1e-4, atol=1e-5)


def test_the_unknown_score_of_the_classifier_of_descriptors_is_that_of_the_run() -> None:
    data, model, _ = RUNS["everyday"]
    clips = made_clips(6)
    scores = []
    for of_descriptors in (False, True):
        trained = made_trained(data, model, of_descriptors=of_descriptors)
        (probabilities, unknown), (expected, score) = computed_by(trained, clips), expected_of(trained, clips)
        np.testing.assert_allclose(probabilities, expected, atol=1e-4)
        np.testing.assert_allclose(unknown, score, rtol=1e-4, atol=1e-4)
        scores.append(score)
    assert np.abs(scores[0] - scores[1]).max() > 0.02


def test_descriptors_are_those_of_numpy() -> None:
    clips = made_clips(40)
    keypoint, score, frames, _, time, _ = (torch.from_numpy(array) for array in arrays_of(clips))
    found = describe_clips(torch.nan_to_num(keypoint), score, time, frames.long()).numpy()
    for clip, row in zip(clips, found, strict=True):
        np.testing.assert_allclose(row, describe_clip(clip.keypoint, clip.seconds), rtol=1e-5, atol=1e-5)
