"""Kinetics-400's layout: annotations that say which frame each skeleton belongs to, and joints in files of their own.

One such file holds thousands of clips, so reading it anew for each clip of a shuffled epoch would take hours, and all
of them together do not fit into memory. Each is therefore rewritten once, beside itself, as one plain array that the
system maps into memory: a clip then costs the pages that it lies on, and all worker processes share them.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError, EmptyClipError
from pose_extraction.files import atomic_write, held
from pose_extraction.pickles import read_pickle

# As PYSKL reads them: detections below are not used, and of more persons than this those with the best joints are.
BOX_SCORE = 0.5
MOST_PERSONS = 10
# Mapped files that stay open; each costs a file handle only.
OPEN_FILES = 64
CACHE = "skelpipe_cache"
# Joints, and x, y and score of each.
KEYPOINTS = (17, 3)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A keypoint file that has been rewritten.

    Args:
        places: The first and last-plus-one row of each clip.
        bad: What is wrong with the clips that were left away, a sentence each.
    """

    places: dict[str, tuple[int, int]]
    bad: dict[str, str]


@dataclass(frozen=True, slots=True)
class KineticsJoints:
    """One clip's joints in a file of its own.

    Args:
        files: Where the joints are.
        name: The clip's id.
        raw_file: File of many clips that has them; empty when the clip has a file of its own.
        frame: int (N,) frame of each skeleton, squeezed: frames without anybody are left out.
        total: Skeletons that the file has for the clip, the unused ones included.
        used: int (N,) which of them are used.
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

    def read(self) -> tuple[np.ndarray, np.ndarray | None]:
        return stack_persons(np.asarray(self.files.skeletons(self), np.float32), self.frame)

    def digest_parts(self) -> list[np.ndarray]:
        return [self.frame, self.used]


def stack_persons(skeletons: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Skeletons of all frames in a row, put into person slots: in each frame in the order in which they are stored.

    Nobody is tracked, so a slot may be another person in the next frame.

    Args:
        skeletons: float32 (N, V, 3), x, y and score.
        frame: int (N,) frame of each, rising, 0 to T - 1.

    Returns:
        Joints (M, T, V, 2) and scores (M, T, V), zero in empty slots; M is the most that a frame has, up to ten. A
        frame with more keeps the ten with the largest sum of scores, the largest first.
    """
    start = np.searchsorted(frame, frame, "left")
    slot = np.arange(len(frame)) - start
    for crowded in np.unique(frame[slot >= MOST_PERSONS]):
        rows = np.flatnonzero(frame == crowded)
        best_first = np.argsort(-skeletons[rows, :, 2].sum(axis=-1), kind="stable")
        slot[rows[best_first]] = np.arange(len(rows))
    kept = slot < MOST_PERSONS
    frames, persons = int(frame[-1]) + 1, int(slot[kept].max()) + 1
    stacked = np.zeros((persons, frames, *skeletons.shape[1:]), np.float32)
    stacked[slot[kept], frame[kept]] = skeletons[kept]
    return stacked[..., :2], stacked[..., 2]


class KeypointFiles:
    """The folder of Kinetics-400's keypoint files.

    Args:
        annotations: The pickle of annotations, for messages.
        folder: Where the files are; None where none were named.
        look_inside: Whether a clip's own file is read when the clip is opened, too, so that what is wrong with it is
            known before it is asked for: all of Kinetics-400's would take minutes.
    """

    def __init__(self, annotations: Path, folder: str | None, *, look_inside: bool = False) -> None:
        self.annotations = annotations
        self.folder = None if folder is None else Path(folder)
        self._look_inside = look_inside
        # By the file's name. All of Kinetics-400's take 60 MB.
        self._rewritten: dict[str, Rewritten] = {}
        # What is wrong with whole files, so that they are not read anew for each of their clips.
        self._unreadable: dict[str, AnnotationError] = {}

    def joints_of(self, annotation: dict[str, Any], name: str) -> KineticsJoints:
        """The joints of one clip, whose fields have been checked; found, and not kept.

        Raises:
            AnnotationError: No folder was named, nobody was detected in the clip, or the folder lacks its joints or has
                them wrong.
        """
        if self.folder is None:
            raise AnnotationError(
                f"{self.annotations}: clip {name!r} has its joints in another file; name their folder with "
                "data.keypoint_files, or --keypoint-files of evaluate and predict"
            )
        frame_of = np.asarray(annotation["frame_inds"])
        used = np.flatnonzero(np.asarray(annotation["box_score"]) >= BOX_SCORE)
        if not len(used):
            raise EmptyClipError(
                f"{self.annotations}: clip {name!r} has no person whose box score is {BOX_SCORE} or more; look at its "
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
        """The skeletons of a clip that are used, (N, V, 3) as stored.

        Raises:
            AnnotationError: The clip's own file cannot be read.
        """
        assert self.folder is not None  # `joints_of` has seen to it.
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
        """The file of many clips that has this one, or "" when it has a file of its own."""
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
            "get the file again, or name the right folder with data.keypoint_files"
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
                f"{self.annotations}: clip {name!r} has {annotated} skeletons by its annotation and {stored} in its "
                "keypoint file; get both from one source"
            )


