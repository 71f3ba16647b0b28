"""One-vs-rest kernel ridge regression on descriptors, with everything it chooses measured on groups that it left out.

Kernel ridge regression needs no solver with a tolerance, and its predictions for left-out clips have a closed form
(Rifkin and Klautau, "In defense of one-vs-all classification", 2004, section 3; with groups in place of single rows):
for G = (K + lambda I)^-1 and targets Y, the error of the rows of group g is (G_gg)^-1 (G Y)_g.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

Kernel = Literal["exponential", "gaussian"]

# Kernels of the weighted distance, their widths, and strengths of the regularisation to choose from. With a weaker one,
# coefficients of hundreds nearly cancel each other, and engines without float64 give other answers.
KERNELS: tuple[Kernel, ...] = ("exponential", "gaussian")
WIDTHS = (0.1, 0.3, 1.0, 3.0)
# A kernel is the mean of three, whose widths are multiplied by these, so that the choice of the width matters less.
SCALES = (0.3, 1.0, 3.0)
PENALTIES = (1e-2, 1e-1, 1.0)
# Standardised values are clipped here, so that a single wild number does not decide.
LARGEST = 4.0
# Standard deviation below which a number counts as constant.
SMALLEST_DEVIATION = 1e-6
# Added to the variance within classes, so that numbers which never change do not count.
SMALLEST_VARIANCE = 0.05
# Limit of the factor from scores to logits.
SHARPEST = 30.0
# Rows that the choice is made with, whose cube its cost grows with, and groups among which they are distributed.
ROWS_OF_CHOICE, GROUPS_OF_CHOICE = 1200, 10


@dataclass(frozen=True)
class KernelRidge:
    """A fitted classifier.

    Args:
        mean: float64 (D,), of each number; 0 where it was never known.
        scale: float64 (D,), 1 / standard deviation; 0 where a number never varies.
        weight: float64 (D,), weight of each standardised number in the distance.
        centres: float64 (R, D), the training descriptors, standardised and weighted.
        coefficients: float64 (R, K).
        kernel: exp(-width * d) or exp(-width * d^2 / 2) of the distance d, averaged over the width times `SCALES`.
        width: See `kernel`.
        penalty: lambda.
        sharpness: Factor from scores to logits, fitted by maximum likelihood on left-out groups.
        left_out: float64 (R, K), logits of each training row without its group; NaN for rows that took no part in the
            choice, and for classes that no other group has, as nothing could recognise them then.
    """

    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    centres: np.ndarray
    coefficients: np.ndarray
    kernel: Kernel
    width: float
    penalty: float
    sharpness: float
    left_out: np.ndarray

    def logits(self, descriptors: np.ndarray) -> np.ndarray:
        """Return logits (N, K), float64, for descriptors (N, D); NaN counts as the mean."""
        rows = standardised(descriptors, self.mean, self.scale) * self.weight
        kernel = kernel_of(squared_distances(rows, self.centres), self.kernel, self.width)
        return self.sharpness * (kernel @ self.coefficients)


def fit(
    descriptors: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    classes: int,
    shares: Sequence[tuple[int, Sequence[float]]],
    judged: np.ndarray | None = None,
) -> KernelRidge:
    """Fit the classifier; shares, kernel, width, penalty and sharpness have the best likelihood on left-out groups.

    Args:
        descriptors: float (R, D), NaN where a number is not known.
        labels: int (R,), 0 to K - 1.
        groups: int (R,), rows that are left out together, such as copies of a clip or clips of a person.
        classes: K.
        shares: Size of each group of numbers, in their order, and its possible shares of the squared distance.
        judged: bool (R,), rows whose left-out likelihood decides, such as the clips without their copies; None: all.
            Classes that only one group has do not count, unless there are no others.

    Returns:
        The classifier. With more than `ROWS_OF_CHOICE` rows, only a part of them takes part in the choice.
    """
    found = _best(descriptors, labels, groups, classes=classes, shares=shares, judged=judged)
    best, rows = found.candidate, found.rows * found.weight
    coefficients = cho_solve(factors_of(rows, best.kernel, best.width, best.penalty), targets_of(labels, classes))
    left_out = np.full((len(rows), classes), np.nan)
    left_out[found.chosen[found.fair]] = best.sharpness * best.scores[found.fair]
    return KernelRidge(
        found.mean,
        found.scale,
        found.weight,
        rows,
        coefficients,
        best.kernel,
        best.width,
        best.penalty,
        best.sharpness,
        left_out,
    )


def left_out_likelihood(
    descriptors: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    classes: int,
    shares: Sequence[tuple[int, Sequence[float]]],
    judged: np.ndarray | None = None,
) -> float:
    """Return the total log-likelihood of left-out groups that `fit` reaches with the same arguments.

    It says which rows are worth having, if the same ones are judged each time.

    Args:
        descriptors: float (R, D), NaN where a number is not known.
        labels: int (R,), 0 to K - 1.
        groups: int (R,), rows that are left out together.
        classes: K.
        shares: Size of each group of numbers, in their order, and its possible shares of the squared distance.
        judged: bool (R,), rows whose likelihood counts; None: all. Classes that only one group has do not count, unless
            there are no others.

    Returns:
        The sum of natural logarithms, at most 0, over the judged rows among those of `rows_of_choice`.
    """
    best = _best(descriptors, labels, groups, classes=classes, shares=shares, judged=judged)
    return -best.candidate.loss * int(best.decides.sum())


@dataclass(frozen=True)
class _Best:
    candidate: "_Candidate"
    # (D,)
    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    # Standardised (R, D), and the indices (C,) of those that the choice was made with.
    rows: np.ndarray
    chosen: np.ndarray
    # Of the chosen rows (C,): whether another group has their class, and which of them are judged.
    fair: np.ndarray
    decides: np.ndarray


def _best(
    descriptors: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    classes: int,
    shares: Sequence[tuple[int, Sequence[float]]],
    judged: np.ndarray | None,
) -> _Best:
    """Standardise descriptors, and choose weights, kernel, width and penalty by some of the rows."""
    mean, scale = _statistics(np.asarray(descriptors, np.float64))
    rows, chosen = standardised(descriptors, mean, scale), rows_of_choice(groups)
    fair = elsewhere(labels[chosen], groups[chosen])
    decides = np.ones(len(chosen), bool) if judged is None else judged[chosen]
    if (fair & decides).any():
        decides = fair & decides
    targets = targets_of(labels[chosen], classes)
    candidates = (
        (found, weight)
        for weight in _weightings(rows, labels, classes, shares)
        for found in _candidates(rows[chosen] * weight, targets, labels[chosen], groups[chosen], decides)
    )
    best, weight = min(candidates, key=lambda pair: pair[0].loss)
    return _Best(best, mean, scale, weight, rows, chosen, fair, decides)


def only(fitted: KernelRidge, kept: np.ndarray, labels: np.ndarray, *, classes: int) -> KernelRidge:
    """Return a classifier fitted to a part of its rows, with the same kernel, weights and sharpness.

    `left_out` is not known.

    Args:
        fitted: Result of `fit`.
        kept: bool (R,), rows that it is fitted to.
        labels: int (R,), as given to `fit`.
        classes: K.
    """
    centres = fitted.centres[kept]
    factors = factors_of(centres, fitted.kernel, fitted.width, fitted.penalty)
    coefficients = cho_solve(factors, targets_of(labels[kept], classes))
    return replace(fitted, centres=centres, coefficients=coefficients, left_out=np.full(coefficients.shape, np.nan))


def factors_of(rows: np.ndarray, kernel: Kernel, width: float, penalty: float) -> tuple[np.ndarray, bool]:
    """Return the Cholesky factors of K + lambda I for weighted rows (R, D), as `scipy.linalg.cho_solve` takes them."""
    matrix = kernel_of(squared_distances(rows, rows), kernel, width)
    matrix[np.diag_indices_from(matrix)] += penalty
    factors: tuple[np.ndarray, bool] = cho_factor(matrix, overwrite_a=True)
    return factors


def targets_of(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the targets Y (R, K) of labels (R,): 1 for the class of a row, and values that add up to -1 elsewhere."""
    targets = np.full((len(labels), classes), -1.0 / max(1, classes - 1))
    targets[np.arange(len(labels)), labels] = 1.0
    return targets


