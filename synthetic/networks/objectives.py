"""Training objectives of the small networks: batches rendered on the fly, and the losses of the networks' own heads."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from pose_extraction.networks.openmmlab import mmlab
from synthetic.networks.boxes import DetectorObjective
from synthetic.networks.crops import CUTS, draw_batch, draw_batch_of
from synthetic.networks.fields import FieldsObjective
from synthetic.networks.mmlab_training import normalised
from synthetic.networks.people import kept_people
from synthetic.networks.recipes import Recipe
from synthetic.rendering.family import TRAIN


class Objective(Protocol):
    """A network and its loss.

    Attributes:
        network: The complete OpenMMLab model.
    """

    network: torch.nn.Module

    def batch(self, seed: int, step: int) -> tuple[np.ndarray, ...]:
        """Return the arrays of a step, which depend only on seed and step; called in other processes."""

    def loss(self, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Return the loss of a batch."""


class TopdownObjective:
    """Heat maps from the network's own codec, and the loss of its own head.

    Args:
        recipe: Recipe of the network.
        seed: Seed of the initial weights.
        kept: Folder of people to reuse.
    """

    def __init__(self, recipe: Recipe, seed: int, kept: Path) -> None:
        network, self.config = mmlab.build_topdown(recipe.config, package=recipe.package, seed=seed)
        self.network: Any = network
        self._recipe, self._kept = recipe, kept

    def batch(self, seed: int, step: int) -> tuple[np.ndarray, ...]:
        """See `Objective`: images uint8 (N, H, W, 3), heat maps float32 (N, 17, h, w), weights float32 (N, 17)."""
        size, before = self._recipe.batch, self._recipe.shown_again(step)
        if before is None:
            drawn = draw_batch(TRAIN, seed, step, size, self.config)
        else:
            people = kept_people(self._kept, TRAIN, seed, before, size / CUTS)
            drawn = draw_batch_of(people, TRAIN, seed, step, size, self.config)
        codec = self.network.head.decoder
        maps = [
            codec.encode(keypoint[None], (weight[None] > 0).astype(np.float32))["heatmaps"]
            for keypoint, weight in zip(drawn.keypoint, drawn.weight, strict=True)
        ]
        return drawn.picture, np.stack(maps).astype(np.float32), drawn.weight

    def loss(self, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """See `Objective`."""
        picture, maps, weight = batch
        predicted = self.network.head.forward(self.network.extract_feat(normalised(picture, self.config)))
        # Heat maps are mostly zero; without the factor, gradients are tiny.
        return 1000 * self.network.head.loss_module(predicted.float(), maps, weight)


def objective_of(recipe: Recipe, seed: int, kept: Path) -> Objective:
    """Build the objective of a recipe, with a network initialised from `seed`.

    Args:
        recipe: Recipe of the network.
        seed: Seed of the initial weights.
        kept: Folder of people to reuse.
    """
    if recipe.kind == "topdown":
        return TopdownObjective(recipe, seed, kept)
    kinds: Mapping[str, Callable[[Recipe, int], Objective]] = {"detector": DetectorObjective, "fields": FieldsObjective}
    return kinds[recipe.kind](recipe, seed)
