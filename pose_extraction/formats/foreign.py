"""Convert skeleton files of other programs: what they mean is clear, but they do not have the exact form of PYSKL's.

Values that can only mean one thing are converted here without a word: NumPy numbers, arrays and tuples, a dictionary of
names. `joint_values` decides what the numbers of the joints mean.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.formats.joint_values import convert_joints, joint_arrays
from pose_extraction.formats.label_numbers import (
    ALL_CLIPS,
    MOST_CLASSES,
    UNLABELLED,
    check_label_names,
    number_labels,
)
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.formats.shards.manifest import is_shards
from pose_extraction.formats.shards.shard_set import open_shards
from pose_extraction.video.notes import Note

log = logging.getLogger(__name__)


def warn(path: Path, note: str) -> None:
    """Log an assumption about a file."""
    log.warning("%s: %s", path, note)


def read_converted(path: Path, tell: Callable[[Path, str], None] = warn) -> Any:
    """Read a skeleton file, and convert it into the form of PYSKL's; see `convert`.

    Args:
        path: Skeleton file, or folder of a data set in shards, whose clips were converted when they were written.
        tell: Called with the file and each assumption about it.

    Raises:
        AnnotationError: The file is damaged or contains code, or its numbers have no certain meaning.
    """
    if is_shards(path):
        return open_shards(path).data_set()
    return converted(read_pickle(path), path, tell)


def converted(data: Any, path: Path, tell: Callable[[Path, str], None] = warn) -> Any:
    """Convert the content of a skeleton file, and report the assumptions; see `convert`."""
    data, notes = convert(data, path)
    for note in notes:
        tell(path, note)
    return data


def convert(data: Any, path: Path) -> tuple[Any, list[Note]]:
    """Convert the content of a skeleton file into the form of PYSKL's.

    What cannot be converted is left as it is, for the validation to refuse.

    Args:
        data: Content of the file: a data set, a list of annotations, or the annotation of one clip.
        path: The file, for messages.

    Returns:
        The data set, and one sentence for each assumption.

    Raises:
        AnnotationError: The file contradicts itself, or its numbers have no certain meaning.
    """
    data, notes = _as_data_set(data)
    if not isinstance(data, dict) or not isinstance(data.get("annotations"), list):
        return data, notes
    clips = [_with_plain_fields(clip) if isinstance(clip, dict) else clip for clip in data["annotations"]]
    data = {**data, "annotations": clips, "split": _plain_splits(data.get("split"), path)}
    if data.get("label_names") is not None:
        data["label_names"] = _plain_names(data["label_names"], path)
    else:
        data.pop("label_names", None)
    notes += _number_labels(data, path)
    return data, notes + convert_joints(data["annotations"], path)


def _as_data_set(data: Any) -> tuple[Any, list[Note]]:
    """Return a data set for annotations in a list, for that of one clip, and for a data set without splits."""
    if isinstance(data, dict) and "annotations" in data:
        clips = _listed(data["annotations"])
        if not isinstance(clips, list) or data.get("split") is not None:
            return {**data, "annotations": clips}, []
        data = {**data, "annotations": clips, "split": _every_clip(clips)}
        return data, [Note("the file has no splits; all clips are used")]
    if isinstance(data, dict) and "keypoint" in data:
        data = [data]
    clips = _listed(data)
    if not isinstance(clips, list) or not clips or not all(map(_is_clip, clips)):
        return data, []
    kind = "the annotation of one clip" if len(clips) == 1 else "a list of annotations"
    note = f"the file is {kind}, without splits; all clips are used"
    return {"annotations": clips, "split": _every_clip(clips)}, [Note(note)]


def _listed(clips: Any) -> Any:
    """Return annotations in another collection as a list; those in a dictionary get their keys as ids."""
    if isinstance(clips, dict) and clips and all(map(_is_clip, clips.values())):
        return [{"frame_dir": clip.get("filename", key)} | clip for key, clip in clips.items()]
    if isinstance(clips, np.ndarray) and clips.dtype == object:
        clips = clips.ravel()
    return list(clips) if isinstance(clips, tuple | np.ndarray) else clips


def _is_clip(value: Any) -> bool:
    return isinstance(value, dict) and ("keypoint" in value or "frame_inds" in value)


def _every_clip(clips: list[Any]) -> dict[str, list[Any]]:
    return {ALL_CLIPS: [clip.get("frame_dir", clip.get("filename")) for clip in clips if isinstance(clip, dict)]}


def _plain_splits(split: Any, path: Path) -> Any:
    if not isinstance(split, dict):
        return split
    plain: dict[Any, Any] = {}
    for name, clips in split.items():
        listed = clips.ravel().tolist() if isinstance(clips, np.ndarray) else clips
        is_list = isinstance(listed, list | tuple | set | frozenset)
        if _plain_id(name) in plain:
            raise AnnotationError(f"{path}: two splits have the name {_plain_id(name)!r}; rename one")
        plain[_plain_id(name)] = [_plain_id(clip) for clip in listed] if is_list else listed
    return plain


def _plain_id(value: Any) -> Any:
    """Return an id as text; numbers are common as ids."""
    value = _plain_number(value)
    return str(value) if _is_whole(value) else value


def _plain_number(value: Any) -> Any:
    """Return a Python number for a NumPy number, or an array of one; whole floats become integers."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, np.generic):
        value = value.item()
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _plain_names(names: Any, path: Path) -> Any:
    """Return the list of class names, from a list, an array, or a dictionary of names and numbers."""
    if isinstance(names, np.ndarray):
        names = names.ravel().tolist()
    if not isinstance(names, Mapping):
        return names
    pairs = list(names.items())
    if not all(_is_number(key) for key, _ in pairs) or not all(isinstance(name, str) for _, name in pairs):
        pairs = [(value, key) for key, value in pairs]
    numbers = [
        int(number) if isinstance(number, str) and _is_number(number) else _plain_number(number) for number, _ in pairs
    ]
    if not all(map(_is_whole, numbers)) or sorted(numbers) != list(range(len(pairs))):
        raise AnnotationError(
            f'{path}: "label_names" is a dictionary, but does not number its {len(pairs)} names from 0 to '
            f"{len(pairs) - 1}: {names!r:.80}; correct the numbers, or write a list of the names in their order"
        )
    names_by_number = {number: name for number, (_, name) in zip(numbers, pairs, strict=True)}
    return [names_by_number[number] for number in range(len(pairs))]


