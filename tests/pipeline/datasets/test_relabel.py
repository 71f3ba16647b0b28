"""New labels for extracted skeletons."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.datasets.merging import merge
from pipeline.datasets.relabel import relabel
from pose_extraction.errors import AnnotationError
from pose_extraction.formats.annotations import annotation_from, data_set, pack_raw
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.formats.validation import read_data_set
from pose_extraction.poses import FramePoses, VideoPoses
from recognition.data.clips import open_clips
from recognition.settings import DataSettings
from test_support.clips.labelled_persons import two_persons


def clip(name: str, source: str, label: str | None, group: str | None = None) -> dict[str, Any]:
    video = VideoPoses(np.arange(3), np.arange(3) / 25, (240, 320), [])
    return annotation_from(
        video, frame_dir=name, estimator="made", fps=25, source=source, label_name=label, group=group
    )


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    """made.pkl and made/: fight/1, calm/1 and two segments of long.mp4, all in the split `all`."""
    for name in ("fight/1", "calm/1"):
        data = data_set([clip(name, f"{name}.mp4", name[:-2], "g")], {"all": [name]}, raw=RAW, digest="d")
        write_pickle(tmp_path / "made" / f"{name}.pkl", data)
    segments = ["long_0_5", "long_5_end"]
    clips = [clip(name, "long.mp4", "fight") for name in segments]
    write_pickle(tmp_path / "made" / "long.pkl", data_set(clips, {"all": segments}, raw=RAW, digest="d"))
    return merge([tmp_path / "made"]).path


RAW = pack_raw([FramePoses.empty(0, 0.0)])


def table(folder: Path, *lines: str) -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join(lines))
    return path


def by_clip(path: Path, key: str) -> dict[str, Any]:
    return {annotation["frame_dir"]: annotation[key] for annotation in read_data_set(path)["annotations"]}


def test_labels_splits_and_groups_change_and_the_next_merge_keeps_them(merged: Path) -> None:
    csv = table(merged.parent, "file,label,split,group", "fight/1.mp4,brawl,train,g1", "calm/1.mp4,calm,test,g2")
    result = relabel(merged, csv)
    assert (result.matched, result.unmatched, result.unused) == (2, ["long_0_5", "long_5_end"], [])
    assert result.video_files == 2
    data = read_data_set(merged)
    assert data["label_names"] == ["brawl", "calm", "fight"]
    assert data["split"] == {"all": ["long_0_5", "long_5_end"], "test": ["calm/1"], "train": ["fight/1"]}
    assert by_clip(merged, "label") == {"calm/1": 1, "fight/1": 0, "long_0_5": 2, "long_5_end": 2}
    assert by_clip(merged, "group")["fight/1"] == "g1"
    before = merged.read_bytes()
    assert merge([merged.with_suffix("")]).path.read_bytes() == before
    video = read_pickle(merged.with_suffix("") / "fight" / "1.pkl")
    assert video["digest"] == "d" and video["raw"].keys() == RAW.keys()


def test_a_copy_leaves_the_original_unchanged(merged: Path, tmp_path: Path) -> None:
    before = merged.read_bytes()
    out = tmp_path / "copy.pkl"
    result = relabel(merged, table(tmp_path, "file,label", "fight/1.mp4,brawl"), out)
    assert result.path == out and result.video_files == 0
    assert merged.read_bytes() == before and by_clip(merged.with_suffix("") / "fight" / "1.pkl", "label_name") == {
        "fight/1": "fight"
    }
    assert by_clip(out, "label_name")["fight/1"] == "brawl"


def test_a_table_without_splits_and_groups_keeps_them(merged: Path, tmp_path: Path) -> None:
    relabel(merged, table(tmp_path, "file,label", "fight/1.mp4,brawl"))
    assert set(read_data_set(merged)["split"]) == {"all"}
    assert by_clip(merged, "group")["fight/1"] == "g"


def test_segments_are_matched_by_their_times(merged: Path, tmp_path: Path) -> None:
    csv = table(tmp_path, "file,label,start,end", "long.mp4,wave,0,5", "long.mp4,fall,5,", "long.mp4,run,6,7")
    result = relabel(merged, csv)
    assert by_clip(merged, "label_name") | {"fight/1": None} == {
        "calm/1": "calm",
        "fight/1": None,
        "long_0_5": "wave",
        "long_5_end": "fall",
    }
    assert result.unused == ["line 4: long.mp4"]
    relabel(merged, table(tmp_path, "file,label", "long.mp4,whole"))
    assert by_clip(merged, "label_name")["long_0_5"] == by_clip(merged, "label_name")["long_5_end"] == "whole"


def test_the_table_may_be_in_a_parent_folder_or_list_ids(merged: Path, tmp_path: Path) -> None:
    relabel(merged, table(tmp_path, "file,label", "videos/fight/1.mp4,a", "calm/1,b"))
    names = by_clip(merged, "label_name")
    assert (names["fight/1"], names["calm/1"]) == ("a", "b")


def test_a_line_that_matches_two_clips_is_refused(merged: Path, tmp_path: Path) -> None:
    before = merged.read_bytes()
    with pytest.raises(AnnotationError, match=r"line 2: 1\.mp4 matches clips 'calm/1' and 'fight/1'"):
        relabel(merged, table(tmp_path, "file,label", "1.mp4,a"))
    assert merged.read_bytes() == before


def test_a_clip_that_two_lines_match_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    write_pickle(path, data_set([clip("1", "1.mp4", None)], {}))
    with pytest.raises(AnnotationError, match="lines 2, 3 match clip '1'"):
        relabel(path, table(tmp_path, "file,label", "fight/1.mp4,a", "calm/1.mp4,b"))


def test_videos_with_different_suffixes_are_distinguished(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    write_pickle(path, data_set([clip("a.mp4", "a.mp4", None), clip("a.avi", "a.avi", None)], {}))
    relabel(path, table(tmp_path, "file,label", "a.avi,wave"))
    assert by_clip(path, "label_name") == {"a.avi": "wave", "a.mp4": None}


def test_a_group_on_both_sides_of_a_split_gives_a_warning(merged: Path, tmp_path: Path) -> None:
    csv = table(tmp_path, "file,label,split,group", "fight/1.mp4,a,train,7", "calm/1.mp4,b,test,7")
    assert "'7'" in relabel(merged, csv).warnings[0]


def test_a_foreign_data_set_keeps_what_the_table_does_not_list(tmp_path: Path) -> None:
    arrays = {"total_frames": 3, "img_shape": (9, 9), "keypoint": np.zeros((1, 3, 17, 2), np.float16)}
    clips = [{"frame_dir": name, "label": label, **arrays} for name, label in (("a", 0), ("b", 1))]
    path = tmp_path / "x.pkl"
    write_pickle(path, {"split": {"train": ["a", "b"]}, "annotations": clips, "label_names": ["wave", "fall"]})
    relabel(path, table(tmp_path, "file,label", "a,fall"))
    assert by_clip(path, "label_name") == {"a": "fall", "b": "fall"}
    assert read_data_set(path)["annotations"][0]["keypoint"].dtype == np.float16
    assert read_data_set(path)["split"] == {"train": ["a", "b"]}


@pytest.fixture
def persons(tmp_path: Path) -> Path:
    """two.pkl and two/two.pkl: one clip with the tracks 3 and 7."""
    write_pickle(tmp_path / "two" / "two.pkl", data_set([two_persons()], {"all": ["two"]}, raw=RAW, digest="d"))
    return merge([tmp_path / "two"]).path


def entries(path: Path) -> list[tuple[Any, ...]]:
    (clip,) = read_data_set(path)["annotations"]
    keys = ("track_id", "label_name", "start", "end", "split", "group")
    return [tuple(entry[key] for key in keys) for entry in clip.get("person_labels", ())]


def test_a_line_labels_one_person_and_no_one_else(persons: Path, tmp_path: Path) -> None:
    header = "file,label,start,end,track,anchor_time,anchor_box"
    result = relabel(persons, table(tmp_path, header, "two.mp4,wave,0,1,3,,", "two,jump,,,,1,390 90 60 220"))
    assert (result.matched, result.persons, result.nobody, result.video_files) == (1, 2, [], 1)
    assert entries(persons) == [(3, "wave", 0.0, 1.0, None, None), (7, "jump", None, None, None, None)]
    assert read_data_set(persons)["label_names"] == ["jump", "wave"]
    relabel(persons, table(tmp_path, "file,label,start,end,track", "two.mp4,sit,0.5,1.5,3"))
    assert entries(persons) == [
        (3, "wave", 0.0, 0.5, None, None),
        (7, "jump", None, None, None, None),
        (3, "sit", 0.5, 1.5, None, None),
    ]
    # The whole clip has no label, before and after, and the next merge keeps all of this.
    assert by_clip(persons, "label") == {"two": -1}
    before = persons.read_bytes()
    assert merge([persons.with_suffix("")]).path.read_bytes() == before


def test_a_line_for_the_clip_leaves_its_persons(persons: Path, tmp_path: Path) -> None:
    relabel(persons, table(tmp_path, "file,label,track", "two.mp4,wave,3"))
    relabel(persons, table(tmp_path, "file,label", "two.mp4,fight"))
    assert by_clip(persons, "label_name") == {"two": "fight"}
    assert [entry[:2] for entry in entries(persons)] == [(3, "wave")]
    assert read_data_set(persons)["label_names"] == ["fight", "wave"]


def test_splits_and_groups_of_persons(persons: Path, tmp_path: Path) -> None:
    relabel(persons, table(tmp_path, "file,label,track,split,group", "two,a,3,train,anna", "two,b,7,test,bob"))
    assert read_data_set(persons)["split"] == {"test": ["two"], "train": ["two"]}
    # A table without splits and groups keeps them.
    relabel(persons, table(tmp_path, "file,label,track", "two,c,3"))
    assert [(entry[1], entry[4], entry[5]) for entry in entries(persons)] == [
        ("b", ["test"], "bob"),
        ("c", ["train"], "anna"),
    ]
    clips = open_clips(persons, DataSettings(file=str(persons)))
    assert {name: [clips.names[index] for index in rows] for name, rows in clips.splits.items()} == {
        "test": ["two#7"],
        "train": ["two#3"],
    }


def test_warnings_of_one_kind_are_one_line(merged: Path, tmp_path: Path) -> None:
    csv = table(tmp_path, "file,label", "fight/1.mp4,brawl", "one.mp4,a", "two.mp4,b")
    result = CliRunner().invoke(app, ["label", str(merged), "--labels", str(csv), "--out", str(tmp_path / "out.pkl")])
    assert result.stderr.splitlines() == [
        f"warning: {csv} does not list 3 clips (the first: calm/1), so nothing changes there",
        f"warning: 2 lines match no clip; --check lists them. The first: {csv}, line 3: one.mp4: matches no clip",
        "changed: 1 of 4 clips",
    ]
    result = CliRunner().invoke(app, ["label", str(merged), "--labels", str(csv), "--check"])
    assert result.stderr.count("matches no clip") == 2
    assert result.stderr.count("so nothing changes there") == 3


def test_a_check_lists_lines_that_match_nobody_and_writes_nothing(persons: Path, tmp_path: Path) -> None:
    before = persons.read_bytes()
    csv = table(
        tmp_path,
        "file,label,track,anchor_time,anchor_box",
        "two.mp4,wave,3,,",
        "two.mp4,wave,5,,",
        "two.mp4,jump,,1,10 10 20 20",
        "three.mp4,jump,1,,",
    )
    result = CliRunner().invoke(app, ["label", str(persons), "--labels", str(csv), "--check"])
    assert result.exit_code == 1 and result.stdout == "" and persons.read_bytes() == before
    lines = result.stderr.splitlines()
    assert lines[:2] == [
        f"warning: {csv}, line 5: three.mp4: matches no clip",
        f"warning: {csv}, line 3: label 'wave' of track 5 matches no person in two.mp4: the clip has the tracks 3, 7",
    ]
    assert "line 4: label 'jump' of the person in the box 10 10 20 20 at 1 s matches no person" in lines[2]
    assert lines[-2:] == ["matching: 1 of 1 clip", "lines for persons that match no person: 2 of 4"]
    good = table(tmp_path, "file,label,track", "two.mp4,wave,3")
    assert CliRunner().invoke(app, ["label", str(persons), "--labels", str(good), "--check"]).exit_code == 0
    assert persons.read_bytes() == before


def test_persons_of_segments_are_looked_for_in_each(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    clips = []
    for name, first in (("two_0_2", 0.0), ("two_2_4", 2.0)):
        one = two_persons() | {"frame_dir": name}
        clips.append(one | {"time": one["time"] + first})
    write_pickle(path, data_set(clips, {"all": ["two_0_2", "two_2_4"]}))
    result = relabel(path, table(tmp_path, "file,label,start,end,track", "two.mp4,wave,1,3,3", "two.mp4,jump,3,4,3"))
    assert result.matched == 2 and result.nobody == []
    labels = {name: [one["label_name"] for one in found] for name, found in by_clip(path, "person_labels").items()}
    assert labels == {"two_0_2": ["wave"], "two_2_4": ["wave", "jump"]}
