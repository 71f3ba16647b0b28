"""Deletion and insertion curves: accuracy while joints are removed or added in the order of their attention.

Following RISE: if attention identifies the important joints, accuracy drops early when the most attended joints are
removed first, and rises early when they are added first. (MaskCLR, supplementary material, sections 4 and 7.3, which
specify neither the steps nor the replacement of removed joints.)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from recognition.backbones.base import Backbone
from recognition.backbones.dstformer import DSTFormer
from recognition.backbones.layers import received_attention
from recognition.backbones.sttformer import STTFormer, TupleBlock, received_of
from recognition.backbones.transformer import Transformer
from recognition.data.batches import Batch
from recognition.data.perturbations import GRID, generator_of, grid_rows
from recognition.inference.clip_networks import ClipNetwork, TorchClipNetwork
from recognition.recognizer import Recognizer
from recognition.robustness.statistics import area

RANDOM = "random"
LAYERS = 3


@dataclass(frozen=True)
class TargetedCurves:
    """Accuracy at `steps` + 1 evenly spaced shares from 0 to 1.

    Args:
        deleted: bool (steps + 1, N), whether each clip is classified correctly without this share of the first joints;
            or float, the proportion of several runs and draws in which it is.
        inserted: The same with only this share of the first joints.
    """

    deleted: np.ndarray
    inserted: np.ndarray

    @property
    def areas(self) -> tuple[float, float]:
        """Areas under the deletion curve (lower is better) and the insertion curve (higher is better), 0 to 1."""
        return area(self.deleted.mean(axis=1)), area(self.inserted.mean(axis=1))


def orders_of(backbone: Backbone) -> list[str]:
    """Return the orders of joints: attention of the first, middle and last layer ("layer 1", ...), and random.

    A network with two layers has two attention orders; one without attention has only the random order.

    Args:
        backbone: The network.
    """
    depth = len(_blocks(backbone))
    places = sorted({round(place) for place in np.linspace(1, depth, LAYERS)}) if depth else []
    return [*(f"layer {place}" for place in places), RANDOM]


def passes_of(orders: int, steps: int) -> int:
    """Return how many times `targeted_curves` evaluates each clip; all orders share the first and the last point."""
    return 2 + 2 * (steps - 1) * orders


def layer_attention(recognizer: Recognizer, batch: Batch, layers: Sequence[int]) -> list[torch.Tensor]:
    """Return the attention that each joint of each frame receives in the given layers.

    DSTFormer: attention between joints in the ST stream. STTFormer: absolute values, equal for all tuples. Computed as
    in `Backbone.encode`, which returns the last layer only.

    Args:
        recognizer: In evaluation mode.
        batch: Clips with P persons in total.
        layers: Numbers of the layers, from 1.

    Returns:
        (P, T, V) for each layer.
    """
    persons = batch.person_mask.nonzero()[:, 0]
    keypoint, frame_mask = batch.keypoint[batch.person_mask], batch.frame_mask[persons]
    backbone = recognizer.backbone
    blocks = _blocks(backbone)
    with torch.inference_mode(), _kept_outputs([blocks[layer - 1] for layer in layers]) as outputs:
        backbone.encode(keypoint, frame_mask=frame_mask)
        return [
            _received(backbone, blocks[layer - 1], output, frame_mask, keypoint.shape)
            for layer, output in zip(layers, outputs, strict=True)
        ]


def attention_behind(
    network: ClipNetwork, recognizer: Recognizer, batch: Batch, layers: Sequence[int]
) -> list[torch.Tensor]:
    """Return `layer_attention` of the network that predicts, on its device and with its precision; moved to the CPU.

    Networks of other backends do not return attention. For these, the attention of the original recognizer is used.
    """
    if not layers:
        return []
    if not isinstance(network, TorchClipNetwork):
        return layer_attention(recognizer, batch, layers)
    with network.autocast():
        return [one.cpu() for one in layer_attention(network.recognizer, batch.to(network.device), layers)]


def targeted_curves(
    recognizer: Recognizer,
    network: ClipNetwork,
    batches: Iterator[Batch],
    orders: Sequence[str],
    *,
    steps: int,
    seed: int,
    progress: Callable[[int], None],
) -> dict[str, TargetedCurves]:
    """Compute curves for several orders. The clips of the result are in the order of the batches.

    Args:
        recognizer: The recognizer that the network was created from.
        network: The network that predicts; its attention on the original clip is used, see `attention_behind`.
        batches: Clips with labels numbered like the recognizer's classes.
        orders: Result of `orders_of`.
        steps: Number of steps.
        seed: Seed of the random order.
        progress: Called with the number of clips of every pass.
    """
    layers = [int(order.removeprefix("layer ")) for order in orders if order != RANDOM]
    results: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {order: [] for order in orders}
    for batch in batches:
        found = iter(attention_behind(network, recognizer, batch, layers))
        right = _answers(network, batch, progress)
        cells = torch.ones(batch.keypoint.shape[:-1], dtype=torch.bool)
        ends = right(~cells), right(cells)
        for order in orders:
            value = chance(batch, seed) if order == RANDOM else next(found)
            rank = ranks(value, batch.frame_mask[batch.person_mask.nonzero()[:, 0]])
            results[order].append(_curves(right, ends, batch, rank, steps))
    return {
        order: TargetedCurves(
            np.concatenate([deleted for deleted, _ in parts], axis=1),
            np.concatenate([inserted for _, inserted in parts], axis=1),
        )
        for order, parts in results.items()
    }


def ranks(value: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
    """Return each cell's rank (P, T, V) within its person, from 0 (largest value) to below 1; 1 in padding."""
    valid = frame_mask[:, :, None].expand(value.shape)
    order = value.double().masked_fill(~valid, -torch.inf).flatten(1).argsort(dim=1, descending=True, stable=True)
    place = torch.empty_like(order).scatter(1, order, torch.arange(order.shape[1]).expand_as(order))
    share = place.double() / valid.flatten(1).sum(dim=1, keepdim=True)
    return share.view(value.shape).masked_fill(~valid, 1)


