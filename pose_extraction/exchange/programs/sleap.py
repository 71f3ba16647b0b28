"""Files that sleap-io reads and writes: SLEAP's labels (.slp), and key points of Label Studio.

Videos that such a file names are never opened.
"""

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.exchange.clips import Given, PoseClip, as_seconds, clip_without_persons, number_persons
from pose_extraction.exchange.dropping import BOXES, POSE_SCORES, lost_names
from pose_extraction.exchange.reading import check_hdf5, library, read_json
from pose_extraction.exchange.rows import Row, clip_from_rows
from pose_extraction.exchange.video_names import clip_names, video_path
from pose_extraction.exchange.writing import file_of_library, write_json
from pose_extraction.skeleton import LAYOUTS

SLP, LABEL_STUDIO = "slp", "labelstudio"
# Entry of this project in the provenance of SLEAP's labels.
_OWN = "skelpipe"


def read_slp(path: Path, given: Given) -> list[PoseClip]:
    """Read the labels of each video. Where a frame has labels by hand, these replace the predicted ones."""
    check_hdf5(path, SLP)
    sleap_io = library("sleap_io", SLP)
    try:
        labels = sleap_io.load_slp(str(path), open_videos=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise AnnotationError(f"{path}: is not a readable file of SLEAP ({error}); it is damaged") from error
    if not labels.skeletons or not labels.labeled_frames:
        raise AnnotationError(f"{path}: contains no labelled frames")
    joints = [node.name for node in labels.skeletons[0].nodes]
    numbers = dict(zip(map(id, labels.tracks), number_persons([t.name for t in labels.tracks]).tolist(), strict=True))
    frames: dict[int, list[Any]] = defaultdict(list)
    for frame in labels.labeled_frames:
        frames[id(frame.video)].append(frame)
    paths = [video_path((video.source_video or video).filename) for video in labels.videos]
    dropped = _dropped_of(labels, numbers)
    clips = []
    for video, name, file in zip(labels.videos, clip_names(paths), paths, strict=True):
        found = frames.get(id(video), [])
        clip = _clip("" if found and len(frames) == 1 else name, found, joints, numbers, labels, path, given)
        clip.video = file
        clip.dropped |= dropped
        clips.append(clip)
    if not any(clip.num_persons for clip in clips):
        raise AnnotationError(f"{path}: contains no poses in its labelled frames")
    return clips


def _clip(
    name: str,
    frames: Sequence[Any],
    joints: Sequence[str],
    numbers: dict[int, int],
    labels: Any,
    path: Path,
    given: Given,
) -> PoseClip:
    instances = [(frame, instance) for frame in frames for instance in frame.instances]
    fitting = [(frame, one) for frame, one in instances if len(one.skeleton.nodes) == len(joints)]
    used = [(frame, one) for frame, one in fitting if not _is_replaced(one, frame)]
    rows = [_row(int(frame.frame_idx), numbers.get(id(one.track)), one) for frame, one in used]
    if not rows and name:
        return clip_without_persons(name)
    own = labels.provenance.get(_OWN)
    own = own if isinstance(own, dict) else {}
    metadata = frames[0].video.backend_metadata
    shape = metadata.get("shape")
    size = (int(shape[1]), int(shape[2])) if shape and len(shape) > 2 and shape[1] and shape[2] else None
    index = [int(frame.frame_idx) for frame in frames]
    times = own.get("time")
    times = times if isinstance(times, list) else []
    known = len(times) == len(index) == len(set(index))
    clip = clip_from_rows(
        rows, str(path), given, joints=joints, size=size, fps=as_seconds(metadata.get("fps")), name=name,
        frames=index if known else None,
        times={number: as_seconds(time) for number, time in zip(sorted(index), times, strict=True)} if known else None,
    )  # fmt: skip
    found = {
        "instances of other skeletons": len(fitting) < len(instances),
        "predictions that were corrected": len(used) < len(fitting),
        "joints that are marked as not visible": any(_has_hidden(one) for _, one in used),
        POSE_SCORES: any(_is_score(getattr(one, "score", None)) for _, one in used),
        "scores of tracking": any(_is_score(one.tracking_score) for _, one in used),
        "images": bool(metadata.get("has_embedded_images")),
    }
    clip.dropped |= {part for part, is_found in found.items() if is_found}
    return clip


def _is_score(value: float | None) -> bool:
    return bool(value) and math.isfinite(value or 0)


def _has_hidden(instance: Any) -> bool:
    points = instance.points
    return bool((np.isfinite(points["xy"]).all(axis=1) & ~points["visible"]).any())


def _dropped_of(labels: Any, numbers: Mapping[int, int]) -> set[str]:
    """Return what a file of SLEAP holds in addition to the poses of its videos."""
    names = {
        "suggestions": "suggested frames",
        "sessions": "cameras",
        "identities": "identities",
        "events": "events",
        "rois": "regions",
        "masks": "segmentations",
        "bboxes": BOXES,
    }
    found = {part for name, part in names.items() if getattr(labels, name, None)}
    return found | lost_names([track.name for track in labels.tracks], [numbers[id(track)] for track in labels.tracks])


def _row(frame: int, person: int | None, instance: Any) -> Row:
    is_predicted = hasattr(instance, "tracking_score") and hasattr(instance, "score")
    points = instance.numpy(scores=True) if is_predicted else instance.numpy()
    points = np.asarray(points, np.float32)
    seen = np.isfinite(points[:, :2]).all(axis=1)
    score = points[:, 2] if points.shape[1] > 2 else seen
    return Row(frame, person, np.where(seen[:, None], points[:, :2], np.nan), np.where(seen, score, 0))


def _is_replaced(instance: Any, frame: Any) -> bool:
    """Whether a prediction has been corrected by hand."""
    by_hand = [other for other in frame.user_instances if other is not instance]
    return any(
        other.from_predicted is instance or (other.track is not None and other.track is instance.track)
        for other in by_hand
        if not any(instance is user for user in frame.user_instances)
    )


def _labels_of(clip: PoseClip, name: str, format_name: str) -> Any:
    """Return a clip as labels of SLEAP, with one labelled frame per frame."""
    sleap_io = library("sleap_io", format_name)
    layout = next((layout for layout in LAYOUTS.values() if layout.joints == clip.joints), None)
    edges = [] if layout is None else [(clip.joints[first], clip.joints[second]) for first, second in layout.bones]
    skeleton = sleap_io.Skeleton(nodes=list(clip.joints), edges=edges, name="person")
    height, width = clip.size or (0, 0)
    shape = (int(clip.frame_index.max(initial=-1)) + 1, height, width, 3)
    video = sleap_io.Video(
        filename=f"{name}.mp4", backend_metadata={"shape": shape, "fps": clip.fps}, open_backend=False
    )
    tracks = [sleap_io.Track(str(number)) for number in clip.track_id.tolist()]
    score = clip.mean_score()
    frames = []
    for row, number in enumerate(clip.frame_index.tolist()):
        instances = [
            sleap_io.PredictedInstance.from_numpy(
                points_data=clip.keypoint[person, row].astype(np.float64), skeleton=skeleton, track=tracks[person],
                point_scores=clip.keypoint_score[person, row].astype(np.float64), score=float(score[person, row]),
            )
            for person in clip.persons_at(row)
        ]  # fmt: skip
        frames.append(sleap_io.LabeledFrame(video=video, frame_idx=number, instances=instances))
    labels = sleap_io.Labels(frames, videos=[video], skeletons=[skeleton], tracks=tracks)
    labels.provenance = {_OWN: {"time": clip.time.tolist()}}
    return labels


def write_slp(clip: PoseClip, path: Path) -> None:
    """Write predicted instances with tracks. The times of the frames are in the provenance."""
    labels = _labels_of(clip, path.stem, SLP)
    with file_of_library(path) as part:
        library("sleap_io", SLP).save_slp(labels, str(part), verbose=False)


def read_labelstudio(path: Path, given: Given) -> list[PoseClip]:
    """Read key points; each video or folder that the tasks belong to is a clip."""
    tasks = read_json(path)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise AnnotationError(f"{path}: must be a list of tasks, as Label Studio exports with the format JSON")
    studio = library("sleap_io.io.labelstudio", LABEL_STUDIO)
    joints: dict[str, None] = {}
    sizes: dict[str, set[tuple[int, int]]] = defaultdict(set)
    try:
        places = [_prepared(task, number, joints, sizes) for number, task in enumerate(tasks)]
        skeleton = library("sleap_io", LABEL_STUDIO).Skeleton(nodes=list(joints), name="person")
        frames = studio.parse_tasks(tasks, skeleton).labeled_frames
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise AnnotationError(f"{path}: is not an export of Label Studio with key points ({error!r})") from error
    if not joints:
        raise AnnotationError(f"{path}: has no key points")
    rows: dict[str, list[Row]] = defaultdict(list)
    for (video, number), frame in zip(places, frames, strict=True):
        rows[video] += [_row(number, None, instance) for instance in frame.instances]
    several = len(rows) > 1
    dropped = _dropped_of_tasks(tasks)
    clips = []
    for name, (video, found) in zip(clip_names(list(rows)), rows.items(), strict=True):
        if found or not several:
            size = next(iter(sizes[video])) if len(sizes[video]) == 1 else None
            clip = clip_from_rows(found, str(path), given, joints=list(joints), size=size, name=name if several else "")
        else:
            clip = clip_without_persons(name)
        clip.video = video
        clip.dropped |= dropped
        clips.append(clip)
    return clips


def _dropped_of_tasks(tasks: Sequence[Mapping[str, Any]]) -> set[str]:
    notes = [note for task in tasks for note in task.get("annotations") or () if isinstance(note, dict)]
    kinds = {one.get("type") for note in notes for one in note["result"]} - {"keypointlabels", "relation"}
    found = {BOXES} if "rectanglelabels" in kinds else set()
    found |= {"regions other than key points"} if kinds - {"rectanglelabels"} else set()
    # The library reads the first annotation of a task.
    found |= {"annotations of further annotators"} if any(len(task["annotations"]) > 1 for task in tasks) else set()
    return found | ({"predictions"} if any(task.get("predictions") for task in tasks) else set())


def _prepared(
    task: dict[str, Any], position: int, joints: dict[str, None], sizes: dict[str, set[tuple[int, int]]]
) -> tuple[str, int]:
    """Return video and frame number of a task, whose reference to the video is replaced by one to no file."""
    meta = task.get("meta")
    video = meta.get("video") if isinstance(meta, dict) else None
    video = video if isinstance(video, dict) else {}
    named = video.get("filename") or next(
        (word for word in (task.get("data") or {}).values() if isinstance(word, str)), ""
    )
    digits = re.findall(r"\d{1,12}", re.split(r"[\\/]", str(named))[-1])
    frame = video.get("frame_idx")
    if not isinstance(frame, int):
        frame = int(digits[-1]) if digits else position
    task["meta"] = {"video": {"filename": "clip", "frame_idx": frame, "shape": (1, 1, 1, 3)}}
    # A task that nobody has annotated.
    task["annotations"] = task.get("annotations") or [{"result": []}]
    path = video_path(named) if video.get("filename") else video_path([named])
    results = [one for note in task["annotations"] if isinstance(note, dict) for one in note["result"]]
    for one in results:
        if one.get("type") == "keypointlabels":
            joints.update(dict.fromkeys(map(str, one["value"]["keypointlabels"])))
            sizes[path].add((int(one["original_height"]), int(one["original_width"])))
    return path, frame


def write_labelstudio(clip: PoseClip, path: Path) -> None:
    """Write one task per frame with persons, and one key point per seen joint."""
    tasks = library("sleap_io.io.labelstudio", LABEL_STUDIO).convert_labels(_labels_of(clip, path.stem, LABEL_STUDIO))
    for task in tasks:
        for note in task["annotations"]:
            # JSON has no NaN, which the library writes for unseen joints.
            unseen = {
                one["id"]
                for one in note["result"]
                if one["type"] == "keypointlabels" and not math.isfinite(one["value"]["x"])
            }
            note["result"] = [
                one for one in note["result"] if one.get("id") not in unseen and one.get("from_id") not in unseen
            ]
    write_json(path, [task for task in tasks if task["annotations"][0]["result"]])
