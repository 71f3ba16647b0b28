"""Families of rendered people: training and testing draw from disjoint sets, so that nothing occurs in both.

A family owns seeds, names (cloth patterns, kinds of places) and bands of every continuous range: bodies, motion styles
and cameras of one family lie between those of the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pose_extraction.errors import UsageError

# Number of bands of a range; families alternate.
BANDS = 8


@dataclass(frozen=True)
class Family:
    """A family of people, clothes, places and cameras.

    Args:
        name: Name in options.
        number: Index of the family, which determines its bands.
        cloths: Names in `appearance.CLOTHS`.
        places: Names in `background.PLACES`.
    """

    name: str
    number: int
    cloths: tuple[str, ...]
    places: tuple[str, ...]

    def generator(self, *seed: int) -> np.random.Generator:
        """Return a random generator of this family; other families differ for the same seed."""
        return np.random.default_rng([self.number, *seed])

    def uniform(self, random: np.random.Generator, low: float, high: float) -> float:
        """Draw a number in [low, high) from the bands of this family."""
        band = 2 * int(random.integers(BANDS // 2)) + self.number % 2
        return low + (high - low) * (band + float(random.random())) / BANDS

    def owns(self, value: float, low: float, high: float) -> bool:
        """Whether `uniform` of this family can return `value`."""
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
    """Return the family with a name.

    Raises:
        UsageError: No family has that name.
    """
    if name not in FAMILIES:
        raise UsageError(f"unknown family {name!r} of rendered people; choose one of {', '.join(FAMILIES)}")
    return FAMILIES[name]


def chosen(random: np.random.Generator, options: Sequence[str]) -> str:
    """Draw one of some names with equal probability."""
    return options[int(random.integers(len(options)))]
