"""Edits of identities, applied to the tracks of a clip."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.corrections.document import Corrections, Swap, check_persons
from pose_extraction.errors import AnnotationError
from pose_extraction.formats.clip_arrays import seen_joints, track_ids
from pose_extraction.formats.clip_times import times_of
from pose_extraction.formats.person_clips import ARRAYS_OF_PERSONS
from pose_extraction.formats.person_labels import KEY

# A time stamp that was converted to the time of the player and back differs in its last digits.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Origins:
    """Where the frames of corrected persons come from.

    Args:
        persons: Numbers of the M corrected persons.
        rows: int64 (M, T), position of the track in the clip that shows each person in each frame; -1 if none does.
        time: float64 (T,), seconds of the stream.
    """

    persons: list[int]
    rows: np.ndarray
    time: np.ndarray


def origins(annotation: Mapping[str, Any], corrections: Corrections, *, offset: float = 0.0) -> Origins:
    """Apply the edits of identities, in their order, to the tracks of a clip.

    Args:
        annotation: A clip of the result.
        corrections: The corrections of its video.
        offset: Seconds to add to times of the document to get times of the stream.

    Raises:
        AnnotationError: A person does not exist, or the clip has no times.
    """
    frames = annotation["keypoint"].shape[1]
    name, ids = str(annotation.get("frame_dir", "clip")), track_ids(annotation)
    time = times_of(annotation, frames)
    if time is None:
        raise AnnotationError(f"{name}: has neither times nor fps, so corrections cannot be placed; extract it again")
    check_persons(corrections, ids, place=name)
    rows = {}
    for row, person in enumerate(ids):
        rows[person] = np.where(seen_joints(annotation, row).any(axis=1), row, -1)
    for edit in corrections.identities:
        if isinstance(edit, Swap):
            later = time >= edit.time + offset - ROUNDING
            one, other = rows[edit.a], rows[edit.b]
            rows[edit.a], rows[edit.b] = np.where(later, other, one), np.where(later, one, other)
        else:
            joined, target = rows.pop(edit.source), rows[edit.to]
            # Where both were seen, they are two detections of one person.
            rows[edit.to] = np.where(target >= 0, target, joined)
    return Origins(list(rows), np.array([*rows.values()], np.int64).reshape(len(rows), frames), time)


def corrected(annotation: Mapping[str, Any], corrections: Corrections, *, offset: float = 0.0) -> dict[str, Any]:
    """Return a clip with corrected tracks; arguments and errors as in `origins`.

    Labels of persons are left out, because they belong to the tracks as they were.
    """
    clip = {key: value for key, value in annotation.items() if key != KEY}
    if not corrections.identities:
        return clip
    found = origins(annotation, corrections, offset=offset)
    shown, frame = found.rows >= 0, np.arange(found.rows.shape[1])
    for key in ARRAYS_OF_PERSONS:
        if key in clip:
            picked = np.asarray(clip[key])[np.maximum(found.rows, 0), frame]
            clip[key] = np.where(shown.reshape(*shown.shape, *[1] * (picked.ndim - 2)), picked, picked.dtype.type(0))
    clip["track_id"] = np.array(found.persons, np.int64)
    edits = [edit.model_dump(by_alias=True) for edit in corrections.identities]
    entry = {"step": "correct_identities", "parameters": {"edits": edits, "offset": offset}, "counts": {}}
    return {**clip, "history": [*clip.get("history", ()), entry]}
