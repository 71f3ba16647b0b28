"""Skeleton data sets in PYSKL's format: {"split": {name: [frame_dir]}, "annotations": [...], "label_names": [...]}.

As PYSKL's readers expect, unseen joints are stored as (0, 0) with score 0, and clips without a label have the label -1.
Additional entries (time stamps, track ids, history and so on) are stored next to PYSKL's.

Each annotation stores the name of its label ("label_name"). The number of a label depends on the other clips in the
data set, so labels are renumbered whenever annotations are combined.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.arrays.mapped import new_array, row_blocks
from pose_extraction.errors import AnnotationError
from pose_extraction.formats.foreign import warn
from pose_extraction.formats.label_numbers import ALL_CLIPS, MOST_CLASSES, UNLABELLED, number_labels
from pose_extraction.formats.person_labels import KEY as PERSON_LABELS
from pose_extraction.formats.person_labels import matched
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.formats.shards.manifest import is_shards
from pose_extraction.formats.shards.shard_set import ShardSet
from pose_extraction.formats.validation import read_data_set, validate_dataset
from pose_extraction.poses import FramePoses, VideoPoses

__all__ = [
    "ALL_CLIPS",
    "MOST_CLASSES",
    "UNLABELLED",
    "annotation_from",
    "data_set",
    "further_entries",
    "has_unnamed_labels",
    "label_name_of",
    "merge_files",
    "note_unnamed_labels",
    "number_labels",
    "ordered_classes",
    "pack_raw",
    "read_data_set",
    "read_pickle",
    "unpack_raw",
    "validate_dataset",
    "with_zeros",
    "write_pickle",
]


def annotation_from(
    video: VideoPoses,
    *,
    frame_dir: str,
    estimator: str,
    fps: float,
    source: str,
    label_name: str | None = None,
    group: str | None = None,
    problems: Sequence[str] = (),
    quality: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, Any]:
    """Create the annotation of a clip: PYSKL's fields and this project's additional ones.

    Args:
        video: M persons over T sampled frames; M = 0 for a clip without persons.
        frame_dir: Identifier of the clip in the data set.
        estimator: Name of the pose estimator.
        fps: Frames per second of the source.
        source: Path of the video relative to the input folder, with "/" as separator.
        label_name: Name of the action; None if the clip has no label.
        group: Clips with the same group must be in the same split; None if the clip has no group.
        problems: Notes on the video: what is missing and what was assumed, one sentence each.
        quality: {"raw": counts, "clean": counts}, before and after cleaning.

    Returns:
        The annotation, with the label -1 until `data_set` numbers the labels.
    """
    keypoint, keypoint_score, imputed = video.dense()
    # In place and in blocks, because the arrays of a long video are large.
    for joints, scores in zip(keypoint, keypoint_score, strict=True):
        _zero_unseen(joints, scores)
    size = (int(video.size[0]), int(video.size[1]))
    return {
        "frame_dir": frame_dir,
        "label": UNLABELLED,
        "total_frames": video.num_frames,
        "img_shape": size,
        "original_shape": size,
        "keypoint": keypoint,
        "keypoint_score": keypoint_score,
        "label_name": label_name,
        "group": group,
        "imputed": imputed,
        "track_id": np.array([track.track_id for track in video.tracks], np.int64),
        "frame_index": np.asarray(video.frame_index, np.int64),
        "time": np.asarray(video.time, np.float64),
        "fps": float(fps),
        "estimator": estimator,
        "source": source,
        "history": list(video.history),
        "problems": [str(problem) for problem in problems],
        "quality": {stage: dict(counts) for stage, counts in (quality or {}).items()},
    }


def _zero_unseen(keypoint: np.ndarray, keypoint_score: np.ndarray) -> None:
    """Set unseen joints (N, V, D) and their scores (N, V) to zero, in place."""
    for rows in row_blocks(len(keypoint), keypoint, keypoint_score):
        unseen = ~np.isfinite(keypoint[rows]).all(axis=-1)
        keypoint[rows][unseen], keypoint_score[rows][unseen] = 0, 0


def with_zeros(keypoint: np.ndarray, keypoint_score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return copies of joints and scores as skeleton files store them.

    Args:
        keypoint: float (..., V, D); a joint with NaN in any coordinate is unseen.
        keypoint_score: float (..., V).

    Returns:
        float32 (..., V, D) and float32 (..., V), zeros for unseen joints.
    """
    seen = np.isfinite(keypoint).all(axis=-1)
    zeroed = np.where(seen[..., None], keypoint, 0).astype(np.float32)
    return zeroed, np.where(seen, keypoint_score, 0).astype(np.float32)


