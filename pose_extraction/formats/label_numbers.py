"""The numbers of classes and the names of splits that have a meaning of their own."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pose_extraction.errors import AnnotationError

UNLABELLED = -1
# Split name of data sets without splits, and the name by which commands select all clips.
ALL_CLIPS = "all"

# NTU RGB+D action codes contain the class number, counted from 1. There are 60 or 120 actions.
_NTU_ACTION = re.compile(r"A(\d{3})")
_NTU_SIZES = (60, 120)
# More classes than any data set has. Larger numbers (dates, for example) are not class numbers.
MOST_CLASSES = 10_000


def number_labels(names: Iterable[str]) -> list[str]:
    """Return the names of all classes in the order of their numbers.

    NTU action codes and plain numbers keep their number (A001 is 0, "7" is 7), even if some classes do not occur. Other
    names are sorted alphabetically.

    Args:
        names: Label names that occur, with repetitions.

    Returns:
        Class names; the index of a name is its number.
    """
    present = sorted(set(names))
    actions = [_NTU_ACTION.fullmatch(name) for name in present]
    if present and all(actions):
        largest = max(int(action[1]) for action in actions if action)
        size = next((size for size in _NTU_SIZES if largest <= size), largest)
        return [f"A{number:03d}" for number in range(1, size + 1)]
    numbers = [int(name) for name in present if name.isascii() and name.isdigit() and name == str(int(name))]
    if present and len(numbers) == len(present) and max(numbers) < MOST_CLASSES:
        return [str(number) for number in range(max(numbers) + 1)]
    return present


def check_label_names(names: Any, path: Path) -> None:
    """Check the class names of a skeleton file.

    Args:
        names: The entry `label_names`.
        path: The file, for messages.

    Raises:
        AnnotationError: It is not a list of text, or contains duplicates.
    """
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise AnnotationError(f'{path}: "label_names" must be a list of class names, but is {names!r:.80}')
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise AnnotationError(
            f'{path}: "label_names" contains {twice[0]!r} twice; give each class a unique name, or give the clips of '
            "both the same label"
        )