def _answers(
    network: ClipNetwork, batch: Batch, progress: Callable[[int], None]
) -> Callable[[torch.Tensor], np.ndarray]:
    """Return a function of the removed cells, bool (N, M, T, V), that tells which clips are classified correctly."""
    labels = batch.label.numpy()

    def right(gone: torch.Tensor) -> np.ndarray:
        left = replace(batch, keypoint=batch.keypoint.masked_fill(gone[..., None], 0))
        progress(len(batch))
        answer: np.ndarray = network(left)[1].argmax(axis=1) == labels
        return answer

    return right


def _curves(
    right: Callable[[torch.Tensor], np.ndarray],
    ends: tuple[np.ndarray, np.ndarray],
    batch: Batch,
    rank: torch.Tensor,
    steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return deletion and insertion curves, given the results at their ends: nothing and everything removed."""
    placed = torch.ones(batch.keypoint.shape[:-1], dtype=torch.float64)
    placed[batch.person_mask] = rank
    nothing, all_gone = ends
    between = [step / steps - 1e-9 for step in range(1, steps)]
    deleted = [nothing, *(right(placed < share) for share in between), all_gone]
    inserted = [all_gone, *(right(placed >= share) for share in between), nothing]
    return np.stack(deleted), np.stack(inserted)


def chance(batch: Batch, seed: int) -> torch.Tensor:
    """Return random values (P, T, V), seeded by clip name and relative time; the same for all networks."""
    frames, joints = batch.keypoint.shape[2:4]
    values = []
    for name, there, lasts in zip(batch.names, batch.person_mask, batch.frame_mask.sum(dim=1).tolist(), strict=True):
        # Persons that are present come before those that are absent.
        numbers = generator_of(seed, name).random((int(there.sum()), GRID, joints))[:, grid_rows(lasts)]
        values.append(np.pad(-numbers, ((0, 0), (0, frames - lasts), (0, 0))))
    return torch.from_numpy(np.concatenate(values))


def _blocks(backbone: Backbone) -> list[nn.Module]:
    """Return the layers with attention; empty for networks without attention."""
    if isinstance(backbone, DSTFormer):
        return list(backbone.streams_st)
    if isinstance(backbone, Transformer | STTFormer):
        return list(backbone.blocks)
    return []


@contextmanager
def _kept_outputs(modules: Sequence[nn.Module]) -> Iterator[list[Any]]:
    """Collect the outputs of modules during forward passes within the context, in the order of the modules."""
    outputs: list[Any] = [None] * len(modules)

    def keep(place: int) -> Callable[..., None]:
        def hook(_module: nn.Module, _given: Any, output: Any) -> None:
            outputs[place] = output

        return hook

    handles = [module.register_forward_hook(keep(place)) for place, module in enumerate(modules)]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _received(
    backbone: Backbone, block: nn.Module, output: Any, frame_mask: torch.Tensor, shape: torch.Size
) -> torch.Tensor:
    persons, frames, joints, _ = shape
    if isinstance(backbone, DSTFormer):
        value = received_attention(output[1]).view(persons, frames, joints)
    elif isinstance(backbone, Transformer):
        key_mask = frame_mask.repeat_interleave(joints, dim=1)[:, None, None]
        value = received_attention(output[1], key_mask).view(persons, frames, joints)
    else:
        assert isinstance(backbone, STTFormer) and isinstance(block, TupleBlock)
        _, query, key = output
        extra = query.shape[1] * backbone.tuple_length - frames
        padded = nn.functional.pad(frame_mask, (0, extra))
        there = padded[:, :, None, None].expand(-1, -1, joints, 1).reshape(*query.shape[:3], 1)
        # Not in bfloat16, as in `received_attention`.
        with torch.autocast(query.device.type, enabled=False):
            attention = block.attention_map(query.float(), key.float(), there)
        of_tuple = received_of(attention).view(persons, -1, joints)
        value = of_tuple.repeat(1, query.shape[1], 1)[:, :frames]
    return value.masked_fill(~frame_mask[:, :, None], 0)
