"""Families: what training draws its world from, and what testing does, so that nothing occurs in both.

A family owns seeds, names (patterns of cloth, kinds of places) and bands of every continuous range: bodies, motion
styles and cameras of one family lie between those of the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pose_extraction.errors import UsageError

# Bands that a range is cut into; families take turns.
BANDS = 8


@dataclass(frozen=True)
class Family:
    """One family.

    Args:
        name: As options spell it.
        number: Its place among the families, which says which bands are its own.
        cloths: Names of `appearance.CLOTHS`.
        places: Names of `background.PLACES`.
    """

    name: str
    number: int
    cloths: tuple[str, ...]
    places: tuple[str, ...]

    def generator(self, *seed: int) -> np.random.Generator:
        """Random numbers of this family; those of another family differ under the same seed."""
        return np.random.default_rng([self.number, *seed])

    def uniform(self, random: np.random.Generator, low: float, high: float) -> float:
        """A number of [low, high) from the bands that are this family's."""
        band = 2 * int(random.integers(BANDS // 2)) + self.number % 2
        return low + (high - low) * (band + float(random.random())) / BANDS

    def owns(self, value: float, low: float, high: float) -> bool:
        """Whether `uniform` of this family could give `value`."""
        band = int((value - low) / (high - low) * BANDS)
        return 0 <= band < BANDS and band % 2 == self.number % 2


TRAIN = Family(
    "train",
    0,
    cloths=("plain", "stripes", "checks", "speckles", "blocks", "folds"),
    places=("plaster", "bricks", "panels", "park", "street", "noise"),
)
TEST = Family(
    "test",
    1,
    cloths=("faded", "rings", "plaid", "dots", "slants", "print"),
    places=("wallpaper", "tiles", "shelves", "hills", "curtain", "blotches"),
)
FAMILIES: Mapping[str, Family] = {family.name: family for family in (TRAIN, TEST)}


def family_named(name: str) -> Family:
    """The family of that name.

    Raises:
        UsageError: There is none.
    """
    if name not in FAMILIES:
        raise UsageError(f"there is no family {name!r} of drawn people; choose one of {', '.join(FAMILIES)}")
    return FAMILIES[name]


def chosen(random: np.random.Generator, options: Sequence[str]) -> str:
    """One of some names, each as likely as the others."""
    return options[int(random.integers(len(options)))]
