"""`skelpipe import` and `skelpipe export`."""

from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from pipeline import cli
from pose_extraction.exchange.clips import PoseClip
from pose_extraction.exchange.table import FORMATS
from pose_extraction.formats.annotations import data_set
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.validation import read_data_set
from test_support.clips.exchanged import annotation_with, made_clip
from test_support.doc_pages import page, section, table_names


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def skeletons(tmp_path: Path) -> Path:
    """Four clips of two actions, two of them in the split test."""
    clips = [
        annotation_with(made_clip(persons=1, frames=10, seed=seed), f"{label}/{seed}", label)
        for seed, label in enumerate(("wave", "wave", "jump", "jump"))
    ]
    path = tmp_path / "made.pkl"
    write_pickle(path, data_set(clips, {"train": ["wave/0", "jump/2"], "test": ["wave/1", "jump/3"]}))
    return path


def test_folders_of_another_program_become_labelled_clips(skeletons: Path, tmp_path: Path) -> None:
    done = call("export", skeletons, "openpose", "--out", tmp_path / "keypoints")
    assert done.exit_code == 0, done.output
    out = tmp_path / "imported.pkl"
    done = call("import", "openpose", tmp_path / "keypoints", "--size", "1280x720", "--out", out)
    assert done.exit_code == 0, done.output
    assert "4 clips, 4 with a label" in done.output
    given, found = read_data_set(skeletons), read_data_set(out)
    assert found["label_names"] == ["jump", "wave"] and found["split"] == {
        "all": [f"jump/{n}" for n in (2, 3)] + ["wave/0", "wave/1"]
    }
    for before, after in zip(given["annotations"], found["annotations"], strict=True):
        assert (after["frame_dir"], after["label_name"]) == (before["frame_dir"], before["label_name"])
        np.testing.assert_array_equal(after["keypoint"], before["keypoint"])
        np.testing.assert_array_equal(after["keypoint_score"], before["keypoint_score"])
        np.testing.assert_array_equal(after["time"], before["time"])
        assert after["img_shape"] == (720, 1280)


def test_several_videos_in_the_folder_of_an_action_have_its_label(skeletons: Path, tmp_path: Path) -> None:
    """OpenPose writes the frames of all videos into the folder that it is given."""
    assert call("export", skeletons, "openpose", "--out", tmp_path / "one").exit_code == 0
    for frame in (tmp_path / "one").rglob("*_keypoints.json"):
        action = tmp_path / "keypoints" / frame.parent.parent.name
        action.mkdir(parents=True, exist_ok=True)
        frame.rename(action / f"video{frame.parent.name}_{frame.name.split('_', 1)[1]}")
    out = tmp_path / "imported.pkl"
    done = call("import", "openpose", tmp_path / "keypoints", "--size", "1280x720", "--out", out)
    assert done.exit_code == 0 and "4 clips, 4 with a label" in done.output, done.output
    found = {one["frame_dir"]: one["label_name"] for one in read_data_set(out)["annotations"]}
    assert found == {f"{action}/video{n}": action for n, action in enumerate(("wave", "wave", "jump", "jump"))}


def test_what_is_dropped_is_said(skeletons: Path, tmp_path: Path) -> None:
    done = call("export", skeletons, "cvat", "--split", "test", "--out", tmp_path / "cvat")
    assert done.exit_code == 0, done.output
    for part in ("scores", "uneven times", "frame rate", "label"):
        assert f"dropped: {part} (2 of 2 clips); cvat cannot hold it" in done.output
    assert "ids" not in done.output and "frame size" not in done.output
    assert sorted(path.name for path in (tmp_path / "cvat").rglob("*.xml")) == ["1.xml", "3.xml"]
    done = call("export", skeletons, "openpose", "--layout", "penn13", "--out", tmp_path / "penn")
    assert "dropped: joints that penn13 does not have (4 of 4 clips)" in done.output
    # Files of other programs have numbers of classes without names.
    data = read_data_set(skeletons)
    for annotation in data["annotations"]:
        del annotation["label_name"]
    write_pickle(tmp_path / "numbers.pkl", data)
    done = call("export", tmp_path / "numbers.pkl", "cvat", "--out", tmp_path / "numbers")
    assert "dropped: label (4 of 4 clips); cvat cannot hold it" in done.output


def test_a_table_gives_labels_splits_and_parts_of_a_clip(skeletons: Path, tmp_path: Path) -> None:
    call("export", skeletons, "coco-results", "--split", "train", "--out", tmp_path / "coco")
    table = tmp_path / "coco" / "labels.csv"
    table.write_text("file,label,split,start,end\nwave/0.json,hello,train,,\njump/2.json,up,test,0.1,0.2\n")
    out = tmp_path / "a.pkl"
    done = call("import", "coco-results", tmp_path / "coco", "--labels", table, "--fps", 30, "--out", out)
    assert done.exit_code == 0, done.output
    data = read_data_set(out)
    assert data["split"] == {"test": ["jump/2_0.1_0.2"], "train": ["wave/0"]}
    assert data["annotations"][0]["frame_index"].tolist() == [3, 4, 5]
    assert data["annotations"][0]["label_name"] == "up"
    assert "it has no frame size" in done.output


