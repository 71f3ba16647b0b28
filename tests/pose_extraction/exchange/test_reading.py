"""Files of unknown origin: as other programs write them, damaged ones, and ones that attack the reader."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pose_extraction.errors import AnnotationError, BackendError
from pose_extraction.exchange import reading
from pose_extraction.exchange.clips import Given, PoseClip, number_persons
from pose_extraction.exchange.dropping import NAMES, lost_names
from pose_extraction.exchange.rows import Row, clip_from_rows
from pose_extraction.exchange.table import FORMATS
from test_support.clips.exchanged import made_clip


def read(name: str, path: Path, given: Given | None = None) -> list[PoseClip]:
    return FORMATS[name].read(path, given or Given())


def read_json(name: str, data: Any, folder: Path, given: Given | None = None) -> PoseClip:
    (folder / "a.json").write_text(json.dumps(data), encoding="utf-8")
    (found,) = read(name, folder / "a.json", given)
    return found


def pose(value: float, joints: int = 17) -> list[float]:
    return [value, value, 0.5] * joints


def test_alphapose_without_tracking_and_with_ids_in_lists(tmp_path: Path) -> None:
    entries = [{"image_id": f"{frame}.jpg", "keypoints": pose(frame + 1), "score": 2.9} for frame in (0, 10, 5)]
    found = read_json("alphapose", entries, tmp_path, Given(fps=25))
    assert found.frame_index.tolist() == [0, 5, 10] and found.time.tolist() == [0, 0.2, 0.4]
    assert found.keypoint[0, :, 0, 0].tolist() == [1, 6, 11]
    assert (found.track_id.tolist(), found.tracked) == ([0], True)
    with_ids = read_json("alphapose", [{**entry, "idx": [1.0]} for entry in entries], tmp_path)
    assert with_ids.track_id.tolist() == [1]


def test_openpose_names_of_files_versions_and_videos(tmp_path: Path) -> None:
    person = {"person_id": [-1], "pose_keypoints_2d": pose(3, 25), "face_keypoints_2d": pose(1, 70)}
    for video, frames in (("a_b", (0, 1)), ("c", (7,))):
        for frame in frames:
            path = tmp_path / f"{video}_{frame:012d}_keypoints.json"
            path.write_text(json.dumps({"version": 1.1, "people": [person] if frame != 1 else []}))
    (tmp_path / "notes.txt").write_text("ignored")
    first, second = read("openpose", tmp_path)
    assert (first.name, second.name) == ("a_b", "c")
    assert first.num_frames == 2 and not first.seen[:, 1].any()
    assert first.joints[8] == "mid_hip" and second.frame_index.tolist() == [7]
    assert any("frame rate" in note for note in first.notes)


def test_frames_of_an_earlier_export_to_openpose_do_not_remain(tmp_path: Path) -> None:
    for frames in (9, 5):
        FORMATS["openpose"].write(made_clip(frames=frames), tmp_path / "clip")
    (found,) = read("openpose", tmp_path / "clip")
    assert found.num_frames == 5


@pytest.mark.parametrize("killed_at", ["rename of the old folder", "rename of the new one", "removal of the old one"])
def test_a_killed_export_to_openpose_leaves_no_mixture(
    killed_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the moment, the folder has the frames of one export or does not exist; the next export repairs it."""
    path = tmp_path / "clip"
    FORMATS["openpose"].write(made_clip(frames=9), path)
    (path / "notes.txt").write_text("kept")
    rename, moment = Path.rename, {"rename of the old folder": 1, "rename of the new one": 2}.get(killed_at, 3)
    calls = []

    def counting(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == moment:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", counting)
    with pytest.raises(KeyboardInterrupt):
        FORMATS["openpose"].write(made_clip(frames=5), path)
    monkeypatch.undo()
    left = len(list(path.glob("*_keypoints.json"))) if path.exists() else None
    assert left == {1: 9, 2: None, 3: 5}[moment]
    FORMATS["openpose"].write(made_clip(frames=4), path)
    assert [one.num_frames for one in read("openpose", path)] == [4]
    assert (path / "notes.txt").read_text() == "kept"
    assert [one.name for one in tmp_path.iterdir()] == ["clip"], "nothing else is left"


def test_a_file_in_the_place_of_a_folder_for_openpose_is_kept(tmp_path: Path) -> None:
    (tmp_path / "clip").write_text("precious")
    with pytest.raises(AnnotationError, match="clip: is a file"):
        FORMATS["openpose"].write(made_clip(frames=4), tmp_path / "clip")
    assert (tmp_path / "clip").read_text() == "precious"


def test_coco_without_ids_is_split_into_the_videos_of_its_images(tmp_path: Path) -> None:
    images = [
        {"id": number, "file_name": f"{video}/frame_{frame}.png", "width": 64, "height": 48}
        for number, (video, frame) in enumerate([("x", 3), ("x", 4), ("y", 1)], 5)
    ]
    annotations = [
        {"id": n, "image_id": image["id"], "category_id": 7, "keypoints": [n + 1, 2, 2, 4, 5, 1, 9, 9, 0]}
        for n, image in enumerate(images)
    ]
    categories = [{"id": 3, "name": "car"}, {"id": 7, "name": "person", "keypoints": ["Nose", "LEye", "REye"]}]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "a.json").write_text(json.dumps(data))
    first, second = read("coco", tmp_path / "a.json")
    assert (first.name, second.name, first.size) == ("x", "y", (48, 64))
    assert first.frame_index.tolist() == [3, 4]
    np.testing.assert_array_equal(first.keypoint[0, 1], np.float32([[2, 2], [4, 5], [np.nan, np.nan]]))
    assert first.keypoint_score[0, 0].tolist() == [1, 1, 0], "an occluded joint is annotated, and so seen"


