"""A step of MaskCLR: its pathways, the terms of its loss, and the update of prototypes."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from recognition.maskclr.objective import Losses, MaskCLR
from recognition.recognizer import build_recognizer
from recognition.settings import MaskCLRSettings, ModelSettings
from test_support.networks.tiny_recognizer import NUM_CLASSES, NUM_JOINTS, made_batch, made_objective, tiny_recognizer
from test_support.reference.losses import class_contrastive, cross_entropy, moved_prototypes, sample_contrastive

pytestmark = pytest.mark.processor


def warm(objective: MaskCLR) -> None:
    """Give some classes, but not all, a prototype, as at the end of phase one."""
    for seed in range(2):
        objective(made_batch(seed=seed), phase=1, epoch=0, warm_prototypes=True)


@pytest.mark.parametrize("representation", ["joints", "mean", "hidden"])
@pytest.mark.parametrize("confidence", [0.0, 0.3])
def test_phase_two_step_equals_eq_5_to_12(representation: str, confidence: float) -> None:
    objective = made_objective(representation=representation, confidence=confidence, alpha=0.6, beta=0.3)
    warm(objective)
    batch = made_batch(seed=9)
    before = copy.deepcopy(objective)
    losses = objective(batch, phase=2, epoch=4)
    masked_cells = objective.recognizer.backbone.calls[-1]["masked"]

    recognizer, label = before.recognizer, batch.label.tolist()
    pathways = []
    for mask in (None, masked_cells):
        encoded = recognizer.encode(batch, masked=mask)
        hidden = recognizer.head.hidden(encoded.pooled)
        vectors = {
            "joints": encoded.pooled,
            "mean": encoded.pooled.view(len(batch), NUM_JOINTS, -1).mean(1),
            "hidden": hidden,
        }[representation]
        pathways.append((vectors.tolist(), recognizer.head.fc2(hidden).tolist()))
    (standard, standard_logits), (masked, masked_logits) = pathways
    prototypes = [row if known else None for row, known in zip(before.prototypes.tolist(), before.known, strict=True)]
    expected_ce = (cross_entropy(standard_logits, label) + cross_entropy(masked_logits, label)) / 2
    expected_sample = sample_contrastive(standard, masked, 0.7)
    expected_class = class_contrastive(pathways, label, prototypes, 0.7, confidence)
    assert expected_class > 0
    assert float(losses.cross_entropy) == pytest.approx(expected_ce, abs=1e-12)
    assert float(losses.sample) == pytest.approx(expected_sample, abs=1e-12)
    assert float(losses.class_loss) == pytest.approx(expected_class, abs=1e-12)
    assert losses.total.item() == pytest.approx(expected_ce + 0.6 * expected_sample + 0.3 * expected_class, abs=1e-12)
    assert losses.logits.tolist() == [pytest.approx(row, abs=1e-12) for row in standard_logits]

    moved = moved_prototypes(prototypes, standard, standard_logits, label, 0.9, confidence)
    assert moved != prototypes
    for row, wanted in zip(objective.prototypes.tolist(), moved, strict=True):
        assert row == pytest.approx(wanted or [0.0] * len(row), abs=1e-12)


def test_phase_one_is_the_cross_entropy_of_the_standard_pathway() -> None:
    objective, batch = made_objective(), made_batch()
    losses = objective(batch, phase=1, epoch=0)
    calls = objective.recognizer.backbone.calls
    assert [call["masked"] for call in calls] == [None]
    assert [call["return_attention"] for call in calls] == [False]
    expected = cross_entropy(losses.logits.tolist(), batch.label.tolist())
    assert losses.total.item() == pytest.approx(expected, abs=1e-12)
    assert (float(losses.sample), float(losses.class_loss)) == (0, 0)
    assert not objective.known.any()


def test_warming_updates_only_prototypes() -> None:
    cold, warmed = made_objective(), made_objective()
    batch = made_batch()
    cold_total = cold(batch, phase=1, epoch=0).total
    warm_total = warmed(batch, phase=1, epoch=0, warm_prototypes=True).total
    assert torch.equal(cold_total, warm_total)
    assert warmed.known.any()
    cold_total.backward()
    warm_total.backward()
    for a, b in zip(cold.parameters(), warmed.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_evaluation_has_no_masked_pathway_and_updates_nothing() -> None:
    objective, batch = made_objective(dropout=0.5), made_batch()
    warm(objective)
    objective.eval()
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    calls = objective.recognizer.backbone.calls
    calls.clear()
    losses = objective(batch, phase=2, epoch=1, warm_prototypes=True)
    assert [call["masked"] for call in calls] == [None]
    assert losses.total.item() == float(losses.cross_entropy)
    torch.testing.assert_close(losses.logits, objective.recognizer(batch))
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())


def test_prototypes_are_stored_and_never_trained() -> None:
    objective = made_objective()
    warm(objective)
    assert {"prototypes", "known"} <= set(objective.state_dict())
    assert not {"prototypes", "known"} & {name for name, _ in objective.named_parameters()}
    other = made_objective()
    other.load_state_dict(objective.state_dict())
    batch = made_batch(seed=5)
    assert torch.equal(other(batch, phase=2, epoch=1).total, objective(batch, phase=2, epoch=1).total)


@pytest.mark.parametrize("phase", [1, 2])
def test_every_weight_gets_a_gradient(phase: int) -> None:
    """DDP waits for a gradient of every parameter."""
    objective = made_objective()
    objective(made_batch(), phase=phase, epoch=0).total.backward()
    assert [name for name, weight in objective.named_parameters() if weight.grad is None] == []
    token = objective.recognizer.backbone.mask_token.grad
    assert bool(token.abs().sum() > 0) == (phase == 2)


def test_running_statistics_are_those_of_the_standard_pathway() -> None:
    """Only the standard pathway is used at test time."""
    one, two = made_objective(), made_objective()
    one(made_batch(), phase=1, epoch=0)
    two(made_batch(), phase=2, epoch=0)
    for first, second in zip(one.recognizer.head.buffers(), two.recognizer.head.buffers(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("padded", [False, True])
def test_a_backbones_running_statistics_are_those_of_the_standard_pathway_too(padded: bool) -> None:
    torch.manual_seed(0)
    settings = ModelSettings(backbone="sttformer", dim=16, depth=2, heads=2, hidden=8, dropout=0.0)
    recognizer = build_recognizer(settings, num_joints=NUM_JOINTS, channels=3, num_classes=NUM_CLASSES)
    one = MaskCLR(recognizer, MaskCLRSettings(), num_classes=NUM_CLASSES).double()
    two, fresh, batch = copy.deepcopy(one), copy.deepcopy(one), made_batch()
    if not padded:
        batch = replace(batch, frame_mask=torch.ones_like(batch.frame_mask))
    one(batch, phase=1, epoch=0)
    two(batch, phase=2, epoch=0)
    statistics = zip(one.named_buffers(), two.buffers(), fresh.buffers(), strict=True)
    running = [(name, a, b, c) for (name, a), b, c in statistics if "running" in name or "tracked" in name]
    assert len(running) > 20
    for name, first, second, before in running:
        assert torch.equal(first, second) and not torch.equal(first, before), name


def test_gradients_of_a_step_are_those_of_its_loss() -> None:
    """Numerical derivatives along a random direction of all weights; masks, sets and prototypes are constants."""
    objective = made_objective(mask="random")
    warm(objective)
    batch, state = made_batch(seed=9), copy.deepcopy(objective.state_dict())
    objective(batch, phase=2, epoch=1).total.backward()
    torch.manual_seed(0)
    direction = {name: torch.randn_like(weight) for name, weight in objective.named_parameters()}
    expected = sum(float((direction[name] * weight.grad).sum()) for name, weight in objective.named_parameters())

    def total(step: float) -> float:
        objective.load_state_dict({name: value + step * direction.get(name, 0) for name, value in state.items()})
        return objective(batch, phase=2, epoch=1).total.item()

    # Batch statistics are part of the graph; running statistics are not used in training.
    assert (total(1e-6) - total(-1e-6)) / 2e-6 == pytest.approx(expected, rel=1e-5)


def test_attention_guides_the_mask_and_random_masks_ignore_it() -> None:
    batch = made_batch(16, num_frames=40)
    guided = made_objective(mask_temperature=0.2, ratio=0.5)(batch, phase=2, epoch=1)
    assert float(guided.masked_contrast) > 0.3
    objective = made_objective(mask="random", ratio=0.5)
    assert float(objective(batch, phase=2, epoch=1).masked_contrast) == 0
    assert [call["return_attention"] for call in objective.recognizer.backbone.calls] == [False, False]


@pytest.mark.parametrize("mask", ["attention", "random"])
def test_share_of_own_cells_that_is_masked(mask: str) -> None:
    objective, batch = made_objective(mask=mask, ratio=0.7), made_batch()
    objective(batch, phase=2, epoch=1)
    masked = objective.recognizer.backbone.calls[-1]["masked"]
    clip = batch.person_mask.nonzero()[:, 0]
    own = batch.frame_mask[clip].sum(1) * NUM_JOINTS
    assert masked.flatten(1).sum(1).tolist() == [math.floor(0.7 * cells + 1e-9) for cells in own.tolist()]
    assert not masked[~batch.frame_mask[clip]].any()


@pytest.mark.parametrize("mask", ["attention", "random"])
def test_frames_without_a_person_are_never_masked(mask: str) -> None:
    objective, batch = made_objective(mask=mask, ratio=0.7), made_batch()
    clip, person = batch.person_mask.nonzero().unbind(1)
    batch.keypoint[clip[0], person[0], 2:] = 0
    objective(batch, phase=2, epoch=1)
    masked = objective.recognizer.backbone.calls[-1]["masked"]
    assert not masked[0, 2:].any()
    assert int(masked[0].sum()) == math.floor(0.7 * 2 * NUM_JOINTS + 1e-9)


def test_masks_differ_between_epochs_and_are_reproducible() -> None:
    batch = made_batch()

    def mask(seed: int, epoch: int) -> torch.Tensor:
        objective = made_objective(seed=seed)
        objective(batch, phase=2, epoch=epoch)
        return objective.recognizer.backbone.calls[-1]["masked"]

    assert torch.equal(mask(0, 1), mask(0, 1))
    assert not torch.equal(mask(0, 1), mask(0, 2))
    assert not torch.equal(mask(0, 1), mask(1, 1))


def test_jitter_affects_only_the_masked_pathway() -> None:
    batch = made_batch(seed=2)
    calls = []
    for jitter in (0.0, 0.1):
        objective = made_objective(jitter=jitter)
        logits = objective(batch, phase=2, epoch=1).logits
        calls.append((logits, objective.recognizer.backbone.calls[-1]["keypoint"]))
    (plain, unmoved), (jittery, moved) = calls
    assert torch.equal(plain, jittery)
    there = batch.person_mask.nonzero().unbind(1)
    assert torch.equal(unmoved, batch.keypoint[there].to(unmoved.dtype))
    assert not torch.equal(unmoved, moved)
    assert torch.equal(moved[..., 2], unmoved[..., 2])


def test_order_of_the_clips_does_not_matter() -> None:
    batch, order = made_batch(), torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    shuffled = replace(
        batch,
        keypoint=batch.keypoint[order],
        person_mask=batch.person_mask[order],
        frame_mask=batch.frame_mask[order],
        label=batch.label[order],
        index=batch.index[order],
        names=tuple(batch.names[i] for i in order),
    )
    first, second = made_objective(), made_objective()
    for objective in (first, second):
        warm(objective)
    one, two = first(batch, phase=2, epoch=1), second(shuffled, phase=2, epoch=1)
    torch.testing.assert_close(one.total, two.total, rtol=0, atol=1e-12)
    torch.testing.assert_close(first.prototypes, second.prototypes, rtol=0, atol=1e-12)
    torch.testing.assert_close(one.logits[order], two.logits, rtol=0, atol=1e-12)


def test_losses_are_float32_under_autocast() -> None:
    objective, batch = made_objective(dropout=0.5).float(), made_batch()
    batch = replace(batch, keypoint=batch.keypoint.float())
    for phase in (1, 2):
        with torch.autocast("cpu", torch.bfloat16):
            losses: Losses = objective(batch, phase=phase, epoch=1, warm_prototypes=True)
        assert {value.dtype for value in vars(losses).values()} - {torch.float64} == {torch.float32}
        losses.total.backward()
    assert objective.prototypes.dtype == torch.float32


def test_class_weights_and_label_smoothing_reach_both_pathways() -> None:
    weights = torch.tensor([1.0, 5.0, 0.5, 2.0], dtype=torch.float64)
    plain = made_objective(alpha=0, beta=0)
    objective = MaskCLR(
        tiny_recognizer(), plain.settings, num_classes=NUM_CLASSES, seed=3, label_smoothing=0.2, class_weights=weights
    ).double()
    assert "class_weights" not in objective.state_dict()
    batch = made_batch()
    losses = objective(batch, phase=2, epoch=1)
    encoded = [call["masked"] for call in objective.recognizer.backbone.calls]
    fresh = tiny_recognizer()
    expected = 0.0
    for mask in encoded:
        logits = fresh.head(fresh.encode(batch, masked=mask).pooled)
        logarithm = logits - torch.log(torch.exp(logits).sum(1, keepdim=True))
        hard = sum(-weights[y] * row[y] for row, y in zip(logarithm, batch.label, strict=True))
        soft = sum(-(weights * row).sum() / NUM_CLASSES for row in logarithm)
        expected += ((0.8 * hard + 0.2 * soft) / len(batch.label)).item() / 2
    assert losses.total.item() == pytest.approx(expected, abs=1e-12)
