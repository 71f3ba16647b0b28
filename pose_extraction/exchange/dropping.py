"""What files of other programs hold and skeleton files do not, in the words in which `skelpipe import` reports it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

BOXES = "boxes"
MASKS = "segmentations"
POSE_SCORES = "scores of persons"
DEPTH = "depth"
NAMES = "names of persons"
NO_JOINTS = "persons without joints"
NO_PERSONS = "clips without persons"
SOME_IDS = "ids, which some poses lack"
REPEATED_FRAMES = "frame numbers, which repeat"
GIVEN_TIMES = "times, which --fps replaces"
GIVEN_RATE = "frame rate, which --fps replaces"
GIVEN_SIZE = "frame size, which --size replaces"
# Names that programs make up by counting.
_NUMBERED = re.compile(
    r"(animal|body|human|id|ind|individual|instance|object|person|pose|subject|track)?[\W_]*0*(?P<number>\d{1,9})", re.I
)


def unplaced_joints(layout: str) -> str:
    """Return the words for joints that a layout does not have."""
    return f"joints that {layout} does not have"


def held(entries: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> set[str]:
    """Return the parts that at least one entry of a file holds.

    Args:
        entries: Entries of a file; null, and empty lists, are nothing.
        names: Names of the parts in messages, by key of the entries.
    """
    entries = list(entries)
    return {part for key, part in names.items() if any(is_held(entry.get(key)) for entry in entries)}


def is_held(value: Any) -> bool:
    """Whether a value of a JSON file says something: null, and empty lists, objects and texts do not."""
    return value is not None and value not in ([], {}, "")


def lost_names(names: Sequence[object], numbers: Iterable[int]) -> set[str]:
    """Return the part for names of persons that their numbers do not tell.

    "anna" and "anna7" are lost, "7" and "track_7" become 7.
    """
    return set() if all(_is_told(str(name), number) for name, number in zip(names, numbers, strict=True)) else {NAMES}


def _is_told(name: str, number: int) -> bool:
    match = _NUMBERED.fullmatch(name.strip())
    return not name.strip() or (match is not None and int(match["number"]) == number)
