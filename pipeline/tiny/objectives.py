"""What each kind of small network is trained for: batches drawn on the fly, and the losses of their own heads."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch

from pipeline.rendering.family import TRAIN
from pipeline.tiny.boxes import DetectorObjective
from pipeline.tiny.crops import draw_batch
from pipeline.tiny.fields import FieldsObjective
from pipeline.tiny.recipes import Recipe
from pose_extraction import mmlab


class Objective(Protocol):
    """A network and what it is to learn.

    Attributes:
        network: OpenMMLab's, whole.
    """

    network: torch.nn.Module

    def batch(self, seed: int, step: int) -> tuple[np.ndarray, ...]:
        """The arrays of one step, which follow from seed and step alone; runs in other processes."""

    def loss(self, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The loss of a batch."""


class TopdownObjective:
    """Heat maps by the network's own codec, and the loss of its own head.

    Args:
        recipe: Whose network.
        seed: Of the weights it begins with.
    """

    def __init__(self, recipe: Recipe, seed: int) -> None:
        network, self.config = mmlab.build_topdown(recipe.config, package=recipe.package, seed=seed)
        self.network: Any = network
        self._size = recipe.batch

    def batch(self, seed: int, step: int) -> tuple[np.ndarray, ...]:
        """See `Objective`: pictures uint8 (N, H, W, 3), heat maps float32 (N, 17, h, w), weights float32 (N, 17)."""
        drawn = draw_batch(TRAIN, seed, step, self._size, self.config)
        codec = self.network.head.decoder
        maps = [
            codec.encode(keypoint[None], (weight[None] > 0).astype(np.float32))["heatmaps"]
            for keypoint, weight in zip(drawn.keypoint, drawn.weight, strict=True)
        ]
        return drawn.picture, np.stack(maps).astype(np.float32), drawn.weight

    def loss(self, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """See `Objective`."""
        picture, maps, weight = batch
        predicted = self.network.head.forward(self.network.extract_feat(mmlab.normalised(picture, self.config)))
        # Heat maps are mostly zero: without the factor the gradients are, too.
        return 1000 * self.network.head.loss_module(predicted.float(), maps, weight)


def objective_of(recipe: Recipe, seed: int) -> Objective:
    """The objective of a recipe's kind, with a network whose weights are drawn from `seed`."""
    kinds: Mapping[str, Callable[[Recipe, int], Objective]] = {
        "topdown": TopdownObjective,
        "detector": DetectorObjective,
        "fields": FieldsObjective,
    }
    return kinds[recipe.kind](recipe, seed)
