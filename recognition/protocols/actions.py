"""Reads actions within long sequences from skeleton files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.formats.annotations import MOST_CLASSES
from recognition.protocols.detection import Action

FORM = "[class, first frame, frame after the last]"


def read_actions(
    annotation: dict[str, Any], name: str, path: Path, *, num_frames: int, label_names: Sequence[str] | None
) -> list[Action]:
    """Return the actions of a clip; an empty list if it has no `actions`.

    Args:
        annotation: The clip's entry in the file.
        name: Identifier of the clip.
        path: Skeleton file, for messages.
        num_frames: Number of frames of the clip.
        label_names: Class names of the file; None if it has none.

    Raises:
        AnnotationError: The list is malformed, or refers to a class or frames that do not exist. The message names
            file, clip, value and remedy.
    """
    clip = f"{path}: clip {name!r}"
    listed = annotation.get("actions", [])
    if not isinstance(listed, list | tuple | np.ndarray):
        raise AnnotationError(f'{clip}: "actions" is {listed!r:.80}; it must be a list of {FORM}')
    classes = MOST_CLASSES if label_names is None else len(label_names)
    found = []
    for one in listed:
        three = isinstance(one, list | tuple | np.ndarray) and len(one) == 3
        if not three or not all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in one):
            raise AnnotationError(f"{clip}: the action {_shown(one)} must be {FORM}, three integers")
        label, start, end = map(int, one)
        if not 0 <= label < classes:
            names = "" if label_names is None else ', the classes of the file\'s "label_names"'
            raise AnnotationError(
                f"{clip}: the action {_shown(one)} has class {label}, which must be from 0 to {classes - 1}{names}"
            )
        if not 0 <= start < end <= num_frames:
            raise AnnotationError(
                f"{clip}: the action {_shown(one)} must be {FORM}, with frames from 0 to {num_frames}"
            )
        found.append(Action(name, label, start, end))
    return found


def _shown(value: Any) -> str:
    return f"{value.tolist() if isinstance(value, np.ndarray) else value!r:.80}"
