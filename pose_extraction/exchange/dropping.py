"""What files of other programs hold and skeleton files do not, in the words in which `skelpipe import` reports it."""

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
    """Return the part for names of persons that their numbers do not tell: "anna" is lost, "track_3" becomes 3."""
    told = (
        str(name).strip() == "" or str(name).endswith(str(number)) for name, number in zip(names, numbers, strict=True)
    )
    return set() if all(told) else {NAMES}
