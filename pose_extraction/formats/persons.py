"""Which person of a clip a label means: the track in the box of its anchor, or the track with its number."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pose_extraction.formats.clip_arrays import seen_joints, track_ids
from pose_extraction.formats.clip_times import times_of
from pose_extraction.formats.person_labels import KEY, Anchor, PersonLabel, painted, person_labels_of, stored_form

# The box around the joints of a person is widened by this share of its sides, on each side. Boxes that people draw
# contain head, hands and feet, too: for 74 people of COCO val2017 with at least five labelled joints, the widened box
# and the labelled one have a median IoU of 0.76 (0.59 if it is not widened), and above 0.38 for 95 %. With the labelled
# box of another person in the same image it is below 0.24 for 95 %.
MARGIN = 0.1
LEAST_IOU = 0.3
# Seconds between an anchor and the frame in which its person is looked for; the person may be unseen in some frames.
NEARBY = 0.5


@dataclass(frozen=True, slots=True)
class Match:
    """The person of a clip that a label means.

    Args:
        row: Position among the persons of the clip; None if nobody matches.
        reason: Why nobody matches; empty if a person does.
    """

    row: int | None
    reason: str = ""


def box_of(keypoint: np.ndarray, seen: np.ndarray) -> tuple[float, float, float, float] | None:
    """Return the box of a person in one frame: around the seen joints, widened by `MARGIN`.

    Args:
        keypoint: (V, 2) in pixels.
        seen: bool (V,).

    Returns:
        x, y, width and height in pixels, rounded to tenths; None if fewer than two joints were seen.
    """
    joints = np.asarray(keypoint, np.float64)[seen]
    if len(joints) < 2:
        return None
    low, high = joints.min(axis=0), joints.max(axis=0)
    # A limb may be exactly horizontal or vertical.
    side = np.maximum(high - low, 1.0)
    x, y, width, height = (float(value) for value in (*(low - MARGIN * side), *(side * (1 + 2 * MARGIN))))
    return round(x, 1), round(y, 1), round(width, 1), round(height, 1)


def iou(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Return the intersection over union of two boxes (x, y, width, height)."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (one[2] * one[3] + other[2] * other[3] - width * height)


def find_person(annotation: Mapping[str, Any], label: PersonLabel) -> Match:
    """Find the person of a clip that a label means.

    Args:
        annotation: A clip with joints.
        label: The label. Its anchor decides if it has one: the person with the largest IoU at that time.

    Returns:
        The person, or the reason why nobody matches. A person who is not seen within the span of the label does not
        match.
    """
    found = _by_track(annotation, label) if label.anchor is None else _by_anchor(annotation, label.anchor)
    if found.row is None:
        return found
    rows, reason = frames_of(annotation, label, found.row)
    return found if len(rows) else Match(None, reason)


def _by_track(annotation: Mapping[str, Any], label: PersonLabel) -> Match:
    ids = track_ids(annotation)
    if label.track in ids:
        return Match(ids.index(label.track))
    known = f"has the tracks {', '.join(map(str, ids))}" if ids else "contains no person"
    return Match(None, f"the clip {known}")


def _by_anchor(annotation: Mapping[str, Any], anchor: Anchor) -> Match:
    keypoint = annotation["keypoint"]
    time = times_of(annotation, keypoint.shape[1])
    if keypoint.shape[-1] != 2 or time is None:
        return Match(None, "anchors require joints in pixels, and times or fps")
    best, best_row = 0.0, -1
    near = np.abs(time - anchor.time) <= NEARBY
    for row in range(len(keypoint)):
        seen = seen_joints(annotation, row)
        frames = np.flatnonzero(near & (seen.sum(axis=1) >= 2))
        if not len(frames):
            continue
        frame = int(frames[np.abs(time[frames] - anchor.time).argmin()])
        box = box_of(keypoint[row, frame], seen[frame])
        overlap = 0.0 if box is None else iou(box, anchor.box)
        if overlap > best:
            best, best_row = overlap, row
    if best >= LEAST_IOU:
        return Match(best_row)
    if not near.any():
        return Match(None, f"the clip has no frame within {NEARBY:g} s of the anchor")
    return Match(None, f"the best IoU of a person is {best:.2f}, but at least {LEAST_IOU:g} is required")


def frames_of(annotation: Mapping[str, Any], label: PersonLabel, row: int) -> tuple[np.ndarray, str]:
    """Return the frames of a label in which its person is seen.

    Args:
        annotation: The clip.
        label: The label.
        row: Position of its person in the clip.

    Returns:
        Ascending frame numbers within the clip, int64, and the reason if there are none.
    """
    frames = np.flatnonzero(seen_joints(annotation, row).any(axis=1))
    if label.start is None and label.end is None:
        return frames, "" if len(frames) else "the person is not seen in any frame"
    time = times_of(annotation, annotation["keypoint"].shape[1])
    if time is None:
        return frames[:0], "start and end require a clip with times or fps"
    first, last = label.span
    frames = frames[(time[frames] >= first) & (time[frames] < last)]
    return frames, "" if len(frames) else f"the person is not seen in the span {label.span_name} s"


def anchor_for(annotation: Mapping[str, Any], row: int, frames: np.ndarray) -> Anchor | None:
    """Return an anchor in the middle of some frames of a person.

    Args:
        annotation: The clip.
        row: Position of the person in the clip.
        frames: int (N,), ascending numbers of frames in which the person is seen.

    Returns:
        None if the joints are in 3D, times are unknown, or no frame shows two joints.
    """
    keypoint = annotation["keypoint"]
    time = times_of(annotation, keypoint.shape[1])
    if keypoint.shape[-1] != 2 or time is None:
        return None
    seen = seen_joints(annotation, row)
    usable = frames[seen[frames].sum(axis=1) >= 2]
    if not len(usable):
        return None
    frame = int(usable[len(usable) // 2])
    box = box_of(keypoint[row, frame], seen[frame])
    return None if box is None else Anchor(float(time[frame]), box)


def found_in(annotation: Mapping[str, Any], label: PersonLabel) -> tuple[PersonLabel, str]:
    """Return a label with the track of a clip that it means, and the reason if nobody matches.

    A label without an anchor gets one, so that the person is found again if track numbers change.
    """
    match = find_person(annotation, label)
    if match.row is None:
        return replace(label, track_id=None), match.reason
    anchor = label.anchor or anchor_for(annotation, match.row, frames_of(annotation, label, match.row)[0])
    return replace(label, track_id=track_ids(annotation)[match.row], anchor=anchor), ""


def unmatched_persons(annotation: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each label of a person in a clip that matches no person.

    Args:
        annotation: A clip of `set_person_labels`.
    """
    labels = [label for label in person_labels_of(annotation, "clip") if label.track_id is None]
    return [f"{label.describe()} matches no person: {find_person(annotation, label).reason}" for label in labels]


def set_person_labels(annotation: dict[str, Any], labels: Iterable[PersonLabel]) -> None:
    """Look for the persons of labels in a clip, and store them in it, in place of those that it has.

    Of labels that overlap in time for one person, the later one counts.

    Args:
        annotation: The clip; modified in place.
        labels: The labels.
    """
    stored: list[PersonLabel] = []
    for label in labels:
        stored = painted(stored, found_in(annotation, label)[0])
    if stored:
        annotation[KEY] = stored_form(stored)
    else:
        annotation.pop(KEY, None)