def test_mmpose_of_an_inferencer_counts_frames_from_0_and_of_a_demo_from_1(tmp_path: Path) -> None:
    instance = {"keypoints": [[1, 2]] * 17, "keypoint_scores": [0.5] * 17, "bbox": [[0, 0, 1, 1]]}
    inferencer = [{"frame_id": frame, "instances": [instance]} for frame in (0, 1)]
    assert read_json("mmpose", inferencer, tmp_path).frame_index.tolist() == [0, 1]
    demo = {"meta_info": {}, "instance_info": [{"frame_id": frame, "instances": [instance]} for frame in (1, 2)]}
    assert read_json("mmpose", demo, tmp_path).frame_index.tolist() == [0, 1]
    assert read_json("mmpose", [instance], tmp_path).num_persons == 1, "of one image"
    solid = [{"frame_id": 0, "instances": [{**instance, "keypoints": [[1, 2, 3]] * 17}]}]
    assert read_json("mmpose", solid, tmp_path).keypoint.shape == (1, 1, 17, 3)


def test_persons_without_ids_are_linked_although_their_order_changes() -> None:
    clip = made_clip(persons=3, frames=10, missing=0)
    rows = [
        Row(frame, None, clip.keypoint[person, frame], clip.keypoint_score[person, frame])
        for frame in range(10)
        for person in np.random.default_rng(frame).permutation(clip.persons_at(frame)).tolist()
    ]
    found = clip_from_rows(rows, "made", Given(25, clip.size))
    assert found.num_persons == 3 and not found.tracked
    for person in range(3):
        place = np.nanmean(clip.keypoint[person])
        same = int(np.argmin([abs(np.nanmean(track) - place) for track in found.keypoint]))
        np.testing.assert_array_equal(found.keypoint[same], clip.keypoint[person])


