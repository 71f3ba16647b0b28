"""The kernel classifier against plain computations: left-out predictions, weights, and the same numbers in torch."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from recognition.data.descriptors import kernel_ridge
from recognition.data.descriptors.classifier import MovementClassifier
from recognition.data.descriptors.kernel_ridge import Kernel, KernelRidge, fit, left_out_likelihood, sharpness_of

CLASSES, SIZE = 3, 6
SHARES = [(4, (2.0,)), (2, (1.0,))]


def clouds(rows: int = 60, seed: int = 0, *, useful: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Descriptors of which the first `useful` numbers tell the class, labels, and groups of three rows."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % CLASSES
    descriptors = rng.normal(size=(rows, SIZE))
    descriptors[:, :useful] += 4 * labels[:, None] * (1, -1)
    return descriptors * 5 + 100, labels, np.arange(rows) // 3


def fitted() -> tuple[KernelRidge, np.ndarray, np.ndarray, np.ndarray]:
    data = clouds()
    return fit(*data, classes=CLASSES, shares=SHARES), *data


def test_left_out_predictions_equal_fits_without_the_group() -> None:
    found, _, labels, groups = fitted()
    targets = np.full((len(labels), CLASSES), -0.5)
    targets[np.arange(len(labels)), labels] = 1
    for group in np.unique(groups):
        rest, own = np.flatnonzero(groups != group), np.flatnonzero(groups == group)
        distance = np.linalg.norm(found.centres[:, None] - found.centres[rest], axis=2)
        decay = found.width * (distance if found.kernel == "exponential" else distance**2 / 2)
        kernel = (np.exp(-0.3 * decay) + np.exp(-decay) + np.exp(-3 * decay)) / 3
        solved = np.linalg.solve(kernel[rest] + found.penalty * np.eye(len(rest)), targets[rest])
        np.testing.assert_allclose(found.left_out[own], found.sharpness * kernel[own] @ solved, atol=1e-7)


def test_the_likelihood_is_that_of_the_judged_left_out_rows() -> None:
    descriptors, labels, groups = clouds()
    # Some labels are wrong, so that the likelihood is far from that of certainty.
    labels = np.where(np.arange(len(labels)) % 7 == 0, (labels + 1) % CLASSES, labels)
    for judged in (None, np.arange(len(labels)) % 3 == 0):
        found = fit(descriptors, labels, groups, classes=CLASSES, shares=SHARES, judged=judged)
        logits = found.left_out - np.logaddexp.reduce(found.left_out, axis=1, keepdims=True)
        expected = logits[np.arange(len(labels)), labels][... if judged is None else judged].sum()
        total = left_out_likelihood(descriptors, labels, groups, classes=CLASSES, shares=SHARES, judged=judged)
        assert expected < -1
        np.testing.assert_allclose(total, expected, rtol=1e-9)


def test_classes_that_differ_are_told_apart_and_the_likelihood_is_honest() -> None:
    found, _, labels, _ = fitted()
    assert (found.left_out.argmax(axis=1) == labels).mean() > 0.9
    new, wanted, _ = clouds(300, seed=1)
    logits = found.logits(new)
    assert (logits.argmax(axis=1) == wanted).mean() > 0.9
    shuffled = np.random.default_rng(0).permutation(labels)
    guess = fit(clouds()[0], shuffled, np.arange(len(labels)), classes=CLASSES, shares=SHARES)
    confidence = np.exp(guess.logits(new) - np.logaddexp.reduce(guess.logits(new), axis=1, keepdims=True)).max(axis=1)
    assert confidence.mean() < 0.6


def test_a_class_that_only_one_group_has_does_not_lower_the_probabilities() -> None:
    descriptors, labels, _ = clouds()
    # Class 2 is that of one person; four others show both of the others.
    groups = np.where(labels == 2, 0, 1 + np.arange(len(labels)) % 4)
    found = fit(descriptors, labels, groups, classes=CLASSES, shares=SHARES)
    assert np.isnan(found.left_out[labels == 2]).all() and np.isfinite(found.left_out[labels != 2]).all()
    new, wanted, _ = clouds(300, seed=1)
    probabilities = softmax(found.logits(new), axis=1)
    assert probabilities[np.arange(300), wanted].mean() > 0.9


@pytest.mark.parametrize("count", [2, 30])
def test_the_cost_of_the_choice_is_bounded_whatever_the_size_of_groups(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_ridge, "ROWS_OF_CHOICE", 100)
    descriptors, labels, _ = clouds(300)
    groups = np.arange(300) // 3 % count
    chosen = np.isfinite(fit(descriptors, labels, groups, classes=CLASSES, shares=SHARES).left_out).all(axis=1)
    assert 90 <= chosen.sum() <= 100 and len(np.unique(groups[chosen])) == min(count, 10)


def test_sharpness_has_the_best_likelihood() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 200)
    scores = rng.normal(size=(200, CLASSES)) + np.eye(CLASSES)[labels]

    def loss(factor: float) -> float:
        logits = factor * scores
        return float((np.logaddexp.reduce(logits, axis=1) - logits[np.arange(200), labels]).mean())

    found, least = sharpness_of(scores, labels)
    assert least == pytest.approx(loss(found)) and loss(found) <= min(loss(found * 1.05), loss(found / 1.05))


def test_numbers_that_tell_classes_apart_count_more_and_constant_ones_not_at_all() -> None:
    descriptors, labels, groups = clouds()
    descriptors[:, 3] = 7
    found = fit(descriptors, labels, groups, classes=CLASSES, shares=SHARES)
    assert found.weight[:2].min() > 3 * found.weight[2] and found.scale[3] == 0
    # Shares of the two groups of numbers in the squared distance.
    totals = [(found.weight[:4] ** 2).sum(), (found.weight[4:] ** 2).sum()]
    assert totals[0] / totals[1] == pytest.approx(2)


def test_unknown_numbers_count_as_the_mean() -> None:
    found, descriptors, _, _ = fitted()
    unknown, mean = descriptors.copy(), descriptors.copy()
    unknown[:, 4], mean[:, 4] = np.nan, found.mean[4]
    np.testing.assert_allclose(found.logits(unknown), found.logits(mean))
    never = descriptors.copy()
    never[:, 5] = np.nan
    without = fit(never, *clouds()[1:], classes=CLASSES, shares=SHARES)
    assert np.isfinite(without.logits(descriptors)).all()


@pytest.mark.parametrize("kernel", kernel_ridge.KERNELS)
def test_torch_gives_the_same_logits_and_stores_them(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_ridge, "KERNELS", (kernel,))
    found, descriptors, _, _ = fitted()
    descriptors[::5, 1] = np.nan
    module = MovementClassifier(SIZE, CLASSES)
    assert not module.is_fitted
    module.set_fitted(found, network_share=0.25)
    given = torch.as_tensor(descriptors, dtype=torch.float32)
    expected = softmax(found.logits(descriptors), axis=1)
    np.testing.assert_allclose(module(given).softmax(dim=1).numpy(), expected, atol=1e-3)
    loaded = MovementClassifier(SIZE, CLASSES)
    loaded.load_state_dict(module.state_dict())
    assert loaded.network_share == 0.25
    torch.testing.assert_close(loaded(given), module(given))


def test_a_classifier_that_is_fitted_again_answers_from_its_new_rows() -> None:
    classifier, new = MovementClassifier(SIZE, CLASSES), clouds(5, seed=9)[0]
    fits = [fit(*clouds(30, seed=seed), classes=CLASSES, shares=SHARES) for seed in range(6)]
    for number in range(60):
        classifier.set_fitted(fits[number % 6], network_share=0)
        # Memory of rows that are not used any more may be given to later ones.
        if number % 2:
            answer = classifier(torch.as_tensor(new, dtype=torch.float32))
            np.testing.assert_allclose(answer, fits[number % 6].logits(new), atol=1e-2)


def test_joint_probabilities_are_the_weighted_mean() -> None:
    found, descriptors, _, _ = fitted()
    module = MovementClassifier(SIZE, CLASSES)
    module.set_fitted(found, network_share=0.25)
    given = torch.as_tensor(descriptors, dtype=torch.float32)
    network = torch.randn(len(given), CLASSES)
    expected = 0.25 * network.softmax(1) + 0.75 * module(given).softmax(1)
    torch.testing.assert_close(module.joined(network, given).softmax(1), expected, atol=1e-5, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(module.joined(network, given).softmax(1), expected, atol=1e-5, rtol=1e-4)


def test_a_share_is_chosen_by_the_likelihood_of_groups_that_were_left_out() -> None:
    descriptors, labels, groups = clouds()
    useless = np.random.default_rng(1).normal(size=(len(labels), 40))
    told = np.concatenate([descriptors, useless], axis=1)
    sizes = [size for size, _ in SHARES]

    def fitted(possible: tuple[float, ...]) -> KernelRidge:
        shares = [*SHARES, (useless.shape[1], possible)]
        return fit(told, labels, groups, classes=CLASSES, shares=shares)

    def loss(one: KernelRidge) -> float:
        logits = one.left_out - np.log(np.exp(one.left_out).sum(axis=1, keepdims=True))
        return -float(logits[np.arange(len(labels)), labels].mean())

    with_them, chosen = fitted((9.0,)), fitted((0.0, 9.0))
    assert loss(chosen) < loss(with_them)
    assert not chosen.weight[sum(sizes) :].any() and with_them.weight[sum(sizes) :].all()
    np.testing.assert_allclose((chosen.weight**2).sum(), 1)
