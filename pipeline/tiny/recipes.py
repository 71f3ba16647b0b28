"""How each small network is trained: one row each."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from pose_extraction.errors import UsageError
from pose_extraction.mmlab import OWN_PACKAGE


@dataclass(frozen=True)
class Recipe:
    """One network's training.

    Args:
        name: The network's.
        kind: "topdown", "detector" or "fields".
        config: Below `pose_extraction`; of openpifpaf its base network's name.
        cycles: Steps of the optimiser: over each of these the rate falls along a cosine, to begin at its highest again
            with the next (warm restarts). A network that is not good enough yet is given another cycle.
        batch: Crops or frames a step.
        revisit: Of a top-down network, for each cycle: the people of so many first steps are shown again and again, cut
            anew and in other colours, which takes half the time; 0, or none given, draws new ones.
        rate: Highest learning rate, of AdamW.
        decay: Weight decay.
        warmup: Steps at the beginning over which the rate rises.
        average: How much of the averaged weights stays in each step; these are the ones that are kept.
        clip: Largest norm of the gradient.
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
        """Of all cycles."""
        return sum(self.cycles)

    def shown_again(self, step: int) -> int | None:
        """The step whose people another one shows again; None where it draws its own."""
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
    """The recipe of a network.

    Raises:
        UsageError: There is none.
    """
    if name not in RECIPES:
        raise UsageError(f"there is no small network {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def rate_at(recipe: Recipe, step: int) -> float:
    """The learning rate of a step: a rise, then in each cycle a cosine down to a hundredth."""
    if step < recipe.warmup:
        return recipe.rate * (step + 1) / recipe.warmup
    first, last = recipe.warmup, recipe.cycles[0]
    for length in recipe.cycles[1:]:
        if step >= last:
            first, last = last, last + length
    share = (step - first) / max(last - first, 1)
    return recipe.rate * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * share)))
