"""Reading skeleton files: valid files, messages for malformed ones, and training and held-out parts."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.formats.pickle_writing import write_pickle
from recognition.data.clips import ClipSet, open_clips
from recognition.data.skeleton_file import newest_skeleton_file
from recognition.data.splits import hold_out, split_indices, training_indices
from recognition.settings import DataSettings
from test_support.clips.made_clips import annotation, write_clips

AUTO = DataSettings()


def some(count: int = 6, **extra: Any) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [annotation(f"clip{n}", rng, label=n % 3, **extra) for n in range(count)]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_clips_are_float32_with_unseen_joints_as_nan(tmp_path: Path, dtype: type) -> None:
    clips = some(unseen=0.3, persons=2, dtype=dtype)
    opened = open_clips(write_clips(tmp_path / "a.pkl", clips, label_names=["a", "b", "c"]), AUTO)
    clip = opened[4]
    assert (clip.name, clip.label, clip.size) == ("clip4", 1, (480, 640)) and not clip.tracked
    assert clip.keypoint.dtype == clip.score.dtype == np.float32
    seen = clips[4]["keypoint_score"] > 0
    assert np.isnan(clip.keypoint[~seen]).all() and not clip.score[~seen].any()
    np.testing.assert_array_equal(clip.keypoint[seen], clips[4]["keypoint"][seen].astype(np.float32))
    assert (
        opened.layout.name == "coco17" and opened.label_names == ["a", "b", "c"] and opened.lengths.tolist() == [20] * 6
    )
    # Marking unseen joints does not modify the arrays of the file.
    np.testing.assert_array_equal(opened[4].keypoint[seen], clip.keypoint[seen])


def test_joints_at_or_below_the_threshold_are_not_seen(tmp_path: Path) -> None:
    path = write_clips(tmp_path / "a.pkl", some())
    clip = open_clips(path, DataSettings(score_threshold=0.6))[0]
    assert clip.score[clip.score > 0].min() > 0.6 and (clip.score == 0).any()
    assert np.isnan(clip.keypoint[clip.score == 0]).all()


@pytest.mark.parametrize(
    ("joints", "dimensions", "layout"),
    [
        (17, 2, "coco17"),
        (13, 2, "penn13"),
        (20, 3, "kinect20"),
        (25, 2, "openpose25"),
        (25, 3, "ntu25"),
        (9, 2, "joints9"),
    ],
)
def test_layout_is_derived_from_the_number_of_joints(tmp_path: Path, joints: int, dimensions: int, layout: str) -> None:
    clips = some(joints=joints, dimensions=dimensions, persons=2)
    clips[0]["keypoint"][1, 5:] = 0
    opened = open_clips(write_clips(tmp_path / "a.pkl", clips), AUTO)
    assert opened.layout.name == layout and opened.layout.num_joints == joints
    clip = opened[0]
    if dimensions == 3:
        # Without scores in the file, a joint at the origin was not seen.
        assert clip.size is None and not clip.score[1, 5:].any() and (clip.score[0] == 1).all()


def test_extracted_files_contain_groups_estimator_and_tracks(tmp_path: Path) -> None:
    clips = some(group="anna", estimator="rtmpose", track_id=np.array([3]))
    opened = open_clips(write_clips(tmp_path / "a.pkl", clips), AUTO)
    assert opened.groups == ["anna"] * 6 and opened.estimator == "rtmpose" and opened[0].tracked


def test_groups_may_be_numbers(tmp_path: Path) -> None:
    assert open_clips(write_clips(tmp_path / "a.pkl", some(group=7)), AUTO).groups == [7] * 6


def test_ntu_files_without_names_use_action_codes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clips = [annotation(f"S001C001P001R001A{n + 1:03d}", rng, label=n) for n in (0, 7)]
    names = open_clips(write_clips(tmp_path / "a.pkl", clips), AUTO).label_names
    assert len(names) == 60 and names[7] == "A008"
    assert open_clips(write_clips(tmp_path / "b.pkl", some()), AUTO).label_names == ["0", "1", "2"]


def spoil(clips: list[dict[str, Any]], key: str, value: Any) -> None:
    clips[2][key] = value(clips[2][key]) if callable(value) else value


def with_infinity(keypoint: np.ndarray) -> np.ndarray:
    keypoint = keypoint.copy()
    keypoint[0, 3, 2, 1] = np.inf
    return keypoint


BAD: dict[str, tuple[Callable[[list[dict[str, Any]]], Any], str]] = {
    "missing key": (lambda clips: clips[2].pop("keypoint"), "'keypoint'"),
    "missing size": (lambda clips: clips[2].pop("img_shape"), "'img_shape'"),
    "wrong shape": (lambda clips: spoil(clips, "keypoint", lambda k: k[0, 0]), "shape"),
    "scores of another shape": (lambda clips: spoil(clips, "keypoint_score", lambda s: s[:, :-1]), "keypoint_score"),
    "frames that do not agree": (lambda clips: spoil(clips, "total_frames", 19), "frames"),
    "label out of range": (lambda clips: spoil(clips, "label", 3), "label 3"),
    "negative label": (lambda clips: spoil(clips, "label", -2), "label -2"),
    "overflowed numbers": (lambda clips: spoil(clips, "keypoint", with_infinity), "float16 overflows above 65504"),
    "zero frames": (
        lambda clips: clips[2].update(
            total_frames=0,
            keypoint=np.zeros((1, 0, 17, 2), np.float16),
            keypoint_score=np.zeros((1, 0, 17), np.float16),
        ),
        "no frames",
    ),
    "no person": (
        lambda clips: clips[2].update(
            keypoint=np.zeros((0, 20, 17, 2), np.float16), keypoint_score=np.zeros((0, 20, 17), np.float16)
        ),
        "no person",
    ),
    "a person who is never seen": (lambda clips: spoil(clips, "keypoint_score", lambda s: s * 0), "no person"),
    "scores below zero only": (lambda clips: spoil(clips, "keypoint_score", lambda s: -s), "no person"),
    "scores of text": (lambda clips: spoil(clips, "keypoint_score", lambda s: s.astype("U8")), "keypoint_score"),
    "a truth in place of a label": (lambda clips: spoil(clips, "label", True), "label is True"),
    "a list in place of a group": (lambda clips: spoil(clips, "group", ["anna"]), "group ['anna']"),
    "mixed joint counts": (
        lambda clips: clips[2].update(
            keypoint=np.ones((1, 20, 13, 2), np.float16), keypoint_score=np.ones((1, 20, 13))
        ),
        "13 joints",
    ),
    "the same id twice": (lambda clips: spoil(clips, "frame_dir", "clip1"), "twice"),
}


@pytest.mark.parametrize("what", BAD)
def test_malformed_clips_are_refused_or_left_out(tmp_path: Path, what: str) -> None:
    clips = some()
    BAD[what][0](clips)
    split = {"train": [f"clip{n}" for n in (0, 1, 3)] + [clips[2]["frame_dir"]], "test": ["clip4", "clip5"]}
    path = write_clips(tmp_path / "a.pkl", clips, split, label_names=["a", "b", "c"])
    with pytest.raises(AnnotationError) as caught:
        open_clips(path, AUTO)
    message = str(caught.value)
    assert str(path) in message and repr(clips[2]["frame_dir"]) in message and BAD[what][1] in message
    assert "\n" not in message and ";" in message

    opened = open_clips(path, DataSettings(skip_bad=True))
    assert opened.names == ["clip0", "clip1", "clip3", "clip4", "clip5"] and message.startswith(opened.skipped[0][:-1])
    assert message.endswith("leave the clip out (--skip-bad)") and "skip" not in opened.skipped[0]
    assert len(opened.skipped) == 1
    assert opened.splits["train"].tolist() == [0, 1, 2] and opened.splits["test"].tolist() == [3, 4]


def test_malformed_files_are_refused(tmp_path: Path) -> None:
    for data, words in (
        ([], "list"),
        ({"annotations": []}, "no usable clips"),
        ({"split": {}, "annotations": []}, "no usable clips"),
    ):
        path = tmp_path / "a.pkl"
        write_pickle(path, data)
        with pytest.raises(AnnotationError, match=words) as caught:
            open_clips(path, AUTO)
        assert str(path) in str(caught.value)
    with pytest.raises(AnnotationError, match="penn13 has 13"):
        open_clips(write_clips(path, some()), DataSettings(layout="penn13"))
    with pytest.raises(UsageError, match="coco17"):
        open_clips(path, DataSettings(layout="coco-17"))


def test_split_with_a_missing_clip_is_refused(tmp_path: Path) -> None:
    path = write_clips(tmp_path / "a.pkl", some(), {"train": ["clip0", "gone", "lost"]})
    with pytest.raises(AnnotationError, match="'gone'"):
        open_clips(path, AUTO)
    opened = open_clips(path, DataSettings(skip_bad=True))
    assert opened.splits["train"].tolist() == [0] and len(opened.skipped) == 1 and "2 such" in opened.skipped[0]


@pytest.mark.parametrize("entry", [["clip0"], {}, 3.5])
def test_split_that_does_not_list_ids_is_refused(tmp_path: Path, entry: object) -> None:
    path = write_clips(tmp_path / "a.pkl", some(), {"train": ["clip0", entry]})
    with pytest.raises(AnnotationError, match=r"a\.pkl: split 'train' must be a list of clip ids, got"):
        open_clips(path, DataSettings(skip_bad=True))


def test_duplicate_class_names_are_refused(tmp_path: Path) -> None:
    path = write_clips(tmp_path / "a.pkl", some(), label_names=["run", "jump", "run"])
    with pytest.raises(AnnotationError, match=r"a\.pkl: .label_names. contains 'run' twice; give each"):
        open_clips(path, AUTO)


def test_training_split_is_chosen_or_must_be_specified(tmp_path: Path) -> None:
    clips = some()
    clips[1]["label"] = -1
    names = [clip["frame_dir"] for clip in clips]
    for split, setting, wanted in (
        ({"xsub_train": names[:3], "xsub_val": names[3:]}, "auto", [0, 2]),
        ({"a": names[:3], "b": names[3:]}, "b", [3, 4, 5]),
        ({}, "auto", [0, 2, 3, 4, 5]),
        # Clips without splits, as written by `skelpipe extract`.
        ({"all": names}, "auto", [0, 2, 3, 4, 5]),
    ):
        opened = open_clips(write_clips(tmp_path / "a.pkl", clips, split), AUTO)
        assert training_indices(opened, DataSettings(train_split=setting)).tolist() == wanted
    opened = open_clips(write_clips(tmp_path / "b.pkl", clips, {"xsub_train": names, "xview_train": names}), AUTO)
    with pytest.raises(UsageError, match="'xsub_train', 'xview_train'"):
        training_indices(opened, AUTO)
    with pytest.raises(UsageError, match=r"no split 'xsub'.*'xsub_train'"):
        split_indices(opened, "xsub")
    # A single split with any other name must be specified.
    with pytest.raises(UsageError, match="cannot tell which of the splits 'test' is for training"):
        training_indices(open_clips(write_clips(tmp_path / "t.pkl", clips, {"test": names}), AUTO), AUTO)
    unlabelled = open_clips(write_clips(tmp_path / "c.pkl", [clips[1]]), AUTO)
    with pytest.raises(UsageError, match="label"):
        training_indices(unlabelled, AUTO)


def grouped(tmp_path: Path, people: int = 20) -> ClipSet:
    rng = np.random.default_rng(0)
    clips = [
        annotation(f"m_s{person:02d}_{label}_{take}", rng, label=label, frames=2)
        for person in range(people)
        for label in range(3)
        for take in range(1 + (person + label) % 3)
    ]
    return open_clips(write_clips(tmp_path / "g.pkl", clips), DataSettings(group_pattern=r"_s(\d+)_"))


def test_groups_are_not_divided(tmp_path: Path) -> None:
    clips = grouped(tmp_path)
    everything = np.arange(len(clips))
    seen = set()
    for seed in range(5):
        train, held = hold_out(clips, everything, DataSettings(holdout=0.2), seed)
        assert sorted([*train, *held]) == everything.tolist()
        people = {clips.groups[index] for index in held}
        assert not people & {clips.groups[index] for index in train}
        shares = np.bincount(clips.labels[held]) / np.bincount(clips.labels)
        assert (abs(shares - 0.2) < 0.08).all()
        again = hold_out(clips, everything, DataSettings(holdout=0.2), seed)
        np.testing.assert_array_equal(again[1], held)
        seen.add(frozenset(people))
    assert len(seen) > 1


def test_without_groups_classes_are_held_out_in_proportion(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = [0] * 50 + [1] * 20 + [2] * 1
    clips = [annotation(f"c{n}", rng, label=label, frames=2) for n, label in enumerate(labels)]
    opened = open_clips(write_clips(tmp_path / "a.pkl", clips), AUTO)
    train, held = hold_out(opened, np.arange(71), DataSettings(holdout=0.1), 0)
    assert np.bincount(opened.labels[held], minlength=3).tolist() == [5, 2, 0] and len(train) == 64
    assert not len(hold_out(opened, np.arange(71), DataSettings(holdout=0), 0)[1])
    # If every class would lose all its clips, none is held out.
    train, held = hold_out(opened, np.array([0, 50, 70]), DataSettings(holdout=0.1), 0)
    assert train.tolist() == [0, 50, 70] and not len(held)


def test_a_split_can_be_held_out(tmp_path: Path) -> None:
    names = [clip["frame_dir"] for clip in some()]
    path = write_clips(tmp_path / "a.pkl", some(), {"train": names[:5], "val": names[4:]})
    opened = open_clips(path, AUTO)
    train, held = hold_out(opened, opened.splits["train"], DataSettings(holdout_split="val"), 0)
    assert train.tolist() == [0, 1, 2, 3] and held.tolist() == [4, 5]
    with pytest.raises(UsageError, match="0 clips"):
        hold_out(opened, opened.splits["train"], DataSettings(holdout_split="train"), 0)


@pytest.mark.parametrize(("pattern", "words"), [("_s(", "regular"), ("_s", "no group"), ("x(y)", "none of the ids")])
def test_group_patterns_without_matches_are_refused(tmp_path: Path, pattern: str, words: str) -> None:
    path = write_clips(tmp_path / "a.pkl", some())
    with pytest.raises(UsageError, match=words):
        open_clips(path, DataSettings(group_pattern=pattern))


def test_digest_depends_on_the_clips_and_not_on_the_file(tmp_path: Path) -> None:
    clips = some()
    first = open_clips(write_clips(tmp_path / "a.pkl", clips), AUTO).content_digest()
    assert open_clips(write_clips(tmp_path / "b.pkl", clips), AUTO).content_digest() == first
    changes = [
        lambda clip: clip["keypoint"].__setitem__((0, 0, 0, 0), 3),
        lambda clip: clip.update(img_shape=(7, 9)),
        lambda clip: clip.update(group="another"),
        lambda clip: clip.update(track_id=np.arange(len(clip["keypoint"]))),
    ]
    for change in changes:
        changed = some()
        change(changed[3])
        assert open_clips(write_clips(tmp_path / "b.pkl", changed), AUTO).content_digest() != first


def test_the_newest_file_is_found(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="skelpipe extract"):
        newest_skeleton_file(tmp_path)
    for age, name in enumerate(("b", "a", "c")):
        write_clips(tmp_path / f"{name}.pkl", some(1))
        os.utime(tmp_path / f"{name}.pkl", ns=(0, 10 - age))
    assert newest_skeleton_file(tmp_path).name == "b.pkl"


def test_real_files(shared_data: Path) -> None:
    clips = open_clips(shared_data / "skeletons" / "motions5.pkl", DataSettings(group_pattern=r"_s(\d+)_"))
    train = training_indices(clips, AUTO)
    assert (len(clips), len(train), clips.layout.name) == (1472, 1167, "coco17")
    assert len({clips.groups[index] for index in train}) == 27
    assert not {clips.groups[index] for index in train} & {clips.groups[index] for index in clips.splits["test"]}
    _, held = hold_out(clips, train, AUTO, 0)
    assert 0.05 < len(held) / len(train) < 0.15
    # The one clip of Penn Action without persons.
    penn = shared_data / "skeletons" / "penn_action.pkl"
    with pytest.raises(AnnotationError, match=r"penn_1516.*no person.*--skip-bad"):
        open_clips(penn, AUTO)
    assert len(open_clips(penn, DataSettings(skip_bad=True))) == 2325
