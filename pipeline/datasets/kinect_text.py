"""Text files with Kinect v2 skeletons of NTU RGB+D and PKU-MMD, and the published cleaning for NTU RGB+D."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pose_extraction.errors import AnnotationError

JOINTS, COORDINATES = 25, 3
# Number of values per line for a body and for a joint in NTU files.
BODY_NUMBERS, JOINT_NUMBERS = 10, 12
# Published cleaning of NTU: a body with at most SHORTEST_BODY frames is noise; a frame is bad if the body is wider than
# WIDEST times its height; a body with at least BAD_SHARE bad frames is not a person.
SHORTEST_BODY, WIDEST, BAD_SHARE = 11, 0.8, 0.69754
MOST_PERSONS = 2
# The range of the Kinect is a few metres; coordinates beyond this are invalid.
FARTHEST = 1e6


@dataclass(frozen=True)
class Body:
    """A body that the Kinect tracked under one id.

    Args:
        first: First frame.
        keypoint: float32 (L, 25, 3), camera coordinates in metres, in the L frames from `first` on.
    """

    first: int
    keypoint: np.ndarray

    @property
    def last(self) -> int:
        """Last frame."""
        return self.first + len(self.keypoint) - 1

    @property
    def narrow(self) -> np.ndarray:
        """bool (L,): frames in which the body is not too wide for a person."""
        low, high = (edge(self.keypoint.astype(np.float64), axis=1) for edge in (np.min, np.max))
        narrow: np.ndarray = (high - low)[:, 0] <= WIDEST * (high - low)[:, 1]
        return narrow


def read_ntu_text(path: Path) -> tuple[int, list[Body]]:
    """Reads a `.skeleton` file of NTU RGB+D.

    As in the published cleaning, frames without a body are not counted, and the frames of a body are joined without
    gaps, starting at its first frame.

    Args:
        path: The file.

    Returns:
        Number of frames, and the bodies in order of appearance.

    Raises:
        AnnotationError: The format is wrong; the message names the line.
    """
    try:
        lines = path.read_text(encoding="ascii").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: cannot read the file as text ({error}); download it again") from error
    place = 0

    def numbers(count: int) -> list[str]:
        nonlocal place
        words = lines[place].split() if place < len(lines) else []
        place += 1
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        # Counts must be finite; coordinates may be anything that the Kinect wrote.
        if len(values) != count or (count == 1 and not math.isfinite(values[0])):
            raise AnnotationError(
                f"{path}: line {place} must contain {count} numbers of a .skeleton file, not "
                f"{' '.join(words)!r:.60}; "
                "download the file again, or remove it"
            )
        return words

    def counted() -> int:
        return int(float(numbers(1)[0]))

    # Keyed by the id as text: ids exceed the precision of a float.
    found: dict[str, tuple[list[int], list[np.ndarray]]] = {}
    num_frames = 0
    for _ in range(counted()):
        num_bodies = counted()
        for _ in range(num_bodies):
            frames, joints = found.setdefault(numbers(BODY_NUMBERS)[0], ([], []))
            if counted() != JOINTS:
                raise AnnotationError(
                    f"{path}: line {place}: a body must have {JOINTS} joints; download the file again"
                )
            joint = np.array([numbers(JOINT_NUMBERS)[:COORDINATES] for _ in range(JOINTS)], np.float64)
            if not (np.abs(joint) < FARTHEST).all():
                raise AnnotationError(
                    f"{path}: the body that ends on line {place} has a joint at {joint[np.abs(joint).argmax() // 3]}, "
                    "not a valid position in metres; download the file again, or remove it"
                )
            joint = joint.astype(np.float32)
            if not frames or frames[-1] != num_frames:
                frames.append(num_frames)
                joints.append(joint)
        num_frames += num_bodies > 0
    return num_frames, [Body(frames[0], np.stack(joints)) for frames, joints in found.values()]


def clean(num_frames: int, bodies: Sequence[Body]) -> np.ndarray:
    """Selects at most two persons among the bodies that the Kinect tracked.

    Bodies with few frames, and bodies that are mostly too wide, are noise; the last remaining body is always kept. The
    other bodies, sorted by decreasing motion, are assigned to the first person whose range of frames they overlap by
    at most one frame; a body that overlaps both persons is dropped. Frames without persons are removed.

    Args:
        num_frames: Number of frames of the clip.
        bodies: All bodies of the clip.

    Returns:
        float32 (M, T, 25, 3) in metres, T <= num_frames, zeros where a person is absent; M is 0 without bodies.
    """
    if not bodies:
        return np.zeros((0, num_frames, JOINTS, COORDINATES), np.float32)
    long = [body for body in bodies if len(body.keypoint) > SHORTEST_BODY]
    main, *others = _most_moving_first(long or [max(bodies, key=lambda body: len(body.keypoint))])
    persons = np.zeros((MOST_PERSONS, num_frames, JOINTS, COORDINATES), np.float32)
    persons[0, main.first : main.last + 1] = main.keypoint
    # As published, the range of the second person starts with the first frame.
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
    """Bodies that are not too wide, by decreasing motion: the minimum over all frames and over narrow frames."""
    kept: list[tuple[float, Body]] = []
    for place, body in enumerate(bodies):
        if len(kept) + len(bodies) - place == 1:
            # The last remaining body is the person.
            return [body]
        narrow = body.narrow
        if 1 - narrow.mean() < BAD_SHARE:
            kept.append((min(_motion(body.keypoint), _motion(body.keypoint[narrow])), body))
    return [body for _, body in sorted(kept, key=lambda one: -one[0])]


def _motion(keypoint: np.ndarray) -> float:
    """Sum of the variances of x, y and z over all joints and frames."""
    return float(keypoint.reshape(-1, COORDINATES).astype(np.float64).var(axis=0).sum())


def read_pku_text(path: Path) -> np.ndarray:
    """Reads a skeleton file of PKU-MMD: one line per frame, two persons with 25 joints.

    Args:
        path: The file.

    Returns:
        float32 (M, T, 25, 3) in metres; M is 1 if the second person never appears.

    Raises:
        AnnotationError: The format is wrong.
    """
    rows = []
    for number, line in enumerate(_lines(path), 1):
        try:
            row = np.array(line.split(), np.float32)
        except ValueError:
            row = np.zeros(0, np.float32)
        if len(row) != MOST_PERSONS * JOINTS * COORDINATES or not np.isfinite(row).all():
            raise AnnotationError(
                f"{path}: line {number} must contain the {MOST_PERSONS * JOINTS * COORDINATES} coordinates of two "
                f"persons, not {line.strip()!r:.60}; download the file again, or remove it"
            )
        rows.append(row)
    if not rows:
        raise AnnotationError(f"{path}: contains no frames; download the file again, or remove it")
    persons = np.stack(rows).reshape(-1, MOST_PERSONS, JOINTS, COORDINATES).transpose(1, 0, 2, 3)
    return np.ascontiguousarray(persons[: 2 if persons[1].any() else 1])


def read_pku_labels(path: Path, *, classes: int, num_frames: int) -> list[tuple[int, int, int]]:
    """Reads a label file of PKU-MMD: lines of class (starting at 1), first frame, end, confidence.

    Args:
        path: The file.
        classes: Number of classes.
        num_frames: Number of frames of the video.

    Returns:
        For each action: class number starting at 0, first frame, and the frame after the last, within the video.

    Raises:
        AnnotationError: A line has another format or an invalid value.
    """
    actions = []
    for number, line in enumerate(_lines(path), 1):
        try:
            label, start, end, *_ = (int(float(word)) for word in line.split(","))
        except ValueError:
            label, start, end = 0, 0, 0
        if not 1 <= label <= classes or not 0 <= start < end or start >= num_frames:
            raise AnnotationError(
                f"{path}: line {number} must contain a class from 1 to {classes}, and a first and a last frame within "
                f"the {num_frames} frames of the video, not {line.strip()!r:.60}; correct it, or remove the file"
            )
        actions.append((label - 1, start, min(end, num_frames)))
    return actions


def read_pku_split(path: Path) -> dict[str, list[str]]:
    """Reads a split file of PKU-MMD.

    Args:
        path: The file.

    Returns:
        Names of the videos, under "train" and "val".

    Raises:
        AnnotationError: One of the two lists is missing.
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
        raise AnnotationError(f"{path}: lacks the lists 'Training videos' and 'Validation videos'; download it again")
    return found


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: cannot read the file as text ({error}); download it again") from error