def test_a_table_labels_single_persons(tmp_path: Path) -> None:
    clip = made_clip(persons=2, frames=10)
    write_pickle(tmp_path / "a.pkl", data_set([annotation_with(clip, "a", None)], {"all": ["a"]}))
    assert call("export", tmp_path / "a.pkl", "slp", "--out", tmp_path / "a.slp").exit_code == 0
    table = tmp_path / "labels.csv"
    table.write_text("file,label,track\na.slp,wave,3\na.slp,jump,11\n")
    done = call("import", "slp", tmp_path / "a.slp", "--labels", table, "--out", tmp_path / "b.pkl")
    assert done.exit_code == 0, done.output
    (found,) = read_data_set(tmp_path / "b.pkl")["annotations"]
    assert [(one["track_id"], one["label_name"]) for one in found["person_labels"]] == [(3, "wave"), (11, "jump")]


def test_joints_that_the_source_lacks_are_unseen_and_persons_are_ranked(tmp_path: Path) -> None:
    clip = made_clip(persons=2, frames=10, missing=0)
    # The second person is seen in half of the frames, and is so less relevant; it has the smaller id.
    clip.track_id = np.array([9, 1])
    clip.keypoint[1, 5:], clip.keypoint_score[1, 5:] = np.nan, 0
    path = tmp_path / "a.pkl"
    write_pickle(path, data_set([annotation_with(clip, "a", None)], {"all": ["a"]}))
    assert call("export", path, "alphapose", "--layout", "halpe26", "--out", tmp_path / "a.json").exit_code == 0
    done = call("import", "alphapose", tmp_path / "a.json", "--out", tmp_path / "b.pkl", "--layout", "h36m17")
    assert done.exit_code == 0, done.output
    (found,) = read_data_set(tmp_path / "b.pkl")["annotations"]
    assert found["track_id"].tolist() == [9, 1]
    root, nose = 0, 9
    assert not found["keypoint"][:, :, root].any() and not found["keypoint_score"][:, :, root].any()
    np.testing.assert_array_equal(found["keypoint"][0, :, nose], np.nan_to_num(clip.keypoint[0, :, 0]))
    assert found["history"][0]["parameters"] == {"format": "alphapose", "joints": 26}


def test_clips_in_3d_keep_metres_and_are_refused_by_flat_formats(tmp_path: Path) -> None:
    clip = made_clip(persons=1, frames=6, dimensions=3)
    annotation = annotation_with(clip, "a", "walk")
    del annotation["img_shape"], annotation["original_shape"]
    write_pickle(tmp_path / "a.pkl", data_set([annotation], {"all": ["a"]}))
    done = call("export", tmp_path / "a.pkl", "coco", "--out", tmp_path / "x")
    assert done.exit_code == 1 and "is in 3D, which coco cannot hold; use one of mmpose" in done.output
    assert call("export", tmp_path / "a.pkl", "trc", "--out", tmp_path / "a.trc").exit_code == 0
    done = call("import", "trc", tmp_path / "a.trc", "--out", tmp_path / "b.pkl")
    assert done.exit_code == 0, done.output
    (found,) = read_data_set(tmp_path / "b.pkl")["annotations"]
    np.testing.assert_array_equal(found["keypoint"], annotation["keypoint"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "nothing", "."], "unknown format 'nothing'; can be read: coco,"),
        (["import", "mot15", "."], "the format mot15 cannot be read (MOT15, boxes); use one of"),
        (["export", "made.pkl", "anipose", "--out", "x"], "the format anipose cannot be written"),
        (["export", "made.pkl", "coco", "--out", "x.json"], "--out x.json: is one file, but there are 4 clips"),
        (["export", "made.pkl", "coco", "--out", "x", "--split", "val"], "has the splits test, train"),
        (["export", "made.pkl", "coco", "--out", "x", "--layout", "dog"], "--layout dog: must be one of coco17"),
        (["import", "slp", "."], "contains no *.slp"),
        (["import", "slp", "absent"], "absent: no such file or folder"),
        (["import", "coco", ".", "--size", "640"], "--size 640: must be WIDTHxHEIGHT"),
        (["import", "coco", ".", "--fps", "-1"], "--fps -1.0: must be a number of frames per second above 0"),
        (["import", "coco", ".", "--joints", "dog"], "--joints dog: is not a layout"),
        (["import", "coco", ".", "--untrimmed"], "apply to the data sets ntu and pkummd"),
        (["import", "ntu", ".", "--fps", "25"], "ntu: takes one folder"),
    ],
)
def test_wrong_usage(
    arguments: list[str], message: str, skeletons: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.exit_code == 2 and message in done.output, done.output


def test_ids_of_clips_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    for name in ("../evil", "/evil", "a/../../evil"):
        write_pickle(tmp_path / "a.pkl", data_set([annotation_with(made_clip(), name, None)], {"all": [name]}))
        done = call("export", tmp_path / "a.pkl", "coco", "--out", tmp_path / "out")
        assert done.exit_code == 1 and "leads out of the output folder" in done.output
    assert not list(tmp_path.rglob("*evil*"))


def write_clips(path: Path, **clips: PoseClip) -> Path:
    annotations = [annotation_with(clip, name, None) for name, clip in clips.items()]
    write_pickle(path, data_set(annotations, {"all": list(clips)}))
    return path


def test_nothing_is_written_if_a_later_clip_is_refused(tmp_path: Path) -> None:
    first, last = made_clip(persons=1, frames=6), made_clip(persons=2, frames=6)
    path = write_clips(tmp_path / "made.pkl", first=first, last=last)
    # Another person of the second clip, from an earlier export.
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "last_P8.trc").write_text("")
    done = call("export", path, "trc", "--out", tmp_path / "out")
    assert done.exit_code == 1 and "would be read as another person of the clip last" in " ".join(done.output.split())
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["last_P8.trc"]
    data = read_data_set(path)
    data["annotations"][1]["frame_index"] = data["annotations"][1]["frame_index"][::-1].copy()
    write_pickle(path, data)
    done = call("export", path, "openpose", "--out", tmp_path / "frames")
    assert done.exit_code == 1 and "frame_index is" in done.output
    assert not (tmp_path / "frames").exists()