def pack_raw(frames: Collection[FramePoses]) -> dict[str, np.ndarray]:
    """Stack the raw poses of an estimator: all P persons of all frames, in their order.

    Args:
        frames: Raw poses of T sampled frames.

    Returns:
        frame_index int64 (P,), time float64 (P,) in seconds, box float32 (P, 4), box_score float32 (P,), keypoint
        float32 (P, V, 2) and keypoint_score float32 (P, V), with zeros for unseen joints; and, because frames can be
        without persons, sampled_frame_index int64 (T,) and sampled_time float64 (T,). Large arrays are in temporary
        files; see `arrays.mapped`.
    """
    length, total = len(frames), 0
    frame = FramePoses.empty(0, 0.0)
    for frame in frames:
        total += frame.num_persons
    joints = frame.keypoint_score.shape[1]
    packed = {
        "frame_index": new_array((total,), np.int64),
        "time": new_array((total,), np.float64),
        "box": new_array((total, 4), np.float32),
        "box_score": new_array((total,), np.float32),
        "keypoint": new_array((total, joints, 2), np.float32),
        "keypoint_score": new_array((total, joints), np.float32),
        "sampled_frame_index": new_array((length,), np.int64),
        "sampled_time": new_array((length,), np.float64),
    }
    # Frame by frame, because the poses of a long video are in a file.
    row = 0
    supply = iter(frames)
    for block in row_blocks(length, *packed.values()):
        for position, frame in enumerate(islice(supply, block.stop - block.start), block.start):
            rows = slice(row, row + frame.num_persons)
            packed["sampled_frame_index"][position], packed["sampled_time"][position] = frame.frame_index, frame.time
            packed["frame_index"][rows], packed["time"][rows] = frame.frame_index, frame.time
            packed["box"][rows], packed["box_score"][rows] = frame.box, frame.box_score
            packed["keypoint"][rows], packed["keypoint_score"][rows] = frame.keypoint, frame.keypoint_score
            row = rows.stop
    _zero_unseen(packed["keypoint"], packed["keypoint_score"])
    return packed


def unpack_raw(raw: Mapping[str, np.ndarray]) -> list[FramePoses]:
    """Restore the frames that `pack_raw` stacked. Joints with score 0 become NaN.

    Args:
        raw: Arrays returned by `pack_raw`.

    Returns:
        Raw poses of the T sampled frames.
    """
    unseen = raw["keypoint_score"] == 0
    keypoint = np.where(unseen[..., None], np.float32(np.nan), raw["keypoint"])
    # Persons are sorted by frame, so binary search finds the first and last person of each frame.
    first = np.searchsorted(raw["frame_index"], raw["sampled_frame_index"], "left")
    last = np.searchsorted(raw["frame_index"], raw["sampled_frame_index"], "right")
    return [
        FramePoses(
            int(index),
            float(time),
            raw["box"][start:stop],
            raw["box_score"][start:stop],
            keypoint[start:stop],
            raw["keypoint_score"][start:stop],
        )
        for index, time, start, stop in zip(raw["sampled_frame_index"], raw["sampled_time"], first, last, strict=True)
    ]


def identifier_of(annotation: Mapping[str, Any]) -> str:
    """Return the id of a clip of a validated file."""
    identifier: str = annotation["frame_dir"] if "frame_dir" in annotation else annotation["filename"]
    return identifier


def estimator_of(annotation: Mapping[str, Any], other: str) -> str:
    """Return the name of the estimator of a clip; another name if the clip has none."""
    named = annotation.get("estimator")
    return named if isinstance(named, str) else other


def label_name_of(annotation: Mapping[str, Any], label_names: Sequence[str]) -> str | None:
    """Return the label name of a clip.

    Args:
        annotation: Annotation of the clip. Files of other programs may have only the number of the label.
        label_names: Class names of the file.

    Returns:
        The name; None if the clip has no label.
    """
    if "label_name" in annotation:
        return annotation["label_name"]
    label = int(annotation["label"])
    if label < 0:
        return None
    return label_names[label] if label < len(label_names) else str(label)


def note_unnamed_labels(
    unnamed: Iterable[Path], orders: Iterable[Sequence[str]], tell: Callable[[Path, str], None]
) -> None:
    """Report files whose labels are numbers without names, if others name theirs: the same class may be in both.

    Args:
        unnamed: Files for which `has_unnamed_labels` holds.
        orders: Class names of all files.
        tell: Called with each file and the note.
    """
    if any(orders):
        for path in unnamed:
            tell(
                path,
                "labels are numbers without names, but other files have names; they count as classes of their own: add "
                "label_names",
            )


def has_unnamed_labels(data: Mapping[str, Any]) -> bool:
    """Return whether a data set has labels, but only their numbers."""
    if data.get("label_names"):
        return False
    return any(clip["label"] >= 0 and clip.get("label_name") is None for clip in data["annotations"])


