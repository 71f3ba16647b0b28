"""Validate skeleton files for PYSKL's readers, with one-sentence error messages."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.formats.clip_arrays import is_size
from pose_extraction.formats.foreign import read_converted, warn
from pose_extraction.formats.label_numbers import UNLABELLED, check_label_names
from pose_extraction.formats.person_labels import person_labels_of


def read_data_set(path: Path, tell: Callable[[Path, str], None] = warn) -> dict[str, Any]:
    """Read, convert and validate a skeleton file of this or another program.

    Args:
        path: Skeleton file.
        tell: Called with the file and each assumption about it.

    Returns:
        The data set.

    Raises:
        AnnotationError: The file is damaged, contains code or is not a skeleton data set.
    """
    data = read_converted(path, tell)
    validate_dataset(data, path)
    return data


def validate_dataset(data: Any, path: Path) -> None:
    """Check that `data` is a data set that PYSKL's readers accept.

    Args:
        data: Content of a skeleton file.
        path: Path of the file, for error messages.

    Raises:
        AnnotationError: It is not. The message names file, clip, value and remedy.
    """
    validate_container(data, path)
    split, names = data["split"], data.get("label_names")
    if names is not None:
        check_label_names(names, path)
    identifiers = set()
    for position, annotation in enumerate(data["annotations"]):
        identifier = validated_clip(annotation, position, path)
        _refuse_two_labels(annotation, names or [], f"{path}: clip {identifier!r}")
        if identifier in identifiers:
            raise AnnotationError(f"{path}: clip {identifier!r} occurs twice; use a different frame_dir for each clip")
        identifiers.add(identifier)
    for name, clips in split.items():
        for clip in clips:
            if clip not in identifiers:
                raise AnnotationError(
                    f"{path}: split {name!r} contains clip {clip!r}, which has no annotation; remove it from the split "
                    "or extract its video"
                )


def _refuse_two_labels(annotation: dict[str, Any], names: Sequence[str], clip: str) -> None:
    """Refuse a label number and a label name that contradict each other: commands use one or the other."""
    label, label_name = annotation["label"], annotation.get("label_name")
    if label_name is not None and 0 <= label < len(names) and names[label] != label_name:
        raise AnnotationError(
            f"{clip}: label is {label}, which is {names[label]!r}, but label_name is {label_name!r}; correct one of "
            "them, or remove label_name"
        )


def validate_container(data: Any, path: Path) -> None:
    """Check that `data` has a list of annotations, and splits that are lists of ids, without checking the clips.

    Args:
        data: Content of a skeleton file.
        path: Path of the file, for error messages.

    Raises:
        AnnotationError: It has not. The message names file, value and remedy.
    """
    if not isinstance(data, dict) or not isinstance(data.get("annotations"), list):
        raise AnnotationError(
            f"{path}: not a skeleton data set: no list of annotations in an object of type "
            f"{type(data).__name__}; expected "
            '{"split": {name: [frame_dir]}, "annotations": [...]}'
        )
    split = data.get("split")
    if not isinstance(split, dict) or not all(isinstance(clips, list | tuple | set) for clips in split.values()):
        raise AnnotationError(f'{path}: "split" must map names to lists of clip ids, got {split!r:.80}')
    for name, clips in split.items():
        if not isinstance(name, str):
            raise AnnotationError(f"{path}: the name of a split is {name!r:.80}, must be text; rename it")
        for clip in clips:
            if not isinstance(clip, str):
                raise AnnotationError(f"{path}: split {name!r} must be a list of clip ids, got {clip!r:.80}; fix it")


def clip_identifier(annotation: Any, position: int, path: Path) -> str:
    """Return the id of a clip.

    Args:
        annotation: Annotation of the clip.
        position: Position of the annotation in the file.
        path: Path of the file, for error messages.

    Raises:
        AnnotationError: It has no id, or is not an annotation.
    """
    if not isinstance(annotation, dict):
        raise AnnotationError(f"{path}: annotation {position} is a {type(annotation).__name__}, must be a dict")
    identifier = annotation.get("frame_dir", annotation.get("filename"))
    if identifier is None:
        raise AnnotationError(f'{path}: annotation {position} has no "frame_dir" (clip id); add it')
    if not isinstance(identifier, str):
        raise AnnotationError(
            f'{path}: annotation {position} has the "frame_dir" (clip id) {identifier!r:.80} of type '
            f"{type(identifier).__name__}; write it as text or as an integer"
        )
    return identifier


def validated_clip(annotation: Any, position: int, path: Path) -> str:
    """Check that the fields of a clip have the types and shapes that PYSKL's readers expect.

    Args:
        annotation: Annotation of the clip.
        position: Position of the annotation in the file.
        path: Path of the file, for error messages.

    Returns:
        The id of the clip.

    Raises:
        AnnotationError: A field is missing or invalid. The message names file, clip, value and remedy.
    """
    identifier = clip_identifier(annotation, position, path)
    clip = f"{path}: clip {identifier!r}"
    for key in ("label", "total_frames", "keypoint"):
        if key not in annotation:
            hint = f" ({UNLABELLED} for a clip without a label)" if key == "label" else ""
            raise AnnotationError(f"{clip} has no {key!r}; add it{hint}, or remove the clip")
    keypoint, frames = annotation["keypoint"], annotation["total_frames"]
    for key, meaning in (("label", "a class number, or a name in all clips"), ("total_frames", "a number of frames")):
        if not isinstance(annotation[key], int) or isinstance(annotation[key], bool):
            raise AnnotationError(
                f"{clip}: {key} is {annotation[key]!r:.80}, must be {meaning}; fix it or remove the clip"
            )
    if annotation["label"] < UNLABELLED:
        raise AnnotationError(
            f"{clip} has label {annotation['label']}, must be a class number from 0, or {UNLABELLED} for a clip "
            "without a label; fix it"
        )
    if not isinstance(annotation.get("label_name"), str | None):
        raise AnnotationError(
            f"{clip}: label_name is {annotation['label_name']!r:.80}, must be the name of its class as text; fix or "
            "remove it"
        )
    shape = getattr(keypoint, "shape", None)
    if shape is not None and keypoint.dtype.kind != "f":
        raise AnnotationError(f"{clip}: keypoint is of type {keypoint.dtype}, must be numbers; extract the clip again")
    if shape is not None and len(shape) == 4 and shape[1] != frames and shape[3] in (2, 3):
        raise AnnotationError(
            f"{clip}: total_frames is {frames}, but keypoint of shape {shape} has {shape[1]} frames; set total_frames "
            "to the second number of the shape (persons, frames, joints, coordinates), or reorder the axes"
        )
    if shape is None or len(shape) != 4 or shape[1] != frames or shape[3] not in (2, 3):
        raise AnnotationError(
            f"{clip}: keypoint is {type(keypoint).__name__ if shape is None else f'of shape {shape}'}, must be floats "
            f"(persons, {frames} frames, joints, 2 or 3 coordinates); reorder or reshape its axes, or extract the clip "
            "again"
        )
    score_shape = getattr(annotation.get("keypoint_score"), "shape", None)
    if "keypoint_score" in annotation and score_shape != shape[:3]:
        raise AnnotationError(
            f"{clip}: keypoint_score has shape {score_shape}, must have {shape[:3]} (persons, frames, joints); reshape "
            "or remove it, or extract the clip again"
        )
    size = annotation.get("img_shape")
    if size is not None and not is_size(size):
        raise AnnotationError(f"{clip}: img_shape is {size!r:.80}, must be (height, width) in pixels; fix it")
    if size is None and shape[3] == 2:
        raise AnnotationError(f"{clip} has no 'img_shape', the frame's (height, width) in pixels; add it")
    _refuse_infinite(keypoint, annotation.get("keypoint_score"), clip)
    refuse_group(annotation, clip)
    person_labels_of(annotation, clip)
    return identifier


def refuse_group(annotation: dict[str, Any], clip: str) -> None:
    """Refuse a group that is neither text nor a whole number; `clip` is the file and the clip, for the message."""
    group = annotation.get("group")
    if not isinstance(group, str | int | None) or isinstance(group, bool):
        raise AnnotationError(f"{clip}: group {group!r:.80} must be a string or an integer; fix or remove it")


def _refuse_infinite(keypoint: np.ndarray, score: np.ndarray | None, clip: str) -> None:
    for values, field in ((keypoint, "keypoint"), (score, "keypoint_score")):
        if values is None or values.dtype.kind != "f" or np.isfinite(values).all():
            continue
        if values.dtype == np.float16 and np.isinf(values).any():
            raise AnnotationError(
                f"{clip} has infinite values in {field!r}: float16 overflows above 65504; write it as float32"
            )
        raise AnnotationError(
            f"{clip} has NaN or infinite values in {field!r}; write joints that were not seen as (0, 0) with score 0"
        )