def test_trc_of_metres_millimetres_and_gaps(tmp_path: Path) -> None:
    lines = [
        "PathFileType\t4\t(X/Y/Z)\ta.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        "50.0\t50.0\t2\t2\tmm\t50.0\t1\t2",
        "Frame#\tTime\tRHip\t\t\tLHip\t\t",
        "\t\tX1\tY1\tZ1\tX2\tY2\tZ2",
        "",
        "1\t0.02\t1000\t2000\t-500\t\t\t",
        "2\t0.04\t1\t2\t3\t4\t5\t6",
    ]
    (tmp_path / "a.trc").write_text("\r\n".join(lines))
    (found,) = read("trc", tmp_path / "a.trc")
    assert (found.joints, found.fps, found.time.tolist()) == (("RHip", "LHip"), 50, [0.02, 0.04])
    assert found.keypoint[0, 0, 0].tolist() == [1, 2, -0.5]
    assert np.isnan(found.keypoint[0, 0, 1]).all()
    assert found.frame_index.tolist() == [1, 2]
    lines[2] = lines[2].replace("mm", "ft")
    (tmp_path / "a.trc").write_text("\n".join(lines))
    with pytest.raises(AnnotationError, match=r"a.trc: has the units 'ft'; known are m, cm, mm and px"):
        read("trc", tmp_path / "a.trc")


def trc_of_pose2sim(first: int, frames: int) -> str:
    """A file as Pose2Sim 0.10 writes it: no empty line after the header, frames from the first one, gaps empty."""
    lines = [
        "PathFileType\t4\t(X/Y/Z)\ta.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"50\t50\t{frames}\t2\tm\t50\t{first}\t{frames}",
        "Frame#\tTime\tRHip\t\t\tLHip\t\t\t",
        "\t\tX1\tY1\tZ1\tX2\tY2\tZ2\t",
    ]
    rows = [f"{frame}\t{frame / 50}\t{frame}.5\t1.0\t2.0\t\t\t" for frame in range(first, first + frames)]
    return "\n".join([*lines, *rows]) + "\n"


def test_trc_of_persons_whom_pose2sim_saw_at_different_times(tmp_path: Path) -> None:
    (tmp_path / "walk_P0_0-3_filt.trc").write_text(trc_of_pose2sim(0, 4))
    (tmp_path / "walk_P2_2-5_filt.trc").write_text(trc_of_pose2sim(2, 4))
    (found,) = read("trc", tmp_path / "walk_P0_0-3_filt.trc")
    assert (found.track_id.tolist(), found.frame_index.tolist(), found.fps) == ([0, 2], [0, 1, 2, 3, 4, 5], 50)
    np.testing.assert_array_equal(found.keypoint[0, :, 0, 0], [0.5, 1.5, 2.5, 3.5, np.nan, np.nan])
    np.testing.assert_array_equal(found.keypoint[1, :, 0, 0], [np.nan, np.nan, 2.5, 3.5, 4.5, 5.5])
    assert not found.seen[:, :, 1].any()
    (tmp_path / "walk_P0_6-7_filt.trc").write_text(trc_of_pose2sim(6, 2))
    with pytest.raises(AnnotationError, match=r"walk_P0_6-7_filt\.trc: has the same person as walk_P0_0-3_filt\.trc"):
        read("trc", tmp_path / "walk_P0_0-3_filt.trc")


def test_participants_are_not_persons_of_one_clip(tmp_path: Path) -> None:
    for name in ("study_P01_walk", "study_P02_walk"):
        (tmp_path / f"{name}.trc").write_text(trc_of_pose2sim(0, 4))
    (found,) = read("trc", tmp_path / "study_P01_walk.trc")
    assert found.num_persons == 1


def test_persons_in_files_without_frame_rate_are_refused(tmp_path: Path) -> None:
    for person in range(2):
        (tmp_path / f"walk_P{person}.trc").write_text(trc_of_pose2sim(person, 4).replace("\n50\t", "\n0\t"))
    with pytest.raises(AnnotationError, match=r"has 0 frames per second; correct its DataRate"):
        read("trc", tmp_path / "walk_P0.trc")


def test_a_frame_rate_of_0_is_refused_unless_the_user_knows_it(tmp_path: Path) -> None:
    data = {"meta_info": {"fps": 0}, "instance_info": [{"frame_id": 1, "instances": [{"keypoints": [[1, 2]] * 17}]}]}
    with pytest.raises(AnnotationError, match=r"a.json: has 0.0 frames per second; give the true rate with --fps"):
        read_json("mmpose", data, tmp_path)
    assert read_json("mmpose", data, tmp_path, Given(fps=25)).fps == 25


