"""Training recipes of the small networks."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from pose_extraction.errors import UsageError
from pose_extraction.networks.openmmlab.mmlab import OWN_PACKAGE


@dataclass(frozen=True)
class Recipe:
    """Training recipe of a network.

    Args:
        name: Name of the network.
        kind: "topdown", "detector" or "fields".
        config: Path below `pose_extraction`; for openpifpaf the name of the base network.
        cycles: Numbers of optimiser steps. In each cycle the learning rate decreases along a cosine, and the next cycle
            starts again at the highest rate (warm restarts). To improve a network further, add a cycle.
        batch: Crops or frames per step.
        rate: Highest learning rate, of AdamW.
        decay: Weight decay.
        warmup: Number of initial steps over which the rate increases.
        average: Decay of the averaged weights per step; these are the final weights.
        clip: Largest norm of the gradient.
        revisit: For top-down networks, per cycle: reuse the people of this number of first steps, with new crops and
            colours, which halves the time; 0 or missing renders new ones.
        package: Package that contains the configuration.
    """

    name: str
    kind: str
    config: str
    cycles: tuple[int, ...]
    batch: int
    rate: float
    decay: float = 0.05
    warmup: int = 300
    average: float = 0.998
    clip: float = 1.0
    revisit: tuple[int, ...] = ()
    package: str = OWN_PACKAGE

    def __post_init__(self) -> None:
        missing = len(self.cycles) - len(self.revisit)
        object.__setattr__(self, "revisit", (*self.revisit, *[0] * missing))

    @property
    def steps(self) -> int:
        """Total number of steps."""
        return sum(self.cycles)

    def shown_again(self, step: int) -> int | None:
        """Return the step whose people a step reuses; None if it renders its own."""
        cycle = next(number for number, end in enumerate(accumulate(self.cycles)) if step < end)
        return step % self.revisit[cycle] if self.revisit[cycle] else None


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "hrnet-tiny",
            "topdown",
            "tiny/hrnet-tiny.yaml",
            cycles=(9000, 4500, 7000),
            batch=16,
            rate=1.5e-3,
            revisit=(0, 1500, 0),
        ),
        Recipe(
            "vitpose-tiny",
            "topdown",
            "tiny/vitpose-tiny.yaml",
            cycles=(6000, 6000),
            batch=16,
            rate=7e-4,
            revisit=(0, 1500),
        ),
        Recipe(
            "rtmdet-nano-rendered",
            "detector",
            "tiny/rtmdet-nano-rendered.yaml",
            cycles=(2000, 4000, 4500),
            batch=8,
            rate=2e-3,
        ),
        Recipe("openpifpaf-tiny", "fields", "shufflenetv2k-tiny", cycles=(3500, 5000), batch=8, rate=1e-3),
    )
}


def recipe_named(name: str) -> Recipe:
    """Return the recipe of a network.

    Raises:
        UsageError: No small network has that name.
    """
    if name not in RECIPES:
        raise UsageError(f"unknown small network {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def rate_at(recipe: Recipe, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then in each cycle a cosine down to a hundredth."""
    if step < recipe.warmup:
        return recipe.rate * (step + 1) / recipe.warmup
    first, last = recipe.warmup, recipe.cycles[0]
    for length in recipe.cycles[1:]:
        if step >= last:
            first, last = last, last + length
    share = (step - first) / max(last - first, 1)
    return recipe.rate * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * share)))
