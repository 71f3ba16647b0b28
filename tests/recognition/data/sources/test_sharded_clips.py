"""Clips of a data set in shards are those of the skeleton file."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.merging import merge
from pose_extraction.errors import AnnotationError
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.formats.shards.manifest import CLIPS
from pose_extraction.formats.shards.update import write_shards
from recognition.data.clips import ClipSet, open_clips
from recognition.data.dataset import SkeletonDataset
from recognition.data.skeleton_file import newest_skeleton_file
from recognition.data.splits import hold_out, training_indices
from recognition.settings import DataSettings
from test_support.clips.made_data_sets import made_ntu60


def both(folder: Path, data: dict) -> tuple[Path, Path]:
    """A data set as a skeleton file and in shards."""
    write_pickle(folder / "given.pkl", data)
    merge([folder / "given.pkl"], folder / "a.pkl")
    merge([folder / "given.pkl"], folder / "a.parquet")
    return folder / "a.pkl", folder / "a.parquet"


def assert_equal(one: ClipSet, other: ClipSet) -> None:
    for name in ("names", "groups", "label_names", "layout", "dimensions", "estimator", "extraction", "names_given"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("labels", "lengths", "seconds"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
        assert getattr(one, name).dtype == getattr(other, name).dtype, name
    assert one.splits.keys() == other.splits.keys()
    assert all(np.array_equal(one.splits[name], other.splits[name]) for name in one.splits)
    for index in range(len(one)):
        for left, right in zip(one.stored(index), other.stored(index), strict=True):
            assert left.dtype == right.dtype and np.array_equal(left, right)
        a, b = one[index], other[index]
        assert np.array_equal(a.keypoint, b.keypoint, equal_nan=True) and np.array_equal(a.score, b.score)
        assert a.keypoint.dtype == b.keypoint.dtype and a.score.dtype == b.score.dtype
        assert (a.name, a.label, a.size, a.tracked) == (b.name, b.label, b.size, b.tracked)
        assert (a.time is None) == (b.time is None)
        assert a.time is None or np.array_equal(a.time, b.time)


def test_made_clips_in_half_precision(tmp_path: Path) -> None:
    data = made_ntu60(40, classes=4)
    for number, clip in enumerate(data["annotations"]):
        clip["group"] = ("p1", None, 7)[number % 3]
        if number % 2:
            clip["fps"] = 25
        if number % 4 == 0:
            clip["time"] = np.linspace(0, 3, clip["total_frames"]) ** 2
    file, shards = both(tmp_path, data)
    one, other = open_clips(file, DataSettings()), open_clips(shards, DataSettings())
    # A group is a name in shards.
    one.groups = [None if group is None else str(group) for group in one.groups]
    assert_equal(one, other)
    assert other.content_digest() == open_clips(shards, DataSettings()).content_digest()
    training = training_indices(one, DataSettings(train_split="xsub_train"))
    for left, right in zip(
        *(hold_out(clips, training, DataSettings(holdout=0.3), seed=1) for clips in (one, other)), strict=True
    ):
        assert np.array_equal(left, right)


def test_training_samples_are_bit_for_bit_those_of_the_file(tmp_path: Path) -> None:
    file, shards = both(tmp_path, made_ntu60(20, classes=4))
    settings = DataSettings(train_split="xsub_train")
    sets = [open_clips(path, settings) for path in (file, shards)]
    one, other = (SkeletonDataset(clips, np.arange(20), settings, train=True, seed=3) for clips in sets)
    # As another process receives it.
    other = pickle.loads(pickle.dumps(other))
    for key in [(0, 4), (2, 17), (1, 4)]:
        assert np.array_equal(one[key].keypoint, other[key].keypoint)
        assert one[key].index == other[key].index and one[key].label == other[key].label


def test_real_files(shared_data: Path, tmp_path: Path) -> None:
    data = read_pickle(shared_data / "skeletons" / "motions5.pkl")
    chosen = data["annotations"][::20]
    names = {clip["frame_dir"] for clip in chosen}
    split = {name: [clip for clip in ids if clip in names] for name, ids in data["split"].items()}
    file, shards = both(tmp_path, {**data, "annotations": chosen, "split": split})
    assert_equal(open_clips(file, DataSettings()), open_clips(shards, DataSettings()))


def test_unusable_clips_are_refused_or_left_out_as_in_a_file(tmp_path: Path) -> None:
    data = made_ntu60(12, classes=4)
    bad = data["annotations"]
    # In shards, clips are sorted.
    bad.sort(key=lambda clip: clip["frame_dir"])
    bad[1]["keypoint_score"] = np.zeros_like(bad[1]["keypoint_score"])
    bad[2]["keypoint"] = np.full_like(bad[2]["keypoint"], np.inf)
    bad[3]["keypoint"] = bad[3]["keypoint"][:, :, :15]
    bad[3]["keypoint_score"] = bad[3]["keypoint_score"][:, :, :15]
    write_pickle(tmp_path / "a.pkl", data)
    write_shards(tmp_path / "a.parquet", data)
    for settings in (DataSettings(), DataSettings(skip_bad=True)):
        results: list[object] = []
        for path in (tmp_path / "a.pkl", tmp_path / "a.parquet"):
            try:
                clips = open_clips(path, settings, leave_out_empty=True)
                reasons = {clip.name: (clip.reason.replace(str(path), ""), clip.empty) for clip in clips.left_out}
                splits = {name: sorted(clips.names[index] for index in ids) for name, ids in clips.splits.items()}
                results.append((clips.names, reasons, splits, [clip.splits for clip in clips.left_out]))
            except AnnotationError as error:
                results.append(str(error).replace(str(path), ""))
        assert results[0] == results[1], settings.skip_bad


def test_damage_is_reported_and_the_rest_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, shards = both(tmp_path, made_ntu60(10, classes=4))
    more = made_ntu60(14, classes=4, seed=5)
    for clip in more["annotations"]:
        clip["frame_dir"] = "x" + clip["frame_dir"]
    more["split"] = {}
    write_pickle(tmp_path / "more.pkl", more)
    merge([tmp_path / "more.pkl"], shards)
    assert len(open_clips(shards, DataSettings())) == 24
    largest = max((shards / CLIPS).iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[2000] ^= 1
    largest.write_bytes(content)
    clips = open_clips(shards, DataSettings())
    with pytest.raises(AnnotationError, match="--skip-bad"):
        for index in range(len(clips)):
            clips[index]
    rest = open_clips(shards, DataSettings(skip_bad=True))
    assert rest.names == open_clips(file, DataSettings()).names
    assert "14 clips are left out" in rest.nameless()[0] and "14 clips are left out" in caplog.text


def test_the_newest_data_set_may_be_shards(tmp_path: Path) -> None:
    _, shards = both(tmp_path, made_ntu60(5, classes=2))
    assert newest_skeleton_file(tmp_path) == shards