def table_of_anipose(frames: int) -> str:
    """A table as Anipose 1.1 writes it: columns of each joint, the transformation of the axes, the frame number."""
    joints = ("nose", "left_shoulder", "left_hip")
    of_joint = [f"{joint}_{kind}" for joint in joints for kind in ("x", "y", "z", "error", "ncams", "score")]
    of_axes = [f"M_{row}{column}" for row in range(3) for column in range(3)] + [f"center_{axis}" for axis in range(3)]
    lines = [",".join([*of_joint, *of_axes, "fnum"])]
    for frame in range(frames):
        values = [f"{frame + place},{frame - place}.5,-1.25,0.75,2,0.5" for place in range(3)]
        if frame == 1:
            # A joint that fewer than two cameras saw.
            values[2] = ",,,,,"
        lines.append(",".join([*values, "1,0,0,0,1,0,0,0,1", "0,0,0", str(frame)]))
    return "\n".join(lines) + "\n"


@pytest.mark.slow
def test_anipose(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table_of_anipose(4))
    (found,) = read("anipose", tmp_path / "a.csv", Given(fps=50))
    assert found.joints == ("nose", "left_shoulder", "left_hip")
    assert (found.fps, found.time.tolist()) == (50, [0, 0.02, 0.04, 0.06])
    expected = np.array([[[f + p, f - p + (0.5 if f >= p else -0.5), -1.25] for p in range(3)] for f in range(4)])
    expected[1, 2] = np.nan
    np.testing.assert_array_equal(found.keypoint[0], expected.astype(np.float32))
    np.testing.assert_array_equal(found.keypoint_score[0], np.where(np.isnan(expected[..., 0]), 0, 0.5))
    assert "no unit" in " ".join(found.notes)
    assert found.dropped == {"errors of the triangulation", "numbers of cameras"}
    (found,) = read("anipose", tmp_path / "a.csv")
    assert found.fps == 30 and "30 frames per second are assumed" in " ".join(found.notes)
    (renamed,) = read("anipose", tmp_path / "a.csv", Given(joints=("nose", "right_wrist", "right_ankle")))
    np.testing.assert_array_equal(renamed.keypoint, found.keypoint, err_msg="names in the order of the file")
    assert renamed.dropped == {"errors of the triangulation", "numbers of cameras"}


def test_numbers_of_persons_come_from_their_names_where_these_differ() -> None:
    assert number_persons(["track_3", "id7"]).tolist() == [3, 7]
    assert number_persons(["anna", "ben"]).tolist() == [0, 1]
    assert number_persons(["a1", "b1"]).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("names", "are_lost"),
    [
        (["track_3", "id7", "Person 11", "individual_04"], False),
        (["3", "11"], False),
        (["anna", "ben"], True),
        (["anna7"], True),
        (["anna_7", "anna_8"], True),
        (["a1", "b1"], True),
        (["track_3", "other_track_3"], True),
    ],
)
def test_names_are_lost_unless_they_only_count(names: list[str], are_lost: bool) -> None:
    assert lost_names(names, number_persons(names).tolist()) == ({NAMES} if are_lost else set())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("coco", "[1]", "must have lists of images"),
        ("coco", '{"images": [], "annotations": [], "categories": [{"id": 1}]}', "no category with keypoints"),
        ("coco-results", '{"a": 1}', "must be a list of results"),
        ("coco-results", "[]", "contains no poses"),
        ("coco-results", '[{"image_id": "x", "keypoints": [1, 2, 3]}]', "image_id: must be a whole number, got 'x'"),
        ("coco-results", '[{"image_id": 1, "keypoints": [1, 2]}]', "must be any x 3 numbers"),
        ("coco-results", '[{"image_id": 1, "keypoints": [[1], [1, 2]]}]', "must be any x 3 numbers"),
        ("alphapose", '[{"image_id": "x.jpg"}]', "has no frame number"),
        ("alphapose", "[[", "not valid JSON"),
        ("alphapose", "[" * 100_000, "not valid JSON"),
        ("mmpose", '{"a": 1}', "must be a list of frames"),
        ("mmpose", '[{"frame_id": 0, "instances": [3]}]', "an instance is 3"),
        ("labelstudio", "[3]", "must be a list of tasks"),
        ("labelstudio", '[{"annotations": [{}]}]', "not an export of Label Studio with key points"),
        ("labelstudio", '[{"annotations": [{"result": []}]}]', "has no key points"),
        ("cvat", "<annotations/>", "no track with skeletons"),
        ("cvat", "<annotations>", "not valid XML"),
        ("trc", "PathFileType\n1\n2\n", "not a TRC file"),
        ("trc", trc_of_pose2sim(0, 0), "has no frames"),
        ("deeplabcut", "a,b\n1,2\n", "not a table of DeepLabCut"),
        ("slp", "no", "not a readable HDF5 file"),
        ("nwb", "no", "not a readable HDF5 file"),
        ("netcdf", "no", "not a readable HDF5 file"),
        ("pose", "no", "not a readable .pose file"),
        ("anipose", "a,b\n1,2\n", "not a table of Anipose"),
    ],
)
def test_damaged_files_are_named_with_the_reason(name: str, content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{FORMATS[name].suffixes[0]}"
    path.write_text(content)
    with pytest.raises(AnnotationError) as error:
        read(name, path)
    assert str(path) in str(error.value) and message in str(error.value)


@pytest.mark.parametrize("name", ["pose", "slp", "netcdf"])
def test_truncated_files_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{FORMATS[name].suffixes[0]}"
    FORMATS[name].write(made_clip(), path)
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.95):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(AnnotationError, match=r"a\."):
            read(name, path)


