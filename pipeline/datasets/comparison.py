"""`skelpipe stats --compare`: two skeleton files of the same videos, joint by joint."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy.optimize import linear_sum_assignment

from pipeline.datasets.merging import skeleton_files
from pose_extraction.errors import UsageError, counted
from pose_extraction.formats.annotations import estimator_of, identifier_of
from pose_extraction.formats.clip_arrays import optional_array
from pose_extraction.formats.storage import stream_data_set
from pose_extraction.skeleton import COCO17

# Poses of one person: their common joints are on average less than this many torso lengths apart, and are this many.
SAME_PERSON_DISTANCE, FEWEST_COMMON = 1.0, 3
SHOULDERS = [COCO17.joints.index(name) for name in ("left_shoulder", "right_shoulder")]
HIPS = [COCO17.joints.index(name) for name in ("left_hip", "right_hip")]


@dataclass(frozen=True, slots=True)
class JointComparison:
    """A joint in the poses that both files contain.

    Args:
        joint: Its name.
        median: Median distance in torso lengths between the two places, where both see it; None if they never do.
        most: 90th percentile of that distance.
        first: Share of the poses in which the first file has it, in [0, 1].
        second: The same for the second file.
    """

    joint: str
    median: float | None
    most: float | None
    first: float
    second: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Agreement of two skeleton files.

    Args:
        first: Estimator of the first file, or its name.
        second: The same for the second file.
        clips: Number of clips in both files.
        frames: Number of their frames that both files contain.
        poses: Number of poses in both.
        only_first: Number of poses in the first file without counterpart.
        only_second: The same for the second file.
        joints: The joints of COCO-17.
        files: Paths of both files.
    """

    first: str
    second: str
    clips: int
    frames: int
    poses: int
    only_first: int
    only_second: int
    joints: tuple[JointComparison, ...]
    files: tuple[str, str]

    def headings(self) -> tuple[str, str]:
        """Return the names of both estimators; if they are equal, with as much of the paths as tells them apart."""
        if self.first != self.second:
            return self.first, self.second
        one, other = _parts_that_differ(*map(Path, self.files))
        return f"{self.first} ({one})", f"{self.second} ({other})"


@dataclass(frozen=True, slots=True)
class _Clip:
    """A clip: joints (M, T, 17, 2) with NaN where unseen, frame numbers (T,), torso lengths (M,)."""

    keypoint: np.ndarray
    frame_index: np.ndarray
    torso: np.ndarray


def compare_files(first: Path, second: Path) -> Comparison:
    """Compares two skeleton files, or folders of them, clip by clip and frame by frame.

    In each frame, persons are matched one to one by the mean distance of the joints that both files have.

    Args:
        first: Skeleton file, or folder with skeleton files of single videos.
        second: The same, of another estimator or with other settings.

    Raises:
        UsageError: A path does not exist, a file is not of COCO-17 in pixels, or the two have no clip in common.
        AnnotationError: A file is damaged, contains code or is not a skeleton data set.
    """
    (one, name), (other, other_name) = _clips_of(first), _clips_of(second)
    common = sorted(one.keys() & other.keys())
    if not common:
        ids = " and ".join(repr(next(iter(clips), "none")) for clips in (one, other))
        raise UsageError(
            f"{first} and {second} have no clip in common: their ids (frame_dir) differ, as in {ids}; "
            "extract the same videos twice"
        )
    counts = np.zeros(4, np.int64)
    pairs: list[tuple[np.ndarray, np.ndarray, float]] = []
    for clip in common:
        for here, there, matches in _frames(one[clip], other[clip]):
            counts += (1, len(matches), len(here) - len(matches), len(there) - len(matches))
            pairs += [(here[row], there[column], size) for row, column, size in matches]
    frames, poses, only_first, only_second = (int(count) for count in counts)
    return Comparison(
        name, other_name, len(common), frames, poses, only_first, only_second, _joints(pairs), (str(first), str(second))
    )


def _parts_that_differ(first: Path, second: Path) -> tuple[str, str]:
    """Return the stems of two paths; if these are equal, names or the last folders, too; the order for one file."""
    one, other = first.resolve(), second.resolve()
    if one == other:
        return "first", "second"
    if one.stem != other.stem:
        return one.stem, other.stem
    count = 1
    while one.parts[-count:] == other.parts[-count:]:
        count += 1
    return Path(*one.parts[-count:]).as_posix(), Path(*other.parts[-count:]).as_posix()


def _clips_of(path: Path) -> tuple[dict[str, _Clip], str]:
    """Returns the clips of a file or folder by id, and the name of the estimator."""
    clips: dict[str, _Clip] = {}
    names: dict[str, None] = {}
    for file in skeleton_files(path):
        for annotation in stream_data_set(file)[0]:
            clip = identifier_of(annotation)
            clips.setdefault(clip, _clip(annotation, f"{file}: clip {clip!r}", file))
            names[estimator_of(annotation, file.stem)] = None
    return clips, ", ".join(names) or path.stem


