"""Labels of the videos in one file of another program: from their folders, or from a table."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pipeline.cli import app
from pose_extraction.formats.validation import read_data_set
from pose_extraction.skeleton import COCO17
from test_support.clips.made_motions import CLASSES, made_clip

VIDEOS = ("wave/1.mp4", "wave/2.mp4", "jump/1.mp4", "jump/3.mp4")


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def write_coco(path: Path, videos: Sequence[str], keypoints: Sequence[np.ndarray] | None = None) -> Path:
    """Write a data set with several videos, each with one person; (T, 17, 2) in pixels."""
    images: list[dict[str, Any]] = []
    annotations = []
    for number, _ in enumerate(videos):
        joints = np.full((3, 17, 2), 5.0 + number) if keypoints is None else keypoints[number]
        for frame, pose in enumerate(joints):
            images.append({"id": len(images), "video_id": number, "frame_id": frame, "width": 900, "height": 900})
            flat = np.concatenate([pose, np.full((17, 1), 2)], axis=1).round(2).ravel().tolist()
            annotations.append({"image_id": len(images) - 1, "category_id": 1, "track_id": 0, "keypoints": flat})
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "videos": [{"id": number, "name": name} for number, name in enumerate(videos)],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.joints)}],
    }
    path.write_text(json.dumps(data))
    return path


def write_slp(path: Path, videos: Sequence[str]) -> Path:
    import sleap_io

    skeleton = sleap_io.Skeleton(nodes=list(COCO17.joints))
    track = sleap_io.Track("0")
    films = [sleap_io.Video(name, open_backend=False) for name in videos]
    frames = [
        sleap_io.LabeledFrame(
            video=film,
            frame_idx=0,
            instances=[sleap_io.Instance.from_numpy(np.full((17, 2), 5.0 + number), skeleton, track=track)],
        )
        for number, film in enumerate(films)
    ]
    labels = sleap_io.Labels(frames, videos=films, skeletons=[skeleton], tracks=[track])
    labels.save(str(path), verbose=False)
    return path


def labels_in(path: Path) -> dict[str, str | None]:
    return {one["frame_dir"]: one["label_name"] for one in read_data_set(path)["annotations"]}


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["", "/data/anna/videos/", "C:\\videos\\"])
def test_folders_of_the_videos_in_a_sleap_file_are_labels(folder: str, tmp_path: Path) -> None:
    path = write_slp(tmp_path / "all.slp", [folder + video for video in VIDEOS])
    done = call("import", "slp", path, "--size", "900x900", "--out", tmp_path / "a.pkl")
    assert done.exit_code == 0 and "4 clips, 4 with a label" in done.output, done.output
    assert labels_in(tmp_path / "a.pkl") == {
        "all/wave/1": "wave", "all/wave/2": "wave", "all/jump/1": "jump", "all/jump/3": "jump",
    }  # fmt: skip
    done = call("import", "slp", path, "--labels", "none", "--size", "900x900", "--out", tmp_path / "b.pkl")
    assert done.exit_code == 0 and set(labels_in(tmp_path / "b.pkl").values()) == {None}


def test_folders_of_the_files_come_first(tmp_path: Path) -> None:
    for action in ("run", "walk"):
        write_coco(tmp_path / "keypoints" / action / "a.json", VIDEOS)
    done = call("import", "coco", tmp_path / "keypoints", "--out", tmp_path / "a.pkl")
    assert done.exit_code == 0, done.output
    found = labels_in(tmp_path / "a.pkl")
    assert len(found) == 8 and all(label == name.split("/")[0] for name, label in found.items())


def test_videos_of_a_coco_file_from_windows(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "all.json", ["videos\\wave\\1.mp4", "videos\\jump\\1.mp4"])
    done = call("import", "coco", path, "--out", tmp_path / "a.pkl")
    assert done.exit_code == 0, done.output
    assert labels_in(tmp_path / "a.pkl") == {"all/videos/wave/1.mp4": "wave", "all/videos/jump/1.mp4": "jump"}


def test_videos_of_a_coco_file_that_have_the_same_name_are_not_joined(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "all.json", ["1.mp4", "1.mp4"])
    done = call("import", "coco", path, "--out", tmp_path / "a.pkl")
    assert done.exit_code == 1 and "several of its videos have the name '1.mp4'; rename" in done.output


def test_videos_of_one_folder_have_no_label(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "all.json", ["films/1.mp4", "films/2.mp4"])
    done = call("import", "coco", path, "--out", tmp_path / "a.pkl")
    assert done.exit_code == 0 and "2 clips, 0 with a label" in done.output


def table_of(folder: Path, *lines: str, header: str = "file,label") -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join((header, *lines)) + "\n")
    return path


def test_a_table_names_videos_as_the_file_does_or_by_the_end_of_their_path(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "all.json", [f"/data/{video}" for video in VIDEOS])
    table = table_of(
        tmp_path, "/data/wave/1.mp4,hello,train", "wave/2,hello,test", "data/jump/1.mp4,up,train", "3.mp4,up,test",
        header="file,label,split",
    )  # fmt: skip
    done = call("import", "coco", path, "--labels", table, "--out", tmp_path / "a.pkl")
    assert done.exit_code == 0 and "4 clips, 4 with a label" in done.output, done.output
    assert labels_in(tmp_path / "a.pkl") == {
        "all/data/wave/1.mp4": "hello", "all/data/wave/2.mp4": "hello", "all/data/jump/1.mp4": "up",
        "all/data/jump/3.mp4": "up",
    }  # fmt: skip
    splits = read_data_set(tmp_path / "a.pkl")["split"]
    assert {name: sorted(one[-5] for one in clips) for name, clips in splits.items()} == {
        "train": ["1", "1"],
        "test": ["2", "3"],
    }


def test_a_row_for_the_file_is_for_the_videos_without_a_row(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "all.json", VIDEOS)
    table = table_of(tmp_path, "all.json,still,,", "jump/3.mp4,jump,0,0.05", header="file,label,start,end")
    done = call("import", "coco", path, "--fps", 30, "--labels", table, "--out", tmp_path / "a.pkl")
    assert done.exit_code == 0, done.output
    found = read_data_set(tmp_path / "a.pkl")["annotations"]
    assert {one["frame_dir"]: (one["label_name"], one["total_frames"]) for one in found} == {
        **{f"all/{video}": ("still", 3) for video in VIDEOS[:3]},
        "all/jump/3.mp4_0_0.05": ("jump", 2),
    }


def test_a_video_of_a_file_with_a_single_one(tmp_path: Path) -> None:
    for number, video in enumerate(VIDEOS[:2]):
        write_coco(tmp_path / f"{number}.json", [video])
    table = table_of(tmp_path, "wave/2.mp4,hello", "0.json,bye")
    done = call("import", "coco", tmp_path / "0.json", tmp_path / "1.json", "--labels", table,
                "--out", tmp_path / "a.pkl")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert labels_in(tmp_path / "a.pkl") == {"0": "bye", "1": "hello"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1.mp4,a"], "line 2: 1.mp4 matches videos 'wave/1.mp4' and 'jump/1.mp4' equally well; add the folder"),
        (["wave/1.avi,a"], "line 2: there is no file 'wave/1.avi'"),
        (["3.mp4,a", "jump/3,b"], "line 3: jump/3 is clip 'all/jump/3.mp4', as on line 2; delete one"),
    ],
)
def test_rows_that_do_not_name_one_video_are_refused(lines: list[str], message: str, tmp_path: Path) -> None:
    path = write_coco(tmp_path / "all.json", VIDEOS)
    done = call("import", "coco", path, "--labels", table_of(tmp_path, *lines), "--out", tmp_path / "a.pkl")
    assert done.exit_code == 1 and message in done.output, done.output


@pytest.mark.slow
def test_one_file_and_no_videos_lead_to_a_recognizer_in_two_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    joints = [made_clip(number % 3, rng, frames=12)[0] for number in range(24)]
    videos = [f"{CLASSES[number % 3]}/{number}.mp4" for number in range(24)]
    write_coco(tmp_path / "all.json", videos, joints)
    done = call("import", "coco", "all.json", "--fps", 30)
    assert done.exit_code == 0, done.output
    sizes = ("dim=16", "depth=1", "heads=2", "dim_representation=16", "hidden=32")
    epochs = ("phase1_epochs=1", "phase2_epochs=1", "holdout=0.25", "schedule=exponential")
    done = call("train", *sizes, *epochs, "--batch-size", 8, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert list((tmp_path / "runs").glob("coco*/best.safetensors"))
