"""Skeletons of the second Kinect as NTU RGB+D and PKU-MMD publish them, in text files, and NTU's published cleaning."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pose_extraction.errors import AnnotationError

JOINTS, COORDINATES = 25, 3
# Numbers of a line about a body, and of one about a joint, in NTU's files.
BODY_NUMBERS, JOINT_NUMBERS = 10, 12
# NTU's published cleaning: a body of so many frames is noise; a frame is bad where a body is wider than this share of
# its height; a body with so large a share of bad frames is no person.
SHORTEST_BODY, WIDEST, BAD_SHARE = 11, 0.8, 0.69754
MOST_PERSONS = 2
# The Kinect sees some metres; what is as far as this is no place.
FARTHEST = 1e6


@dataclass(frozen=True)
class Body:
    """What the Kinect followed under one number.

    Args:
        first: The frame in which it appears.
        keypoint: float32 (L, 25, 3), metres from the camera, in that frame and those that follow it.
    """

    first: int
    keypoint: np.ndarray

    @property
    def last(self) -> int:
        """The frame after which it is gone."""
        return self.first + len(self.keypoint) - 1

    @property
    def narrow(self) -> np.ndarray:
        """bool (L,): frames in which it is no wider than a person."""
        low, high = (edge(self.keypoint.astype(np.float64), axis=1) for edge in (np.min, np.max))
        narrow: np.ndarray = (high - low)[:, 0] <= WIDEST * (high - low)[:, 1]
        return narrow


def read_ntu_text(path: Path) -> tuple[int, list[Body]]:
    """Frames and bodies of one of NTU's `.skeleton` files, bodies in the order in which they appear.

    As published, frames without a body do not count, and a body is taken to be there from its first frame on, without
    a gap, for as many frames as it is in.

    Raises:
        AnnotationError: It is not of that format; the message names the line.
    """
    try:
        lines = path.read_text(encoding="ascii").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: cannot be read as text ({error}); fetch the file again") from error
    place = 0

    def numbers(count: int) -> list[str]:
        nonlocal place
        words = lines[place].split() if place < len(lines) else []
        place += 1
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        # A number of bodies or of joints is one; places may be anything that the Kinect wrote.
        if len(values) != count or (count == 1 and not math.isfinite(values[0])):
            raise AnnotationError(
                f"{path}: line {place} should hold {count} numbers of a .skeleton file, and holds "
                f"{' '.join(words)!r:.60}; "
                "fetch the file again, or take it out of the folder"
            )
        return words

    def counted() -> int:
        return int(float(numbers(1)[0]))

    # By their names as they are written: they are too long for a float, which takes neighbouring ones for one.
    found: dict[str, tuple[list[int], list[np.ndarray]]] = {}
    num_frames = 0
    for _ in range(counted()):
        num_bodies = counted()
        for _ in range(num_bodies):
            frames, joints = found.setdefault(numbers(BODY_NUMBERS)[0], ([], []))
            if counted() != JOINTS:
                raise AnnotationError(f"{path}: line {place}: a body has {JOINTS} joints; fetch the file again")
            joint = np.array([numbers(JOINT_NUMBERS)[:COORDINATES] for _ in range(JOINTS)], np.float64)
            if not (np.abs(joint) < FARTHEST).all():
                raise AnnotationError(
                    f"{path}: a body that ends in line {place} has joints at {joint[np.abs(joint).argmax() // 3]}, "
                    "which is nowhere in metres; fetch the file again, or take it out of the folder"
                )
            joint = joint.astype(np.float32)
            if not frames or frames[-1] != num_frames:
                frames.append(num_frames)
                joints.append(joint)
        num_frames += num_bodies > 0
    return num_frames, [Body(frames[0], np.stack(joints)) for frames, joints in found.values()]


def clean(num_frames: int, bodies: Sequence[Body]) -> np.ndarray:
    """At most two persons out of what the Kinect followed, float32 (M, T, 25, 3), zeros where one is absent.

    Bodies of few frames, and then those that are mostly wider than high, are noise, but for one that is left alone. The
    others go, the most moving one first, to the first person whose frames, from the earliest to the latest so far, they
    do not overlap by more than one; who overlaps both is left out. Frames with nobody are left out.

    Args:
        num_frames: How many `bodies` counts; T is at most as many.
        bodies: All of them; without any, nobody: M is 0.
    """
    if not bodies:
        return np.zeros((0, num_frames, JOINTS, COORDINATES), np.float32)
    long = [body for body in bodies if len(body.keypoint) > SHORTEST_BODY]
    main, *others = _most_moving_first(long or [max(bodies, key=lambda body: len(body.keypoint))])
    persons = np.zeros((MOST_PERSONS, num_frames, JOINTS, COORDINATES), np.float32)
    persons[0, main.first : main.last + 1] = main.keypoint
    # As published, the second person counts as there in the first frame.
    spans = [(main.first, main.last), (0, 0)]
    for body in others:
        for person, (first, last) in enumerate(spans):
            if min(last, body.last) <= max(first, body.first):
                persons[person, body.first : body.last + 1] = body.keypoint
                spans[person] = min(first, body.first), max(last, body.last)
                break
    persons = persons[:, persons.any(axis=(0, 2, 3))]
    return persons[: 2 if persons[1].any() else 1]


def _most_moving_first(bodies: Sequence[Body]) -> list[Body]:
    """Those that are no noise by their width, by the lesser of their motions in all frames and in narrow ones."""
    kept: list[tuple[float, Body]] = []
    for place, body in enumerate(bodies):
        if len(kept) + len(bodies) - place == 1:
            # Whoever is left alone is the person.
            return [body]
        narrow = body.narrow
        if 1 - narrow.mean() < BAD_SHARE:
            kept.append((min(_motion(body.keypoint), _motion(body.keypoint[narrow])), body))
    return [body for _, body in sorted(kept, key=lambda one: -one[0])]


def _motion(keypoint: np.ndarray) -> float:
    """Variances of x, y and z over all joints of all frames, summed up."""
    return float(keypoint.reshape(-1, COORDINATES).astype(np.float64).var(axis=0).sum())


def read_pku_text(path: Path) -> np.ndarray:
    """One of PKU-MMD's skeleton files: a line a frame, two persons of 25 joints, float32 (M, T, 25, 3).

    Raises:
        AnnotationError: It is not of that format.
    """
    rows = []
    for number, line in enumerate(_lines(path), 1):
        try:
            row = np.array(line.split(), np.float32)
        except ValueError:
            row = np.zeros(0, np.float32)
        if len(row) != MOST_PERSONS * JOINTS * COORDINATES or not np.isfinite(row).all():
            raise AnnotationError(
                f"{path}: line {number} should hold the {MOST_PERSONS * JOINTS * COORDINATES} coordinates of two "
                f"persons, and holds {line.strip()!r:.60}; fetch the file again, or take it out of the folder"
            )
        rows.append(row)
    if not rows:
        raise AnnotationError(f"{path}: holds no frame; fetch the file again, or take it out of the folder")
    persons = np.stack(rows).reshape(-1, MOST_PERSONS, JOINTS, COORDINATES).transpose(1, 0, 2, 3)
    return np.ascontiguousarray(persons[: 2 if persons[1].any() else 1])


def read_pku_labels(path: Path, *, classes: int, num_frames: int) -> list[tuple[int, int, int]]:
    """The actions of one of PKU-MMD's label files: lines of class (from 1 on), first frame, end, confidence.

    Returns:
        Class number from 0 on, first frame, and the frame after the last, within the video.

    Raises:
        AnnotationError: A line is something else.
    """
    actions = []
    for number, line in enumerate(_lines(path), 1):
        try:
            label, start, end, *_ = (int(float(word)) for word in line.split(","))
        except ValueError:
            label, start, end = 0, 0, 0
        if not 1 <= label <= classes or not 0 <= start < end or start >= num_frames:
            raise AnnotationError(
                f"{path}: line {number} should hold a class from 1 to {classes}, a first and a last frame within the "
                f"{num_frames} of the video, and holds {line.strip()!r:.60}; mend it, or take the file out"
            )
        actions.append((label - 1, start, min(end, num_frames)))
    return actions


def read_pku_split(path: Path) -> dict[str, list[str]]:
    """Names of the videos to train on and to test on, of one of PKU-MMD's split files.

    Raises:
        AnnotationError: It has no such two lists.
    """
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in _lines(path):
        heading = line.strip().lower()
        if heading.startswith("training"):
            current = found.setdefault("train", [])
        elif heading.startswith(("validation", "test")):
            current = found.setdefault("val", [])
        elif current is not None:
            current.extend(word.strip() for word in line.split(",") if word.strip())
    if not found.get("train") or not found.get("val"):
        raise AnnotationError(f"{path}: has no lists under 'Training videos' and 'Validation videos'; fetch it again")
    return found


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: cannot be read as text ({error}); fetch the file again") from error
