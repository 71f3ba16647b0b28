"""File names of NTU RGB+D: action, person, camera and setup, and the official splits.

The rules are published with NTU RGB+D (60 actions, setups 1 to 17) and NTU RGB+D 120: cross-subject trains on a list of
persons, cross-view (60 only) on cameras 2 and 3, cross-setup (120 only) on even setups. The person list of 120 contains
that of 60 and adds only persons that 60 does not have, so one list serves both. The same holds for the 535 clips, 302
of them in 60, whose skeletons the authors list as missing or incomplete.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_ID = re.compile(r"(?<![A-Za-z0-9])S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})(?![A-Za-z0-9])", re.IGNORECASE)

# fmt: off
_TRAINING_PERSONS = frozenset({
    1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38,
    45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93, 94, 95,
    97, 98, 100, 103,
})
# fmt: on
_TRAINING_CAMERAS = frozenset({2, 3})
_LAST_ACTION_OF_60 = 60
_LAST_SETUP_OF_60 = 17


@dataclass(frozen=True, slots=True)
class NtuName:
    """An NTU id, such as S001C001P001R001A001; all numbers start at 1."""

    text: str
    setup: int
    camera: int
    person: int
    repetition: int
    action: int

    @property
    def label_name(self) -> str:
        """Code of the action; the label number is one less."""
        return f"A{self.action:03d}"

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits of the clip in cross-subject, cross-view and cross-setup; see `applicable_splits`."""
        return (
            "xsub_train" if self.person in _TRAINING_PERSONS else "xsub_val",
            "xview_train" if self.camera in _TRAINING_CAMERAS else "xview_val",
            "xset_train" if self.setup % 2 == 0 else "xset_val",
        )

    @property
    def beyond_60(self) -> bool:
        """Whether the clip is part of NTU RGB+D 120 but not of NTU RGB+D 60."""
        return self.action > _LAST_ACTION_OF_60 or self.setup > _LAST_SETUP_OF_60


# Splits of the protocols that apply to only one of the two data sets.
NTU_SPLITS = ("xset_train", "xset_val", "xview_train", "xview_val")


def ntu_name(text: str) -> NtuName | None:
    """The NTU id in a file name or `frame_dir`, in capitals; None if there is none.

    >>> ntu_name("S001C002P003R002A013_rgb").action
    13
    """
    match = _ID.search(text)
    return NtuName(match[0].upper(), *map(int, match.groups())) if match else None


@cache
def incomplete_clips() -> frozenset[str]:
    """Ids of the clips with missing or incomplete skeletons, from the list published with the data set."""
    return frozenset(Path(__file__).with_name("ntu_missing.txt").read_text(encoding="ascii").split())


def applicable_splits(split: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Removes xset if all NTU clips are from NTU RGB+D 60, and xview otherwise.

    Which of the two data sets it is, is known only when all clips are merged. If only one of xset and xview is present,
    it is kept.

    Args:
        split: Ids of the clips in each split.
    """
    if not (_has(split, "xview") and _has(split, "xset")):
        return dict(split)
    clips = {clip for name in split for clip in split[name]}
    superfluous = "xview" if _any_beyond_60(clips) else "xset"
    return {name: ids for name, ids in split.items() if name not in (f"{superfluous}_train", f"{superfluous}_val")}


def _has(split: Mapping[str, list[str]], kind: str) -> bool:
    return f"{kind}_train" in split or f"{kind}_val" in split


def _any_beyond_60(clips: Iterable[str]) -> bool:
    names = (ntu_name(clip) for clip in clips)
    return any(name is not None and name.beyond_60 for name in names)
