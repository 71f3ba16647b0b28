"""COCO: data sets with images, annotations and categories, and lists of results.

COCO has no identities. Programs that need them use "track_id", or "object_id" in "attributes"; both are written and
read. "time" in seconds is an addition of this project that other programs ignore.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.exchange.clips import Given, PoseClip, as_seconds, clip_without_persons
from pose_extraction.exchange.dropping import BOXES, MASKS, NO_JOINTS, POSE_SCORES, REPEATED_FRAMES, held
from pose_extraction.exchange.reading import numbers, read_json, whole
from pose_extraction.exchange.rows import Row, clip_from_rows, row_of
from pose_extraction.exchange.video_names import inside, video_path
from pose_extraction.exchange.writing import corner_box, triples, write_json
from pose_extraction.skeleton import LAYOUTS

PERSON = 1
# Visibility of an annotated joint: not labelled, labelled but occluded, or labelled and visible.
UNLABELLED_JOINT, OCCLUDED, VISIBLE = 0.0, 1.0, 2.0
# Entries of an annotation or a result that a skeleton file does not hold.
_DROPPED = {"bbox": BOXES, "segmentation": MASKS, "score": POSE_SCORES}


def read_results(path: Path, given: Given) -> list[PoseClip]:
    """Read a list of results; "image_id" is the number of the frame."""
    entries = read_json(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise AnnotationError(f"{path}: must be a list of results; for a data set with images use the format coco")
    rows: list[Row] = []
    times: dict[int, float | None] = {}
    for number, entry in enumerate(entries):
        place = f"{path}: result {number}"
        frame = whole(entry.get("image_id"), f"{place}: image_id")
        rows.append(row_of(frame, _person(entry, place), _joints(entry, place)))
        times[frame] = as_seconds(entry.get("time"))
    clip = clip_from_rows(rows, str(path), given, times=times)
    clip.dropped |= held(entries, _DROPPED)
    return [clip]


def write_results(clip: PoseClip, path: Path) -> None:
    """Write a list of results, with one entry per pose."""
    score = clip.mean_score()
    write_json(
        path,
        [
            {
                "image_id": int(clip.frame_index[row]),
                "category_id": PERSON,
                "keypoints": triples(clip.keypoint[person, row], clip.keypoint_score[person, row]),
                "score": round(float(score[person, row]), 6),
                **_identity(clip, person),
                "time": float(clip.time[row]),
            }
            for row in range(clip.num_frames)
            for person in clip.persons_at(row)
        ],
    )


def read_annotations(path: Path, given: Given) -> list[PoseClip]:
    """Read a data set; each of its videos, or each folder of its images, is a clip."""
    data = read_json(path)
    parts = [data.get(key) if isinstance(data, dict) else None for key in ("images", "annotations", "categories")]
    if not all(isinstance(part, list) and all(isinstance(entry, dict) for entry in part) for part in parts):
        raise AnnotationError(
            f"{path}: must have lists of images, annotations and categories; for a list of results use coco-results"
        )
    images, annotations, categories = parts
    persons = [entry for entry in categories or () if entry.get("keypoints")]
    if not persons:
        raise AnnotationError(f"{path}: has no category with keypoints, so it holds no skeletons")
    category = next((entry for entry in persons if entry.get("name") == "person"), persons[0])
    joints = tuple(str(name) for name in category["keypoints"])
    videos = {entry.get("id"): entry for entry in data.get("videos") or () if isinstance(entry, dict)}
    named = Counter(str(entry["name"]) for entry in videos.values() if entry.get("name"))
    if twice := [name for name, count in named.items() if count > 1]:
        raise AnnotationError(f"{path}: several of its videos have the name {twice[0]!r}; rename all but one of them")
    clips: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for position, image in enumerate(images or ()):
        clips[_video_of(image, videos)].append((_frame_of(image, position, path), image))
    poses = defaultdict(list)
    for entry in annotations or ():
        if entry.get("category_id") == category.get("id"):
            poses[entry.get("image_id")].append(entry)
    made = [
        _clip_of(inside(name) if len(clips) > 1 else "", found, poses, joints, data, path, given)
        for name, found in clips.items()
    ]
    if not any(clip.num_persons for clip in made):
        raise AnnotationError(f"{path}: none of its images has annotated keypoints")
    others = len({entry.get("category_id") for entry in annotations or ()} - {category.get("id")})
    for name, clip in zip(clips, made, strict=True):
        clip.video = name
        if others:
            clip.dropped.add("annotations of other categories")
    return made


def _clip_of(
    name: str,
    images: list[tuple[int, dict[str, Any]]],
    poses: Mapping[Any, list[dict[str, Any]]],
    joints: tuple[str, ...],
    data: dict[str, Any],
    path: Path,
    given: Given,
) -> PoseClip:
    repeated = len({frame for frame, _ in images}) < len(images)
    if repeated:
        images = list(enumerate(image for _, image in images))
    rows, entries = [], [entry for _, image in images for entry in poses[image.get("id")]]
    dropped = held(entries, _DROPPED) | ({REPEATED_FRAMES} if repeated else set())
    for frame, image in images:
        for entry in poses[image.get("id")]:
            if not entry.get("keypoints"):
                dropped.add(NO_JOINTS)
                continue
            place = f"{path}: annotation {entry.get('id')}"
            flat = _joints(entry, place)
            if len(flat) != len(joints):
                raise AnnotationError(f"{place}: has {len(flat)} joints, its category {len(joints)}; fix the file")
            if not flat[:, 2].any():
                dropped.add(NO_JOINTS)
                continue
            if (flat[:, 2] == OCCLUDED).any():
                dropped.add("marks of occluded joints")
            flat[:, 2] = flat[:, 2] > 0
            rows.append(row_of(frame, _person(entry, place), flat))
    if not rows:
        return clip_without_persons(name)
    sizes = [(image.get("height"), image.get("width")) for _, image in images]
    size = next(((h, w) for h, w in sizes if isinstance(h, int) and isinstance(w, int) and h > 0 and w > 0), None)
    info = data.get("info")
    clip = clip_from_rows(
        rows, str(path), given, joints=joints, frames=[frame for frame, _ in images], size=size, name=name,
        times={frame: as_seconds(image.get("time")) for frame, image in images},
        fps=as_seconds(info.get("fps")) if isinstance(info, dict) else None,
    )  # fmt: skip
    if len(set(sizes)) > 1:
        clip.notes.append(f"its images have different sizes; that of the first, {size}, is used for all")
    clip.dropped |= dropped
    return clip


def write_annotations(clip: PoseClip, path: Path) -> None:
    """Write a data set with one image per frame."""
    height, width = clip.size or (0, 0)
    box = clip.box()
    layout = next((layout for layout in LAYOUTS.values() if layout.joints == clip.joints), None)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for row, frame in enumerate(clip.frame_index.tolist()):
        images.append(
            {
                "id": row + 1,
                "file_name": f"{frame:06d}.jpg",
                "width": width,
                "height": height,
                "frame_id": frame,
                "time": float(clip.time[row]),
            }
        )
        for person in clip.persons_at(row):
            seen = clip.seen[person, row]
            corners = corner_box(box[person, row])
            joints = triples(clip.keypoint[person, row], np.where(seen, VISIBLE, UNLABELLED_JOINT))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": row + 1,
                    "category_id": PERSON,
                    "keypoints": joints,
                    "num_keypoints": int(seen.sum()),
                    "bbox": corners,
                    "area": corners[2] * corners[3],
                    "iscrowd": 0,
                    **_identity(clip, person),
                }
            )
    bones = [] if layout is None else [[first + 1, second + 1] for first, second in layout.bones]
    category = {"id": PERSON, "name": "person", "keypoints": list(clip.joints), "skeleton": bones}
    write_json(
        path,
        {"info": {"fps": clip.fps}, "images": images, "annotations": annotations, "categories": [category]},
    )


def _identity(clip: PoseClip, person: int) -> dict[str, Any]:
    number = int(clip.track_id[person])
    return {"track_id": number, "attributes": {"object_id": number}}


def _person(entry: dict[str, Any], place: str) -> int | None:
    attributes = entry.get("attributes")
    found = entry.get("track_id")
    if found is None and isinstance(attributes, dict):
        found = attributes.get("object_id", attributes.get("track_id"))
    return None if found is None else whole(found, f"{place}: track_id")


def _joints(entry: dict[str, Any], place: str) -> np.ndarray:
    return numbers(entry.get("keypoints"), (-1, 3), f"{place}: keypoints").copy()


def _video_of(image: dict[str, Any], videos: Mapping[Any, dict[str, Any]]) -> str:
    video = image.get("video_id")
    if video is not None:
        return video_path(str(videos.get(video, {}).get("name") or video))
    folder = PurePosixPath(video_path(image.get("file_name"))).parent
    return "" if folder == PurePosixPath() else str(folder)


def _frame_of(image: dict[str, Any], position: int, path: Path) -> int:
    """Return the number of an image's frame: as stated, or else the last number in its name."""
    for key in ("frame_id", "frame_index"):
        if image.get(key) is not None:
            return whole(image[key], f"{path}: image {position}: {key}")
    found = re.findall(r"\d{1,12}", PurePosixPath(str(image.get("file_name", ""))).stem)
    return int(found[-1]) if found else position