def class_names(annotations: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the names of all labels of clips and of persons in them; a label that matches no person has no class."""
    labelled = (entry for clip in annotations for entry in (clip, *matched(clip.get(PERSON_LABELS))))
    return {entry["label_name"] for entry in labelled} - {None}


def data_set(
    annotations: Iterable[dict[str, Any]],
    split: Mapping[str, Iterable[str]],
    label_names: Sequence[str] | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """Combine annotations: sort them by `frame_dir` and number their labels.

    The result depends only on the set of clips, not on their order.

    Args:
        annotations: Clips with "label_name"; their "label" is set in place.
        split: Identifiers of the clips in each split, by name of the split.
        label_names: Order of the classes, used if it contains all names that occur; None numbers them with
            `number_labels`.
        extra: Further entries of the file ("raw", "digest").

    Returns:
        The data set.
    """
    clips = sorted(annotations, key=lambda annotation: annotation["frame_dir"])
    ordered = ordered_classes(class_names(clips), label_names)
    numbers = {name: number for number, name in enumerate(ordered)}
    for clip in clips:
        clip["label"] = numbers.get(clip["label_name"], UNLABELLED)
    return {
        "split": {name: sorted(set(split[name])) for name in sorted(split)},
        "annotations": clips,
        "label_names": ordered,
        **extra,
    }


def ordered_classes(names: Collection[str], label_names: Sequence[str] | None) -> list[str]:
    """Return the class names in the order of their numbers.

    Args:
        names: Names that occur.
        label_names: An order, used if it contains all names that occur; None numbers them with `number_labels`.
    """
    return list(label_names) if label_names is not None and set(names) <= set(label_names) else number_labels(names)


def further_entries(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a file that the format does not name; those of the file of one video are left out."""
    named = ("split", "annotations", "label_names", "raw", "digest", "labels_from", "place")
    return {name: value for name, value in data.items() if name not in named}


def merge_files(
    paths: Iterable[Path],
    damaged: list[tuple[Path, str]] | None = None,
    tell: Callable[[Path, str], None] = warn,
) -> dict[str, Any]:
    """Merge skeleton files. Only one input file is in memory at a time, and raw poses are not copied.

    Further entries of a data set are kept if it is the only input.

    Args:
        paths: Skeleton files in any order.
        damaged: List to which (path, reason) of damaged or malformed files is appended, which are then skipped; None
            raises an exception instead.
        tell: Called with each file of another program and each assumption about it.

    Returns:
        The merged data set.

    Raises:
        AnnotationError: A file is damaged or malformed, or two files contain the same clip.
    """
    annotations: list[dict[str, Any]] = []
    split: dict[str, list[str]] = {}
    origin: dict[str, Path] = {}
    orders: set[tuple[str, ...]] = set()
    unnamed: list[Path] = []
    extra: dict[str, Any] = {}
    inputs = sorted(paths)
    for path in inputs:
        try:
            data = _read_input(path, damaged, tell)
        except AnnotationError as error:
            if damaged is None:
                raise
            damaged.append((path, str(error)))
            continue
        if len(inputs) == 1:
            extra = further_entries(data)
        label_names = data.get("label_names", [])
        orders.add(tuple(label_names))
        unnamed += [path] if has_unnamed_labels(data) else []
        for annotation in data["annotations"]:
            annotation["label_name"] = label_name_of(annotation, label_names)
            annotation.setdefault("frame_dir", annotation.get("filename"))
            clip = annotation["frame_dir"]
            if clip in origin:
                raise AnnotationError(
                    f"clip {clip!r} is in both {origin[clip]} and {path}: delete one of the files, or extract the "
                    "videos from their common parent folder so that their ids differ"
                )
            origin[clip] = path
            annotations.append(annotation)
        for name, clips in data["split"].items():
            split.setdefault(name, []).extend(clips)
    note_unnamed_labels(unnamed, orders, tell)
    # If all files have the same classes, keep their order, which may be an official one.
    return data_set(annotations, split, orders.pop() if len(orders) == 1 else None, **extra)


def _read_input(
    path: Path, damaged: list[tuple[Path, str]] | None, tell: Callable[[Path, str], None]
) -> dict[str, Any]:
    """Read a data set, and report its damaged shards as `merge_files` reports damaged files."""
    if not is_shards(path):
        return read_data_set(path, tell)
    shards = ShardSet(path, verify=True)
    if shards.damaged and damaged is None:
        raise AnnotationError(shards.damaged[0])
    if damaged is not None:
        damaged += [(path, sentence) for sentence in shards.damaged]
    return shards.data_set()
