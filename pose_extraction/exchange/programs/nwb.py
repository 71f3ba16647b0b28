"""Neurodata Without Borders with the extension ndx-pose: one PoseEstimation for each person.

The objects of ndx-pose are used directly: of the two libraries that write such files, movement writes a file for each
individual, and sleap-io rounds frame rates and drops frames.
"""

import datetime
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.exchange.clips import Given, PoseClip, check_count, new_clip, number_persons, rate_of
from pose_extraction.exchange.dropping import lost_names
from pose_extraction.exchange.reading import check_hdf5, library
from pose_extraction.exchange.writing import file_of_library
from pose_extraction.skeleton import LAYOUTS

NAME = "nwb"
MODULE = "behavior"
# Times that differ by less are those of the same frame, in seconds.
_SAME_FRAME = 1e-6


def read(path: Path, given: Given) -> list[PoseClip]:
    """Read the pose estimations of each processing module, which is one clip."""
    check_hdf5(path, NAME)
    library("ndx_pose", NAME)
    pynwb = library("pynwb", NAME)
    try:
        with pynwb.NWBHDF5IO(path, "r") as file:
            content = file.read()
            modules = {
                name: [one for one in module.data_interfaces.values() if hasattr(one, "pose_estimation_series")]
                for name, module in content.processing.items()
            }
            found = {name: estimations for name, estimations in modules.items() if estimations}
            clips = [
                _clip(name if len(found) > 1 else "", estimations, path, given) for name, estimations in found.items()
            ] or _nothing(path)
            if content.acquisition or content.stimulus or len(found) < len(modules):
                for clip in clips:
                    clip.dropped.add("recordings other than poses")
            return clips
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnnotationError(f"{path}: is not a readable NWB file with poses ({error})") from error


def _nothing(path: Path) -> list[PoseClip]:
    raise AnnotationError(f"{path}: contains no PoseEstimation of ndx-pose, so no poses")


def _clip(name: str, estimations: list[Any], path: Path, given: Given) -> PoseClip:
    ids = number_persons([one.name for one in estimations])
    unnamed = lost_names([one.name for one in estimations], ids)
    estimations, ids = [estimations[place] for place in np.argsort(ids)], np.sort(ids)
    series = [dict(one.pose_estimation_series.items()) for one in estimations]
    # The file has the series in alphabetical order; the skeleton has the original one.
    nodes = [str(name) for one in estimations if one.skeleton is not None for name in one.skeleton.nodes[:]]
    found = {joint for parts in series for joint in parts}
    joints = [name for name in dict.fromkeys([*nodes, *sorted(found)]) if name in found]
    time = np.unique(np.concatenate([_times(part) for parts in series for part in parts.values()]))
    time = time[np.concatenate([[True], np.diff(time) > _SAME_FRAME])]
    dimensions = max(np.asarray(part.data).shape[-1] for parts in series for part in parts.values())
    shape = len(series), len(time), len(joints)
    check_count(int(np.prod(shape)) * dimensions, str(path))
    keypoint = np.full((*shape, dimensions), np.nan, np.float32)
    score = np.zeros(shape, np.float32)
    for person, parts in enumerate(series):
        for joint, part in parts.items():
            rows = np.searchsorted(time, _times(part) - _SAME_FRAME)
            data = np.asarray(part.data, np.float32) * np.float32(part.conversion)
            keypoint[person, rows, joints.index(joint), : data.shape[1]] = data
            known = np.ones(len(data)) if part.confidence is None else np.asarray(part.confidence)
            score[person, rows, joints.index(joint)] = known
    index = _numbers(time)
    size = estimations[0].dimensions
    width, height = (0, 0) if size is None or not len(size) else (int(side) for side in np.asarray(size)[0])
    clip = new_clip(
        given.joints or joints, keypoint, score, place=str(path), given=given, fps=rate_of(time, index),
        size=(height, width) if height and width else None, time=time, frame_index=index,
        track_id=ids, name=name,
    )  # fmt: skip
    clip.dropped |= unnamed
    return clip


def _times(part: Any) -> np.ndarray:
    if part.timestamps is not None:
        return np.asarray(part.timestamps, np.float64)
    return float(part.starting_time or 0) + np.arange(len(part.data)) / float(part.rate)


def _numbers(time: np.ndarray) -> np.ndarray:
    """Return frame numbers (T,) for times (T,): those of the usual interval between two frames."""
    if len(time) < 2:
        return np.zeros(len(time), np.int64)
    numbers = np.rint(time / np.median(np.diff(time))).astype(np.int64)
    return np.arange(len(time)) if (np.diff(numbers) <= 0).any() else numbers


def write(clip: PoseClip, path: Path) -> None:
    """Write one pose estimation per person, with the time stamps of all frames."""
    ndx_pose, pynwb = library("ndx_pose", NAME), library("pynwb", NAME)
    bones = next((layout.bones for layout in LAYOUTS.values() if layout.joints == clip.joints), ())
    start = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    file = pynwb.NWBFile("Poses of one clip", path.stem, start)
    skeleton = ndx_pose.Skeleton(name="person", nodes=list(clip.joints), edges=np.array(bones, np.uint8).reshape(-1, 2))
    module = file.create_processing_module(MODULE, "Poses of persons")
    module.add(ndx_pose.Skeletons(skeletons=[skeleton]))
    flat = clip.keypoint.shape[3] == 2
    for person, number in enumerate(clip.track_id.tolist()):
        series = [
            ndx_pose.PoseEstimationSeries(
                name=joint,
                data=clip.keypoint[person, :, place],
                confidence=clip.keypoint_score[person, :, place],
                unit="pixels" if flat else "meters",
                reference_frame="the top left corner of the frame" if flat else "that of the source",
                confidence_definition="score of the pose estimator; 0 where a joint was not seen",
                timestamps=clip.time,
            )
            for place, joint in enumerate(clip.joints)
        ]
        size = None if clip.size is None else np.array([clip.size[::-1]], np.uint16)
        module.add(
            ndx_pose.PoseEstimation(
                name=f"person_{number}", pose_estimation_series=series, skeleton=skeleton, dimensions=size,
                source_software="skelpipe", description="A person in the clip", scorer="skelpipe",
            )
        )  # fmt: skip
    with file_of_library(path) as part, pynwb.NWBHDF5IO(part, "w") as target:
        target.write(file)
