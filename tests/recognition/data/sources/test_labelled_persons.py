"""Labelled persons of clips in shards are the same clips as those of a skeleton file."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.relabel import relabel
from pose_extraction.formats.annotations import data_set
from pose_extraction.formats.person_labels import PersonLabel
from pose_extraction.formats.persons import set_person_labels
from pose_extraction.formats.storage import write_data_set
from pose_extraction.formats.validation import read_data_set
from recognition.data.clips import ClipSet, open_clips
from recognition.settings import DataSettings
from test_support.clips.labelled_persons import two_persons

pytest.importorskip("pyarrow", reason="shards need the extra parquet")


def opened(path: Path, *, cut_persons: bool = True) -> ClipSet:
    return open_clips(path, DataSettings(file=str(path)), cut_persons=cut_persons)


def both(folder: Path) -> tuple[Path, Path]:
    """The same data set as a file and as shards: a clip without labels of persons, one with, one with its own label."""
    clips = [two_persons(frame_dir=f"c{number}", source=f"c{number}.mp4") for number in range(3)]
    clips[2]["label_name"] = "fight"
    set_person_labels(clips[1], [PersonLabel("wave", 7, start=0.5, end=1.5, splits=("test",)), PersonLabel("hop", 3)])
    set_person_labels(clips[2], [PersonLabel("wave", 3), PersonLabel("wave", 9)])
    data = data_set(clips, {"train": ["c0", "c1", "c2"]})
    for path in (folder / "made.pkl", folder / "made.parquet"):
        write_data_set(path, data)
    return folder / "made.pkl", folder / "made.parquet"


def test_shards_and_files_give_the_same_clips(tmp_path: Path) -> None:
    file, shards = (opened(path) for path in both(tmp_path))
    assert sorted(shards.names) == sorted(file.names) == ["c0", "c1#3", "c1#7@0.5-1.5", "c2", "c2#3"]
    assert shards.label_names == file.label_names == ["fight", "hop", "wave"]
    for name in file.names:
        ours, theirs = file.names.index(name), shards.names.index(name)
        for attribute in ("labels", "groups", "lengths", "seconds", "part_of"):
            assert getattr(file, attribute)[ours] == getattr(shards, attribute)[theirs], (name, attribute)
        np.testing.assert_array_equal(file[ours].keypoint, shards[theirs].keypoint)
        np.testing.assert_array_equal(file[ours].time, shards[theirs].time)
    for split in ("train", "test"):
        named = [sorted(clips.names[index] for index in clips.splits[split]) for clips in (file, shards)]
        assert named[0] == named[1]
    assert len(file.skipped) == len(shards.skipped) == 1


def test_whole_clips_are_read_on_request(tmp_path: Path) -> None:
    for path in both(tmp_path):
        clips = opened(path, cut_persons=False)
        assert clips.names == ["c0", "c1", "c2"] and list(clips.part_of) == [None] * 3


def test_a_table_labels_persons_of_shards(tmp_path: Path) -> None:
    paths = both(tmp_path)
    (tmp_path / "t.csv").write_text(
        "file,label,start,end,track\nc0.mp4,sit,0,1,3\nc1.mp4,run,1,2,7\nc1.mp4,fly,1,2,8\n"
    )
    for path in paths:
        checked = relabel(path, tmp_path / "t.csv", check=True)
        assert relabel(path, tmp_path / "t.csv").nobody == checked.nobody
        assert len(checked.nobody) == 1 and "line 4: label 'fly' of track 8" in checked.nobody[0]
    file, shards = (read_data_set(path) for path in paths)
    assert shards["label_names"] == file["label_names"] == ["fight", "hop", "run", "sit", "wave"]
    # "fly" matches no person.
    assert opened(paths[0]).label_names == opened(paths[1]).label_names == file["label_names"]
    persons = [[clip.get("person_labels") for clip in data["annotations"]] for data in (file, shards)]
    assert persons[0] == persons[1]
