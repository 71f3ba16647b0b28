"""MMPose's predictions: instances by frame, with or without "meta_info"."""

from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.exchange.clips import Given, PoseClip, as_seconds
from pose_extraction.exchange.dropping import BOXES, POSE_SCORES, held
from pose_extraction.exchange.reading import numbers, read_json, whole
from pose_extraction.exchange.rows import Row, clip_from_rows
from pose_extraction.exchange.writing import plain, write_json
from pose_extraction.skeleton import LAYOUTS


def read(path: Path, given: Given) -> list[PoseClip]:
    """Read predictions: of a demo ("instance_info", frames from 1), or of an inferencer (a list, frames from 0)."""
    data = read_json(path)
    meta: dict[str, Any] = {}
    frames = data
    if isinstance(data, dict):
        meta, frames = data.get("meta_info") or {}, data.get("instance_info")
    if not isinstance(frames, list) or not isinstance(meta, dict):
        raise AnnotationError(f'{path}: must be a list of frames, or have "instance_info"; check the format')
    if frames and all(isinstance(frame, list) for frame in frames):
        # A list of instances for each image.
        frames = [{"frame_id": number, "instances": found} for number, found in enumerate(frames)]
    elif frames and all(isinstance(frame, dict) and "keypoints" in frame for frame in frames):
        frames = [{"frame_id": 0, "instances": frames}]
    if not all(isinstance(frame, dict) and isinstance(frame.get("instances"), list) for frame in frames):
        raise AnnotationError(f'{path}: each frame must have a list of "instances"; check the format')
    index = [whole(frame.get("frame_id", number), f"{path}: frame_id") for number, frame in enumerate(frames)]
    if isinstance(data, dict) and min(index, default=0) > 0:
        index = [number - 1 for number in index]
    rows = [
        _row(number, instance, path)
        for number, frame in zip(index, frames, strict=True)
        for instance in frame["instances"]
    ]
    times = {number: as_seconds(frame.get("time")) for number, frame in zip(index, frames, strict=True)}
    clip = clip_from_rows(
        rows, str(path), given, joints=_names(meta), frames=index, times=times, fps=as_seconds(meta.get("fps")),
        size=_size(meta.get("frame_size")),
    )  # fmt: skip
    instances = (instance for frame in frames for instance in frame["instances"])
    clip.dropped |= held(instances, {"bbox": BOXES, "bbox_score": POSE_SCORES})
    return [clip]


def _row(frame: int, instance: Any, path: Path) -> Row:
    place = f"{path}: frame {frame}"
    if not isinstance(instance, dict):
        raise AnnotationError(f"{place}: an instance is {instance!r:.80}, must be an object")
    values = instance.get("keypoints")
    dimensions = len(values[0]) if isinstance(values, list) and values and isinstance(values[0], list) else 2
    keypoint = numbers(values, (-1, dimensions), f"{place}: keypoints")
    score = instance.get("keypoint_scores")
    known = np.ones(len(keypoint)) if score is None else numbers(score, (len(keypoint),), f"{place}: keypoint_scores")
    person = instance.get("track_id")
    number = None if person is None or person == -1 else whole(person, f"{place}: track_id")
    return Row(frame, number, np.where((known > 0)[:, None], keypoint, np.nan), known)


def _names(meta: dict[str, Any]) -> tuple[str, ...] | None:
    names = meta.get("keypoint_id2name")
    if not isinstance(names, dict) or set(names) != {str(number) for number in range(len(names))}:
        return None
    return tuple(str(names[str(number)]) for number in range(len(names)))


def _size(value: Any) -> tuple[int, int] | None:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(side, int) and side > 0 for side in value):
        return value[0], value[1]
    return None


def write(clip: PoseClip, path: Path) -> None:
    """Write predictions as MMPose's demos do. "track_id", "fps", "frame_size" and "time" are additions."""
    box, score = clip.box(), clip.mean_score()
    layout = next((layout for layout in LAYOUTS.values() if layout.joints == clip.joints), None)
    width = clip.keypoint.shape[3]
    frames = []
    for row, frame in enumerate(clip.frame_index.tolist()):
        instances = []
        for person in clip.persons_at(row):
            flat = plain(clip.keypoint[person, row])
            instances.append(
                {
                    "keypoints": [flat[start : start + width] for start in range(0, len(flat), width)],
                    "keypoint_scores": plain(clip.keypoint_score[person, row]),
                    "bbox": [plain(box[person, row])],
                    "bbox_score": round(float(score[person, row]), 6),
                    "track_id": int(clip.track_id[person]),
                }
            )
        frames.append({"frame_id": frame + 1, "instances": instances, "time": float(clip.time[row])})
    meta = {
        "dataset_name": "custom" if layout is None else layout.name,
        "num_keypoints": len(clip.joints),
        "keypoint_id2name": {str(number): name for number, name in enumerate(clip.joints)},
        "keypoint_name2id": {name: number for number, name in enumerate(clip.joints)},
        "skeleton_links": [] if layout is None else [list(bone) for bone in layout.bones],
        "fps": clip.fps,
        "frame_size": None if clip.size is None else list(clip.size),
    }
    write_json(path, {"meta_info": meta, "instance_info": frames})
