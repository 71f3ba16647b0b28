"""Adding clips to a fitted kernel classifier, compared with solving the whole system again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recognition import run_file
from recognition.data.descriptors import kernel_ridge
from recognition.data.descriptors.classifier import MovementClassifier
from recognition.data.descriptors.extending import extend, known_of, with_half_centres
from recognition.data.descriptors.kernel_ridge import (
    KernelRidge,
    fit,
    kernel_of,
    squared_distances,
    standardised,
    targets_of,
)
from recognition.data.descriptors.movement import SIZE as NUMBERS
from recognition.packed import EVERYDAY
from recognition.runs import load_run
from recognition.runs import run_file as file_of

CLASSES, SIZE = 3, 6
SHARES = [(4, (2.0,)), (2, (1.0,))]


def clouds(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors around one centre per class, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % CLASSES
    descriptors = rng.normal(size=(rows, SIZE))
    descriptors[:, :2] += 4 * labels[:, None] * (1, -1)
    return descriptors * 5 + 100, labels


def stored(*, half: bool = False) -> tuple[KernelRidge, MovementClassifier, np.ndarray]:
    """A classifier, the same as a part of a network, and its labels."""
    descriptors, labels = clouds(60, 0)
    fitted = fit(descriptors, labels, np.arange(60) // 3, classes=CLASSES, shares=SHARES)
    module = MovementClassifier(SIZE, CLASSES)
    module.set_fitted(fitted, network_share=0.25)
    return fitted, module.half() if half else module, labels


@pytest.mark.parametrize("half", [False, True])
def test_labels_and_penalty_are_recovered(half: bool) -> None:
    fitted, module, labels = stored(half=half)
    known = known_of(module)
    assert known.labels.tolist() == labels.tolist() and known.fitted.penalty == fitted.penalty
    assert known.network_share == 0.25 and known.fitted.kernel == fitted.kernel


def test_rounded_descriptors_give_the_same_answers_to_clips_unlike_the_training_clips(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The coefficients of a wide kernel with little regularisation are the largest.
    for name, values in (("WIDTHS", (0.1,)), ("PENALTIES", (1e-3,)), ("KERNELS", ("gaussian",))):
        monkeypatch.setattr(kernel_ridge, name, values)
    descriptors, labels = clouds(300, 0)
    fitted = fit(descriptors, labels, np.arange(300) // 3, classes=CLASSES, shares=SHARES)
    module, rounded = MovementClassifier(SIZE, CLASSES), MovementClassifier(SIZE, CLASSES)
    module.set_fitted(fitted, network_share=0.25)
    arrays = with_half_centres(module)
    assert arrays["centres"].dtype == torch.float16
    rounded.load_state_dict({name: array.float() for name, array in arrays.items()})
    unlike = np.random.default_rng(1).normal(100, 10, (50, SIZE))
    answer = rounded(torch.as_tensor(unlike, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(answer, fitted.logits(unlike), atol=0.02 * np.abs(fitted.logits(unlike)).max())


def test_an_extended_classifier_equals_one_solved_from_all_rows() -> None:
    fitted, module, labels = stored()
    more, numbers = clouds(9, 1)
    numbers[:3] = CLASSES
    found = extend(known_of(module), more, numbers, classes=CLASSES + 1)
    rows = np.concatenate([fitted.centres, standardised(more, fitted.mean, fitted.scale) * fitted.weight])
    system = kernel_of(squared_distances(rows, rows), fitted.kernel, fitted.width) + fitted.penalty * np.eye(69)
    targets = targets_of(np.concatenate([labels, numbers]), CLASSES + 1)
    np.testing.assert_allclose(found.coefficients, np.linalg.solve(system, targets), atol=2e-3)


def test_old_classes_are_kept_and_new_rows_are_learned() -> None:
    _, module, _ = stored()
    rng = np.random.default_rng(2)
    more = np.full((4, SIZE), 100.0) + rng.normal(size=(4, SIZE))
    more[:, 4] += 40
    found = extend(known_of(module), more, np.full(4, CLASSES), classes=CLASSES + 1)
    assert (found.logits(more).argmax(axis=1) == CLASSES).all()
    others, wanted = clouds(90, 3)
    assert (found.logits(others).argmax(axis=1) == wanted).mean() > 0.9


def test_classes_may_have_other_numbers() -> None:
    _, module, labels = stored()
    assert known_of(module).renumbered([2, 0, 1]).labels.tolist() == [[2, 0, 1][label] for label in labels]


def test_a_classifier_of_an_earlier_version_uses_the_numbers_that_it_knows() -> None:
    _, module, _ = stored()
    descriptors, labels = clouds(9, 1)
    more = np.concatenate([descriptors, np.full((9, 5), np.nan), np.full((9, 5), 1e6)], axis=1)
    assert torch.equal(module(torch.from_numpy(more)), module(torch.from_numpy(descriptors)))
    one, other = (extend(known_of(module), each, labels, classes=CLASSES) for each in (more, descriptors))
    np.testing.assert_array_equal(one.coefficients, other.coefficients)


def test_a_run_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    fewer = 438
    content = run_file.load(file_of(EVERYDAY))
    for name in ("mean", "scale", "weight", "centres"):
        key = f"recognizer.movement.{name}"
        content["model"][key] = content["model"][key][..., :fewer].contiguous()
    run_file.save(tmp_path / "best.safetensors", content)
    movement = load_run(tmp_path / "best.safetensors").recognizer.movement
    assert movement is not None and movement.is_fitted
    described = torch.randn(3, NUMBERS)
    assert torch.equal(movement(described), movement(described[:, :fewer]))


@pytest.mark.slow
def test_the_shipped_recognizer_can_be_extended() -> None:
    movement = load_run(EVERYDAY).recognizer.movement
    assert movement is not None
    known = known_of(movement)
    found = known.fitted
    assert len(np.unique(known.labels)) == found.coefficients.shape[1]
    kernel = kernel_of(squared_distances(found.centres, found.centres), found.kernel, found.width)
    targets = kernel @ found.coefficients + found.penalty * found.coefficients
    assert np.abs(targets - targets_of(known.labels, targets.shape[1])).max() < 0.1
