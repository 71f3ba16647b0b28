"""`skelpipe import` reports what files of other programs hold and the skeleton file does not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline import cli
from pose_extraction.exchange.clips import PoseClip
from pose_extraction.exchange.table import FORMATS
from pose_extraction.formats.validation import read_data_set
from test_support.clips.exchanged import made_clip

BODY25 = [3.0, 4.0, 0.5] * 25
COCO17 = [3.0, 4.0, 0.5] * 17


def dropped_by(name: str, *words: object, folder: Path) -> dict[str, str]:
    """Import files, and return what the command reports as dropped, with "N of M clips"."""
    out = folder / "imported" / "skeletons.pkl"
    done = CliRunner().invoke(cli.app, [str(word) for word in ("import", name, *words, "--out", out)])
    assert done.exit_code == 0, done.output
    lines = [line.removeprefix("dropped: ") for line in done.output.splitlines() if line.startswith("dropped: ")]
    parts = [line.rpartition(" (") for line in lines]
    return {part: count.removesuffix(")") for part, _, count in parts}


def write_json(folder: Path, data: Any, name: str = "a.json") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(data), encoding="utf-8")
    return folder / name


def coco_file(folder: Path, *annotations: dict[str, Any]) -> Path:
    images = [
        {"id": number, "file_name": f"{video}/{number}.jpg", "width": 64, "height": 48}
        for number, video in enumerate(("a", "b", "c"), 1)
    ]
    categories = [{"id": 1, "name": "person", "keypoints": ["nose", "neck", "tail"]}, {"id": 2, "name": "dog"}]
    return write_json(folder, {"images": images, "annotations": list(annotations), "categories": categories})


def test_coco(tmp_path: Path) -> None:
    pose = {"category_id": 1, "track_id": 1, "keypoints": [1, 1, 2, 2, 2, 2, 0, 0, 0]}
    path = coco_file(
        tmp_path,
        {"image_id": 1, **pose, "bbox": [0, 0, 9, 9], "segmentation": [[0, 0, 9, 0, 9, 9]]},
        {"image_id": 2, **pose, "keypoints": [1, 1, 1, 0, 0, 0, 0, 0, 0]},
        {"image_id": 2, "category_id": 1, "keypoints": [0] * 9, "num_keypoints": 0},
        {"image_id": 3, "category_id": 2, "bbox": [1, 1, 2, 2]},
    )
    assert dropped_by("coco", path, folder=tmp_path) == {
        "annotations of other categories": "2 of 3 clips",
        "boxes": "1 of 3 clips",
        "clips without persons": "1 of 3 clips",
        "joints that coco17 does not have (--layout source keeps them)": "1 of 3 clips",
        "marks of occluded joints": "1 of 3 clips",
        "persons without joints": "1 of 3 clips",
        "segmentations": "1 of 3 clips",
    }
    found = read_data_set(tmp_path / "imported" / "skeletons.pkl")["annotations"]
    assert [one["frame_dir"] for one in found] == ["a/a", "a/b"]
    assert "joints that" not in "".join(dropped_by("coco", path, "--layout", "source", folder=tmp_path))


def test_results_of_coco_alphapose_and_mmpose(tmp_path: Path) -> None:
    entries = [{"image_id": frame, "keypoints": COCO17, "score": 0.9, "track_id": 1} for frame in (0, 1)]
    path = write_json(tmp_path, entries)
    assert dropped_by("coco-results", path, folder=tmp_path) == {"scores of persons": "1 of 1 clip"}
    path = write_json(tmp_path, [{"image_id": "0.jpg", "keypoints": COCO17, "idx": 1, "box": [1, 2, 3, 4]}])
    assert dropped_by("alphapose", path, folder=tmp_path) == {"boxes": "1 of 1 clip"}
    instance = {"keypoints": [[1, 2]] * 17, "keypoint_scores": [0.5] * 17, "bbox": [[0, 0, 1, 1]], "bbox_score": 0.5}
    path = write_json(tmp_path, [{"frame_id": 0, "instances": [instance]}])
    assert dropped_by("mmpose", path, folder=tmp_path) == {
        "boxes": "1 of 1 clip",
        "scores of persons": "1 of 1 clip",
    }


def test_ids_that_some_poses_lack(tmp_path: Path) -> None:
    entries = [{"image_id": f"{frame}.jpg", "keypoints": COCO17} for frame in range(3)]
    entries[1]["idx"] = 7
    assert dropped_by("alphapose", write_json(tmp_path, entries), folder=tmp_path) == {
        "ids, which some poses lack": "1 of 1 clip"
    }


def test_openpose(tmp_path: Path) -> None:
    body = {"pose_keypoints_2d": BODY25, "face_keypoints_2d": [], "hand_left_keypoints_2d": [0] * 63}
    people = {
        "a": [{**body, "face_keypoints_2d": [1, 1, 1] * 70}],
        "b": [{**body, "hand_right_keypoints_2d": [1, 1, 1] * 21, "pose_keypoints_3d": [1, 1, 1, 1] * 25}],
        "empty": [],
    }
    for video, found in people.items():
        write_json(tmp_path / "keypoints", {"people": found}, f"{video}_{0:012d}_keypoints.json")
    assert dropped_by("openpose", tmp_path / "keypoints", folder=tmp_path) == {
        "clips without persons": "1 of 3 clips",
        "faces": "1 of 3 clips",
        "hands": "1 of 3 clips",
        "joints in 3D": "1 of 3 clips",
        "joints that coco17 does not have (--layout source keeps them)": "2 of 3 clips",
    }


def test_times_rates_and_sizes_that_options_replace(tmp_path: Path) -> None:
    clip = made_clip(frames=6)
    write = {name: tmp_path / f"{name}{FORMATS[name].suffixes[0]}" for name in ("mmpose", "coco")}
    for name, path in write.items():
        FORMATS[name].write(clip, path)
    replaced = dropped_by("mmpose", write["mmpose"], "--fps", 10, "--size", "640x480", folder=tmp_path)
    assert "times, which --fps replaces" in replaced and "frame size, which --size replaces" in replaced
    data = json.loads(write["coco"].read_text())
    for image in data["images"]:
        del image["time"]
    path = write_json(tmp_path, data)
    assert "frame rate, which --fps replaces" in dropped_by("coco", path, "--fps", 10, folder=tmp_path)
    assert "frame rate, which --fps replaces" not in dropped_by("coco", path, "--fps", clip.fps, folder=tmp_path)


@pytest.mark.slow
def test_sleap(tmp_path: Path) -> None:
    import sleap_io

    skeleton = sleap_io.Skeleton(nodes=["nose", "tail"])
    places = np.array([[1.0, 2], [3, 4]])
    videos = [sleap_io.Video(f"films/{name}.mp4", open_backend=False) for name in ("a", "b", "empty")]
    anna = sleap_io.Track("anna")
    guess, other = (
        sleap_io.PredictedInstance.from_numpy(
            places, skeleton, point_scores=np.ones(2), track=anna, score=0.5, tracking_score=0.7
        )
        for _ in range(2)
    )
    right = sleap_io.Instance.from_numpy(places, skeleton, track=anna)
    right.from_predicted = guess
    right.points["visible"][1] = False
    frames = [
        sleap_io.LabeledFrame(video=videos[0], frame_idx=4, instances=[guess, right]),
        sleap_io.LabeledFrame(video=videos[1], frame_idx=0, instances=[other]),
    ]
    labels = sleap_io.Labels(frames, videos=videos, skeletons=[skeleton])
    labels.suggestions.append(sleap_io.SuggestionFrame(videos[0], 9))
    labels.save(str(tmp_path / "a.slp"), verbose=False)
    assert dropped_by("slp", tmp_path / "a.slp", folder=tmp_path) == {
        "clips without persons": "1 of 3 clips",
        "joints that are marked as not visible": "1 of 3 clips",
        "joints that coco17 does not have (--layout source keeps them)": "1 of 3 clips",
        "names of persons": "2 of 3 clips",
        "predictions that were corrected": "1 of 3 clips",
        "scores of persons": "1 of 3 clips",
        "scores of tracking": "1 of 3 clips",
        "suggested frames": "2 of 3 clips",
    }


def test_deeplabcut(tmp_path: Path) -> None:
    joints = ("nose", "tail")
    columns = [(person, joint, axis) for person in ("anna", "ben") for joint in joints for axis in ("x", "y", "area")]
    head = [("scorer", *["made"] * 12)] + [
        (name, *(column[level] for column in columns))
        for level, name in enumerate(("individuals", "bodyparts", "coords"))
    ]
    lines = [",".join(row) for row in head] + [",".join(map(str, [0, *range(1, 13)]))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    assert dropped_by("deeplabcut", tmp_path / "a.csv", "--size", "64x48", folder=tmp_path) == {
        "columns 'area'": "1 of 1 clip",
        "joints that coco17 does not have (--layout source keeps them)": "1 of 1 clip",
        "names of persons": "1 of 1 clip",
    }


@pytest.mark.slow
def test_netcdf_of_movement(tmp_path: Path) -> None:
    import xarray

    clip: PoseClip = made_clip(frames=6)
    FORMATS["netcdf"].write(clip, tmp_path / "a.nc")
    assert dropped_by("netcdf", tmp_path / "a.nc", folder=tmp_path) == {}
    data = xarray.load_dataset(tmp_path / "a.nc", engine="h5netcdf")
    data["speed"] = data.position.mean("space")
    people = next(name for name in data.position.dims if str(name).startswith("individual"))
    data = data.assign_coords({people: ["anna", "ben"]})
    data.to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    assert dropped_by("netcdf", tmp_path / "b.nc", folder=tmp_path) == {
        "names of persons": "1 of 1 clip",
        "variable 'speed'": "1 of 1 clip",
    }


def test_cvat_and_markers(tmp_path: Path) -> None:
    points = '<points label="nose" outside="0" occluded="1" points="1,2"/>'
    skeleton = f'<skeleton frame="0" outside="0">{points}</skeleton>'
    box = '<track id="1" label="car"><box frame="0" xtl="1" ytl="1" xbr="2" ybr="2" outside="0"/></track>'
    (tmp_path / "a.xml").write_text(f'<annotations><track id="0" label="person">{skeleton}</track>{box}</annotations>')
    assert dropped_by("cvat", tmp_path / "a.xml", folder=tmp_path) == {
        "labels of tracks": "1 of 1 clip",
        "marks of occluded joints": "1 of 1 clip",
        "shapes other than skeletons": "1 of 1 clip",
    }
    FORMATS["trc"].write(made_clip(persons=1, frames=5), tmp_path / "a.trc")
    assert dropped_by("trc", tmp_path / "a.trc", folder=tmp_path) == {}
    lines = (tmp_path / "a.trc").read_text().splitlines()
    lines[6] = "\t".join([*lines[6].split("\t")[:2], "1", "2", "3"])
    (tmp_path / "a.trc").write_text("\n".join(lines))
    assert dropped_by("trc", tmp_path / "a.trc", folder=tmp_path) == {"depth": "1 of 1 clip"}