def _is_number(value: Any) -> bool:
    """Return whether a value is a whole number, or one as text, as in JSON's objects."""
    if isinstance(value, str):
        return value.isascii() and value.isdigit() and len(value) <= len(str(MOST_CLASSES))
    return _is_whole(_plain_number(value))


def _with_plain_fields(clip: dict[str, Any]) -> dict[str, Any]:
    clip = dict(clip)
    if clip.get("frame_dir") is None and "filename" in clip:
        clip["frame_dir"] = clip["filename"]
    for name in ("frame_dir", "filename"):
        if name in clip:
            clip[name] = _plain_id(clip[name])
    for name in ("label", "total_frames", "group"):
        if name in clip:
            clip[name] = _plain_number(clip[name])
    label = clip.get("label", UNLABELLED)
    if label is None or (isinstance(label, str) and not label.strip()):
        clip["label"] = UNLABELLED
    for name in ("img_shape", "original_shape"):
        if name in clip:
            clip[name] = _plain_size(clip[name])
    joint_arrays(clip)
    if "total_frames" not in clip and getattr(clip.get("keypoint"), "ndim", 0) == 4:
        clip["total_frames"] = int(clip["keypoint"].shape[1])
    return clip


def _plain_size(size: Any) -> Any:
    """Return (height, width) as a tuple of integers; a third number, of the channels, is dropped."""
    if isinstance(size, np.ndarray):
        size = size.ravel().tolist()
    if not isinstance(size, list | tuple) or len(size) not in (2, 3):
        return size
    return tuple(_plain_number(side) for side in size[:2])


def _number_labels(data: dict[str, Any], path: Path) -> list[Note]:
    """Replace labels that are text by their numbers, in place; the texts become the class names."""
    clips = [clip for clip in data["annotations"] if isinstance(clip, dict) and "label" in clip]
    named = [clip for clip in clips if isinstance(clip["label"], str)]
    if not named:
        return []
    numbered = [clip for clip in clips if _is_whole(clip["label"]) and clip["label"] != UNLABELLED]
    if numbered:
        raise AnnotationError(
            f"{path}: labels mix names and numbers: clip {named[0].get('frame_dir')!r} has {named[0]['label']!r}, clip "
            f"{numbered[0].get('frame_dir')!r} has {numbered[0]['label']!r}; use one or the other"
        )
    known = data.get("label_names")
    if known is not None:
        check_label_names(known, path)
    names = list(known) if known else number_labels(clip["label"] for clip in named)
    numbers = {name: number for number, name in enumerate(names)}
    for clip in named:
        if clip["label"] not in numbers:
            raise AnnotationError(
                f"{path}: clip {clip.get('frame_dir')!r} has the label {clip['label']!r}, which is not in "
                '"label_names"; add it there, or correct the label'
            )
        clip["label_name"], clip["label"] = clip["label"], numbers[clip["label"]]
    data["label_names"] = names
    return [] if known else [Note(f"labels are names; numbered as {_listing(names)}", "labels are names")]


def _listing(names: list[str]) -> str:
    shown = ", ".join(f"{number} {name}" for number, name in enumerate(names[:3]))
    return shown + (", ..." if len(names) > 3 else "")
