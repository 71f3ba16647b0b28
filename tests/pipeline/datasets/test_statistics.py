"""Statistics of missing joints and persons."""

import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.datasets.statistics import as_json, print_table, statistics_of
from pose_extraction.errors import AnnotationError
from pose_extraction.formats.annotations import annotation_from, data_set
from pose_extraction.formats.person_labels import PersonLabel
from pose_extraction.formats.persons import set_person_labels
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.poses import FramePoses, PoseTrack, VideoPoses
from pose_extraction.tracking.quality import clean_counts, frame_counts
from pose_extraction.tracking.tracks import tracked
from test_support.clips.labelled_persons import two_persons


def extracted(name: str, missing: int, estimator: str = "made") -> dict[str, Any]:
    """A person in ten frames with `missing` unseen joints before cleaning, and none after it."""
    keypoint = np.random.default_rng(0).uniform(10, 90, (10, 17, 2)).astype(np.float32)
    score, box = np.ones((10, 17), np.float32), np.tile(np.array([5, 5, 95, 95], np.float32), (10, 1))
    ones, time = np.ones(10, np.float32), np.arange(10) / 10
    track = PoseTrack(1, 0, keypoint, score, box, ones, np.zeros((10, 17), bool))
    video = VideoPoses(np.arange(10), time, (100, 100), [track])
    raw_keypoint, raw_score = keypoint.copy(), score.copy()
    raw_keypoint[:, :missing], raw_score[:, :missing] = np.nan, 0
    frames = [
        FramePoses(t, time[t], box[t : t + 1], ones[t : t + 1], raw_keypoint[t : t + 1], raw_score[t : t + 1])
        for t in range(10)
    ]
    counts = {
        "raw": frame_counts(tracked(frames, [np.array([1])] * 10), persons=2),
        "clean": clean_counts(video, persons=2),
    }
    return annotation_from(
        video, frame_dir=name, estimator=estimator, fps=10, source=f"{name}.mp4", label_name=None, quality=counts
    )


def stored(path: Path, clips: list[dict[str, Any]], split: dict[str, list[str]]) -> Path:
    write_pickle(path, data_set(clips, split))
    return path


def test_misses_are_summed_by_split_and_stage(tmp_path: Path) -> None:
    clips = [extracted("a", 0), extracted("b", 4), extracted("c", 2)]
    rows = statistics_of([stored(tmp_path / "x.pkl", clips, {"train": ["a", "b"], "test": ["c"]})])
    assert [(row.split, row.stage, row.clips) for row in rows] == [
        ("test", "raw", 1),
        ("test", "clean", 1),
        ("train", "raw", 2),
        ("train", "clean", 2),
        ("all clips", "raw", 3),
        ("all clips", "clean", 3),
    ]
    percent = [row.values["missing_keypoints_percent"] for row in rows]
    assert percent == pytest.approx([200 / 17, 0, 200 / 17, 0, 200 / 17, 0])
    assert all(row.values["missing_people_percent"] == 50 for row in rows)
    assert rows[-1].values["tracks"] == 3


