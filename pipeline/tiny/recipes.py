"""How each small network is trained: one row each."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pose_extraction.errors import UsageError
from pose_extraction.mmlab import OWN_PACKAGE


@dataclass(frozen=True)
class Recipe:
    """One network's training.

    Args:
        name: The network's.
        kind: "topdown", "detector" or "fields".
        config: Below `pose_extraction`; of openpifpaf its base network's name.
        steps: Of the optimiser.
        batch: Crops or frames a step.
        rate: Highest learning rate, of AdamW.
        decay: Weight decay.
        warmup: Steps over which the rate rises; it falls along a cosine afterwards.
        average: How much of the averaged weights stays in each step; these are the ones that are kept.
        clip: Largest norm of the gradient.
    """

    name: str
    kind: str
    config: str
    steps: int
    batch: int
    rate: float
    decay: float = 0.05
    warmup: int = 300
    average: float = 0.998
    clip: float = 1.0
    package: str = OWN_PACKAGE


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("hrnet-tiny", "topdown", "tiny/hrnet-tiny.yaml", steps=9000, batch=16, rate=1.5e-3),
        Recipe("vitpose-tiny", "topdown", "tiny/vitpose-tiny.yaml", steps=6000, batch=16, rate=7e-4),
        Recipe("rtmdet-nano-rendered", "detector", "tiny/rtmdet-nano-rendered.yaml", steps=2000, batch=8, rate=2e-3),
        Recipe("openpifpaf-tiny", "fields", "shufflenetv2k-tiny", steps=3500, batch=8, rate=1e-3),
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
    """The learning rate of a step: a rise, then a cosine down to a hundredth."""
    if step < recipe.warmup:
        return recipe.rate * (step + 1) / recipe.warmup
    share = (step - recipe.warmup) / max(recipe.steps - recipe.warmup, 1)
    return recipe.rate * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * share)))