def test_clips_that_would_share_a_file_are_refused(tmp_path: Path) -> None:
    path = write_clips(
        tmp_path / "made.pkl", walk=made_clip(persons=2, frames=4), walk_P3=made_clip(persons=1, frames=4)
    )
    done = call("export", path, "trc", "--out", tmp_path / "out")
    assert done.exit_code == 1 and "as would clip 'walk'" in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()
    assert call("export", path, "coco", "--out", tmp_path / "coco").exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, one in FORMATS.items() if one.write is not None])
def test_clips_without_persons_are_written_or_counted(name: str, tmp_path: Path) -> None:
    one, nobody = made_clip(persons=1, frames=6), made_clip(persons=1, frames=6)
    for array in ("keypoint", "keypoint_score", "track_id"):
        setattr(nobody, array, getattr(nobody, array)[:0])
    nobody.imputed = None
    path = write_clips(tmp_path / "made.pkl", one=one, nobody=nobody)
    done = call("export", path, name, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    written = {file.name.partition(".")[0] for file in (tmp_path / "out").iterdir()}
    is_said = f"dropped: clips without persons (1 of 2 clips); {name} cannot hold it" in done.output
    assert written == ({"one"} if is_said else {"one", "nobody"})
    assert is_said or name not in ("trc", "lightningpose")
    if name == "trc":
        done = call("export", write_clips(tmp_path / "a.pkl", a=nobody), name, "--out", tmp_path / "a.trc")
        assert done.exit_code == 1 and "has no persons" in done.output


def test_malformed_files_are_named_and_can_be_skipped(skeletons: Path, tmp_path: Path) -> None:
    call("export", skeletons, "alphapose", "--out", tmp_path / "poses")
    (tmp_path / "poses" / "jump" / "bad.json").write_text("[")
    arguments = ("import", "alphapose", tmp_path / "poses", "--out", tmp_path / "b.pkl")
    done = call(*arguments)
    assert done.exit_code == 1 and "bad.json: is not valid JSON" in done.output and "--skip-bad" in done.output
    assert not (tmp_path / "b.pkl").exists()
    done = call(*arguments, "--skip-bad")
    assert done.exit_code == 1 and "skipped:" in done.output and "4 clips" in done.output


def test_kinect_data_sets_are_imported_as_by_convert(tmp_path: Path) -> None:
    done = call("import", "ntu", tmp_path)
    assert "contains no *.skeleton files" in done.output


def test_the_documentation_lists_every_format() -> None:
    text = section(page("file_formats.md"), "Formats of other programs")
    assert table_names(text, "format") == {*FORMATS, "ntu", "pkummd"}
    for name, one in FORMATS.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        cells = [cell.strip() for cell in row.split("|")]
        assert cells[3] == " and ".join(verb for verb, able in (("import", one.read), ("export", one.write)) if able), (
            name
        )
        assert {part.strip() for part in cells[5].split(",") if part.strip()} == one.lacks, name
        assert (one.package or "") == cells[4], name


def test_the_readme_counts_the_formats() -> None:
    words = {15: "fifteen", 16: "sixteen"}
    read, written = (sum(one is not None for one in able) for able in zip(*(
        (one.read, one.write) for one in FORMATS.values()
    ), strict=True))  # fmt: skip
    text = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
    assert f"[{words[len(FORMATS)]} formats](docs/file_formats.md#formats-of-other-programs)" in text
    assert f"{words[read]} to read and {words[written]} to write" in text


def test_the_list_of_formats() -> None:
    done = call("import", "--list")
    assert done.exit_code == 0 and all(name in done.output for name in FORMATS)
    assert "import" in typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
