"""Skeleton files as sets of raw clips, and which clips are for what.

A file is read once and checked whole; its arrays stay in memory as they are stored (float16 mostly: NTU120's 114,000
clips take 1.1 GB) and become float32 when a clip is asked for. Kinetics-400's joints stay on the disk (`kinetics`).
"""

import hashlib
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.annotations import ALL_CLIPS, UNLABELLED, read_pickle
from pose_extraction.errors import AnnotationError, EmptyClipError, UsageError
from pose_extraction.skeleton import LAYOUTS, Skeleton, layout_by_shape
from pose_extraction.validation import clip_identifier, validate_container
from recognition.clip_checks import check_clip, names_of_labels, numbers_as_names, usual_shape
from recognition.extraction_settings import extraction_of
from recognition.holdout import held_out_clips, held_out_groups
from recognition.kinetics import KeypointFiles
from recognition.settings import DataSettings
from recognition.stored_joints import Joints, StoredJoints, seen_of

NEWEST_IN = Path("skeletons")


@dataclass(frozen=True)
class Clip:
    """One raw clip.

    Args:
        name: Its id in the file.
        label: Class number, -1 for none.
        keypoint: float32 (M, T, V, D), pixels in 2D and the file's unit in 3D; NaN where a joint was not seen.
        score: float32 (M, T, V), 0 where a joint was not seen; where the file has no scores, 1 as `seen_of` says.
        size: (height, width) of the frame in pixels; None in 3D.
        tracked: Whether a person is the same one in all frames, as in files of `skelpipe extract`.
    """

    name: str
    label: int
    keypoint: np.ndarray
    score: np.ndarray
    size: tuple[int, int] | None
    tracked: bool = False


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A clip that was left out.

    Args:
        name: Its id in the file.
        reason: What is wrong with it, one sentence.
        splits: Names of the splits that it is in.
        label: Class number of one that is `empty`; else -1, as what is wrong may be the label.
        empty: Whether nothing is wrong but that nobody was found in it.
    """

    name: str
    reason: str
    splits: frozenset[str]
    label: int
    empty: bool


class ClipSet:
    """A skeleton file.

    Attributes:
        path: The file.
        names: Ids of the clips, in the file's order.
        labels: int64 (N,) class of each clip, -1 for none.
        groups: Group of each clip, None where it stands alone.
        splits: Name -> int64 indices of its clips, rising.
        label_names: Names of the classes by their numbers.
        layout: Joint layout.
        dimensions: 2 or 3 coordinates of a joint.
        lengths: int64 (N,) frames of each clip.
        estimator: What the skeletons were made with; None where the file does not say.
        extraction: How it was set; see `extraction_of`.
        skipped: What was left out, a sentence each.
        left_out: The clips among it that have an id of their own.
        names_given: Whether `label_names` are more than the numbers of the labels that occur.
    """

    def __init__(
        self,
        path: Path,
        joints: Sequence[Joints],
        annotations: Sequence[dict[str, Any]],
        splits: dict[str, np.ndarray],
        label_names: list[str],
        layout: Skeleton,
        dimensions: int,
        score_threshold: float,
        skipped: list[str],
        left_out: Sequence[LeftOut] = (),
        *,
        names_given: bool = True,
    ) -> None:
        self.path = path
        self.names = [name_of(annotation) for annotation in annotations]
        self.labels = np.array([annotation["label"] for annotation in annotations], np.int64)
        self.groups: list[str | None] = [annotation.get("group") for annotation in annotations]
        self.splits = splits
        self.label_names = label_names
        self.layout = layout
        self.dimensions = dimensions
        self.lengths = np.array([clip.num_frames for clip in joints], np.int64)
        estimators = {annotation["estimator"] for annotation in annotations if annotation.get("estimator")}
        self.estimator = ", ".join(sorted(estimators)) or None
        self.extraction = extraction_of(annotations)
        self.skipped = skipped
        self.left_out = tuple(left_out)
        self.names_given = names_given
        self._joints = list(joints)
        self._sizes = [tuple(annotation["img_shape"]) if dimensions == 2 else None for annotation in annotations]
        self._tracked = ["track_id" in annotation for annotation in annotations]
        self._score_threshold = score_threshold

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Clip:
        """A clip by its place in the file.

        Raises:
            AnnotationError: Its joints lie in a file of their own, and cannot be read from there.
        """
        keypoint, score = (values.astype(np.float32) for values in self.stored(index))
        unseen = ~(score > self._score_threshold)
        keypoint[unseen] = np.nan
        score[unseen] = 0
        return Clip(
            self.names[index], int(self.labels[index]), keypoint, score, self._sizes[index], self._tracked[index]
        )

    def stored(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """A clip's joints (M, T, V, D) and scores (M, T, V) as its file has them, in the file's precision.

        Raises:
            AnnotationError: Its joints lie in a file of their own, and cannot be read from there.
        """
        keypoint, score = self._joints[index].read()
        return keypoint, seen_of(keypoint).astype(keypoint.dtype) if score is None else score

    def nameless(self) -> list[str]:
        """The sentences of `skipped` on what is no clip of its own: without an id, of one seen before, or not there."""
        named = {clip.reason for clip in self.left_out}
        return [sentence for sentence in self.skipped if sentence not in named]

    def content_digest(self) -> str:
        """SHA-256 of all that a run reads of the file, so that a resumed run can refuse another one.

        Of joints that lie in files of their own, it covers what the annotation says of them.
        """
        digest = hashlib.sha256(repr((self.names, self.labels.tolist(), self.label_names)).encode())
        digest.update(repr({name: indices.tolist() for name, indices in sorted(self.splits.items())}).encode())
        digest.update(repr((self.groups, self._sizes, self._tracked)).encode())
        for joints in self._joints:
            for array in joints.digest_parts():
                digest.update(repr((array.shape, array.dtype.str)).encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def name_of(annotation: dict[str, Any]) -> str:
    """The id of a clip that has been checked."""
    return annotation["frame_dir"] if "frame_dir" in annotation else annotation["filename"]


def open_clips(path: Path, settings: DataSettings, *, leave_out_empty: bool = False) -> ClipSet:
    """Reads and checks a skeleton file.

    Args:
        path: A file of `skelpipe extract` or of PYSKL.
        settings: `layout`, `score_threshold`, `keypoint_files`, `group_pattern` and `skip_bad` count here.
        leave_out_empty: Whether clips in which nobody was found are left out, and no error, without `skip_bad` too.

    Raises:
        AnnotationError: The file or one of its clips is bad; one sentence naming file, clip and remedy. With
            `skip_bad`, bad clips are left out and named in `skipped`.
        UsageError: `layout` or `group_pattern` is none.
    """
    if settings.layout not in ("auto", *LAYOUTS):
        raise UsageError(f"data.layout={settings.layout!r} is no joint layout; there are {', '.join(LAYOUTS)} and auto")
    data = read_pickle(path)
    validate_container(data, path)
    label_names = names_of_labels(data, path)
    files = KeypointFiles(path, settings.keypoint_files, look_inside=settings.skip_bad)
    shape = usual_shape(data["annotations"])
    if settings.layout != "auto" and LAYOUTS[settings.layout].num_joints != shape[0]:
        raise AnnotationError(
            f"{path}: its clips have {shape[0]} joints, and {settings.layout} has "
            f"{LAYOUTS[settings.layout].num_joints}; set data.layout to the file's own, or to auto"
        )
    joints: list[Joints] = []
    annotations: list[dict[str, Any]] = []
    skipped: list[str] = []
    left_out: dict[str, tuple[AnnotationError, int]] = {}
    places: dict[str, int] = {}
    for position, annotation in enumerate(data["annotations"]):
        try:
            name = clip_identifier(annotation, position, path)
            if name in places:
                raise AnnotationError(f"{path}: clip {name!r} occurs twice; give each clip its own frame_dir")
        except AnnotationError as error:
            if not settings.skip_bad:
                raise _with_way_out(error) from error
            skipped.append(str(error))
            continue
        try:
            check_clip(annotation, position, path, shape, len(label_names))
            clip = _joints_of(annotation, name, files)
        except AnnotationError as error:
            empty = isinstance(error, EmptyClipError)
            if not (settings.skip_bad or (empty and leave_out_empty)):
                raise _with_way_out(error) from error
            skipped.append(str(error))
            left_out[name] = (error, annotation["label"] if empty else UNLABELLED)
            continue
        left_out.pop(name, None)
        places[name] = len(joints)
        joints.append(clip)
        annotations.append(annotation)
    if not joints:
        reason = f"; the first: {skipped[0]}" if skipped else ", so there is nothing to read: extract some videos"
        raise AnnotationError(f"{path}: holds no clip that can be used{reason}")
    splits = _splits(data["split"], places, left_out, path, skipped if settings.skip_bad else None)
    layout = LAYOUTS[settings.layout] if settings.layout != "auto" else layout_by_shape(*shape)
    without = [
        LeftOut(name, str(error), _splits_of(name, data["split"]), label, isinstance(error, EmptyClipError))
        for name, (error, label) in left_out.items()
    ]
    clips = ClipSet(
        path,
        joints,
        annotations,
        splits,
        label_names,
        layout,
        shape[1],
        settings.score_threshold,
        skipped,
        without,
        names_given=bool(data.get("label_names")) or label_names != numbers_as_names(len(label_names)),
    )
    if settings.group_pattern is not None:
        clips.groups = _groups_by(settings.group_pattern, clips)
    return clips


def _with_way_out(error: AnnotationError) -> AnnotationError:
    """The error with the option that goes on without the clip; commands that have no such option take it as it was."""
    message = str(error)
    way_out = "" if message.endswith("leave the clip out") else ", or leave the clip out"
    return AnnotationError(f"{message}{way_out} (--skip-bad)")


def _splits_of(name: str, listed: dict[str, Sequence[str]]) -> frozenset[str]:
    return frozenset(split for split, names in listed.items() if name in names)


def _joints_of(annotation: dict[str, Any], name: str, files: KeypointFiles) -> Joints:
    if "keypoint" in annotation:
        return StoredJoints(annotation["keypoint"], annotation.get("keypoint_score"))
    return files.joints_of(annotation, name)


def _splits(
    listed: dict[str, Sequence[str]],
    places: dict[str, int],
    left_out: Container[str],
    path: Path,
    skipped: list[str] | None,
) -> dict[str, np.ndarray]:
    """Indices of each split's clips; a name without a clip is an error, or goes into `skipped` where that is given."""
    splits = {}
    for split, names in listed.items():
        missing = [name for name in names if name not in places and name not in left_out]
        if missing:
            message = (
                f"{path}: split {split!r} names clip {missing[0]!r}, which has no annotation; take it out of the split "
                "or extract its video"
            )
            if skipped is None:
                raise AnnotationError(message)
            skipped.append(f"{message} ({len(missing)} such names)" if len(missing) > 1 else message)
        splits[split] = np.array(sorted({places[name] for name in names if name in places}), np.int64)
    return splits


