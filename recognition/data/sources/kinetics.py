"""Kinetics-400's layout: annotations that assign skeletons to frames, and joints in separate files.

One such file contains thousands of clips. Reading it for each clip of a shuffled epoch would take hours, and all files
together do not fit into memory. Each file is therefore converted once to a plain array in a cache folder next to it,
which is memory-mapped: only the pages of a clip are read, and all worker processes share them.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError, EmptyClipError
from pose_extraction.files import atomic_write, held
from pose_extraction.formats.pickles import read_pickle

# As in PYSKL: detections with lower box scores are ignored; of more persons, those with the highest joint scores count.
BOX_SCORE = 0.5
MOST_PERSONS = 10
# Maximum number of memory-mapped files; each uses only a file handle.
OPEN_FILES = 64
CACHE = "skelpipe_cache"
# Joints, and (x, y, score) of each.
KEYPOINTS = (17, 3)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Index of a converted keypoint file.

    Args:
        places: First row and last row + 1 of each clip.
        bad: For each clip that was left out, the error message.
    """

    places: dict[str, tuple[int, int]]
    bad: dict[str, str]


@dataclass(frozen=True, slots=True)
class KineticsJoints:
    """Joints of one clip, stored in a separate file.

    Args:
        files: Folder of the keypoint files.
        name: The clip's id.
        raw_file: Name of the file with many clips that contains this one; empty if the clip has its own file.
        frame: int (N,), frame of each skeleton; frames without persons are removed.
        total: Number of stored skeletons of the clip, including unused ones.
        used: int (N,), indices of the skeletons that are used.
    """

    files: "KeypointFiles"
    name: str
    raw_file: str
    frame: np.ndarray
    total: int
    used: np.ndarray

    @property
    def num_frames(self) -> int:
        return int(self.frame[-1]) + 1

    def read(self, *, exact: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
        return stack_persons(np.asarray(self.files.skeletons(self), np.float32), self.frame)

    def digest_parts(self) -> list[np.ndarray]:
        return [self.frame, self.used]


def stack_persons(skeletons: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Assign the skeletons of all frames to person slots, in each frame in the order in which they are stored.

    Persons are not tracked, so a slot may contain another person in the next frame.

    Args:
        skeletons: float32 (N, V, 3), x, y and score.
        frame: int (N,), frame of each skeleton in ascending order, 0 to T - 1.

    Returns:
        Joints (M, T, V, 2) and scores (M, T, V), zero in empty slots. M is the largest number of persons in a frame, at
        most ten. If a frame has more, the persons of all frames are in descending order of their sum of scores, as in
        PYSKL, and the first ten are kept.
    """
    start = np.searchsorted(frame, frame, "left")
    slot = np.arange(len(frame)) - start
    if slot.max() >= MOST_PERSONS:
        best_first = np.lexsort((slot, -skeletons[..., 2].sum(axis=-1), frame))
        # Sorted by frame first, so the slots of each frame stay where they are.
        slot[best_first] = slot.copy()
    kept = slot < MOST_PERSONS
    frames, persons = int(frame[-1]) + 1, int(slot[kept].max()) + 1
    stacked = np.zeros((persons, frames, *skeletons.shape[1:]), np.float32)
    stacked[slot[kept], frame[kept]] = skeletons[kept]
    return stacked[..., :2], stacked[..., 2]


class KeypointFiles:
    """Folder of Kinetics-400's keypoint files.

    Args:
        annotations: Path of the annotation pickle, for messages.
        folder: Folder of the files; None if it was not specified.
        look_inside: Whether to read a clip's own file when the clip is opened, so that errors are found early. For all
            of Kinetics-400 this takes minutes.
    """

    def __init__(self, annotations: Path, folder: str | None, *, look_inside: bool = False) -> None:
        self.annotations = annotations
        self.folder = None if folder is None else Path(folder)
        self._look_inside = look_inside
        # By file name. All files of Kinetics-400 take 60 MB.
        self._rewritten: dict[str, Rewritten] = {}
        # Errors that concern whole files, so that these are not read again for each of their clips.
        self._unreadable: dict[str, AnnotationError] = {}

    def joints_of(self, annotation: dict[str, Any], name: str) -> KineticsJoints:
        """Locate the joints of one clip whose fields have been checked. The joints are not kept in memory.

        Args:
            annotation: Annotation of the clip.
            name: The clip's id.

        Raises:
            AnnotationError: The folder is not specified, the clip shows no person, or its joints are missing or
                malformed.
        """
        if self.folder is None:
            raise AnnotationError(
                f"{self.annotations}: the joints of clip {name!r} are in another file; specify its folder with "
                "data.keypoint_files, or --keypoint-files of evaluate and predict"
            )
        frame_of = np.asarray(annotation["frame_inds"])
        used = np.flatnonzero(np.asarray(annotation["box_score"]) >= BOX_SCORE)
        if not len(used):
            raise EmptyClipError(
                f"{self.annotations}: clip {name!r} has no person with a box score of {BOX_SCORE} or more; check its "
                "video"
            )
        used = used[np.argsort(frame_of[used], kind="stable")].astype(np.int32)
        frame = np.unique(frame_of[used], return_inverse=True)[1].astype(np.int32)
        raw_file = self._file_of(name, Path(str(annotation.get("raw_file") or "")).name)
        if raw_file:
            first, last = self._rewritten[raw_file].places[name]
            self._check_count(name, len(frame_of), last - first)
        joints = KineticsJoints(self, name, raw_file, frame, len(frame_of), used)
        if self._look_inside and not raw_file:
            self.skeletons(joints)
        return joints

    def skeletons(self, joints: KineticsJoints) -> np.ndarray:
        """Return the used skeletons of a clip, (N, V, 3), as stored.

        Args:
            joints: Result of `joints_of`.

        Raises:
            AnnotationError: The clip's own file cannot be read.
        """
        assert self.folder is not None  # Checked in `joints_of`.
        if joints.raw_file:
            first, _ = self._rewritten[joints.raw_file].places[joints.name]
            array_path = _array_path(self.folder / joints.raw_file)
            return mapped(array_path, array_path.stat().st_mtime_ns)[first + joints.used]
        path = self.folder / f"{joints.name}.pkl"
        content = read_pickle(path)
        clip = content.get(joints.name, content) if isinstance(content, dict) else content
        stored = _checked_skeletons(clip, joints.name, path)
        self._check_count(joints.name, joints.total, len(stored))
        return stored[joints.used]

    def _file_of(self, name: str, raw_file: str) -> str:
        """Return the name of the file with many clips that contains this one, or "" if the clip has its own file."""
        assert self.folder is not None
        if raw_file and (raw_file in self._rewritten or (self.folder / raw_file).is_file()):
            file = self._read_once(raw_file)
            if name in file.bad:
                raise AnnotationError(file.bad[name])
            if name in file.places:
                return raw_file
        elif (self.folder / f"{name}.pkl").is_file():
            return ""
        raise AnnotationError(
            f"{self.annotations}: the joints of clip {name!r} are not in {self.folder / (raw_file or f'{name}.pkl')}; "
            "download the file again, or specify the right folder with data.keypoint_files"
        )

    def _read_once(self, raw_file: str) -> Rewritten:
        assert self.folder is not None
        if raw_file in self._unreadable:
            raise self._unreadable[raw_file]
        if raw_file not in self._rewritten:
            try:
                self._rewritten[raw_file] = rewritten(self.folder / raw_file)
            except AnnotationError as error:
                self._unreadable[raw_file] = error
                raise
        return self._rewritten[raw_file]

    def _check_count(self, name: str, annotated: int, stored: int) -> None:
        if annotated != stored:
            raise AnnotationError(
                f"{self.annotations}: clip {name!r} has {annotated} skeletons in its annotation, but {stored} in its "
                "keypoint file; download both from the same source"
            )


@lru_cache(OPEN_FILES)
def mapped(array_path: Path, modified: int) -> np.ndarray:
    """Memory-map an array; `modified` invalidates the cache when the file changes."""
    return np.load(array_path, mmap_mode="r")


def _array_path(path: Path) -> Path:
    return path.parent / CACHE / f"{path.stem}.npy"


def rewritten(path: Path) -> Rewritten:
    """Convert a keypoint file to one array (N, V, 3), unless this was done since its last change.

    Args:
        path: A pickle {id: {"keypoint": (N, V, 3)}}.

    Returns:
        Index of the array's rows.

    Raises:
        AnnotationError: The file is damaged as a whole, or its folder is not writable.
    """
    index_path = _array_path(path).with_suffix(".json")
    stamp = [path.stat().st_mtime_ns, path.stat().st_size]
    index = _fresh_index(index_path, stamp)
    if index is None:
        try:
            # One process writes. The others wait and then find the result.
            with held(index_path):
                index = _fresh_index(index_path, stamp) or _rewrite(path, index_path, stamp)
        except OSError as error:
            raise AnnotationError(
                f"{path}: cannot write the converted file into {index_path.parent} ({error.strerror or error}); "
                "make the folder writable, or copy the files to a writable folder"
            ) from error
    places = {name: (first, last) for name, (first, last) in index["clips"].items()}
    # Files converted by an earlier version contain only valid clips.
    return Rewritten(places, index.get("bad", {}))


def _fresh_index(index_path: Path, stamp: list[int]) -> dict[str, Any] | None:
    if not index_path.is_file():
        return None
    index = json.loads(index_path.read_text(encoding="utf-8"))
    return index if index["stamp"] == stamp else None


def _rewrite(path: Path, index_path: Path, stamp: list[int]) -> dict[str, Any]:
    content = read_pickle(path)
    if not isinstance(content, dict) or not content:
        raise AnnotationError(f"{path}: must map clip ids to joints, but is a {type(content).__name__}")
    # If no clip of the file is valid, the array has no rows.
    skeletons: list[np.ndarray] = [np.zeros((0, *KEYPOINTS), np.float16)]
    places, bad, rows = {}, {}, 0
    for name, clip in content.items():
        try:
            skeletons.append(_checked_skeletons(clip, name, path))
        except AnnotationError as error:
            bad[name] = str(error)
            continue
        places[name] = [rows, rows + len(skeletons[-1])]
        rows += len(skeletons[-1])
    with atomic_write(_array_path(path)) as file:
        np.save(file, np.concatenate(skeletons))
    # Written last: the index marks the array as complete.
    index = {"stamp": stamp, "clips": places, "bad": bad}
    with atomic_write(index_path) as file:
        file.write(json.dumps(index).encode())
    return index


def _checked_skeletons(clip: Any, name: str, path: Path) -> np.ndarray:
    skeletons = clip.get("keypoint") if isinstance(clip, dict) else clip
    if not isinstance(skeletons, np.ndarray) or skeletons.ndim != 3 or skeletons.shape[1:] != KEYPOINTS:
        raise AnnotationError(
            f"{path}: clip {name!r} must have joints of shape (skeletons, 17, 3), but has "
            f"{getattr(skeletons, 'shape', type(skeletons).__name__)}; download the file again"
        )
    if skeletons.dtype.kind not in "fiu":
        raise AnnotationError(
            f"{path}: clip {name!r} has joints of type {skeletons.dtype}, but they must be numeric; download the file "
            "again"
        )
    if not np.isfinite(skeletons).all():
        raise AnnotationError(f"{path}: clip {name!r} has NaN or infinite joints; download the file again")
    return skeletons
