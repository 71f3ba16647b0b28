"""Predictions for clips of every kind, and the files that a recognizer accepts."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pose_extraction.engines.engine import Engine
from pose_extraction.errors import AnnotationError, UsageError
from recognition.inference.prediction import predict_clips
from recognition.inference.skeleton_clips import clips_for
from recognition.recognizer import build_recognizer
from recognition.runs import Trained
from recognition.settings import DataSettings, ModelSettings, RunSettings
from test_support.clips.made_clips import annotation, write_clips
from test_support.clips.made_data_sets import write_kinetics400

# With this threshold, a clip whose joints all score below 0.3 shows no person.
SETTINGS = RunSettings(
    data=DataSettings(num_frames="own", max_frames=24, score_threshold=0.3),
    model=ModelSettings(dim=16, depth=1, heads=2, dim_representation=12, hidden=20, max_frames=24),
)


@pytest.fixture
def trained() -> Trained:
    torch.manual_seed(0)
    assert isinstance(SETTINGS.model, ModelSettings)
    recognizer = build_recognizer(SETTINGS.model, num_joints=17, channels=3, num_classes=8).eval()
    return Trained(
        recognizer, SETTINGS, tuple("abcdefgh"), "coco17", 3, "vitpose", {}, 1, Path("runs/made/best.safetensors")
    )


def written(folder: Path, faint: int | None = None, **extra: object) -> Path:
    rng = np.random.default_rng(0)
    clips = [annotation(f"clip{n}", rng, label=-1, frames=5 + 4 * n, **extra) for n in range(5)]
    if faint is not None:
        clips[faint]["keypoint_score"] *= np.float16(0.1)
    return write_clips(folder / "made.pkl", clips)


def test_predictions_are_in_the_order_of_the_indices(trained: Trained, tmp_path: Path) -> None:
    clips = clips_for(trained, written(tmp_path))
    together = predict_clips(trained, clips, [4, 0, 2], engine=Engine("cpu", precision="fp32"))
    assert [prediction.name for prediction in together] == ["clip4", "clip0", "clip2"]
    for prediction, index in zip(together, (4, 0, 2), strict=True):
        (alone,) = predict_clips(trained, clips, [index], engine=Engine("cpu", "torch", "fp32"))
        assert [name for name, _ in prediction.best] == [name for name, _ in alone.best]
        assert len(prediction.best) == 5 and prediction.reason is None
        np.testing.assert_allclose([p for _, p in prediction.best], [p for _, p in alone.best], atol=1e-4)


def test_clips_without_persons_have_a_reason(trained: Trained, tmp_path: Path) -> None:
    clips = clips_for(trained, written(tmp_path, faint=1))
    found = predict_clips(trained, clips, range(5), engine=Engine("cpu", "torch"))
    assert [prediction.name for prediction in found] == [f"clip{n}" for n in range(5)]
    assert [prediction.reason for prediction in found] == [None, "no person is visible in any frame", None, None, None]
    assert [len(prediction.best) for prediction in found] == [5, 0, 5, 5, 5]
    (only,) = predict_clips(trained, clips, [1], engine=Engine("cpu"))
    assert only.best == () and only.reason is not None


def test_other_joints_are_refused(trained: Trained, tmp_path: Path) -> None:
    for joints, dimensions, name in ((13, 2, "penn13"), (17, 3, "h36m17"), (25, 3, "ntu25")):
        path = written(tmp_path, joints=joints, dimensions=dimensions)
        with pytest.raises(UsageError, match=f"has {name} joints, but .*best.safetensors was trained on coco17"):
            clips_for(trained, path)


@pytest.mark.parametrize(("layout", "joints"), [("ntu25", 25), ("h36m17", 17)])
@pytest.mark.parametrize("own", [2, 3])
def test_the_same_joints_in_other_dimensions_are_refused(
    trained: Trained, tmp_path: Path, layout: str, joints: int, own: int
) -> None:
    data = SETTINGS.data.model_copy(update={"layout": layout, "model_layout": layout})
    settings = SETTINGS.model_copy(update={"data": data})
    run = dataclasses.replace(trained, layout=layout, dimensions=own, settings=settings)
    with pytest.raises(
        UsageError, match=f"has joints in {5 - own}D, but .*best.safetensors was trained on joints in {own}D"
    ):
        clips_for(run, written(tmp_path, joints=joints, dimensions=5 - own))
    assert len(clips_for(run, written(tmp_path, joints=joints, dimensions=own))) == 5


def test_keypoint_files_can_be_moved_after_training(trained: Trained, tmp_path: Path) -> None:
    path, folder = write_kinetics400(tmp_path, 8, classes=4, files=2)
    with pytest.raises(AnnotationError, match="--keypoint-files of evaluate and predict"):
        clips_for(trained, path)
    clips = clips_for(trained, path, keypoint_files=folder)
    assert len(clips) == 8 and np.isfinite(clips[0].keypoint).any()


def test_warning_only_if_estimators_are_known_and_differ(
    trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips_for(trained, written(tmp_path))
    clips_for(trained, written(tmp_path, estimator="vitpose"))
    assert not caplog.records
    clips_for(trained, written(tmp_path, estimator="openpifpaf"))
    assert "skeletons of openpifpaf, but" in caplog.text