def _groups_by(pattern: str, clips: ClipSet) -> list[str | None]:
    """What the pattern's first group finds in each clip's id."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"data.group_pattern={pattern!r} is no regular expression ({error})") from error
    if compiled.groups < 1:
        raise UsageError(f"data.group_pattern={pattern!r} has no group; put the part that names the group in (...)")
    found = [compiled.search(name) for name in clips.names]
    if not any(found):
        raise UsageError(
            f"data.group_pattern={pattern!r} is found in none of the ids of {clips.path}, such as {clips.names[0]!r}"
        )
    return [match[1] if match else None for match in found]


def newest_skeleton_file(folder: Path = NEWEST_IN) -> Path:
    """The newest merged skeleton file of `skelpipe extract`.

    Raises:
        UsageError: There is none.
    """
    files = sorted(folder.glob("*.pkl"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    if not files:
        raise UsageError(
            f"no skeleton file {folder}/*.pkl: make one with `skelpipe extract VIDEOS`, or name one with --data"
        )
    return files[-1]


def split_indices(clips: ClipSet, name: str) -> np.ndarray:
    """Indices of a split's clips, rising, labelled or not.

    Raises:
        UsageError: There is no such split, or it is empty.
    """
    if name not in clips.splits:
        known = ", ".join(repr(split) for split in clips.splits) or "no splits at all"
        raise UsageError(f"{clips.path}: there is no split {name!r}; the file has {known}")
    if not len(clips.splits[name]):
        raise UsageError(f"{clips.path}: split {name!r} has no clips that can be used; choose another")
    return clips.splits[name]


def training_split(clips: ClipSet, settings: DataSettings) -> str | None:
    """Name of the split to train on; None for all clips of a file without splits.

    Raises:
        UsageError: "auto" does not say which one: neither does one alone end in "train", nor are all clips in one.
    """
    if settings.train_split != "auto":
        return settings.train_split
    if not clips.splits:
        return None
    ending = [split for split in clips.splits if split.lower().endswith("train")]
    if len(ending) == 1:
        return ending[0]
    if list(clips.splits) == [ALL_CLIPS]:
        return ALL_CLIPS
    choice = ", ".join(map(repr, ending or clips.splits))
    raise UsageError(f"{clips.path}: which split is for training, {choice}? Say so with --split")


def training_indices(clips: ClipSet, settings: DataSettings) -> np.ndarray:
    """Indices of the labelled clips to train on, int64, rising.

    Raises:
        UsageError: `train_split` is none of the file's, "auto" does not say which one, or no clip of it has a label.
    """
    name = training_split(clips, settings)
    indices = np.arange(len(clips)) if name is None else split_indices(clips, name)
    labelled = indices[clips.labels[indices] != UNLABELLED]
    if not len(labelled):
        raise UsageError(f"{clips.path}: no clip to train on has a label; add labels with `skelpipe label`")
    return labelled


def hold_out(clips: ClipSet, indices: np.ndarray, settings: DataSettings, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Parts clips into those to train on and those to choose the model on, never both sides of one group.

    Args:
        clips: The file.
        indices: Labelled clips.
        settings: `holdout_split` names the held-out part, whatever is in it; otherwise about `holdout` of the clips are
            drawn, whole groups where there are any (a clip without one stands alone), every class by its size. A class
            always keeps some clips to train on.
        seed: Of the draw.

    Returns:
        Indices to train on and held-out ones, rising; the latter are empty when `holdout` is 0.

    Raises:
        UsageError: There is nothing left for one of the two.
    """
    if settings.holdout_split is not None:
        held = split_indices(clips, settings.holdout_split)
        held = held[clips.labels[held] != UNLABELLED]
        rest = np.setdiff1d(indices, held)
        if not len(rest) or not len(held):
            raise UsageError(
                f"{clips.path}: holding out split {settings.holdout_split!r} leaves {len(rest)} clips to train on and "
                f"{len(held)} labelled ones to choose the model on; name another with data.holdout_split"
            )
        return rest, held
    if settings.holdout == 0:
        return indices, indices[:0]
    labels, rng = clips.labels[indices], np.random.default_rng(seed)
    names = [clips.groups[index] for index in indices]
    if any(name is not None for name in names):
        alone = [("group", name) if name is not None else ("clip", str(place)) for place, name in enumerate(names)]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(alone))}
        groups = np.array([numbers[name] for name in alone])
        chosen = held_out_groups(labels, groups, settings.holdout, rng)
    else:
        chosen = held_out_clips(labels, settings.holdout, rng)
    if not chosen.any():
        raise UsageError(
            f"{clips.path}: nothing can be held out of {len(indices)} clips without taking all that a class has; set "
            "data.holdout=0, or name another split with data.holdout_split"
        )
    return indices[~chosen], indices[chosen]
