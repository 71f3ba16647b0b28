"""Clips from files that list poses one by one: with the number of the frame, and with or without an identity."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.exchange.clips import USUAL_RATE, Given, PoseClip, check_count, new_clip, times_from
from pose_extraction.exchange.dropping import SOME_IDS
from pose_extraction.exchange.names import indices_in, joints_by_count
from pose_extraction.poses import FramePoses
from pose_extraction.skeleton import COCO17


@dataclass(frozen=True, slots=True)
class Row:
    """One pose in a file.

    Args:
        frame: Number of the frame, from 0.
        person: Identity; None if the file has none.
        keypoint: float32 (V, C), NaN for unseen joints.
        score: float32 (V,).
    """

    frame: int
    person: int | None
    keypoint: np.ndarray
    score: np.ndarray


def row_of(frame: int, person: int | None, flat: np.ndarray) -> Row:
    """Return a pose from (V, 3): x, y, score. Joints with score 0 are unseen."""
    seen = (flat[:, 2] > 0) & np.isfinite(flat).all(axis=1)
    return Row(frame, person, np.where(seen[:, None], flat[:, :2], np.nan), np.where(seen, flat[:, 2], 0))


def clip_from_rows(
    rows: Sequence[Row],
    place: str,
    given: Given,
    *,
    joints: Sequence[str] | None = None,
    frames: Iterable[int] | None = None,
    times: Mapping[int, float | None] | None = None,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    name: str = "",
) -> PoseClip:
    """Collect the poses of each person over all frames.

    Poses without identities are linked by the tracker of this project, which is noted.

    Args:
        rows: The poses in any order.
        place: The file, for messages.
        given: What the user says about it.
        joints: Names of the joints in the file; None to infer them from their number.
        frames: Numbers of all frames, with and without persons; None for those from the first to the last pose.
        times: Seconds by number of the frame, where the file has them.
        fps: Frames per second in the file.
        size: (height, width) in the file.
        name: Name of the clip within the file.

    Raises:
        AnnotationError: There is no pose, poses differ in their joints, a person occurs twice in a frame, or the file
            claims more than fits in memory.
    """
    if not rows:
        raise AnnotationError(f"{place}: contains no poses; check that it is of this format")
    shape = rows[0].keypoint.shape
    if any(row.keypoint.shape != shape for row in rows):
        raise AnnotationError(f"{place}: its poses have different numbers of joints; import them one by one")
    names = given.joints or joints or joints_by_count(shape[0], shape[1], place)
    index = _frame_numbers([row.frame for row in rows], frames, place)
    place_of = {number: position for position, number in enumerate(index.tolist())}
    known = [row.person is not None for row in rows]
    tracked = all(known)
    if not tracked:
        single = max(Counter(row.frame for row in rows).values()) == 1
        rate = given.fps or fps or USUAL_RATE
        linked = [0] * len(rows) if single else _identities(rows, names, given.size or size, index / rate, index)
        rows = [replace(row, person=person) for row, person in zip(rows, linked, strict=True)]
    ids = sorted({row.person for row in rows if row.person is not None})
    check_count(len(ids) * len(index) * math.prod(shape), place)
    person_of = {person: number for number, person in enumerate(ids)}
    keypoint = np.full((len(ids), len(index), *shape), np.nan, np.float32)
    score = np.zeros(keypoint.shape[:3], np.float32)
    filled = np.zeros(keypoint.shape[:2], bool)
    for row in rows:
        where = person_of[row.person or 0], place_of[row.frame]
        if filled[where]:
            raise AnnotationError(f"{place}: person {row.person} occurs twice in frame {row.frame}; remove one of them")
        filled[where] = True
        keypoint[where], score[where] = row.keypoint, row.score
    clip = new_clip(
        names, keypoint, score, place=place, given=given, fps=fps, size=size, time=times_from(times or {}, index),
        frame_index=index, track_id=np.array(ids, np.int64), name=name,
    )  # fmt: skip
    if any(known) and not tracked:
        clip.dropped.add(SOME_IDS)
    clip.tracked = tracked or len(ids) == 1
    if not clip.tracked:
        clip.notes.append("its persons have no ids; they were linked from frame to frame by this project's tracker")
    return clip


def _frame_numbers(numbers: Sequence[int], frames: Iterable[int] | None, place: str) -> np.ndarray:
    """Return the numbers of all frames, ascending; gaps in an even stride are frames without persons."""
    if frames is not None:
        return np.array(sorted({*frames, *numbers}), np.int64)
    present = np.unique(np.array(numbers, np.int64))
    step = int(np.gcd.reduce(np.diff(present))) if len(present) > 1 else 1
    count = (int(present[-1]) - int(present[0])) // step + 1
    check_count(count, place)
    return present[0] + step * np.arange(count, dtype=np.int64)


def _identities(
    rows: Sequence[Row], joints: Sequence[str], size: tuple[int, int] | None, time: np.ndarray, index: np.ndarray
) -> list[int]:
    """Return the identities that the tracker of this project gives to poses.

    Args:
        rows: The poses.
        joints: Names of their joints.
        size: (height, width) of the frame in pixels; None for that of the joints' extent.
        time: Seconds of each frame (T,).
        index: Number of each frame (T,).
    """
    from pose_extraction.tracking.tracker import Tracker, TrackerSettings

    indices = np.array(indices_in(joints, COCO17.joints))
    plane = np.array([row.keypoint[:, :2] for row in rows], np.float32)
    keypoint = np.where((indices < 0)[:, None], np.float32(np.nan), plane[:, indices])
    low, high = np.nanmin(plane, 1, initial=np.inf), np.nanmax(plane, 1, initial=-np.inf)
    box = np.concatenate([low, high], axis=1)
    box = np.where(np.isfinite(box).all(axis=1, keepdims=True), box, np.float32(0))
    right, bottom = box[:, 2:].max(axis=0)
    # Every pose of the file gets an identity: no score is too low.
    tracker = Tracker(TrackerSettings(high_score=0, low_score=0), size or (int(bottom) + 1, int(right) + 1))
    rows_of: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        rows_of.setdefault(row.frame, []).append(number)
    identities = [0] * len(rows)
    for frame, seconds in zip(index.tolist(), time.tolist(), strict=True):
        found = rows_of.get(frame, [])
        joint_score = np.isfinite(keypoint[found, :, 0]).astype(np.float32)
        box_score = np.ones(len(found), np.float32)
        ids = tracker.update(FramePoses(frame, seconds, box[found], box_score, keypoint[found], joint_score))
        for number, person in zip(found, ids.tolist(), strict=True):
            identities[number] = person
    return identities
