"""Predictions for clips in memory, and attention mapped back to the joints, frames and persons of a clip."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from pose_extraction.skeleton import COCO17
from recognition.data.batches import as_batch
from recognition.data.clip import Clip, ClipFormat, clip_from_arrays
from recognition.data.clip_transforms import ClipTransforms
from recognition.data.clips import open_clips
from recognition.data.dataset import SkeletonDataset
from recognition.data.transforms.joints import H36M_PARENTS
from recognition.inference.clip_predictor import frames_seen
from recognition.inference.explanation import Explanation, explain, to_coco
from recognition.inference.predictor import Predictor, input_format
from recognition.inference.scores import scores_of
from recognition.recognizer import Recognizer, build_recognizer
from recognition.runs import Trained
from recognition.settings import DataSettings, ModelSettings, RunSettings
from test_support.clips.made_clips import annotation, write_clips

ENGINE = Engine("cpu", "torch", "fp32")

pytestmark = pytest.mark.processor


def recognizer(joints: int = 17) -> Recognizer:
    torch.manual_seed(0)
    settings = ModelSettings(dim=16, depth=1, heads=2, dim_representation=16, hidden=16, max_frames=32)
    # Far from uniform, as after training.
    made = build_recognizer(settings, num_joints=joints, channels=3, num_classes=3).eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "qkv" in name:
                weight.mul_(40)
    return made


def clip(persons: int, frames: int, seed: int = 0) -> Clip:
    rng = np.random.default_rng(seed)
    keypoint = rng.uniform(50, 400, (persons, frames, 17, 2)).astype(np.float32)
    return clip_from_arrays(keypoint, size=(480, 640), name=f"clip{seed}")


def explained(network: Recognizer, one: Clip, **settings: object) -> Explanation:
    transforms = ClipTransforms(ClipFormat(Path("clips"), COCO17), DataSettings(**settings))  # type: ignore[arg-type]
    return explain(network, one, transforms(one), transforms)


def trained_on(settings: DataSettings, **changes: Any) -> Trained:
    found = Trained(
        recognizer=recognizer(),
        settings=RunSettings(data=settings),
        label_names=("a", "b", "c"),
        layout="coco17",
        channels=3,
        estimator=None,
        held_out={},
        epoch=1,
        path=Path("run"),
    )
    return replace(found, **changes)


def test_attention_covers_every_frame_with_mean_one() -> None:
    network, one = recognizer(), clip(2, 12)
    settings = DataSettings(num_frames="own", max_frames=32)
    found = explained(network, one, num_frames="own", max_frames=32)
    keypoint = ClipTransforms(ClipFormat(Path("clips"), COCO17), settings)(one)
    with torch.inference_mode():
        raw = network.encode(as_batch([keypoint]), return_attention=True).attention
    assert raw is not None and found.persons.tolist() == [0, 1]
    expected = raw.numpy() / raw.numpy().mean(axis=-1, keepdims=True)
    np.testing.assert_allclose(found.attention, expected, rtol=1e-5)
    # The test would be meaningless if all joints had equal attention.
    assert np.ptp(found.attention) > 0.2


def test_skipped_frames_have_the_attention_of_the_nearest_frame() -> None:
    found = explained(recognizer(), clip(1, 40), num_frames=10, max_frames=32).attention[0]
    assert found.shape == (40, 17)
    # Frames 0, 4, 8 ... are seen; 1 and 2 are closest to 0, 3 to 4.
    for frame, seen in ((1, 0), (2, 0), (3, 4), (5, 4), (39, 36)):
        np.testing.assert_array_equal(found[frame], found[seen])
    assert not np.array_equal(found[0], found[4])


def test_unseen_persons_and_frames_have_no_attention() -> None:
    one = clip(3, 12)
    one.score[0], one.score[1, 3:6] = 0, 0
    found = explained(recognizer(), one.above(0), num_frames="own", max_frames=32)
    assert found.persons.tolist() == [1, 2]
    assert np.isnan(found.attention[0, 3:6]).all() and np.isfinite(found.attention[0, :3]).all()
    assert np.isfinite(found.attention[1]).all()


def test_human36m_attention_is_distributed_over_coco_joints() -> None:
    attention = np.random.default_rng(0).uniform(size=(5, 17))
    expected = np.zeros((5, 17))
    for joint, parents in enumerate(H36M_PARENTS):
        for parent in parents:
            expected[:, parent] += attention[:, joint] / len(parents)
    np.testing.assert_allclose(to_coco(attention), expected)
    np.testing.assert_allclose(to_coco(attention).sum(axis=-1), attention.sum(axis=-1))
    found = explained(recognizer(), clip(1, 8), num_frames="own", model_layout="h36m17")
    assert found.attention.shape == (1, 8, COCO17.num_joints)


def test_frames_seen_counts_frames_with_a_person() -> None:
    score = np.zeros((2, 6, 17))
    score[0, 1, 3], score[1, 1, 0], score[1, 4, 2] = 0.5, 0.9, 0.2
    assert frames_seen(score, 0.0) == 2 and frames_seen(score, 0.3) == 1


@pytest.mark.parametrize("own", [True, False])
def test_predictions_do_not_depend_on_other_persons_in_the_batch(own: bool) -> None:
    settings = DataSettings(num_frames="own" if own else 16, max_frames=32)
    predictor = Predictor(trained_on(settings), Engine("cpu", "torch", "fp32", batch_size=3))
    clips = [clip(1 + n % 2, 8 + n, seed=n) for n in range(5)]
    together = predictor.classify(clips).probabilities
    alone = np.concatenate([predictor.classify([one]).probabilities for one in clips])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.ptp(together, axis=0).max() > 1e-4
    best = predictor.best(together[0], 2)
    assert len(best) == 2 and best[0][1] == together[0].max() >= best[1][1]


@pytest.mark.parametrize("legacy", [False, True])
def test_arrays_are_classified_like_the_same_clip_of_a_file(legacy: bool, tmp_path: Path) -> None:
    stored = annotation("a", np.random.default_rng(0), persons=2, unseen=0.2, dtype=np.float32)
    path = write_clips(tmp_path / "a.pkl", [stored | {"track_id": np.arange(2)}])
    settings = DataSettings(num_frames=16, score_threshold=0 if legacy else 0.4, legacy=legacy)
    trained = trained_on(settings, layout="h36m17" if legacy else "coco17", dimensions=2)
    clips = open_clips(path, settings)
    expected = scores_of(trained, SkeletonDataset(clips, np.arange(1), settings, train=False), ENGINE)
    unseen = (stored["keypoint"] == 0).all(axis=-1)
    keypoint = np.where(unseen[..., None], np.nan, stored["keypoint"])
    labels, probabilities, unknown = Predictor(trained, ENGINE)(keypoint, stored["keypoint_score"], (480, 640))
    order = np.argsort(-expected.probabilities[0], kind="stable")
    np.testing.assert_allclose(probabilities, expected.probabilities[0][order], atol=1e-6)
    assert labels == tuple("abc"[number] for number in order) and probabilities.sum() == pytest.approx(1)
    assert unknown == pytest.approx(expected.unknown[0], abs=1e-5)


def test_one_person_may_be_given_without_an_axis_and_scores(tmp_path: Path) -> None:
    predictor = Predictor(trained_on(DataSettings(num_frames=16)), ENGINE)
    keypoint = clip(1, 10).keypoint
    _, alone, _ = predictor(keypoint[0], size=(480, 640))
    _, same, _ = predictor(keypoint, np.ones((1, 10, 17)), (480, 640))
    np.testing.assert_array_equal(alone, same)
    # Joints above the network's threshold decide, not the values of joints that were not seen.
    keypoint[0, :, 3] = np.nan
    _, without_joint, _ = predictor(keypoint, size=(480, 640))
    score = np.ones((1, 10, 17))
    score[0, :, 3] = 0
    _, by_score, _ = predictor(np.nan_to_num(keypoint, nan=7), score, (480, 640))
    np.testing.assert_array_equal(without_joint, by_score)


PIXELS = np.random.default_rng(0).uniform(5, 600, (1, 10, 17, 2))


@pytest.mark.parametrize(
    ("keypoint", "score", "size", "message"),
    [
        (np.ones((10, 17)), None, (480, 640), r"shape \(10, 17\); it must be \(persons, frames, joints, 2 or 3\)"),
        (np.ones((1, 10, 13, 2)), None, (480, 640), r"13 joints in 2D, but run requires 17 \(coco17\) in 2D"),
        (
            np.ones((1, 10, 17, 3)),
            None,
            None,
            r"17 joints in 3D, but run requires 17 .*; pass x and y only, and a third",
        ),
        (PIXELS, np.full((1, 10, 17), 87), (480, 640), "score is up to 87, but must be from 0 to 1; divide it by"),
        (PIXELS / 600, None, (480, 640), r"keypoint is up to 1\.00, but must be in pixels; multiply x by 640 and y by"),
        (np.ones((1, 10, 17, 2)), np.ones((1, 9, 17)), (480, 640), r"score has shape \(1, 9, 17\), but"),
        (np.ones((1, 10, 17, 2)), None, None, r"size is None; 2D joints require the \(height, width\)"),
        (np.full((1, 10, 17, 2), np.nan), None, (480, 640), "no joint of the clip has a score above 0"),
        (np.full((1, 10, 17, 2), np.inf), None, (480, 640), "infinite coordinates; use NaN"),
    ],
)
def test_arrays_that_do_not_fit_are_errors(
    keypoint: np.ndarray, score: np.ndarray | None, size: tuple[int, int] | None, message: str
) -> None:
    predictor = Predictor(trained_on(DataSettings(num_frames=16)), ENGINE)
    with pytest.raises(UsageError, match=message):
        predictor(keypoint, score, size)


@pytest.mark.parametrize(
    ("layout", "dimensions", "file_layout", "expected"),
    [
        ("coco17", 2, "auto", "coco17"),
        ("h36m17", 2, "auto", "coco17"),
        ("h36m17", 2, "h36m17", "h36m17"),
        ("h36m17", 3, "auto", "h36m17"),
        ("ntu25", 3, "auto", "ntu25"),
        ("joints19", 2, "auto", "joints19"),
        ("coco17", None, "auto", "coco17"),
    ],
)
def test_input_format_is_that_of_the_training_skeletons(
    layout: str, dimensions: int | None, file_layout: str, expected: str
) -> None:
    found = input_format(trained_on(DataSettings(layout=file_layout), layout=layout, dimensions=dimensions))
    assert (found.layout.name, found.dimensions) == (expected, dimensions or 2)
