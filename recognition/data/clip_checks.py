"""Checks whether a clip of a skeleton file is usable; errors are one sentence each."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError, EmptyClipError
from pose_extraction.formats.annotations import MOST_CLASSES, UNLABELLED, number_labels
from pose_extraction.formats.joint_values import is_size
from pose_extraction.formats.label_numbers import check_label_names
from pose_extraction.formats.validation import refuse_group, validated_clip

_NTU_ACTION = re.compile(r"A(\d{3})")
# (joints, coordinates) of Kinetics-400, whose clips store their joints in separate files.
KINETICS_SHAPE = (17, 2)
# NumPy's kinds of array that scores may have.
NUMBERS = "fiub"


def usual_shape(annotations: Sequence[Any]) -> tuple[int, int]:
    """Return the most common (joints, coordinates) of a file; (17, 2) if the joints are stored in separate files."""
    arrays = (clip.get("keypoint") for clip in annotations if isinstance(clip, dict))
    counts = Counter(
        (array.shape[2], array.shape[3]) for array in arrays if isinstance(array, np.ndarray) and array.ndim == 4
    )
    return counts.most_common(1)[0][0] if counts else KINETICS_SHAPE


def names_of_labels(data: dict[str, Any], path: Path) -> list[str]:
    """Return the class names in the order of their numbers.

    These are the file's own names, otherwise NTU's action codes, otherwise the numbers themselves.

    Args:
        data: Content of the skeleton file.
        path: The file, for messages.

    Raises:
        AnnotationError: "label_names" is not a list of strings, or contains duplicates.
    """
    names = data.get("label_names")
    if names is not None:
        check_label_names(names, path)
        if names:
            return list(names)
    clips = [clip for clip in data["annotations"] if isinstance(clip, dict) and _is_whole(clip.get("label"))]
    labels = [clip["label"] for clip in clips if 0 <= clip["label"] < MOST_CLASSES]
    actions = [_NTU_ACTION.search(str(clip.get("frame_dir", clip.get("filename")))) for clip in clips]
    if clips and all(
        action is not None and int(action[1]) == clip["label"] + 1 for action, clip in zip(actions, clips, strict=True)
    ):
        return number_labels(action[0] for action in actions if action is not None)
    return numbers_as_names(max(labels, default=-1) + 1)


def numbers_as_names(num_classes: int) -> list[str]:
    """Return the names "0" to "K - 1" for classes without names."""
    return [str(number) for number in range(num_classes)]


def check_clip(annotation: Any, position: int, path: Path, shape: tuple[int, int], num_classes: int) -> None:
    """Check one clip of a file.

    Args:
        annotation: The clip.
        position: Its position in the file.
        path: The file, for messages.
        shape: (joints, coordinates) that all clips must have.
        num_classes: K; labels are in -1 (unlabelled) to K - 1.

    Raises:
        AnnotationError: The clip is malformed; the message names file, clip, value and remedy.
    """
    is_kinetics = "keypoint" not in annotation and "frame_inds" in annotation
    name = _checked_kinetics(annotation, path) if is_kinetics else validated_clip(annotation, position, path)
    clip = f"{path}: clip {name!r}"
    if not _is_whole(annotation["label"]):
        raise AnnotationError(f"{clip}: label {annotation['label']!r} must be an integer; fix it")
    if not UNLABELLED <= annotation["label"] < num_classes:
        raise AnnotationError(
            f"{clip} has label {annotation['label']}, but the file's {num_classes} classes are numbered from 0 (-1: "
            "unlabelled); fix the label or the list of names"
        )
    if is_kinetics:
        if shape != KINETICS_SHAPE:
            raise AnnotationError(f"{clip} has its joints in another file, unlike most clips; keep the two kinds apart")
        return
    keypoint, score = annotation["keypoint"], annotation.get("keypoint_score")
    if keypoint.shape[2:] != shape:
        raise AnnotationError(
            f"{clip} has {keypoint.shape[2]} joints in {keypoint.shape[3]}D, but most clips have {shape[0]} in "
            f"{shape[1]}D; use a separate file for each layout"
        )
    if keypoint.shape[1] == 0:
        raise AnnotationError(f"{clip} has no frames; extract its video again")
    if score is not None and score.dtype.kind not in NUMBERS:
        raise AnnotationError(
            f"{clip}: keypoint_score has type {score.dtype}, but must be numeric; extract the clip again"
        )
    if not (keypoint if score is None else score > 0).any():
        raise EmptyClipError(f"{clip} has no person in any frame; check its video")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _checked_kinetics(annotation: dict[str, Any], path: Path) -> str:
    """Check a clip in Kinetics-400's layout, and return its id."""
    name = annotation.get("frame_dir", annotation.get("filename"))
    clip = f"{path}: clip {name!r}"
    for key in ("label", "total_frames", "img_shape", "box_score"):
        if key not in annotation:
            raise AnnotationError(f"{clip} lacks {key!r}; download the file again")
    refuse_group(annotation, clip)
    frame_of, box_score = np.asarray(annotation["frame_inds"]), np.asarray(annotation["box_score"])
    if frame_of.ndim != 1 or frame_of.dtype.kind not in "iu" or box_score.shape != frame_of.shape:
        raise AnnotationError(
            f"{clip}: frame_inds of shape {frame_of.shape} and box_score of shape {box_score.shape} must contain one "
            "frame number and one score per skeleton; download the file again"
        )
    if box_score.dtype.kind not in NUMBERS:
        raise AnnotationError(
            f"{clip}: box_score has type {box_score.dtype}, but must be numeric; download the file again"
        )
    size = annotation["img_shape"]
    if not is_size(size):
        raise AnnotationError(f"{clip}: img_shape is {size!r:.80}, but must be (height, width) in pixels; fix it")
    return str(name)