@dataclass(frozen=True)
class _Candidate:
    loss: float
    kernel: Kernel
    width: float
    penalty: float
    sharpness: float
    scores: np.ndarray


def _candidates(
    rows: np.ndarray, targets: np.ndarray, labels: np.ndarray, groups: np.ndarray, judged: np.ndarray
) -> Iterator[_Candidate]:
    distances = squared_distances(rows, rows)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    for kernel in KERNELS:
        for width in WIDTHS:
            values, vectors = eigh(kernel_of(distances, kernel, width))
            for penalty in PENALTIES:
                scores = _left_out(np.maximum(values, 0) + penalty, vectors, targets, members)
                sharpness, loss = sharpness_of(scores[judged], labels[judged])
                yield _Candidate(loss, kernel, width, penalty, sharpness, scores)


def _left_out(
    values: np.ndarray, vectors: np.ndarray, targets: np.ndarray, members: Sequence[np.ndarray]
) -> np.ndarray:
    """Return the scores of each row without its group, for eigenvalues and eigenvectors of K + lambda I."""
    coefficients = vectors @ ((vectors.T @ targets) / values[:, None])
    scores = np.empty_like(targets)
    for own in members:
        block = (vectors[own] / values) @ vectors[own].T
        scores[own] = targets[own] - np.linalg.solve(block, coefficients[own])
    return scores


