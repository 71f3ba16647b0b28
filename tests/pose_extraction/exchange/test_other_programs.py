"""The other programs' own code reads the same joints from our files, and we from theirs."""

import ast
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pose_extraction.exchange.clips import Given, PoseClip
from pose_extraction.exchange.names import JOINTS, canonical, with_joints
from pose_extraction.exchange.programs.movement import data_set_of
from pose_extraction.exchange.table import FORMATS
from pose_extraction.skeleton import COCO17
from test_support.clips.exchanged import assert_same, made_clip

# These libraries take seconds to import.
pytestmark = pytest.mark.slow


@pytest.fixture
def clip() -> PoseClip:
    return made_clip(frames=10)


def write(name: str, clip: PoseClip, path: Path) -> Path:
    FORMATS[name].write(clip, path)
    return path


def read(name: str, path: Path, given: Given | None = None) -> PoseClip:
    (found,) = FORMATS[name].read(path, given or Given())
    return found


def test_pycocotools_evaluates_our_results_against_our_annotations(clip: PoseClip, tmp_path: Path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO(str(write("coco", clip, tmp_path / "truth.json")))
    assert truth.loadCats(1)[0]["keypoints"] == list(clip.joints)
    annotation = truth.loadAnns(truth.getAnnIds(imgIds=[1]))[1]
    assert (annotation["track_id"], annotation["attributes"]["object_id"]) == (11, 11)
    entries = json.loads(write("coco-results", clip, tmp_path / "results.json").read_text())
    # Images are numbered from 1, frames from 0.
    found = truth.loadRes([{**entry, "image_id": entry["image_id"] + 1} for entry in entries])
    evaluation = COCOeval(truth, found, "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_sleap_io_reads_our_coco(clip: PoseClip, tmp_path: Path) -> None:
    import sleap_io

    path = write("coco", clip, tmp_path / "truth.json")
    for image in json.loads(path.read_text())["images"]:
        # The library reads frames only where the image exists.
        cv2.imwrite(str(tmp_path / image["file_name"]), np.zeros((720, 1280, 3), np.uint8))
    labels = sleap_io.load_coco(str(path))
    assert [node.name for node in labels.skeletons[0].nodes] == list(clip.joints)
    frame = labels.labeled_frames[0]
    assert [instance.track.name for instance in frame.instances] == ["track_3", "track_11"]
    np.testing.assert_array_equal(frame.instances[1].numpy(), clip.keypoint[1, 0])


def test_sleap_io_and_our_slp(clip: PoseClip, tmp_path: Path) -> None:
    import sleap_io

    labels = sleap_io.load_slp(str(write("slp", clip, tmp_path / "clip.slp")), open_videos=False)
    assert [track.name for track in labels.tracks] == ["3", "11"]
    array = labels.numpy(return_confidence=True).transpose(1, 0, 2, 3)
    np.testing.assert_array_equal(array[..., :2].astype(np.float32), clip.keypoint)
    np.testing.assert_array_equal(np.nan_to_num(array[..., 2]).astype(np.float32), clip.keypoint_score)
    assert (labels.videos[0].fps, tuple(labels.videos[0].shape[1:3])) == (clip.fps, clip.size)


def test_labels_by_hand_replace_predictions_of_sleap(tmp_path: Path) -> None:
    import sleap_io

    skeleton = sleap_io.Skeleton(nodes=["nose", "left_eye"])
    video = sleap_io.Video("folder/a.mp4", open_backend=False)
    track = sleap_io.Track("animal")
    guess = sleap_io.PredictedInstance.from_numpy(np.array([[1.0, 2], [3, 4]]), skeleton, track=track)
    right = sleap_io.Instance.from_numpy(np.array([[5.0, 6], [np.nan, np.nan]]), skeleton, track=track)
    right.from_predicted = guess
    labels = sleap_io.Labels([sleap_io.LabeledFrame(video=video, frame_idx=4, instances=[guess, right])])
    labels.save(str(tmp_path / "a.slp"), verbose=False)
    found = read("slp", tmp_path / "a.slp")
    assert found.frame_index.tolist() == [4]
    np.testing.assert_array_equal(found.keypoint[0, 0], np.float32([[5, 6], [np.nan, np.nan]]))
    assert found.keypoint_score.tolist() == [[[1, 0]]]


def test_movement_and_our_netcdf_and_tables(clip: PoseClip, tmp_path: Path) -> None:
    import xarray
    from movement.io import load_poses, save_poses

    data = xarray.load_dataset(write("netcdf", clip, tmp_path / "a.nc"))
    expected = clip.keypoint.transpose(1, 3, 2, 0)
    np.testing.assert_array_equal(data.position.values, expected)
    np.testing.assert_array_equal(data.time.values, clip.time)
    np.testing.assert_array_equal(data.position.sel(space="x").values, expected[:, 0])
    for suffix in (".csv", ".h5"):
        ours = load_poses.from_dlc_file(write("deeplabcut", clip, tmp_path / f"ours{suffix}"))
        np.testing.assert_array_equal(ours.position.values.astype(np.float32), expected)
        save_poses.to_dlc_file(data_set_of(clip), tmp_path / f"theirs{suffix}", split_individuals=False)
        found = read("deeplabcut", tmp_path / f"theirs{suffix}", Given(clip.fps))
        assert_same(found, clip, FORMATS["deeplabcut"].lacks)
    write("lightningpose", clip, tmp_path / "pose.csv")
    second = load_poses.from_lp_file(tmp_path / "pose_P11.csv")
    np.testing.assert_array_equal(second.position.values[..., 0].astype(np.float32), expected[..., 1])
    data.drop_vars(["frame_number", "imputed"]).to_netcdf(tmp_path / "theirs.nc")
    found = read("netcdf", tmp_path / "theirs.nc")
    np.testing.assert_array_equal(found.keypoint, clip.keypoint)
    assert found.time.tolist() == clip.time.tolist()


def test_movement_reads_our_nwb_and_we_that_of_sleap_io(clip: PoseClip, tmp_path: Path) -> None:
    import sleap_io
    from movement.io import load_poses

    path = write("nwb", clip, tmp_path / "a.nwb")
    data = load_poses.from_nwb_file(path, pose_estimation_key="person_11")
    order = [data.position.coords[data.position.dims[2]].values.tolist().index(name) for name in clip.joints]
    np.testing.assert_array_equal(data.position.values[:, :, order, 0], clip.keypoint[1].transpose(0, 2, 1))
    whole = made_clip(frames=10, missing=0)
    rows = np.delete(np.arange(10), 2)
    labels = sleap_io.Labels.from_numpy(
        np.concatenate([whole.keypoint, whole.keypoint_score[..., None]], axis=-1)[:, rows].transpose(1, 0, 2, 3),
        videos=[sleap_io.Video("a.mp4", open_backend=False)],
        skeletons=sleap_io.Skeleton(list(whole.joints), name="person"),
        tracks=[sleap_io.Track("3"), sleap_io.Track("11")],
        return_confidence=True,
    )
    sleap_io.save_nwb(labels, str(tmp_path / "b.nwb"))
    found = read("nwb", tmp_path / "b.nwb")
    assert (found.joints, found.track_id.tolist()) == (whole.joints, [3, 11])
    np.testing.assert_array_equal(found.keypoint, whole.keypoint[:, rows])
    np.testing.assert_array_equal(found.keypoint_score, whole.keypoint_score[:, rows])


def test_pose_format_and_our_openpose(clip: PoseClip, tmp_path: Path) -> None:
    from pose_format.pose import Pose
    from pose_format.utils.openpose import load_openpose_directory

    body = with_joints(clip, JOINTS["openpose25"], "made")
    folder = write("openpose", body, tmp_path / "clip")
    # The library takes the parts that are not there as missing only if they are as long as usual.
    pose = load_openpose_directory(str(folder), fps=25, width=1280, height=720)
    data = np.ma.filled(pose.body.data[:, :, :25], np.nan).transpose(1, 0, 2, 3)
    np.testing.assert_array_equal(data, body.keypoint)
    with (tmp_path / "theirs.pose").open("wb") as file:
        pose.write(file)
    found = read("pose", tmp_path / "theirs.pose")
    assert (found.fps, found.size, found.num_persons) == (25, (720, 1280), 2)
    assert_same(found, body, FORMATS["pose"].lacks)
    ours = Pose.read(write("pose", clip, tmp_path / "ours.pose").read_bytes())
    np.testing.assert_array_equal(np.ma.filled(ours.body.data, np.nan).transpose(1, 0, 2, 3), clip.keypoint)
    assert list(ours.header.components[0].points) == list(COCO17.joints)


def test_bodies_of_mediapipe_are_found_among_hands_and_faces(tmp_path: Path) -> None:
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose import Pose
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

    names = [name.upper() for name in JOINTS["mediapipe33"]]
    hand = PoseHeaderComponent("LEFT_HAND_LANDMARKS", ["WRIST", "THUMB_TIP"], [], [(0, 0, 0)], "XYZC")
    body = PoseHeaderComponent("POSE_LANDMARKS", names, [], [(0, 0, 0)], "XYZC")
    data = np.random.default_rng(0).uniform(1, 99, (5, 1, 35, 3)).astype(np.float32)
    score = np.ones((5, 1, 35), np.float32)
    score[:, :, 2 + names.index("LEFT_KNEE")] = 0
    header = PoseHeader(0.2, PoseHeaderDimensions(100, 50), [hand, body])
    with (tmp_path / "a.pose").open("wb") as file:
        Pose(header, NumPyPoseBody(24, data, score)).write(file)
    found = with_joints(read("pose", tmp_path / "a.pose"), COCO17.joints, "a")
    knee = COCO17.joints.index("left_knee")
    wrist = COCO17.joints.index("right_wrist")
    assert np.isnan(found.keypoint[0, :, knee]).all() and not found.keypoint_score[0, :, knee].any()
    np.testing.assert_array_equal(found.keypoint[0, :, wrist], data[:, 0, 2 + names.index("RIGHT_WRIST"), :2])
    assert (found.fps, found.size) == (24, (50, 100))


def test_sleap_io_and_our_label_studio(clip: PoseClip, tmp_path: Path) -> None:
    import sleap_io

    skeleton = sleap_io.Skeleton(nodes=list(clip.joints))
    labels = sleap_io.load_labelstudio(str(write("labelstudio", clip, tmp_path / "a.json")), skeleton=skeleton)
    frame = next(one for one in labels.labeled_frames if one.frame_idx == 5)
    np.testing.assert_allclose(frame.instances[1].numpy(), clip.keypoint[1, 5], atol=1e-4)


class Instances(dict[str, Any]):
    """What `split_instances` needs of MMEngine's InstanceData."""

    __getattr__ = dict.__getitem__


def split_instances_of_mmpose() -> Callable[[Instances], list[dict[str, Any]]]:
    """Return the function with which MMPose's demos make the instances that they save, without loading MMPose."""
    found = importlib.util.find_spec("mmpose")
    if found is None or not found.submodule_search_locations:
        pytest.skip("MMPose is not installed")
    source = Path(found.submodule_search_locations[0]) / "structures" / "utils.py"
    tree = ast.parse(source.read_text(encoding="utf-8"))
    function = next(node for node in tree.body if getattr(node, "name", "") == "split_instances")
    scope: dict[str, Any] = {"InstanceData": Instances, "List": list}
    exec(compile(ast.Module([function], []), str(source), "exec"), scope)
    return scope["split_instances"]


def test_predictions_that_mmpose_splits(tmp_path: Path) -> None:
    split = split_instances_of_mmpose()
    clip = made_clip(frames=6, missing=0)
    frames: list[dict[str, Any]] = []
    for row in range(6):
        present = clip.persons_at(row)
        made = Instances(
            keypoints=clip.keypoint[present, row],
            keypoint_scores=clip.keypoint_score[present, row],
            bboxes=clip.box()[present, row],
            bbox_scores=np.ones(len(present)),
        )
        frames.append({"frame_id": row + 1, "instances": split(made)})
    (tmp_path / "a.json").write_text(json.dumps({"meta_info": {"dataset_name": "coco"}, "instance_info": frames}))
    found = read("mmpose", tmp_path / "a.json", Given(clip.fps, clip.size))
    assert "tracker" in found.notes[0]
    clip.track_id = np.array([0, 1])
    assert_same(found, clip, frozenset({"imputed marks", "uneven times"}))


def test_the_joints_of_alphapose_as_pose_format_names_them(tmp_path: Path) -> None:
    """Its 136 joints: body and feet of Halpe first."""
    from pose_format.utils.alphapose import load_alphapose_wholebody_from_json

    values = np.random.default_rng(0).uniform(1, 200, (4, 136, 3)).astype(np.float32)
    values[..., 2] /= 200
    entries = [{"image_id": f"{frame}.jpg", "keypoints": pose.ravel().tolist()} for frame, pose in enumerate(values)]
    (tmp_path / "a.json").write_text(json.dumps(entries))
    pose = load_alphapose_wholebody_from_json(str(tmp_path / "a.json"))
    names = [point for component in pose.header.components for point in component.points]
    theirs = {name: pose.body.data[:, 0, place] for place, name in enumerate(map(canonical, names[:26]))}
    found = read("alphapose", tmp_path / "a.json")
    assert found.num_persons == 1
    for place, name in enumerate(JOINTS["coco17"]):
        np.testing.assert_array_equal(found.keypoint[0, :, found.joints.index(name)], theirs[name], err_msg=str(place))
