"""Whether a clip of a skeleton file can be learned from, said in one sentence when it cannot."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.annotations import MOST_CLASSES, UNLABELLED, number_labels
from pose_extraction.errors import AnnotationError, EmptyClipError
from pose_extraction.validation import validated_clip

_NTU_ACTION = re.compile(r"A(\d{3})")
# What Kinetics-400's files hold in place of joints.
KINETICS_SHAPE = (17, 2)
# Kinds of arrays, as NumPy names them, that scores may be of.
NUMBERS = "fiub"


def usual_shape(annotations: Sequence[Any]) -> tuple[int, int]:
    """Joints and coordinates that most clips of a file have; (17, 2) where the joints lie in files of their own."""
    arrays = (clip.get("keypoint") for clip in annotations if isinstance(clip, dict))
    counts = Counter(
        (array.shape[2], array.shape[3]) for array in arrays if isinstance(array, np.ndarray) and array.ndim == 4
    )
    return counts.most_common(1)[0][0] if counts else KINETICS_SHAPE


def names_of_labels(data: dict[str, Any], path: Path) -> list[str]:
    """Names of the classes by their numbers: the file's own, NTU's action codes, or else the numbers themselves.

    Raises:
        AnnotationError: The file's names are no list of texts, or two of them are the same.
    """
    names = data.get("label_names")
    if names is not None:
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise AnnotationError(f'{path}: "label_names" must be a list of the classes\' names, and is {names!r:.80}')
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise AnnotationError(
                f'{path}: two classes of "label_names" are called {twice[0]!r}; give each class a name of its own, or '
                "its clips one label"
            )
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
    """What classes are called of which only the number is known."""
    return [str(number) for number in range(num_classes)]


def check_clip(annotation: Any, position: int, path: Path, shape: tuple[int, int], num_classes: int) -> None:
    """Checks one clip of a file.

    Args:
        annotation: The clip.
        position: Its place in the file.
        path: The file, for the message.
        shape: Joints and coordinates that all clips must have.
        num_classes: K; labels are -1 (none) to K - 1.

    Raises:
        AnnotationError: One sentence that names file, clip, value and remedy.
    """
    is_kinetics = "keypoint" not in annotation and "frame_inds" in annotation
    name = _checked_kinetics(annotation, path) if is_kinetics else validated_clip(annotation, position, path)
    clip = f"{path}: clip {name!r}"
    if not _is_whole(annotation["label"]):
        raise AnnotationError(f"{clip}: label {annotation['label']!r} must be a whole number; mend it")
    if not UNLABELLED <= annotation["label"] < num_classes:
        raise AnnotationError(
            f"{clip} has label {annotation['label']}, and the file's {num_classes} classes are numbered from 0 (-1: no "
            "label); mend the label or the list of names"
        )
    group = annotation.get("group")
    if not (group is None or isinstance(group, str) or _is_whole(group)):
        raise AnnotationError(
            f"{clip}: group {group!r:.80} must be a text or a whole number; mend it, or leave it away"
        )
    if is_kinetics:
        if shape != KINETICS_SHAPE:
            raise AnnotationError(f"{clip} has its joints in another file, unlike most clips; keep the two kinds apart")
        return
    keypoint, score = annotation["keypoint"], annotation.get("keypoint_score")
    if keypoint.shape[2:] != shape:
        raise AnnotationError(
            f"{clip} has {keypoint.shape[2]} joints in {keypoint.shape[3]}D, and most clips {shape[0]} in {shape[1]}D; "
            "keep layouts in separate files"
        )
    if keypoint.shape[1] == 0:
        raise AnnotationError(f"{clip} has no frames; extract its video again")
    if score is not None and score.dtype.kind not in NUMBERS:
        raise AnnotationError(
            f"{clip}: keypoint_score is of type {score.dtype} and must be of numbers; extract the clip again"
        )
    for values, field in ((keypoint, "keypoint"), (score, "keypoint_score")):
        if values is not None and not np.isfinite(values).all():
            raise AnnotationError(
                f"{clip} has NaN or infinite values in {field!r}; write joints that were not seen as (0, 0) with score "
                "0"
            )
    if not (keypoint if score is None else score > 0).any():
        raise EmptyClipError(f"{clip} has no person in any frame; look at its video")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _checked_kinetics(annotation: dict[str, Any], path: Path) -> str:
    """The id of a clip in Kinetics-400's layout, which has its fields."""
    name = annotation.get("frame_dir", annotation.get("filename"))
    clip = f"{path}: clip {name!r}"
    for key in ("label", "total_frames", "img_shape", "box_score"):
        if key not in annotation:
            raise AnnotationError(f"{clip} lacks {key!r}; get the file again")
    frame_of, box_score = np.asarray(annotation["frame_inds"]), np.asarray(annotation["box_score"])
    if frame_of.ndim != 1 or frame_of.dtype.kind not in "iu" or box_score.shape != frame_of.shape:
        raise AnnotationError(
            f"{clip}: frame_inds of shape {frame_of.shape} and box_score of shape {box_score.shape} must be one frame "
            "number and one score for each skeleton; get the file again"
        )
    if box_score.dtype.kind not in NUMBERS:
        raise AnnotationError(
            f"{clip}: box_score is of type {box_score.dtype} and must be of numbers; get the file again"
        )
    size = annotation["img_shape"]
    if not (isinstance(size, list | tuple) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size)):
        raise AnnotationError(f"{clip}: img_shape is {size!r} and must be (height, width) in pixels; mend it")
    return str(name)