def sharpness_of(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return the factor from scores (N, K) to logits with the best likelihood, and the mean negative log-likelihood."""

    def loss(logarithm: float) -> float:
        logits = log_softmax(np.exp(logarithm) * scores, axis=1)
        return -float(logits[np.arange(len(labels)), labels].mean())

    found = minimize_scalar(loss, bounds=(-1.0, float(np.log(SHARPEST))), method="bounded")
    return float(np.exp(found.x)), float(found.fun)


def _statistics(descriptors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (D,) and 1 / standard deviation (D,) of the known values; 0 for numbers that never vary."""
    known = np.isfinite(descriptors)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, descriptors, 0).sum(axis=0) / count
    deviation = np.sqrt((np.where(known, descriptors - mean, 0) ** 2).sum(axis=0) / count)
    return mean, np.where(deviation > SMALLEST_DEVIATION, 1 / np.maximum(deviation, SMALLEST_DEVIATION), 0)


def _weightings(
    rows: np.ndarray, labels: np.ndarray, classes: int, shares: Sequence[tuple[int, Sequence[float]]]
) -> Iterator[np.ndarray]:
    """Yield the weights of the numbers (D,) for each combination of shares.

    Those that differ between classes more than within them count more.
    """
    there = [number for number in range(classes) if (labels == number).any()]
    centres = np.stack([rows[labels == number].mean(axis=0) for number in there])
    within = np.mean([rows[labels == number].var(axis=0) for number in there], axis=0)
    between = centres.var(axis=0)
    weight = between / (between + within + SMALLEST_VARIANCE)
    ends = np.cumsum([size for size, _ in shares])
    for own in np.split(np.arange(len(weight)), ends[:-1]):
        weight[own] /= max(np.sqrt((weight[own] ** 2).sum()), 1e-9)
    sizes = [size for size, _ in shares]
    for chosen in product(*(possible for _, possible in shares)):
        # Shares add up to 1, so that widths do not depend on the count of numbers.
        yield weight * np.repeat(np.sqrt(np.array(chosen) / sum(chosen)), sizes)


def elsewhere(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return for each row whether another group has its class, bool (R,).

    Args:
        labels: int (R,).
        groups: int (R,).
    """
    pairs = np.unique(np.stack([labels, groups]), axis=1)
    classes, count = np.unique(pairs[0], return_counts=True)
    return np.isin(labels, classes[count > 1])


def rows_of_choice(groups: np.ndarray, most: int | None = None) -> np.ndarray:
    """Return rows of groups evenly over all, which are whole if they are small enough.

    Args:
        groups: int (R,).
        most: Most rows; None: `ROWS_OF_CHOICE`.

    Returns:
        int64 (N,), their indices in ascending order.
    """
    most = ROWS_OF_CHOICE if most is None else most
    if len(groups) <= most:
        return np.arange(len(groups))
    names, sizes = np.unique(groups, return_counts=True)
    count = min(len(names), max(GROUPS_OF_CHOICE, int(most / sizes.mean())))
    places = np.linspace(0, len(names) - 1, count).astype(np.int64)
    rng, chosen, left = np.random.default_rng(0), [], most
    # Small groups first: what they do not use belongs to the others.
    for number, place in enumerate(places[np.argsort(sizes[places], kind="stable")]):
        rows = np.flatnonzero(groups == names[place])
        chosen.append(rng.permutation(rows)[: left // (count - number)])
        left -= len(chosen[-1])
    return np.sort(np.concatenate(chosen))


def standardised(descriptors: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return deviations from the mean in standard deviations, limited to `LARGEST` in both directions.

    Args:
        descriptors: float (N, D), NaN where a number is not known.
        mean: float64 (D,), mean of each number.
        scale: float64 (D,), 1 / standard deviation; 0 for a number that is to be ignored.

    Returns:
        float64 (N, D), 0 where a number is not known.
    """
    rows = np.nan_to_num((np.asarray(descriptors, np.float64) - mean) * scale)
    return np.clip(rows, -LARGEST, LARGEST)


def squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the squared Euclidean distances of all pairs of rows.

    Args:
        first: float64 (N, D), without NaN.
        second: float64 (R, D), without NaN.

    Returns:
        float64 (N, R), at least 0. They come from |a|^2 + |b|^2 - 2 ab, so those of equal rows may be slightly above 0.
    """
    total = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    return np.maximum(total, 0)


def kernel_of(squared: np.ndarray, kernel: Kernel, width: float) -> np.ndarray:
    """Return the kernel of squared distances, the mean over the widths `width` times `SCALES`.

    Args:
        squared: float64 (N, R), squared distances d^2.
        kernel: "exponential": exp(-width * d); "gaussian": exp(-width * d^2 / 2).
        width: Above 0; a larger one makes the kernel narrower.

    Returns:
        float64 (N, R), in [0, 1], 1 at distance 0.
    """
    distance = np.sqrt(squared) if kernel == "exponential" else squared / 2
    total = np.zeros_like(distance)
    for scale in SCALES:
        total += np.exp(-width * scale * distance)
    return total / len(SCALES)
