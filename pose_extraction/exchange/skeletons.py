"""From a clip of another program to an annotation of a skeleton file, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.exchange.clips import USUAL_RATE, PoseClip, rate_of
from pose_extraction.exchange.dropping import unplaced_joints
from pose_extraction.exchange.names import JOINTS, has_other_joints, with_joints
from pose_extraction.formats.annotations import UNLABELLED, with_zeros
from pose_extraction.formats.clip_arrays import optional_array, seen_of
from pose_extraction.formats.clip_times import has_unusable_times, times_of
from pose_extraction.formats.clip_times import rate_of as fps_of
from pose_extraction.poses import PoseTrack, VideoPoses
from pose_extraction.skeleton import COCO17, H36M17, LAYOUTS, NTU25, layout_by_shape
from pose_extraction.tracking.cleaning import rank_persons

# Keeps the joints of the source, whatever they are.
SOURCE_LAYOUT = "source"
# What an annotation may hold in addition to joints, and no other format does: fields, and their name in messages.
OWN_FIELDS = {
    "label_name": "label",
    "group": "group",
    "person_labels": "labels of persons",
    "history": "history of processing",
    "raw": "raw poses",
}


def layout_for(clip: PoseClip, wanted: str | None) -> str:
    """Return the name of the layout of the skeleton file that a clip is imported to; "source" keeps its joints.

    Args:
        clip: The clip.
        wanted: Name of a layout, or "source"; None for COCO-17 in 2D, and in 3D for NTU's layout or Human3.6M's.
    """
    if wanted is not None:
        return wanted
    if clip.keypoint.shape[3] == 2:
        return COCO17.name
    return NTU25.name if clip.joints == NTU25.joints else H36M17.name


def joints_for(clip: PoseClip, wanted: str | None) -> Sequence[str]:
    """Return the joints of the skeleton file that a clip is imported to, see `layout_for`."""
    layout = layout_for(clip, wanted)
    return clip.joints if layout == SOURCE_LAYOUT else JOINTS[layout]


def dropped_from_file(clip: PoseClip, wanted: str | None) -> set[str]:
    """Return what a file of another program holds of a clip and the skeleton file does not, in words.

    Args:
        clip: The clip, as it was read.
        wanted: See `layout_for`.
    """
    if not has_other_joints(clip, joints_for(clip, wanted)):
        return clip.dropped
    return clip.dropped | {f"{unplaced_joints(layout_for(clip, wanted))} (--layout source keeps them)"}


def annotation_of(
    clip: PoseClip, *, frame_dir: str, layout: str | None, format_name: str, source: str, place: str
) -> dict[str, Any]:
    """Create the annotation of an imported clip, without label.

    Args:
        clip: The clip.
        frame_dir: Id of the clip in the data set.
        layout: See `layout_for`.
        format_name: Format that it was read from.
        source: Path of its file, relative to the given folder.
        place: The file, for messages.

    Raises:
        AnnotationError: It has none of the joints of the layout.
    """
    notes = list(clip.notes)
    size = None
    if clip.keypoint.shape[3] == 2:
        size = clip.size or _extent(clip, notes)
        clip = _ranked(clip, size)
    converted = with_joints(clip, joints_for(clip, layout), place)
    keypoint, score = with_zeros(converted.keypoint, converted.keypoint_score)
    annotation: dict[str, Any] = {
        "frame_dir": frame_dir,
        "label": UNLABELLED,
        "total_frames": clip.num_frames,
        "keypoint": keypoint,
        "keypoint_score": score,
        "label_name": None,
        "group": None,
        "track_id": clip.track_id,
        "frame_index": clip.frame_index,
        "time": clip.time,
        "fps": float(clip.fps),
        "source": source,
        "history": [
            {
                "step": "import",
                "parameters": {"format": format_name, "joints": len(clip.joints)},
                "counts": {"persons": clip.num_persons, "joints_without_source": _absent(converted)},
            }
        ],
    }
    if size is not None:
        annotation |= {"img_shape": size, "original_shape": size}
    if converted.imputed is not None:
        annotation["imputed"] = converted.imputed
    return annotation | {"problems": notes}


def _ranked(clip: PoseClip, size: tuple[int, int]) -> PoseClip:
    """Sort persons by relevance, as `skelpipe extract` does: recognizers use the first ones."""
    box, score = clip.box().astype(np.float32), clip.mean_score().astype(np.float32)
    nothing = np.zeros(clip.seen.shape[1:], bool)
    tracks = [
        PoseTrack(person, 0, clip.keypoint[person], clip.keypoint_score[person], box[person], score[person], nothing)
        for person in range(clip.num_persons)
    ]
    ranked = rank_persons(VideoPoses(clip.frame_index, clip.time, size, tracks), max_persons=None)
    order = [track.track_id for track in ranked.tracks]
    return replace(
        clip,
        keypoint=clip.keypoint[order],
        keypoint_score=clip.keypoint_score[order],
        track_id=clip.track_id[order],
        imputed=None if clip.imputed is None else clip.imputed[order],
    )


def _absent(clip: PoseClip) -> int:
    return int((~clip.seen.any(axis=(0, 1))).sum())


def _extent(clip: PoseClip, notes: list[str]) -> tuple[int, int]:
    """Return the smallest frame (height, width) that holds all joints, and note that it is assumed."""
    largest = np.nan_to_num(clip.keypoint[..., :2]).reshape(-1, 2).max(axis=0, initial=1)
    size = int(np.ceil(largest[1])) + 1, int(np.ceil(largest[0])) + 1
    notes.append("it has no frame size; that of the joints' extent is assumed (--size)")
    return size


def clip_of(annotation: Mapping[str, Any], place: str) -> PoseClip:
    """Return a clip of a skeleton file.

    Args:
        annotation: A validated annotation. Without times and frame rate, the usual rate is assumed.
        place: The file and the clip, for messages.

    Raises:
        AnnotationError: An optional entry does not fit its joints; the message names value and remedy.
    """
    keypoint = np.asarray(annotation["keypoint"], np.float32)
    persons, frames, num_joints, dimensions = keypoint.shape
    score = annotation.get("keypoint_score")
    if score is None:
        score = seen_of(keypoint)
    score = np.asarray(score, np.float32)
    index = optional_array(annotation, "frame_index", "iu", (frames,), place)
    index = np.arange(frames) if index is None else index.astype(np.int64)
    if (index < 0).any() or (np.diff(index) <= 0).any():
        raise AnnotationError(
            f"{place}: frame_index is {index.tolist()!r:.80}, must be {frames} numbers of frames from 0 in ascending "
            "order; correct or remove it"
        )
    if has_unusable_times(annotation, frames):
        raise AnnotationError(
            f"{place}: the times are not usable; 'time' must contain {frames} finite times in seconds, in ascending "
            "order, or 'fps' a number above 0; correct or remove them"
        )
    rate, time = fps_of(annotation), times_of(annotation, frames)
    if time is None or annotation.get("time") is None:
        time = index / (rate or USUAL_RATE)
    track_id = optional_array(annotation, "track_id", "iu", (persons,), place)
    imputed = optional_array(annotation, "imputed", "b", (persons, frames, num_joints), place)
    named = annotation.get("layout")
    layout = LAYOUTS.get(named if isinstance(named, str) else "") or layout_by_shape(num_joints, dimensions)
    return PoseClip(
        layout.joints,
        np.where((score > 0)[..., None], keypoint, np.float32(np.nan)),
        score,
        index,
        time,
        rate or rate_of(time, index),
        tuple(annotation["img_shape"]) if dimensions == 2 else None,
        np.arange(persons) if track_id is None else track_id.astype(np.int64),
        imputed=imputed,
    )


def part_of(clip: PoseClip, start: float | None, end: float | None) -> PoseClip:
    """Return the frames of a clip from `start` to before `end`, in seconds, with the persons who are in them."""
    rows = np.ones(clip.num_frames, bool)
    if start is not None:
        rows &= clip.time >= start
    if end is not None:
        rows &= clip.time < end
    persons = clip.seen[:, rows].any(axis=(1, 2))
    imputed = None if clip.imputed is None else clip.imputed[persons][:, rows]
    return replace(
        clip,
        keypoint=clip.keypoint[persons][:, rows],
        keypoint_score=clip.keypoint_score[persons][:, rows],
        frame_index=clip.frame_index[rows],
        time=clip.time[rows],
        track_id=clip.track_id[persons],
        imputed=imputed,
    )
