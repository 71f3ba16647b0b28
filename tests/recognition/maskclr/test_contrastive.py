"""Contrastive losses and prototypes, compared with loops over plain numbers, and their gradients."""

import pytest
import torch

from recognition.maskclr.contrastive import (
    Outcomes,
    class_contrastive_loss,
    join,
    outcomes,
    sample_contrastive_loss,
    update_prototypes,
)
from test_support.reference.losses import class_contrastive, moved_prototypes, sample_contrastive

pytestmark = pytest.mark.processor

CLASSES, WIDTH, TEMPERATURE = 5, 6, 0.7


def made_logits(predictions: list[int], *, margin: float = 2.0, seed: int = 0) -> torch.Tensor:
    """Logits whose maxima are the given predictions."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.rand(len(predictions), CLASSES, generator=generator, dtype=torch.float64)
    logits[torch.arange(len(predictions)), predictions] += margin
    return logits


def made_vectors(number: int, seed: int) -> torch.Tensor:
    return torch.randn(number, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Labels; predictions of the standard and the masked pathway; classes with a prototype.
CASES = {
    "all sets": ([0, 0, 0, 1, 1, 2], [0, 1, 0, 1, 0, 2], [0, 0, 2, 1, 1, 0], [0, 1, 2, 3, 4]),
    "no false negative": ([0, 0, 1, 1, 2, 3], [0, 0, 1, 0, 2, 2], [0, 0, 0, 1, 2, 3], [0, 1, 2, 3, 4]),
    "no false positive": ([0, 0, 1, 1, 2, 2], [0, 3, 1, 1, 2, 4], [0, 0, 1, 4, 2, 2], [0, 1, 2, 3, 4]),
    "neither": ([0, 1, 2, 3, 4, 4], [0, 1, 2, 3, 4, 4], [0, 1, 2, 3, 4, 4], [0, 1, 2, 3, 4]),
    "true positives in the masked pathway only": ([0, 0, 1], [1, 1, 0], [0, 0, 1], [0, 1, 2, 3, 4]),
    "no true positive of some": ([0, 0, 1, 1, 2, 2], [0, 0, 2, 2, 1, 1], [0, 0, 0, 0, 2, 1], [0, 1, 2, 3, 4]),
    "no true positive at all": ([0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2, 3, 4]),
    "own prototype empty": ([0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 1, 1], [1, 4]),
    "only the own prototype": ([0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 1, 1], [1]),
    "no prototype": ([0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 1, 1], []),
}


class Case:
    def __init__(self, name: str, confidence: float = 0.0) -> None:
        labels, standard_predictions, masked_predictions, known = CASES[name]
        self.label = torch.tensor(labels)
        self.standard, self.masked = made_vectors(len(labels), 1), made_vectors(len(labels), 2)
        self.standard_logits, self.masked_logits = made_logits(standard_predictions), made_logits(masked_predictions)
        self.known = torch.zeros(CLASSES, dtype=torch.bool)
        self.known[known] = True
        self.prototypes = made_vectors(CLASSES, 3) * self.known[:, None]
        self.confidence = confidence

    @property
    def standard_sets(self) -> Outcomes:
        return outcomes(self.standard_logits, self.label, confidence=self.confidence)

    def loss(self, standard: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
        masked_sets = outcomes(self.masked_logits, self.label, confidence=self.confidence)
        return class_contrastive_loss(
            torch.cat([standard, masked]),
            join(self.standard_sets, masked_sets),
            self.prototypes,
            self.known,
            temperature=TEMPERATURE,
        )

    @property
    def plain_prototypes(self) -> list[list[float] | None]:
        return [row if known else None for row, known in zip(self.prototypes.tolist(), self.known, strict=True)]

    @property
    def expected(self) -> float:
        pathways = [
            (self.standard.tolist(), self.standard_logits.tolist()),
            (self.masked.tolist(), self.masked_logits.tolist()),
        ]
        return class_contrastive(
            pathways, self.label.tolist(), self.plain_prototypes, TEMPERATURE, confidence=self.confidence
        )


@pytest.mark.parametrize("number", [1, 2, 7])
def test_sample_loss_is_eq_5(number: int) -> None:
    standard, masked = made_vectors(number, 1), made_vectors(number, 2)
    loss = sample_contrastive_loss(standard, masked, TEMPERATURE)
    assert float(loss) == pytest.approx(sample_contrastive(standard.tolist(), masked.tolist(), TEMPERATURE), abs=1e-12)


def test_sample_loss_has_the_right_gradient_in_both_pathways() -> None:
    standard, masked = made_vectors(4, 1).requires_grad_(), made_vectors(4, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, m: sample_contrastive_loss(s, m, TEMPERATURE), (standard, masked))


def test_sample_loss_falls_as_the_pathways_agree() -> None:
    standard, other = made_vectors(5, 1), made_vectors(5, 2)
    losses = [float(sample_contrastive_loss(standard, standard + far * other, TEMPERATURE)) for far in (0, 0.5, 2)]
    assert losses == sorted(losses)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("confidence", [0.0, 0.62])
def test_class_loss_is_eq_7_to_11(name: str, confidence: float) -> None:
    case = Case(name, confidence)
    assert float(case.loss(case.standard, case.masked)) == pytest.approx(case.expected, abs=1e-12)


def test_cases_distinguish_the_interpretations() -> None:
    """A threshold that no clip or every clip passes would test nothing; nor would cases without terms."""
    confident = Case("all sets", 0.62).standard_sets.true_positive.sum()
    assert 0 < confident < Case("all sets").standard_sets.true_positive.sum()
    for name in CASES:
        empty = name in ("no true positive at all", "no prototype")
        assert (Case(name).expected == 0) == (empty or name == "only the own prototype"), name


@pytest.mark.parametrize("name", CASES)
def test_class_loss_has_the_right_gradient(name: str) -> None:
    case = Case(name)
    inputs = (case.standard.clone().requires_grad_(), case.masked.clone().requires_grad_())
    loss = case.loss(*inputs)
    assert loss.requires_grad
    assert all(bool(gradient.isfinite().all()) for gradient in torch.autograd.grad(loss, inputs))
    assert torch.autograd.gradcheck(case.loss, inputs)


def test_penalty_pulls_false_negatives_and_pushes_false_positives() -> None:
    case = Case("all sets")
    standard = case.standard.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(case.loss(standard, case.masked), standard)
    moved = standard.detach() - 0.1 * gradient
    assert float(case.loss(moved, case.masked)) < float(case.loss(case.standard, case.masked))
    # Clip 1 is a false negative of class 0 and a false positive of class 1. It contributes, unlike in a plain contrast
    # of prototypes.
    assert gradient[1].abs().max() > 1e-4


def test_prototypes_get_no_gradient() -> None:
    case = Case("all sets")
    case.prototypes.requires_grad_()
    loss = case.loss(case.standard.clone().requires_grad_(), case.masked)
    assert torch.autograd.grad(loss, case.prototypes, allow_unused=True) == (None,)
    standard = case.standard.clone().requires_grad_()
    moved, _ = update_prototypes(
        case.prototypes.detach(), case.known, standard, case.standard_sets.true_positive, momentum=0.9
    )
    assert not moved.requires_grad


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_prototypes_move_as_eq_6_says(name: str, momentum: float) -> None:
    case = Case(name, confidence=0.62)
    expected = moved_prototypes(
        case.plain_prototypes,
        case.standard.tolist(),
        case.standard_logits.tolist(),
        case.label.tolist(),
        momentum,
        confidence=0.62,
    )
    moved, known = update_prototypes(
        case.prototypes, case.known, case.standard, case.standard_sets.true_positive, momentum=momentum
    )
    assert known.tolist() == [row is not None for row in expected]
    for row, wanted in zip(moved.tolist(), expected, strict=True):
        assert row == pytest.approx(wanted or [0.0] * WIDTH, abs=1e-12)


def test_losses_are_independent_of_the_representations_length() -> None:
    """Both losses compare directions, so a mean over more frames must not have more weight."""
    standard, masked = made_vectors(5, 1), made_vectors(5, 2)
    first = sample_contrastive_loss(standard, masked, TEMPERATURE)
    second = sample_contrastive_loss(10 * standard, 0.1 * masked, TEMPERATURE)
    assert float(first) == pytest.approx(float(second), abs=1e-12)
