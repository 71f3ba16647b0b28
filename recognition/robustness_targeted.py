"""Deletion and insertion curves: accuracy as joints leave, or come, in the order of the attention that they receive.

After RISE: attention that finds what matters makes accuracy fall early when the most attended joints leave first, and
rise early when they come first. (MaskCLR, supplementary, sections 4 and 7.3; steps and filling are not said there.)
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
from recognition.batches import Batch
from recognition.inference import Network, TorchNetwork
from recognition.perturbations import GRID, generator_of, grid_rows
from recognition.recognizer import Recognizer
from recognition.robustness_statistics import area

RANDOM = "random"
LAYERS = 3


@dataclass(frozen=True)
class TargetedCurves:
    """What happens to the answers as joints go and come; `steps` + 1 shares from 0 to 1, evenly.

    Args:
        deleted: bool (steps + 1, N), whether clips are right with that share of the first joints gone; or float, in how
            many of several runs and draws they are.
        inserted: The same with that share of the first joints alone.
    """

    deleted: np.ndarray
    inserted: np.ndarray

    @property
    def areas(self) -> tuple[float, float]:
        """Under the deletion curve, where less is better, and under the insertion curve, where more is."""
        return area(self.deleted.mean(axis=1)), area(self.inserted.mean(axis=1))


def orders_of(backbone: Backbone) -> list[str]:
    """What joints can be ordered by: attention of the first, middle and last layer, "layer 1", and chance.

    A network of two layers has two, one that knows no attention has chance alone.
    """
    depth = len(_blocks(backbone))
    places = sorted({round(place) for place in np.linspace(1, depth, LAYERS)}) if depth else []
    return [*(f"layer {place}" for place in places), RANDOM]


def passes_of(orders: int, steps: int) -> int:
    """How often `targeted_curves` asks about each clip: all orders begin and end with nothing and everything gone."""
    return 2 + 2 * (steps - 1) * orders


def layer_attention(recognizer: Recognizer, batch: Batch, layers: Sequence[int]) -> list[torch.Tensor]:
    """Attention that each joint of each frame receives in some layers, numbered from 1, of P persons: (P, T, V) each.

    DSTFormer: attention among joints in the ST stream. STTFormer: absolute, the same for all tuples. As in
    `Backbone.encode`, which tells the last layer's alone.
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
    network: Network, recognizer: Recognizer, batch: Batch, layers: Sequence[int]
) -> list[torch.Tensor]:
    """`layer_attention` of what answers, where and as precisely as it answers, on the CPU.

    Networks that are not on torch do not tell attention: there it is the recognizer's that they were made of.
    """
    if not layers:
        return []
    if not isinstance(network, TorchNetwork):
        return layer_attention(recognizer, batch, layers)
    with network.autocast():
        return [one.cpu() for one in layer_attention(network.recognizer, batch.to(network.device), layers)]


def targeted_curves(
    recognizer: Recognizer,
    network: Network,
    batches: Iterator[Batch],
    orders: Sequence[str],
    *,
    steps: int,
    seed: int,
    progress: Callable[[int], None],
) -> dict[str, TargetedCurves]:
    """Curves of some orders over the clips of some batches, in the batches' order of clips.

    Args:
        recognizer: What the network was made of.
        network: What answers, and tells its attention on the clip as it is, as `attention_behind` says.
        batches: Clips with labels by the recognizer's numbers.
        orders: Of `orders_of`.
        steps: Number of steps.
        seed: Of the random order.
        progress: Told the number of clips of every pass.
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
    """Place of each cell (P, T, V) among its person's own, from the largest value, 0, on to below 1; 1 in padding."""
    valid = frame_mask[:, :, None].expand(value.shape)
    order = value.double().masked_fill(~valid, -torch.inf).flatten(1).argsort(dim=1, descending=True, stable=True)
    place = torch.empty_like(order).scatter(1, order, torch.arange(order.shape[1]).expand_as(order))
    share = place.double() / valid.flatten(1).sum(dim=1, keepdim=True)
    return share.view(value.shape).masked_fill(~valid, 1)


def _answers(network: Network, batch: Batch, progress: Callable[[int], None]) -> Callable[[torch.Tensor], np.ndarray]:
    """Whether each clip is answered rightly, bool (N,), as a function of the cells that are gone, bool (N, M, T, V)."""
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
    """Deletion and insertion, with the answers of the ends: nothing gone, and all gone."""
    placed = torch.ones(batch.keypoint.shape[:-1], dtype=torch.float64)
    placed[batch.person_mask] = rank
    nothing, all_gone = ends
    between = [step / steps - 1e-9 for step in range(1, steps)]
    deleted = [nothing, *(right(placed < share) for share in between), all_gone]
    inserted = [all_gone, *(right(placed >= share) for share in between), nothing]
    return np.stack(deleted), np.stack(inserted)


def chance(batch: Batch, seed: int) -> torch.Tensor:
    """Random values (P, T, V) by the clip's name, over its time, so that networks agree: joint occlusion's in order."""
    frames, joints = batch.keypoint.shape[2:4]
    values = []
    for name, there, lasts in zip(batch.names, batch.person_mask, batch.frame_mask.sum(dim=1).tolist(), strict=True):
        # Who is there stands before who is not.
        numbers = generator_of(seed, name).random((int(there.sum()), GRID, joints))[:, grid_rows(lasts)]
        values.append(np.pad(-numbers, ((0, 0), (0, frames - lasts), (0, 0))))
    return torch.from_numpy(np.concatenate(values))


def _blocks(backbone: Backbone) -> list[nn.Module]:
    """The layers that know attention; none for networks of other kinds."""
    if isinstance(backbone, DSTFormer):
        return list(backbone.streams_st)
    if isinstance(backbone, Transformer | STTFormer):
        return list(backbone.blocks)
    return []


@contextmanager
def _kept_outputs(modules: Sequence[nn.Module]) -> Iterator[list[Any]]:
    """What modules give in the forward pass within, in their order."""
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
        # As `received_attention`, not in bfloat16.
        with torch.autocast(query.device.type, enabled=False):
            attention = block.attention_map(query.float(), key.float(), there)
        of_tuple = received_of(attention).view(persons, -1, joints)
        value = of_tuple.repeat(1, query.shape[1], 1)[:, :frames]
    return value.masked_fill(~frame_mask[:, :, None], 0)
