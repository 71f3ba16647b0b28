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
from test_support.exportable_runs import CUSTOM, DSTFORMER, SMALL, made_clips, made_trained

ENGINE = Engine("cpu", "torch", "fp32")
BASE = {"dim": 16, "depth": 1, "heads": 2, "hidden": 16, "dim_representation": 16}
KINECT = {"layout": "ntu25", "dimensions": 3}
SEGMENTS = {"backbone": "segments", "dim": 16, "depth": 1, "heads": 2, "hidden": 16, "max_frames": 48}
# Settings of data and model, and the format of the clips.
RUNS: dict[str, tuple[dict, dict, dict]] = {
    "custom": (CUSTOM, {**DSTFORMER, "motion": True}, {}),
    "custom, one person": ({**CUSTOM, "max_persons": 1}, DSTFORMER, {}),
    "custom, five persons": ({**CUSTOM, "max_persons": 5, "score_threshold": 0.4}, DSTFORMER, {}),
    "everyday": (CUSTOM, {**SEGMENTS, "relative": True}, {}),
    "small": (SMALL, {**DSTFORMER, "max_frames": 32, "motion": True}, {}),
    "own lengths": ({"num_frames": "own", "max_frames": 48}, DSTFORMER, {}),
    "linear, part": ({"num_frames": 20, "resample": "linear", "part_test": 0.6, "part_min_frames": 3}, DSTFORMER, {}),
    "own, linear": ({"num_frames": "own", "max_frames": 30, "resample": "linear"}, DSTFORMER, {}),
    "rate, part": ({**CUSTOM, "part_test": 0.7, "descriptors": False, "max_frames": 20}, DSTFORMER, {}),
    "frame": ({"num_frames": 16, "placement": "frame"}, DSTFORMER, {}),
    "h36m17": ({"num_frames": 16, "model_layout": "h36m17"}, DSTFORMER, {"layout": "h36m17"}),
    **{
        f"3D, {placement}": ({"num_frames": 16, "placement": placement}, DSTFORMER, KINECT)
        for placement in ("box", "raw", "first_frame", "aligned", "upright")
    },
}


def expected_of(trained: Trained, clips: list) -> tuple[np.ndarray, np.ndarray]:
    found = Predictor(trained, ENGINE).classify(clips)
    return found.probabilities, found.unknown


def computed_by(trained: Trained, clips: list) -> tuple[np.ndarray, np.ndarray]:
    with torch.inference_mode():
        found = ClipsToActions(trained).eval()(*map(torch.from_numpy, arrays_of(clips)))
    return found[0].numpy(), found[1].numpy()


@pytest.mark.parametrize("name", RUNS)
def test_probabilities_and_unknown_scores_are_those_of_the_run(name: str) -> None:
    data, model, form = RUNS[name]
    trained = made_trained(data, model, **form)
    # The clips of a network in H36M-17 have COCO-17's joints.
    clips = made_clips(24, **({} if name == "h36m17" else form))
    probabilities, unknown = expected_of(trained, clips)
    together, scores = computed_by(trained, clips)
    np.testing.assert_allclose(together, probabilities, atol=2e-5)
    np.testing.assert_allclose(scores, unknown, rtol=1e-4, atol=1e-4)
    alone = np.concatenate([computed_by(trained, [clip])[0] for clip in clips[:8]])
    np.testing.assert_allclose(alone, probabilities[:8], atol=2e-5)
    # The clips differ enough for errors to show.
    assert np.ptp(probabilities, axis=0).max() > 0.05


@pytest.mark.parametrize("kind", ["max_probability", "entropy", "max_logit", "energy", "distance"])
def test_every_unknown_score_is_that_of_the_run(kind: str) -> None:
    trained = made_trained(SMALL, {**DSTFORMER, "max_frames": 32}, kind=kind)
    clips = made_clips(6)
    np.testing.assert_allclose(computed_by(trained, clips)[1], expected_of(trained, clips)[1], rtol=1e-4, atol=1e-5)


def test_descriptors_are_those_of_numpy() -> None:
    clips = made_clips(40)
    keypoint, score, frames, _, time, _ = (torch.from_numpy(array) for array in arrays_of(clips))
    found = describe_clips(torch.nan_to_num(keypoint), score, time, frames.long()).numpy()
    for clip, row in zip(clips, found, strict=True):
        np.testing.assert_allclose(row, describe_clip(clip.keypoint, clip.seconds), rtol=1e-5, atol=1e-5)
