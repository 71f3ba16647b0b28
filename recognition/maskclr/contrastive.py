"""The multi-level contrastive losses of MaskCLR (sections 3.3 and 3.4, eq. 5 to 11)."""

from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Outcomes:
    """For each class, the clips that are its true positives, false negatives and false positives.

    Args:
        true_positive: float (N, K), 1 where label and prediction are the class and the prediction is confident.
        false_negative: float (N, K), 1 where the label is the class but the prediction is another.
        false_positive: float (N, K), 1 where the prediction is the class but the label is another.
    """

    true_positive: torch.Tensor
    false_negative: torch.Tensor
    false_positive: torch.Tensor


def outcomes(logits: torch.Tensor, label: torch.Tensor, *, confidence: float = 0.0) -> Outcomes:
    """Sort the clips of one pathway by the predictions of that pathway.

    Args:
        logits: float (N, K).
        label: int64 (N,), true classes.
        confidence: A true positive counts if its probability is above this, in [0, 1); 0 counts all.

    Returns:
        The sets, without gradient.
    """
    probability, prediction = logits.detach().softmax(1).max(1)
    actual = functional.one_hot(label, logits.shape[1]).to(logits.dtype)
    predicted = functional.one_hot(prediction, logits.shape[1]).to(logits.dtype)
    confident = (probability > confidence).to(logits.dtype)[:, None]
    return Outcomes(actual * predicted * confident, actual * (1 - predicted), predicted * (1 - actual))


def join(standard: Outcomes, masked: Outcomes) -> Outcomes:
    """Concatenate the sets of both pathways, the standard pathway's clips first."""
    return Outcomes(
        torch.cat([standard.true_positive, masked.true_positive]),
        torch.cat([standard.false_negative, masked.false_negative]),
        torch.cat([standard.false_positive, masked.false_positive]),
    )


def sample_contrastive_loss(standard: torch.Tensor, masked: torch.Tensor, temperature: float) -> torch.Tensor:
    """L_sc (eq. 5): attract the two representations of a clip, repel those of different clips.

    The positive pair of clip i is (standard i, masked i); its negative pairs are (standard i, standard k), k != i,
    regardless of their classes. The paper prints the sum inside the first exponent; it is implemented as a separate
    term next to it.

    Args:
        standard: float (N, D), R of the standard pathway.
        masked: float (N, D), R of the masked pathway.
        temperature: tau_sim, above 0.

    Returns:
        Scalar, mean over the clips. Gradients flow to both inputs.
    """
    standard = functional.normalize(standard, dim=1)
    masked = functional.normalize(masked, dim=1)
    negative = standard @ standard.T / temperature
    positive = (standard * masked).sum(1) / temperature
    itself = torch.eye(len(standard), dtype=torch.bool, device=standard.device)
    logits = torch.where(itself, positive[:, None], negative)
    return -logits.log_softmax(1).diagonal().mean()


def class_contrastive_loss(
    representation: torch.Tensor,
    outcome: Outcomes,
    prototypes: torch.Tensor,
    known: torch.Tensor,
    *,
    temperature: float,
) -> torch.Tensor:
    """L_cc (eq. 7 to 11): attract a class's true positives to its prototype and its false negatives, repel the others.

    A missing mean contributes a similarity of 0 to eq. 10, which uses the plain cosine: with 1 / tau_sim, its minimum
    would not be 0 as stated in the paper. The sum of eq. 11 runs over the classes that have a prototype.

    Args:
        representation: float (S, D), R of the clips of both pathways.
        outcome: Sets of the same S clips, sorted by the predictions of their own pathway.
        prototypes: float (K, D), C before this step; no gradient flows to them.
        known: bool (K,), True for classes that have a prototype.
        temperature: tau_sim, above 0.

    Returns:
        Scalar, mean over the classes with a prototype and a true positive in this batch; 0 if there is no such class.
    """
    direction = functional.normalize(prototypes.detach(), dim=1)
    true_positive, has_true_positive = class_means(representation, outcome.true_positive)
    false_negative, has_false_negative = class_means(representation, outcome.false_negative)
    false_positive, has_false_positive = class_means(representation, outcome.false_positive)
    penalty = (
        _cosine(true_positive, false_positive, has_false_positive)
        - _cosine(true_positive, false_negative, has_false_negative)
        + 2
    )  # omega (K,)
    similarity = functional.normalize(true_positive, dim=1) @ direction.T / temperature  # (K of mu, K of C)
    itself = torch.eye(len(known), dtype=torch.bool, device=known.device)
    logits = torch.where(itself, similarity - penalty[:, None], similarity)
    logits = logits.masked_fill(~(known | itself), -torch.inf)
    loss = -logits.log_softmax(1).diagonal()
    counts = has_true_positive & known
    # Add zeros for the other classes instead of selecting rows: the result stays in the graph even if no class counts.
    return torch.where(counts, loss, 0).sum() / counts.sum().clamp_min(1)


def class_means(representation: torch.Tensor, members: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the mean representation of each class's members (eq. 7 to 9).

    Args:
        representation: float (S, D).
        members: float (S, K), 1 for members.

    Returns:
        Means (K, D), zero for classes without members, and bool (K,), True for classes with members.
    """
    number = members.sum(0)
    return members.T @ representation / number.clamp_min(1)[:, None], number > 0


def update_prototypes(
    prototypes: torch.Tensor,
    known: torch.Tensor,
    standard: torch.Tensor,
    true_positive: torch.Tensor,
    *,
    momentum: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Update the prototypes C after a step (eq. 6): a class's first mean as it is, later ones with momentum.

    Args:
        prototypes: float (K, D).
        known: bool (K,), True for classes that have a prototype.
        standard: float (N, D), R of the standard pathway.
        true_positive: float (N, K), the standard pathway's confident true positives.
        momentum: gamma, in [0, 1].

    Returns:
        New prototypes, and which classes have one. Classes without a true positive keep theirs.
    """
    mean, seen = class_means(standard.detach(), true_positive)
    moved = torch.where(known[:, None], momentum * prototypes + (1 - momentum) * mean, mean)
    return torch.where(seen[:, None], moved, prototypes), known | seen


def _cosine(a: torch.Tensor, b: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    cosine = (functional.normalize(a, dim=1) * functional.normalize(b, dim=1)).sum(1)
    return torch.where(present, cosine, 0)
