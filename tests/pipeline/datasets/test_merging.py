"""Merging the files of single videos into one reproducible data set."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.datasets import merging
from pipeline.datasets.merging import merge, merged_path
from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.formats.annotations import annotation_from, data_set
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.validation import read_data_set
from pose_extraction.poses import VideoPoses


def store(folder: Path, name: str, label: str | None, *splits: str) -> Path:
    """The skeleton file of a video without persons."""
    video = VideoPoses(np.arange(3), np.arange(3) / 25, (240, 320), [])
    clip = annotation_from(video, frame_dir=name, estimator="made", fps=25, source=f"{name}.mp4", label_name=label)
    path = folder / f"{name}.pkl"
    write_pickle(path, data_set([clip], {split: [name] for split in splits}, raw={}, digest="d"))
    return path


def test_a_folder_is_merged_next_to_it_with_reproducible_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "rtmpose-m.v2"
    store(folder, "wave/1", "wave", "train")
    store(folder, "fall/1", "fall", "test")
    (folder / ".half.pkl.part").write_bytes(b"\x80")
    (folder / ".hidden.pkl").write_bytes(b"\x80")
    merged = merge([folder])
    assert merged.path == merged_path(folder) == tmp_path / "rtmpose-m.v2.pkl"
    assert (merged.files, merged.clips, merged.damaged) == (2, 2, [])
    data = read_data_set(merged.path)
    assert data["label_names"] == ["fall", "wave"] and "raw" not in data
    before = merged.path.read_bytes()
    merge([folder])
    assert merged.path.read_bytes() == before


def test_the_later_of_two_concurrent_merges_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "made"
    store(folder, "a", None, "all")
    reading, others = merging.merge_files, []

    def read_while_another_comes(*arguments: Any) -> dict[str, Any]:
        data = reading(*arguments)
        if not others:
            store(folder, "b", None, "all")
            others.append(other.submit(merge, [folder]))
            # Long enough for a merge that does not wait to finish; a waiting one is not done.
            with suppress(TimeoutError):
                others[0].result(timeout=0.3)
        return data

    monkeypatch.setattr(merging, "merge_files", read_while_another_comes)
    with ThreadPoolExecutor(1) as other:
        merge([folder])
        others[0].result()
    assert len(read_data_set(merged_path(folder))["annotations"]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "made.pkl"]


def test_a_damaged_file_does_not_block_the_others(tmp_path: Path) -> None:
    store(tmp_path / "made", "a", None, "all")
    (tmp_path / "made" / "b.pkl").write_bytes(b"\x80\x04")
    merged = merge([tmp_path / "made"])
    assert merged.clips == 1
    assert merged.damaged[0][0].name == "b.pkl" and "damaged" in merged.damaged[0][1]
    (tmp_path / "made" / "a.pkl").unlink()
    with pytest.raises(AnnotationError, match=r"none of 1 .*b\.pkl"):
        merge([tmp_path / "made"])


def test_shards_of_several_machines_are_merged_into_a_given_file(tmp_path: Path) -> None:
    one = store(tmp_path / "first", "a", "wave", "all")
    store(tmp_path / "second", "b", "fall", "all")
    out = tmp_path / "second" / "all.pkl"
    for _ in range(2):
        # The second time the result is in a merged folder, and must not be merged into itself.
        assert merge([one, tmp_path / "second"], out).clips == 2
    with pytest.raises(UsageError, match="--out"):
        merge([one, tmp_path / "second"])
    with pytest.raises(UsageError, match="--out"):
        merge([one])


def test_an_empty_folder_suggests_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="skelpipe extract"):
        merge([tmp_path])
    with pytest.raises(UsageError, match="no such file"):
        merge([tmp_path / "absent"], tmp_path / "out.pkl")


def test_ntu_splits_are_selected_when_merging(tmp_path: Path) -> None:
    store(tmp_path / "made", "S001C002P001R001A005", "A005", "xsub_train", "xview_train", "xset_val")
    data = read_data_set(merge([tmp_path / "made"]).path)
    assert set(data["split"]) == {"xsub_train", "xview_train"}
    assert data["annotations"][0]["label"] == 4 and len(data["label_names"]) == 60
    store(tmp_path / "made", "S018C002P001R001A061", "A061", "xsub_train", "xview_train", "xset_train")
    data = read_data_set(merge([tmp_path / "made"]).path)
    assert set(data["split"]) == {"xsub_train", "xset_train", "xset_val"}
    assert data["annotations"][0]["label"] == 4 and len(data["label_names"]) == 120


@pytest.mark.parametrize("name", ["all.pkl", "all.parquet"])
def test_notes_on_files_of_other_programs_are_one_line_per_kind(tmp_path: Path, name: str) -> None:
    random = np.random.default_rng(0)
    for number in range(5):
        one = {
            "frame_dir": f"clip{number}",
            "label": 0,
            "img_shape": (480, 640),
            "keypoint": random.uniform(9, 400, (1, 4, 17, 2)),
            "keypoint_score": random.uniform(60 + number, 90 + number, (1, 4, 17)),
        }
        write_pickle(tmp_path / "other" / f"{number}.pkl", one)
    result = CliRunner().invoke(app, ["merge", str(tmp_path / "other"), "--out", str(tmp_path / name)])
    assert result.exit_code == 0, result.stderr
    details = tmp_path / f"{name}.notes.jsonl"
    lines = result.stderr.splitlines()
    assert len(lines) == 3 and lines[-1] == "merged 5 clips from 5 files"
    for line, kind in zip(
        lines, ("the file is the annotation of one clip", "scores are read as percent"), strict=False
    ):
        assert line.startswith(f"note: 5 files: {kind}") and line.endswith(f"details in {details}")
    stored = [json.loads(line) for line in details.read_text(encoding="utf-8").splitlines()]
    assert len(stored) == 5 and all(len(one["notes"]) == 2 for one in stored)
    # Of a merge without notes, no details of an earlier one remain.
    shutil.rmtree(tmp_path / "other")
    store(tmp_path / "other", "fresh", "wave", "all")
    merge([tmp_path / "other"], tmp_path / name)
    assert not details.exists()


@pytest.mark.parametrize("name", ["all.pkl", "all.parquet"])
def test_numbers_next_to_names_as_labels_are_noted(tmp_path: Path, name: str) -> None:
    joints = np.random.default_rng(0).uniform(9, 400, (1, 4, 17, 2)).astype(np.float32)
    for clip, label in (("a", "wave"), ("b", 1)):
        one = {"frame_dir": clip, "label": label, "img_shape": (480, 640), "keypoint": joints}
        write_pickle(tmp_path / "other" / f"{clip}.pkl", one)
    merged = merge([tmp_path / "other"], tmp_path / name)
    assert f"note: {tmp_path / 'other' / 'b.pkl'}: labels are numbers without names, but other" in merged.notes[-1]
    (tmp_path / "other" / "a.pkl").unlink()
    assert not any("without names" in note for note in merge([tmp_path / "other"], tmp_path / f"b{name}").notes)
