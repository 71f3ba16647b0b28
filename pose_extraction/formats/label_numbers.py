"""The numbers of classes and the names of splits that have a meaning of their own."""

import re
from collections.abc import Iterable

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
