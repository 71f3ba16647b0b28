"""Deletion and insertion curves: attention of layers, order of joints, and comparison with a plain loop."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pose_extraction.engines.engine import Engine
from recognition.data.batches import Batch
from recognition.data.perturbations import JointOcclusion, generator_of
from recognition.inference.clip_networks import network_for
from recognition.recognizer import Recognizer
from recognition.robustness.targeted import (
    RANDOM,
    attention_behind,
    chance,
    layer_attention,
    orders_of,
    passes_of,
    ranks,
    targeted_curves,
)
from test_support.networks.made_backbones import DEPTH, JOINTS, made_backbone
from test_support.networks.tiny_recognizer import NUM_CLASSES, made_batch, tiny_recognizer


def recognizer_of(name: str, **sizes: int) -> Recognizer:
    torch.manual_seed(0)
    return Recognizer(made_backbone(name, **sizes), NUM_CLASSES, hidden=8).float().eval()


def batch_of(frames: int = 7) -> Batch:
    made = made_batch(6, num_frames=frames)
    return replace(made, keypoint=made.keypoint.float())


@pytest.mark.parametrize("backbone", ["dstformer", "transformer", "sttformer"])
def test_attention_of_the_last_layer_equals_the_networks(backbone: str) -> None:
    recognizer, batch = recognizer_of(backbone), batch_of()
    first, last = layer_attention(recognizer, batch, [1, DEPTH])
    persons = batch.person_mask.nonzero()[:, 0]
    _, received = recognizer.backbone.encode(
        batch.keypoint[batch.person_mask], frame_mask=batch.frame_mask[persons], return_attention=True
    )
    torch.testing.assert_close(last, received, rtol=1e-4, atol=1e-5)
    assert first.shape == last.shape and not torch.allclose(first, last, rtol=1e-2)
    assert not last[~batch.frame_mask[persons]].any()


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["dstformer", "transformer", "sttformer"])
def test_attention_is_that_of_the_predicting_network_in_its_precision(backbone: str) -> None:
    recognizer, batch = recognizer_of(backbone), batch_of()
    # As on a GPU, where a copy predicts: the predicting network is not the original one.
    placed = recognizer_of(backbone)
    for weight in placed.parameters():
        weight.data *= 1.5
    (own,) = layer_attention(placed, batch, [DEPTH])
    (asked,) = attention_behind(network_for(placed, Engine("cpu", "torch", "fp32")), recognizer, batch, [DEPTH])
    torch.testing.assert_close(asked, own, rtol=0, atol=0)
    (rough,) = attention_behind(network_for(placed, Engine("cpu", "torch", "bf16")), recognizer, batch, [DEPTH])
    torch.testing.assert_close(rough, own, rtol=0.1, atol=0.1)
    assert not torch.equal(rough, own) and not torch.allclose(asked, layer_attention(recognizer, batch, [DEPTH])[0])
    exported = network_for(placed, Engine("cpu", "onnxruntime", "fp32"))
    (made_of,) = attention_behind(exported, placed, batch, [DEPTH])
    torch.testing.assert_close(made_of, own, rtol=0, atol=0)


def test_orders_are_three_layers_and_random() -> None:
    assert orders_of(recognizer_of("dstformer", depth=5).backbone) == ["layer 1", "layer 3", "layer 5", RANDOM]
    assert orders_of(recognizer_of("transformer", depth=2).backbone) == ["layer 1", "layer 2", RANDOM]
    assert orders_of(tiny_recognizer().backbone) == [RANDOM]


def test_ranks_go_from_the_largest_value_over_a_persons_own_cells() -> None:
    value = torch.tensor([[[5.0, 1.0], [9.0, 5.0], [7.0, 7.0]]])
    frame_mask = torch.tensor([[True, True, False]])
    assert ranks(value, frame_mask).tolist() == [[[0.25, 0.75], [0.0, 0.5], [1.0, 1.0]]]


def test_random_order_depends_on_clip_name_and_relative_time() -> None:
    """Independent of the clip's position in file and batch, and of the number of frames."""
    batch = batch_of(frames=8)
    person = int(batch.person_mask[:2].sum())
    alone = replace(
        batch,
        keypoint=batch.keypoint[2:3, :, ::2],
        person_mask=batch.person_mask[2:3],
        frame_mask=torch.ones(1, 4, dtype=torch.bool),
        index=batch.index[2:3] + 99,
        names=batch.names[2:3],
    )
    whole = replace(batch, frame_mask=torch.ones_like(batch.frame_mask))
    there = int(alone.person_mask.sum())
    torch.testing.assert_close(chance(whole, 3)[person : person + there, ::2], chance(alone, 3), rtol=0, atol=0)
    assert not torch.equal(chance(alone, 3), chance(alone, 4))
    assert not torch.equal(chance(alone, 3), chance(replace(alone, names=("another",)), 3))
    # Cells are removed in the same order as by joint occlusion.
    _, left = JointOcclusion(0.5)(
        np.ones((there, 4, JOINTS, 2)), np.ones((there, 4, JOINTS)), generator_of(3, alone.names[0])
    )
    assert torch.equal(ranks(chance(alone, 3), alone.frame_mask.expand(there, -1)) < 0.5, torch.tensor(left == 0))


@pytest.mark.parametrize("backbone", ["dstformer", "tiny"])
def test_curves_equal_a_plain_loop_over_clips(backbone: str) -> None:
    recognizer = tiny_recognizer().eval().float() if backbone == "tiny" else recognizer_of(backbone)
    batch, steps = batch_of(), 4

    def network(given: Batch) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            features, logits = recognizer.features(given)
        return features.numpy(), logits.numpy()

    orders = orders_of(recognizer.backbone)
    done: list[int] = []
    curves = targeted_curves(recognizer, network, iter([batch]), orders, steps=steps, seed=0, progress=done.append)
    assert list(curves) == orders and sum(done) == passes_of(len(orders), steps) * len(batch)
    for order in orders:
        found = curves[order]
        assert found.deleted.shape == found.inserted.shape == (steps + 1, len(batch))
        np.testing.assert_array_equal(found.deleted[0], found.inserted[-1])
        np.testing.assert_array_equal(found.deleted[-1], found.inserted[0])
        np.testing.assert_array_equal(found.deleted[0], network(batch)[1].argmax(1) == batch.label.numpy())
        if order == RANDOM:
            continue
        (attention,) = layer_attention(recognizer, batch, [int(order.split()[1])])
        persons = batch.person_mask.nonzero()
        for step in range(1, steps):
            keypoint = batch.keypoint.clone()
            for (clip, person), values in zip(persons.tolist(), attention, strict=True):
                own = values[batch.frame_mask[clip]]
                cells = sorted(range(own.numel()), key=lambda cell: -float(own.flatten()[cell]))
                gone = cells[: int(np.ceil(step / steps * len(cells) - 1e-6))]
                frames = batch.frame_mask[clip].nonzero()[:, 0].tolist()
                for cell in gone:
                    keypoint[clip, person, frames[cell // JOINTS], cell % JOINTS] = 0
            expected = network(replace(batch, keypoint=keypoint))[1].argmax(1) == batch.label.numpy()
            np.testing.assert_array_equal(found.deleted[step], expected)
