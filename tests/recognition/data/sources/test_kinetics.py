"""Kinetics-400's layout: consecutive skeletons in separate files, assigned to persons and frames."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pose_extraction.errors import AnnotationError
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle
from recognition.data.clips import open_clips
from recognition.data.dataset import SkeletonDataset
from recognition.data.sources.kinetics import KeypointFiles, stack_persons
from recognition.settings import DataSettings
from test_support.clips.made_data_sets import write_kinetics400


def plain_stack(skeletons: np.ndarray, frame_inds: np.ndarray, box_score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    by_frame: dict[int, list[np.ndarray]] = {}
    for skeleton, frame, box in zip(skeletons, frame_inds, box_score, strict=True):
        if box >= 0.5:
            by_frame.setdefault(int(frame), []).append(skeleton.astype(float))
    most = max(len(found) for found in by_frame.values())
    persons = min(10, most)
    keypoint, score = np.zeros((persons, len(by_frame), 17, 2)), np.zeros((persons, len(by_frame), 17))
    for t, frame in enumerate(sorted(by_frame)):
        found = by_frame[frame]
        if most > 10:
            found = sorted(found, key=lambda skeleton: -skeleton[:, 2].sum())[:10]
        for m, skeleton in enumerate(found):
            keypoint[m, t], score[m, t] = skeleton[:, :2], skeleton[:, 2]
    return keypoint, score


def settings(folder: Path, **more: Any) -> DataSettings:
    return DataSettings(keypoint_files=str(folder), num_frames=30, **more)


def test_clips_equal_the_loop_and_are_read_from_converted_files(tmp_path: Path) -> None:
    path, folder = write_kinetics400(tmp_path, 12, classes=4, files=3)
    annotations = read_pickle(path)["annotations"]
    for _ in range(2):
        clips = open_clips(path, settings(folder))
        for index, annotation in enumerate(annotations):
            stored = read_pickle(folder / Path(annotation["raw_file"]).name)[annotation["frame_dir"]]["keypoint"]
            keypoint, score = plain_stack(stored, annotation["frame_inds"], annotation["box_score"])
            clip = clips[index]
            np.testing.assert_array_equal(clip.score, score.astype(np.float32))
            np.testing.assert_array_equal(np.nan_to_num(clip.keypoint), keypoint.astype(np.float32))
            assert clips.lengths[index] == clip.score.shape[1]
    data = SkeletonDataset(clips, clips.splits["train"], settings(folder), train=True)
    assert data[0].keypoint.shape[1:] == (30, 17, 3) and clips.layout.name == "coco17"


def test_crowds_keep_the_ten_persons_with_the_best_joints() -> None:
    rng = np.random.default_rng(0)
    frames = np.sort(rng.integers(0, 4, 50))
    skeletons = rng.uniform(0, 1, (50, 17, 3)).astype(np.float32)
    wanted = plain_stack(skeletons, frames, np.ones(50))
    got = stack_persons(skeletons, frames)
    np.testing.assert_array_equal(got[0], wanted[0].astype(np.float32))
    np.testing.assert_array_equal(got[1], wanted[1].astype(np.float32))


def test_clips_can_have_their_own_files(tmp_path: Path) -> None:
    path, folder = write_kinetics400(tmp_path, 4, classes=4, files=1)
    wanted = open_clips(path, settings(folder))[2]
    single = tmp_path / "single"
    for name, content in read_pickle(folder / "part_0.pkl").items():
        write_pickle(single / f"{name}.pkl", {name: content})
    got = open_clips(path, settings(single))[2]
    np.testing.assert_array_equal(got.keypoint, wanted.keypoint)


def test_changed_keypoint_files_are_converted_again(tmp_path: Path) -> None:
    path, folder = write_kinetics400(tmp_path, 4, classes=4, files=1)
    before = open_clips(path, settings(folder))[0].keypoint
    content = read_pickle(folder / "part_0.pkl")
    for clip in content.values():
        clip["keypoint"][..., :2] += 64
    write_pickle(folder / "part_0.pkl", content)
    after = open_clips(path, settings(folder))[0].keypoint
    assert np.nanmin(after - before) > 60


@pytest.mark.parametrize(("field", "value"), [("label", True), ("group", ["a"]), ("box_score", None)])
def test_fields_of_the_wrong_type_are_refused(tmp_path: Path, field: str, value: Any) -> None:
    path, folder = write_kinetics400(tmp_path, 4, classes=2, files=1)
    data = read_pickle(path)
    clip = data["annotations"][1]
    clip[field] = clip["box_score"].astype("U8") if value is None else value
    write_pickle(path, data)
    with pytest.raises(AnnotationError, match=rf"clip000001.*{field}"):
        open_clips(path, settings(folder))
    assert len(open_clips(path, settings(folder, skip_bad=True))) == 3


def with_nan(keypoint: np.ndarray) -> np.ndarray:
    keypoint = keypoint.copy()
    keypoint[1, 2, 0] = np.nan
    return keypoint


MALFORMED: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "NaN": (with_nan, "NaN"),
    "without scores": (lambda keypoint: keypoint[..., :2], "shape"),
    "of text": (lambda keypoint: keypoint.astype("U8"), "numeric"),
    "a skeleton too few": (lambda keypoint: keypoint[1:], "same source"),
}


@pytest.mark.parametrize("own_files", [False, True])
@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_joints_exclude_only_their_clip(tmp_path: Path, what: str, own_files: bool) -> None:
    path, folder = write_kinetics400(tmp_path, 4, classes=2, files=1)
    content = read_pickle(folder / "part_0.pkl")
    whole = {clip.name: clip.keypoint for clip in open_clips(path, settings(folder))}  # type: ignore[attr-defined]
    spoil, word = MALFORMED[what]
    content["clip000001"]["keypoint"] = spoil(content["clip000001"]["keypoint"])
    if own_files:
        (folder / "part_0.pkl").unlink()
        for name, clip in content.items():
            write_pickle(folder / f"{name}.pkl", clip["keypoint"] if name == "clip000002" else {name: clip})
        data = read_pickle(path)
        for annotation in data["annotations"]:
            del annotation["raw_file"]
        write_pickle(path, data)
    else:
        write_pickle(folder / "part_0.pkl", content)
    with pytest.raises(AnnotationError, match=rf"clip000001.*{word}"):
        list(open_clips(path, settings(folder)))  # type: ignore[call-overload]
    for _ in range(2):
        opened = open_clips(path, settings(folder, skip_bad=True))
        assert opened.names == ["clip000000", "clip000002", "clip000003"] and len(opened.skipped) == 1
        assert "clip000001" in opened.skipped[0] and word in opened.skipped[0]
        for clip in opened:  # type: ignore[attr-defined]
            np.testing.assert_array_equal(clip.keypoint, whole[clip.name])


def test_files_with_malformed_clips_only_are_converted_too(tmp_path: Path) -> None:
    path, folder = write_kinetics400(tmp_path, 4, classes=2, files=2)
    content = read_pickle(folder / "part_0.pkl")
    write_pickle(folder / "part_0.pkl", {name: {"keypoint": None} for name in content})
    assert open_clips(path, settings(folder, skip_bad=True)).names == ["clip000001", "clip000003"]


def test_a_damaged_keypoint_file_is_read_once(tmp_path: Path) -> None:
    path, folder = write_kinetics400(tmp_path, 8, classes=2, files=2)
    good = (folder / "part_0.pkl").read_bytes()
    (folder / "part_0.pkl").write_bytes(b"no pickle")
    files = KeypointFiles(path, str(folder))
    first, other = read_pickle(path)["annotations"][:3:2]
    with pytest.raises(AnnotationError, match="part_0"):
        files.joints_of(first, first["frame_dir"])
    (folder / "part_0.pkl").write_bytes(good)
    with pytest.raises(AnnotationError, match=r"part_0"):
        files.joints_of(other, other["frame_dir"])


def test_missing_files_are_named(tmp_path: Path) -> None:
    path, folder = write_kinetics400(tmp_path, 8, classes=4, files=2)
    with pytest.raises(AnnotationError, match=r"clip000000.*keypoint_files"):
        open_clips(path, DataSettings())
    (folder / "part_1.pkl").unlink()
    with pytest.raises(AnnotationError, match=r"clip000001.*part_1"):
        open_clips(path, settings(folder))
    assert len(open_clips(path, settings(folder, skip_bad=True))) == 4
    content = read_pickle(folder / "part_0.pkl")
    content["clip000002"]["keypoint"] = content["clip000002"]["keypoint"][1:]
    write_pickle(folder / "part_0.pkl", content)
    opened = open_clips(path, settings(folder, skip_bad=True))
    assert len(opened) == 3 and any("clip000002" in reason and "same source" in reason for reason in opened.skipped)
    shutil.rmtree(folder)
    with pytest.raises(AnnotationError, match="no usable clips"):
        open_clips(path, settings(folder, skip_bad=True))
