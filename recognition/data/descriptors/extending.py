"""Adding clips to a fitted kernel classifier, or rounding its descriptors, without the clips that it was fitted to.

The classifier contains its training descriptors, and its coefficients A solve (K + lambda I) A = Y. So the targets Y
can be computed from it, and the system solved again with further rows. What was chosen with care from many clips, the
weights of the numbers, the kernel and lambda, stays as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.linalg import cho_solve

from recognition.data.descriptors.classifier import MovementClassifier
from recognition.data.descriptors.kernel_ridge import (
    PENALTIES,
    KernelRidge,
    factors_of,
    kernel_of,
    squared_distances,
    standardised,
    targets_of,
)

# Values of lambda that a stored classifier may have: earlier versions could also choose a smaller one.
KNOWN_PENALTIES = (1e-3, *PENALTIES)


@dataclass(frozen=True)
class Known:
    """A fitted classifier with the labels of its training descriptors.

    Args:
        fitted: The classifier; `left_out` is not known.
        labels: int64 (R,), 0 to K - 1.
        network_share: Share of the network in the joint probabilities.
    """

    fitted: KernelRidge
    labels: np.ndarray
    network_share: float

    def renumbered(self, numbers: Sequence[int]) -> "Known":
        """Return the same with other class numbers: `numbers[k]` for class k."""
        return replace(self, labels=np.asarray(numbers, np.int64)[self.labels])


def known_of(classifier: MovementClassifier) -> Known:
    """Recover training labels and lambda of a classifier: those for which the targets are closest to valid ones.

    Args:
        classifier: A fitted classifier; its arrays may be rounded to half precision.
    """
    arrays = {name: getattr(classifier, name).double().cpu().numpy() for name in classifier.names}
    width, gaussian, sharpness, share = arrays.pop("numbers").tolist()
    fitted = KernelRidge(
        **arrays,
        kernel="gaussian" if gaussian else "exponential",
        width=width,
        penalty=KNOWN_PENALTIES[0],
        sharpness=sharpness,
        left_out=np.full(arrays["coefficients"].shape, np.nan),
    )
    kernel = kernel_of(squared_distances(fitted.centres, fitted.centres), fitted.kernel, width)
    scores, found = kernel @ fitted.coefficients, []
    for penalty in KNOWN_PENALTIES:
        targets = scores + penalty * fitted.coefficients
        labels = targets.argmax(axis=1)
        error = float(((targets - targets_of(labels, targets.shape[1])) ** 2).mean())
        found.append((error, penalty, labels))
    _, penalty, labels = min(found, key=lambda one: one[0])
    return Known(replace(fitted, penalty=penalty), labels, share)


def with_half_centres(classifier: MovementClassifier) -> dict[str, torch.Tensor]:
    """Return the arrays of a classifier whose training descriptors are rounded to half precision, to save space.

    The coefficients are solved for again. They are large and nearly cancel each other, so with the old ones the answer
    to clips unlike the training clips would be arbitrary, and so it would be if they were rounded themselves.

    Args:
        classifier: A fitted classifier in single precision.

    Returns:
        Its arrays by name: centres in half precision, the others in single precision.
    """
    known = known_of(classifier)
    arrays = {name: getattr(classifier, name).detach().cpu() for name in classifier.names}
    halves = arrays["centres"].half()
    centres = halves.double().numpy()
    factors = factors_of(centres, known.fitted.kernel, known.fitted.width, known.fitted.penalty)
    coefficients = cho_solve(factors, targets_of(known.labels, arrays["coefficients"].shape[1]))
    return {**arrays, "centres": halves, "coefficients": torch.as_tensor(coefficients, dtype=torch.float32)}


def extend(known: Known, descriptors: np.ndarray, labels: np.ndarray, *, classes: int) -> KernelRidge:
    """Fit a classifier to its own training descriptors and to further ones.

    Args:
        known: The classifier, with labels below `classes`.
        descriptors: float (N, D), NaN where a number is not known.
        labels: int (N,), 0 to K - 1.
        classes: K, at least the number of classes of `known`.

    Returns:
        The classifier; `left_out` is not known.
    """
    before = known.fitted
    # A classifier of an earlier version knows fewer numbers.
    rows = standardised(descriptors[:, : len(before.mean)], before.mean, before.scale) * before.weight
    centres = np.concatenate([before.centres, rows])
    targets = targets_of(np.concatenate([known.labels, labels]), classes)
    factors = factors_of(centres, before.kernel, before.width, before.penalty)
    coefficients = cho_solve(factors, targets)
    return replace(before, centres=centres, coefficients=coefficients, left_out=np.full(targets.shape, np.nan))
