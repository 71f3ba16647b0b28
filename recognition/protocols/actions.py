"""Actions within long sequences, as skeleton files list them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.annotations import MOST_CLASSES
from pose_extraction.errors import AnnotationError
from recognition.protocols.detection import Action

FORM = "[class, first frame, frame after the last]"


def read_actions(
    annotation: dict[str, Any], name: str, path: Path, *, num_frames: int, label_names: Sequence[str] | None
) -> list[Action]:
    """The actions of a clip; of one without `actions`, none.

    Args:
        annotation: As the file has it.
        name: The clip's id.
        path: The file, for messages.
        num_frames: Of the clip.
        label_names: Of the file; None where it has none.

    Raises:
        AnnotationError: They are no such list, or name a class or frames that are not there; one sentence that names
            file, clip, value and remedy.
    """
    clip = f"{path}: clip {name!r}"
    listed = annotation.get("actions", [])
    if not isinstance(listed, list | tuple | np.ndarray):
        raise AnnotationError(f'{clip} has "actions" that are {listed!r:.80}; make it a list of {FORM}')
    classes = MOST_CLASSES if label_names is None else len(label_names)
    found = []
    for one in listed:
        three = isinstance(one, list | tuple | np.ndarray) and len(one) == 3
        if not three or not all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in one):
            raise AnnotationError(f"{clip} has the action {_shown(one)}; make it {FORM}, three whole numbers")
        label, start, end = map(int, one)
        if not 0 <= label < classes:
            names = "" if label_names is None else f', by the file\'s {classes} "label_names"'
            raise AnnotationError(
                f"{clip} has the action {_shown(one)}, of class {label}; make it a class from 0 to {classes - 1}{names}"
            )
        if not 0 <= start < end <= num_frames:
            raise AnnotationError(
                f"{clip} has the action {_shown(one)}, and {num_frames} frames; make it {FORM}, from 0 to {num_frames}"
            )
        found.append(Action(name, label, start, end))
    return found


def _shown(value: Any) -> str:
    return f"{value.tolist() if isinstance(value, np.ndarray) else value!r:.80}"