class _Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code of a file was executed')",)


def test_code_in_a_table_of_deeplabcut_is_not_executed(tmp_path: Path) -> None:
    """pandas keeps the names of columns as a pickle, and executes whatever stands there."""
    h5py = pytest.importorskip("h5py")

    path = tmp_path / "a.h5"
    FORMATS["deeplabcut"].write(made_clip(), path)
    with h5py.File(path, "a") as file:
        file["df_with_missing/table"].attrs["values_block_0_kind"] = np.bytes_(pickle.dumps(_Attack(), 0))
    with pytest.raises(AnnotationError, match=r"a.h5: refused to load .*exec"):
        read("deeplabcut", path)


def test_tracks_as_cvat_exports_them(tmp_path: Path) -> None:
    """Skeletons of key frames and interpolated ones; only the points are marked as outside where a person has left."""

    def skeleton(frame: int, key: int, outside: int) -> str:
        points = "".join(
            f'<points label="{name}" keyframe="{key}" outside="{outside}" occluded="0" points="{frame}.25,{place}.50">'
            "</points>"
            for place, name in enumerate(("nose", "neck"))
        )
        return f'<skeleton frame="{frame}" keyframe="{key}" z_order="0">{points}</skeleton>'

    shapes = "".join(skeleton(*numbers) for numbers in ((0, 1, 0), (1, 0, 0), (2, 1, 0), (3, 1, 1)))
    task = "<task><id>7</id><name>walk</name><size>5</size><mode>interpolation</mode><original_size><width>64</width>"
    (tmp_path / "a.xml").write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta>'
        f"{task}<height>48</height></original_size></task><dumped>2026-01-01</dumped></meta>"
        f'<track id="4" label="human" source="manual">{shapes}</track></annotations>'
    )
    (found,) = read("cvat", tmp_path / "a.xml")
    assert (found.size, found.track_id.tolist(), found.frame_index.tolist()) == ((48, 64), [4], [0, 1, 2, 3, 4])
    assert found.seen[0, :, 1].tolist() == [True, True, True, False, False]
    assert found.keypoint[0, 1].tolist() == [[1.25, 0.5], [1.25, 1.5]]
    assert found.dropped == set()