def test_estimators_are_listed_separately_and_no_clip_counts_twice(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    single = stored(folder / "a.pkl", [extracted("a", 1, "one")], {"all": ["a"]})
    other = stored(tmp_path / "two.pkl", [extracted("a", 3, "two")], {"all": ["a"]})
    rows = statistics_of([folder, single, other])
    assert [(row.estimator, row.split, row.stage, row.clips) for row in rows] == [
        ("one", "all", "raw", 1),
        ("one", "all", "clean", 1),
        ("two", "all", "raw", 1),
        ("two", "all", "clean", 1),
    ]


def test_the_splits_of_single_ntu_files_are_those_that_apply_to_all(tmp_path: Path) -> None:
    name = "S001C001P001R001A001"
    splits = {"xsub_train": [name], "xview_val": [name], "xset_val": [name]}
    stored(tmp_path / "made" / f"{name}.pkl", [extracted(name, 0)], splits)
    assert {row.split for row in statistics_of([tmp_path / "made"])} == {"xsub_train", "xview_val"}


def test_statistics_of_a_foreign_file_come_from_its_arrays(tmp_path: Path) -> None:
    keypoint, score = np.ones((2, 4, 17, 2), np.float16), np.ones((2, 4, 17), np.float16)
    # The second person is in two of four frames, once without ten joints; the last frame is empty.
    score[1, 2:], score[1, 0, :10], score[0, 3] = 0, 0, 0
    clip = {"frame_dir": "a", "label": 0, "total_frames": 4, "img_shape": (9, 9)}
    clip |= {"keypoint": keypoint, "keypoint_score": score}
    path = tmp_path / "theirs.pkl"
    path.write_bytes(pickle.dumps({"split": {"val": ["a"]}, "annotations": [clip]}))
    (row,) = statistics_of([path])
    assert (row.estimator, row.split, row.stage) == ("theirs", "val", "as stored")
    assert row.values["missing_keypoints_percent"] == pytest.approx(100 * 10 / (5 * 17))
    assert (row.values["poses"], row.values["frames_without_people"]) == (5, 1)
    assert row.values["missing_people_percent"] is None and row.values["tracks"] is None


def test_the_table_and_json_mark_unknown_values(tmp_path: Path) -> None:
    empty = extracted("a", 0)
    empty["quality"] = {"raw": frame_counts(tracked([], []))}
    rows = statistics_of([stored(tmp_path / "x.pkl", [empty], {"[bold]odd": ["a"]})])
    (entry,) = json.loads(as_json(rows))
    assert (entry["split"], entry["clips"], entry["missing_keypoints_percent"]) == ("[bold]odd", 1, None)
    output = io.StringIO()
    print_table(rows, Console(file=output, width=80))
    assert "n/a" in output.getvalue() and "[bold]odd" in output.getvalue()
    assert "missing keypoints %" in output.getvalue()


def test_a_file_without_clips_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["stats", str(stored(tmp_path / "x.pkl", [], {}))])
    assert result.exit_code == 1 and "no clips" in result.output


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path}/ran",)

    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"split": {}, "annotations": [Attack()]}))
    with pytest.raises(AnnotationError, match=r"refused to load \w+\.system"):
        statistics_of([path])
    assert not (tmp_path / "ran").exists()


def test_real_data_sets_are_summed(shared_data: Path) -> None:
    rows = statistics_of([shared_data / "skeletons" / "penn_action.pkl"])
    assert {row.split: row.clips for row in rows} == {"test": 1068, "train": 1258, "all clips": 2326}
    # Eyes and ears, 4 of 17 joints, are always missing.
    assert all((row.values["missing_keypoints_percent"] or 0) > 100 * 4 / 17 for row in rows)


def test_labels_of_persons_are_counted_by_split(tmp_path: Path) -> None:
    clip = two_persons()
    labels = [
        PersonLabel("wave", 3, splits=("train",)),
        PersonLabel("hop", 7, splits=("test",)),
        PersonLabel("hop", 9, splits=("test",)),
        PersonLabel(None, 7, start=1.0, splits=("test",)),
    ]
    set_person_labels(clip, labels)
    path = stored(tmp_path / "x.pkl", [clip, extracted("b", 0)], {"train": ["two", "b"], "test": ["two"]})
    rows = {row.split: row for row in statistics_of([path]) if row.estimator == "made" and row.stage == "clean"}
    rows |= {row.split: row for row in statistics_of([path]) if row.stage == "as stored"}
    counts = {name: (row.person_labels, row.unmatched_labels) for name, row in rows.items()}
    assert counts == {"train": (1, 0), "test": (1, 1)}
    entries = json.loads(as_json(statistics_of([path])))
    assert {(one["split"], one["person_labels"], one["unmatched_labels"]) for one in entries} >= {("test", 1, 1)}
    printed = io.StringIO()
    print_table(statistics_of([path]), Console(file=printed, width=200))
    assert "labelled persons" in printed.getvalue() and "labels that match no person" in printed.getvalue()
