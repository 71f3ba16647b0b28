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

from pose_extraction.errors import AnnotationError
from pose_extraction.files import atomic_write, held
from pose_extraction.pickles import read_pickle

# As PYSKL reads them: detections below are not used, and of more persons than this those with the best joints are.
BOX_SCORE = 0.5
MOST_PERSONS = 10
# Mapped files that stay open; each costs a file handle only.
OPEN_FILES = 64
CACHE = "skelpipe_cache"


@dataclass(frozen=True, slots=True)
class KineticsJoints:
    """One clip's joints in a file of its own.

    Args:
        files: Where the joints are.
        name: The clip's id.
        raw_file: File that its annotation names, without folders; empty when it names none.
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
        stored = self.files.skeletons(self.name, self.raw_file)
        if stored.shape[0] != self.total:
            raise AnnotationError(
                f"{self.files.annotations}: clip {self.name!r} has {self.total} skeletons by its annotation and "
                f"{stored.shape[0]} in its keypoint file; get both from one source"
            )
        return stack_persons(np.asarray(stored[self.used], np.float32), self.frame)

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
    """

    def __init__(self, annotations: Path, folder: str | None) -> None:
        self.annotations = annotations
        self.folder = None if folder is None else Path(folder)

    def joints_of(self, annotation: dict[str, Any], name: str) -> KineticsJoints:
        """The joints of one clip, whose fields have been checked, not read yet.

        Raises:
            AnnotationError: No folder was named, or nobody was detected in the clip.
        """
        if self.folder is None:
            raise AnnotationError(
                f"{self.annotations}: clip {name!r} has its joints in another file; name their folder with "
                "data.keypoint_files"
            )
        frame_of = np.asarray(annotation["frame_inds"])
        used = np.flatnonzero(np.asarray(annotation["box_score"]) >= BOX_SCORE)
        if not len(used):
            raise AnnotationError(
                f"{self.annotations}: clip {name!r} has no person whose box score is {BOX_SCORE} or more; leave the "
                "clip out (--skip-bad)"
            )
        used = used[np.argsort(frame_of[used], kind="stable")].astype(np.int32)
        frame = np.unique(frame_of[used], return_inverse=True)[1].astype(np.int32)
        raw_file = Path(str(annotation.get("raw_file") or "")).name
        return KineticsJoints(self, name, raw_file, frame, len(frame_of), used)

    def skeletons(self, name: str, raw_file: str) -> np.ndarray:
        """All skeletons of a clip, (N, V, 3) as stored.

        Raises:
            AnnotationError: Its file is missing or holds no such clip.
        """
        assert self.folder is not None  # `joints_of` has seen to it.
        own = self.folder / f"{name}.pkl"
        if raw_file and (self.folder / raw_file).is_file():
            path = self.folder / raw_file
            array, places = mapped(path, path.stat().st_mtime_ns)
            if name in places:
                first, last = places[name]
                return array[first:last]
        elif own.is_file():
            content = read_pickle(own)
            return _checked_skeletons(content.get(name, content), name, own)
        else:
            path = own
        raise AnnotationError(
            f"{self.annotations}: the joints of clip {name!r} are not in {path}; get the file again, or name the right "
            "folder with data.keypoint_files"
        )


@lru_cache(OPEN_FILES)
def mapped(path: Path, modified: int) -> tuple[np.ndarray, dict[str, tuple[int, int]]]:
    """A keypoint file as one array (N, V, 3) mapped into memory, and the first and last-plus-one row of each clip.

    The first call rewrites the file into a folder beside it; a file that has changed since is rewritten again.

    Args:
        path: A pickle {id: {"keypoint": (N, V, 3)}}.
        modified: Time of its last change in nanoseconds.

    Raises:
        AnnotationError: The file is damaged, or its folder cannot be written to.
    """
    array_path = path.parent / CACHE / f"{path.stem}.npy"
    index_path = array_path.with_suffix(".json")
    stamp = [modified, path.stat().st_size]
    index = _fresh_index(index_path, stamp)
    if index is None:
        try:
            # One process writes; the others wait, and then find it done.
            with held(index_path):
                index = _fresh_index(index_path, stamp) or _rewrite(path, array_path, index_path, stamp)
        except OSError as error:
            raise AnnotationError(
                f"{path}: cannot be rewritten for quick reading into {array_path.parent} ({error.strerror or error}); "
                "make the folder writable, or copy the files to one that is"
            ) from error
    places = {name: (first, last) for name, (first, last) in index["clips"].items()}
    return np.load(array_path, mmap_mode="r"), places


def _fresh_index(index_path: Path, stamp: list[int]) -> dict[str, Any] | None:
    if not index_path.is_file():
        return None
    index = json.loads(index_path.read_text(encoding="utf-8"))
    return index if index["stamp"] == stamp else None


def _rewrite(path: Path, array_path: Path, index_path: Path, stamp: list[int]) -> dict[str, Any]:
    content = read_pickle(path)
    if not isinstance(content, dict) or not content:
        raise AnnotationError(f"{path}: must map ids of clips to their joints, and is a {type(content).__name__}")
    skeletons = [_checked_skeletons(clip, name, path) for name, clip in content.items()]
    last = np.cumsum([len(clip) for clip in skeletons]).tolist()
    places = {name: [end - len(clip), end] for name, clip, end in zip(content, skeletons, last, strict=True)}
    with atomic_write(array_path) as file:
        np.save(file, np.concatenate(skeletons))
    # The index comes last and says that the array is whole.
    index = {"stamp": stamp, "clips": places}
    with atomic_write(index_path) as file:
        file.write(json.dumps(index).encode())
    return index


def _checked_skeletons(clip: Any, name: str, path: Path) -> np.ndarray:
    skeletons = clip.get("keypoint") if isinstance(clip, dict) else clip
    if not isinstance(skeletons, np.ndarray) or skeletons.ndim != 3 or skeletons.shape[1:] != (17, 3):
        raise AnnotationError(
            f"{path}: clip {name!r} must have joints of shape (skeletons, 17, 3), and has "
            f"{getattr(skeletons, 'shape', type(skeletons).__name__)}; get the file again"
        )
    if not np.isfinite(skeletons).all():
        raise AnnotationError(f"{path}: clip {name!r} has NaN or infinite joints; get the file again")
    return skeletons