def test_entities_of_xml_are_not_expanded(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text('<!DOCTYPE a [<!ENTITY b "ha">]><a>&b;</a>')
    with pytest.raises(AnnotationError, match=r"a.xml: declares a document type"):
        read("cvat", tmp_path / "a.xml")


def test_hdf5_that_claims_more_than_fits_in_memory_or_leads_to_other_files(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")

    with h5py.File(tmp_path / "large.slp", "w") as file:
        file.create_dataset("points", shape=(10**13,), chunks=(1000,), dtype="f4")
    assert (tmp_path / "large.slp").stat().st_size < 10_000
    with pytest.raises(AnnotationError, match=r"large.slp: claims 10,000,000,000,000 numbers"):
        read("slp", tmp_path / "large.slp")
    with h5py.File(tmp_path / "link.nwb", "w") as file:
        file["processing"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(AnnotationError, match=r"link.nwb: 'processing' refers to the other file"):
        read("nwb", tmp_path / "link.nwb")


def test_a_small_file_cannot_ask_for_all_of_the_memory(tmp_path: Path) -> None:
    entries = [{"image_id": frame, "track_id": 1, "keypoints": pose(1)} for frame in (0, 10**11, 10**11 + 1)]
    with pytest.raises(AnnotationError, match=r"holds 100,000,000,002 numbers"):
        read_json("coco-results", entries, tmp_path)


def test_large_files_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_BYTES", 10)
    (tmp_path / "a.json").write_text("[" + " " * 20 + "]")
    with pytest.raises(AnnotationError, match=r"a.json: has 22 bytes, more than 10"):
        read("alphapose", tmp_path / "a.json")


def test_videos_that_a_file_names_are_not_opened(tmp_path: Path) -> None:
    """Their names come from somebody else: nothing is read from there, or fetched."""
    point = {"type": "keypointlabels", "original_width": 100, "original_height": 50, "id": "1"}
    result = [{**point, "value": {"x": 50, "y": 10, "keypointlabels": ["nose"]}}]
    task = {"data": {"image": "http://127.0.0.1:9/a/frame_7.png"}, "annotations": [{"result": result}]}
    found = read_json("labelstudio", [task], tmp_path)
    assert (found.frame_index.tolist(), found.size) == ([7], (50, 100))
    assert found.keypoint[0, 0, 0].tolist() == [50, 5]


def test_videos_of_label_studio_have_their_own_sizes(tmp_path: Path) -> None:
    def task(video: str, frame: int, width: int, *places: float) -> dict[str, Any]:
        point = {"type": "keypointlabels", "original_width": width, "original_height": 50, "id": "1"}
        value = {"x": 50, "y": 10, "keypointlabels": ["nose"]}
        notes = [{"result": [{**point, "value": {**value, "x": place}}]} for place in places]
        return {"data": {}, "meta": {"video": {"filename": video, "frame_idx": frame}}, "annotations": notes}

    tasks = [task("a/1.mp4", 0, 100, 50), task("a/1.mp4", 1, 100), task("b/2.mp4", 0, 300, 50, 60)]
    (tmp_path / "a.json").write_text(json.dumps(tasks))
    first, second = read("labelstudio", tmp_path / "a.json")
    assert (first.size, second.size) == ((50, 100), (50, 300))
    assert second.keypoint[0, 0, 0].tolist() == [150, 5]
    assert "annotations of further annotators" in second.dropped


def test_a_package_that_is_missing_is_named_with_its_extra() -> None:
    with pytest.raises(BackendError, match=r"slp needs the package no_such_package.*run pip install '\.\[formats\]'"):
        reading.library("no_such_package.part", "slp")


def test_libraries_are_imported_only_when_their_format_is_used(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom pathlib import Path\nfrom pose_extraction.exchange.table import FORMATS\n"
        "from test_support.clips.exchanged import made_clip\nfrom pose_extraction.exchange.clips import Given\n"
        "path = Path(sys.argv[1]) / 'a.json'\nFORMATS['coco'].write(made_clip(), path)\n"
        "FORMATS['coco'].read(path, Given())\n"
        "print({name.split('.')[0] for name in sys.modules} & "
        "{'h5py', 'movement', 'pandas', 'pose_format', 'pynwb', 'sleap_io', 'torch', 'xarray', 'cv2'})"
    )
    root = Path(__file__).resolve().parents[3]
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True)
    assert run.stdout.strip() == "set()", run.stderr