def _clip(annotation: Mapping[str, Any], place: str, file: Path) -> _Clip:
    keypoint = np.asarray(annotation.get("keypoint", np.zeros((0, 0, 0, 0))), np.float64)
    if keypoint.shape[2:] != (COCO17.num_joints, 2):
        raise UsageError(
            f"{file}: keypoint is {keypoint.shape}; only skeletons of COCO-17 in pixels, (M, T, 17, 2), are compared"
        )
    score = annotation.get("keypoint_score")
    seen = (keypoint != 0).any(-1) if score is None else np.asarray(score) > 0
    keypoint = np.where(seen[..., None], keypoint, np.nan)
    torso = np.linalg.norm(keypoint[:, :, SHOULDERS].mean(2) - keypoint[:, :, HIPS].mean(2), axis=-1)
    known = [one[~np.isnan(one)] for one in torso]
    sizes = np.array([np.median(one) if len(one) else np.nan for one in known])
    frames = keypoint.shape[1]
    index = optional_array(annotation, "frame_index", "iu", (frames,), place)
    return _Clip(keypoint, np.arange(frames) if index is None else index, sizes)


def _frames(one: _Clip, other: _Clip) -> Iterator[tuple[np.ndarray, np.ndarray, list[tuple[int, int, float]]]]:
    """Yields for each common frame the poses of both clips, and (row, column, torso length) of those who match."""
    _, rows, columns = np.intersect1d(one.frame_index, other.frame_index, return_indices=True)
    for row, column in zip(rows, columns, strict=True):
        here, there = one.keypoint[:, row], other.keypoint[:, column]
        first, second = (np.flatnonzero(~np.isnan(poses[..., 0]).all(-1)) for poses in (here, there))
        distance = np.linalg.norm(here[first][:, None] - there[second][None], axis=-1)
        shared = (~np.isnan(distance)).sum(-1)
        sizes = np.stack(np.broadcast_arrays(one.torso[first][:, None], other.torso[second][None]))
        known = (~np.isnan(sizes)).sum(0)
        size = np.nansum(sizes, 0) / np.where(known, known, np.nan)
        apart = np.nansum(distance, -1) / np.where(shared >= FEWEST_COMMON, shared, np.nan) / size
        cost = np.where(apart < SAME_PERSON_DISTANCE, apart, SAME_PERSON_DISTANCE)
        matched = [
            (int(a), int(b), float(size[a, b]))
            for a, b in zip(*linear_sum_assignment(cost), strict=True)
            if cost[a, b] < SAME_PERSON_DISTANCE
        ]
        yield here[first], there[second], matched


def _joints(pairs: Sequence[tuple[np.ndarray, np.ndarray, float]]) -> tuple[JointComparison, ...]:
    count = max(len(pairs), 1)
    first = np.array([one for one, _, _ in pairs]).reshape(-1, COCO17.num_joints, 2)
    second = np.array([other for _, other, _ in pairs]).reshape(-1, COCO17.num_joints, 2)
    size = np.array([size for _, _, size in pairs])
    distance = np.linalg.norm(first - second, axis=-1) / size[:, None]
    rows = []
    for joint, name in enumerate(COCO17.joints):
        known = distance[~np.isnan(distance[:, joint]), joint]
        middle, most = (float(np.percentile(known, share)) if len(known) else None for share in (50, 90))
        seen = ((~np.isnan(poses[:, joint, 0])).sum() / count for poses in (first, second))
        rows.append(JointComparison(name, middle, most, *map(float, seen)))
    return tuple(rows)


def as_json(comparison: Comparison) -> str:
    """Formats a comparison as a JSON object."""
    return json.dumps(asdict(comparison), indent=2, ensure_ascii=False, allow_nan=False)


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Prints the counts, and a table with one line per joint."""
    first, second = comparison.headings()
    console.print(
        f"{counted(comparison.clips, 'clip')}, {counted(comparison.frames, 'frame')}, "
        f"{counted(comparison.poses, 'pose')} in both; "
        f"only {first}: {comparison.only_first}, only {second}: {comparison.only_second}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    table = Table("joint")
    for title in ("distance\nmedian", "\n90 %", f"seen %\n{first}", f"\n{second}"):
        table.add_column(Text(title), justify="right")
    for row in comparison.joints:
        far = ["n/a" if value is None else f"{value:.3f}" for value in (row.median, row.most)]
        table.add_row(row.joint, *far, f"{100 * row.first:.1f}", f"{100 * row.second:.1f}")
    console.print(table)
    console.print("Distances are in torso lengths, where both see the joint.", highlight=False)
