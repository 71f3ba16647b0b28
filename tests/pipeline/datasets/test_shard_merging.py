"""Merging into shards: the same content as a merged skeleton file, and only new clips are written."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.merging import merge
from pipeline.datasets.relabel import relabel
from pipeline.datasets.statistics import statistics_of
from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.formats.annotations import annotation_from, data_set
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.formats.shards.manifest import CLIPS
from pose_extraction.formats.shards.plain import to_text
from pose_extraction.formats.validation import read_data_set
from pose_extraction.poses import PoseTrack, VideoPoses


def store(folder: Path, name: str, label: str | None, *splits: str, seed: int = 0) -> Path:
    """The skeleton file of a video with one person."""
    rng = np.random.default_rng(seed)
    track = PoseTrack(
        0, 0, rng.uniform(0, 200, (5, 17, 2)), np.ones((5, 17)), np.ones((5, 4)), np.ones(5), np.zeros((5, 17), bool)
    )
    video = VideoPoses(np.arange(5), np.arange(5) / 25, (240, 320), [track])
    clip = annotation_from(video, frame_dir=name, estimator="made", fps=25, source=f"{name}.mp4", label_name=label)
    path = folder / f"{name}.pkl"
    write_pickle(path, data_set([clip], {split: [name] for split in splits}, raw={}, digest="d"))
    return path


def content(path: Path) -> str:
    return to_text(read_data_set(path), "data")


def shards_of(path: Path) -> dict[str, int]:
    """Files of the shards and when they were written."""
    return {file.name: file.stat().st_mtime_ns for file in (path / CLIPS).iterdir()}


def assert_equal_to_a_fresh_merge(out: Path, *inputs: Path) -> None:
    merge(inputs, out.with_name("fresh.pkl"))
    assert content(out) == content(out.with_name("fresh.pkl"))
    (out.with_name("fresh.pkl")).unlink()


def test_new_clips_go_into_new_shards_and_the_others_stay(tmp_path: Path) -> None:
    folder, out = tmp_path / "made", tmp_path / "made.parquet"
    store(folder, "b", "wave", "train")
    store(folder, "a", "fall", "test")
    merged = merge([folder], to="parquet")
    assert (merged.path, merged.files, merged.clips, merged.damaged) == (out, 2, 2, [])
    assert_equal_to_a_fresh_merge(out, folder)
    before = shards_of(out)
    manifest = (out / "manifest.json").read_bytes()
    merge([folder], out)
    assert shards_of(out) == before and (out / "manifest.json").read_bytes() == manifest
    store(folder, "c", "jump", "train", seed=1)
    assert merge([folder], out).clips == 3
    after = shards_of(out)
    assert len(after) == 2 and before.items() <= after.items()
    # The new class changes the numbers of the labels, which are not in the shards.
    assert_equal_to_a_fresh_merge(out, folder)


def test_unchanged_files_are_not_read_again(tmp_path: Path) -> None:
    folder, out = tmp_path / "made", tmp_path / "made.parquet"
    path = store(folder, "a", "wave", "train")
    merge([folder], out)
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    merge([folder], out)
    assert len(read_data_set(out)["annotations"]) == 1


def test_changed_clips_replace_old_ones_and_changed_labels_write_no_shard(tmp_path: Path) -> None:
    folder, out = tmp_path / "made", tmp_path / "made.parquet"
    for number in range(3):
        store(folder, f"c{number}", "wave", "train", seed=number)
    merge([folder], out)
    before = shards_of(out)
    store(folder, "c1", "fall", "test", seed=1)
    merge([folder], out)
    assert shards_of(out) == before
    assert_equal_to_a_fresh_merge(out, folder)
    store(folder, "c1", "fall", "test", seed=7)
    (folder / "c2.pkl").unlink()
    merge([folder], out)
    assert not shards_of(out).keys() & before.keys()
    assert_equal_to_a_fresh_merge(out, folder)


def test_data_sets_in_shards_are_adopted_without_reading_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        store(tmp_path / name, name, name, "all", seed=ord(name))
        merge([tmp_path / name], to="parquet")
    out = tmp_path / "both.parquet"
    merge([tmp_path / "a.parquet", tmp_path / "b.parquet"], out)
    assert shards_of(out) == shards_of(tmp_path / "a.parquet") | shards_of(tmp_path / "b.parquet")
    assert_equal_to_a_fresh_merge(out, tmp_path / "a", tmp_path / "b")
    store(tmp_path / "new", "c", "c", "all", seed=3)
    merge([tmp_path / "new"], out)
    assert_equal_to_a_fresh_merge(out, tmp_path / "a", tmp_path / "b", tmp_path / "new")
    with pytest.raises(AnnotationError, match=r"clip 'a' is in both"):
        merge([tmp_path / "a.parquet", tmp_path / "a"], tmp_path / "twice.parquet")
    merge([out], to="pickle")
    assert content(tmp_path / "both.pkl") == content(out)


def test_a_damaged_shard_is_written_again_from_its_files(tmp_path: Path) -> None:
    folder, out = tmp_path / "made", tmp_path / "made.parquet"
    store(folder, "a", "wave", "train")
    merge([folder], out)
    store(folder, "b", "wave", "train", seed=1)
    merge([folder], out)
    first = max((out / CLIPS).iterdir(), key=lambda path: path.stat().st_mtime_ns)
    first.write_bytes(first.read_bytes()[:-9])
    merged = merge([folder], out)
    assert "1 clip is left out" in merged.damaged[0][1]
    assert_equal_to_a_fresh_merge(out, folder)
    # Bytes change, but not the size: found where the data set is an input.
    (shard,) = (path for path in (out / CLIPS).iterdir() if path != first)
    changed = bytearray(shard.read_bytes())
    changed[100] ^= 1
    shard.write_bytes(changed)
    assert not merge([folder], out).damaged
    assert "digest differs" in merge([out, folder], out).damaged[0][1]
    assert_equal_to_a_fresh_merge(out, folder)


def test_a_damaged_skeleton_file_does_not_block_the_others(tmp_path: Path) -> None:
    store(tmp_path / "made", "a", None, "all")
    (tmp_path / "made" / "b.pkl").write_bytes(b"\x80\x04")
    merged = merge([tmp_path / "made"], to="parquet")
    assert (merged.clips, merged.files) == (1, 1) and merged.damaged[0][0].name == "b.pkl"
    (tmp_path / "made" / "a.pkl").unlink()
    shutil.rmtree(merged.path)
    with pytest.raises(AnnotationError, match=r"none of 1 .*b\.pkl"):
        merge([tmp_path / "made"], to="parquet")


def test_clips_of_a_file_that_was_damaged_later_stay(tmp_path: Path) -> None:
    folder, out = tmp_path / "made", tmp_path / "made.parquet"
    file = store(folder, "a", None, "all")
    whole = file.read_bytes()
    merge([folder], out)
    before = content(out)
    file.write_bytes(whole[:-20])
    merged = merge([folder], out)
    assert merged.clips == 1 and content(out) == before
    assert merged.damaged[0][1].endswith("; what the last merge read of it stays: 1 clip")
    # The file is read again as soon as it can be.
    store(folder, "a", "wave", "all")
    assert not merge([folder], out).damaged
    assert read_data_set(out)["label_names"] == ["wave"]


def test_ntu_splits_that_did_not_apply_come_back(tmp_path: Path) -> None:
    folder, out = tmp_path / "made", tmp_path / "made.parquet"
    store(folder, "S001C002P001R001A005", "A005", "xsub_train", "xview_train", "xset_val")
    merge([folder], out)
    assert set(read_data_set(out)["split"]) == {"xsub_train", "xview_train"}
    store(folder, "S018C002P001R001A061", "A061", "xsub_train", "xview_train", "xset_train")
    merge([folder], out)
    assert_equal_to_a_fresh_merge(out, folder)


def test_labels_change_without_touching_a_shard(tmp_path: Path) -> None:
    folder, table = tmp_path / "made", tmp_path / "labels.csv"
    for number in range(3):
        store(folder, f"c{number}", "wave", "train", seed=number)
    out = merge([folder], to="parquet").path
    merge([folder])
    shutil.copytree(folder, tmp_path / "copy")
    before = shards_of(out)
    table.write_text("file,label,split,group\nc0.mp4,jump,test,p1\nc2.mp4,run,train,p2\nc9.mp4,run,test,p2\n")
    report = relabel(out, table)
    assert (report.matched, report.unmatched, report.video_files) == (2, ["c1"], 2)
    assert shards_of(out) == before
    relabel(tmp_path / "made.pkl", table)
    assert content(out) == content(tmp_path / "made.pkl")
    # The files of single videos were changed, too, so that merging keeps the labels.
    merge([folder], out)
    assert content(out) == content(tmp_path / "made.pkl") and shards_of(out) == before
    relabel(out, table, tmp_path / "other.pkl")
    assert content(tmp_path / "other.pkl") == content(out)


def test_statistics_are_those_of_the_skeleton_file(tmp_path: Path) -> None:
    for number in range(4):
        store(tmp_path / "made", f"c{number}", "wave", ("train", "test")[number % 2], seed=number)
    merge([tmp_path / "made"])
    merge([tmp_path / "made"], to="parquet")
    assert statistics_of([tmp_path / "made.parquet"]) == statistics_of([tmp_path / "made.pkl"])


def test_the_kind_of_the_output_is_chosen_by_option_or_suffix(tmp_path: Path) -> None:
    path = store(tmp_path / "made", "a", None, "all")
    assert merge([path], to="parquet").path == path.with_suffix(".parquet")
    assert merge([path], tmp_path / "x.parquet").path.is_dir()
    for out, to, words in (("x.pkl", "parquet", "change one of the two"), ("x.pkl", "feather", "pickle or parquet")):
        with pytest.raises(UsageError, match=words):
            merge([path], tmp_path / out, to=to)
    with pytest.raises(UsageError, match="--out"):
        merge([tmp_path / "x.parquet"])
    assert read_pickle(merge([tmp_path / "x.parquet"], to="pickle").path)["annotations"][0]["frame_dir"] == "a"