@lru_cache(OPEN_FILES)
def mapped(array_path: Path, modified: int) -> np.ndarray:
    """An array on the disk, mapped into memory; `modified` is there to tell it from what it was before."""
    return np.load(array_path, mmap_mode="r")


def _array_path(path: Path) -> Path:
    return path.parent / CACHE / f"{path.stem}.npy"


def rewritten(path: Path) -> Rewritten:
    """Rewrites a keypoint file as one array (N, V, 3), unless that was done since it last changed.

    Args:
        path: A pickle {id: {"keypoint": (N, V, 3)}}.

    Raises:
        AnnotationError: The file is damaged as a whole, or its folder cannot be written to.
    """
    index_path = _array_path(path).with_suffix(".json")
    stamp = [path.stat().st_mtime_ns, path.stat().st_size]
    index = _fresh_index(index_path, stamp)
    if index is None:
        try:
            # One process writes; the others wait, and then find it done.
            with held(index_path):
                index = _fresh_index(index_path, stamp) or _rewrite(path, index_path, stamp)
        except OSError as error:
            raise AnnotationError(
                f"{path}: cannot be rewritten for quick reading into {index_path.parent} ({error.strerror or error}); "
                "make the folder writable, or copy the files to one that is"
            ) from error
    places = {name: (first, last) for name, (first, last) in index["clips"].items()}
    # Files that were rewritten by an earlier version have good clips only.
    return Rewritten(places, index.get("bad", {}))


def _fresh_index(index_path: Path, stamp: list[int]) -> dict[str, Any] | None:
    if not index_path.is_file():
        return None
    index = json.loads(index_path.read_text(encoding="utf-8"))
    return index if index["stamp"] == stamp else None


def _rewrite(path: Path, index_path: Path, stamp: list[int]) -> dict[str, Any]:
    content = read_pickle(path)
    if not isinstance(content, dict) or not content:
        raise AnnotationError(f"{path}: must map ids of clips to their joints, and is a {type(content).__name__}")
    # Of a file with bad clips only, the array has no rows.
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
    # The index comes last and says that the array is whole.
    index = {"stamp": stamp, "clips": places, "bad": bad}
    with atomic_write(index_path) as file:
        file.write(json.dumps(index).encode())
    return index


def _checked_skeletons(clip: Any, name: str, path: Path) -> np.ndarray:
    skeletons = clip.get("keypoint") if isinstance(clip, dict) else clip
    if not isinstance(skeletons, np.ndarray) or skeletons.ndim != 3 or skeletons.shape[1:] != KEYPOINTS:
        raise AnnotationError(
            f"{path}: clip {name!r} must have joints of shape (skeletons, 17, 3), and has "
            f"{getattr(skeletons, 'shape', type(skeletons).__name__)}; get the file again"
        )
    if skeletons.dtype.kind not in "fiu":
        raise AnnotationError(
            f"{path}: clip {name!r} has joints of type {skeletons.dtype}, and they must be numbers; get the file again"
        )
    if not np.isfinite(skeletons).all():
        raise AnnotationError(f"{path}: clip {name!r} has NaN or infinite joints; get the file again")
    return skeletons
