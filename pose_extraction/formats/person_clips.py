"""Clips of single persons, cut from clips that contain `person_labels`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.formats.clip_arrays import track_ids
from pose_extraction.formats.clip_times import times_of
from pose_extraction.formats.label_numbers import UNLABELLED
from pose_extraction.formats.person_labels import KEY, PersonLabel, person_labels_of
from pose_extraction.formats.persons import frames_of
from pose_extraction.formats.validation import validated_clip

# Marks clips of single persons; the id of the clip that each was cut from.
PART_OF = "part_of"
# Position of their person in that clip, first frame and frame after the last.
PART_PLACE = "part_place"
# Fields with one entry per person, and per frame in their second dimension.
ARRAYS_OF_PERSONS = ("keypoint", "keypoint_score", "imputed")
# Fields that describe the whole clip.
_OF_CLIP = (KEY, "quality", "actions", "num_person_raw")


def with_person_clips(
    data: Mapping[str, Any], path: Path, *, skip_bad: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """Replace clips with labelled persons by one clip for each of these labels.

    A clip with a label of its own is kept as well. Persons without a label do not get a clip.

    Args:
        data: Content of a skeleton file whose clips may be malformed.
        path: The file, for messages.
        skip_bad: Whether to ignore malformed labels of persons instead of raising an error.

    Returns:
        The data set, and one sentence for each label that was ignored. A clip of a person has the id
        `CLIP#TRACK@START-END`, and the times of the video.

    Raises:
        AnnotationError: The labels of a clip are malformed.
    """
    if not any(isinstance(clip, Mapping) and clip.get(KEY) for clip in data["annotations"]):
        return dict(data), []
    numbers = {name: number for number, name in enumerate(data.get("label_names") or ())}
    clips: list[Any] = []
    moved: dict[str, _Parts] = {}
    notes: list[str] = []
    for position, clip in enumerate(data["annotations"]):
        if not (isinstance(clip, Mapping) and clip.get(KEY)):
            clips.append(clip)
            continue
        try:
            name = validated_clip(clip, position, path)
            parts, ignored = _parts_of(clip, name, numbers, path)
        except AnnotationError as error:
            if not skip_bad:
                raise
            notes.append(str(error))
            clips.append(clip)
            continue
        notes += ignored
        kept = clip["label"] != UNLABELLED or not parts
        clips += [clip] if kept else []
        clips += [part for part, _ in parts]
        moved[name] = _Parts([(part["frame_dir"], label.splits) for part, label in parts], kept)
    split = _splits_of(data["split"], moved)
    return {**data, "annotations": clips, "split": split}, notes


@dataclass(frozen=True, slots=True)
class _Parts:
    """What becomes of a clip: the id and the splits of each person's clip, and whether the whole clip is kept."""

    persons: list[tuple[str, tuple[str, ...] | None]]
    kept: bool


_WHOLE = _Parts([], True)


def _splits_of(split: Mapping[str, Sequence[str]], moved: Mapping[str, _Parts]) -> dict[str, list[str]]:
    """Return the splits with the clips of persons; those that only contained clips which were replaced are left out."""
    result: dict[str, list[str]] = {}
    for name, listed in split.items():
        own = result[name] = []
        for clip in listed:
            parts = moved.get(clip, _WHOLE)
            own += [clip] if parts.kept else []
            own += [part for part, splits in parts.persons if splits is None]
    for parts in moved.values():
        for part, splits in parts.persons:
            for name in splits or ():
                result.setdefault(name, []).append(part)
    return {name: clips for name, clips in result.items() if clips or not split.get(name)}


def _parts_of(
    clip: Mapping[str, Any], name: str, numbers: Mapping[str, int], path: Path
) -> tuple[list[tuple[dict[str, Any], PersonLabel]], list[str]]:
    place = f"{path}: clip {name!r}"
    ids = track_ids(clip)
    parts, notes = [], []
    for label in person_labels_of(clip, place):
        if label.label_name is None:
            continue
        row = ids.index(label.track_id) if label.track_id in ids else None
        frames = np.zeros(0, np.int64) if row is None else frames_of(clip, label, row)[0]
        if row is None or not len(frames):
            notes.append(f"{place}: {label.describe()} matches no person; see `skelpipe label --check`")
            continue
        if label.label_name not in numbers:
            raise AnnotationError(
                f'{place}: {KEY} has the label {label.label_name!r}, which is not in "label_names"; add it there, or '
                "correct the label"
            )
        part = cut_person(clip, row, int(frames[0]), int(frames[-1]) + 1)
        span = f"@{label.span_name}" if label.span_name else ""
        person = f"{clip.get('source') or name}#{label.track_id}"
        group = clip.get("group") if label.group is None else label.group
        part |= {
            "frame_dir": f"{name}#{label.track_id}{span}",
            "label": numbers[label.label_name],
            "label_name": label.label_name,
            # What one person does in one video must not be on both sides of a split.
            "group": person if group is None else group,
            PART_OF: name,
            PART_PLACE: (row, int(frames[0]), int(frames[-1]) + 1),
        }
        parts.append((part, label))
    return parts, notes


def cut_person(clip: Mapping[str, Any], row: int, first: int, last: int) -> dict[str, Any]:
    """Cut one person out of a clip, without copying joints.

    Args:
        clip: The clip.
        row: Position of the person in the clip.
        first: First frame.
        last: Frame after the last.
    """
    frames = clip["keypoint"].shape[1]
    part = {key: value for key, value in clip.items() if key not in (*_OF_CLIP, "filename")}
    for key in ARRAYS_OF_PERSONS:
        if key in clip:
            part[key] = clip[key][row : row + 1, first:last]
    part["track_id"] = np.array([track_ids(clip)[row]], np.int64)
    if "frame_index" in clip:
        part["frame_index"] = clip["frame_index"][first:last]
    time = times_of(clip, frames)
    if time is not None:
        part["time"] = time[first:last]
    else:
        part.pop("time", None)
    return {**part, "total_frames": last - first}
