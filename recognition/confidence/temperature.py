"""Temperature scaling: one number that makes probabilities as large as the recognizer is often correct.

Guo et al., On calibration of modern neural networks, 2017, section 4.2. The number is fitted on clips that were not
trained on. Few clips, or clips that are all correct, say little about it: the likelihood alone would make ten correct
clips infinitely certain. So the logarithm of the temperature has a normal prior around that of 1.
"""

import math

import numpy as np

# Standard deviation of the prior of the logarithm; measured with `benchmarks/confidence.py`, see docs/predicting.md.
SPREAD = 0.5
# Range of the logarithm.
FARTHEST = 4.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray, *, spread: float = SPREAD) -> float:
    """Return the temperature T that maximises the posterior of the labels under softmax(logits / T).

    Args:
        logits: (N, K), N >= 1, of clips that were not trained on.
        labels: int (N,), 0 to K - 1.
        spread: Standard deviation of log T in the prior, above 0; infinity for the maximum likelihood.

    Raises:
        ValueError: There are no clips, shapes do not match, or a logit is not finite.
    """
    # Imported here because predictions load this module, too, and fit nothing.
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} do not describe the same clips")
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite")
    rows = np.arange(len(labels))

    def cost(log_temperature: float) -> float:
        of_clips = log_softmax(logits / math.exp(log_temperature), axis=1)[rows, labels]
        return float(-of_clips.sum() + 0.5 * (log_temperature / spread) ** 2)

    found = minimize_scalar(cost, bounds=(-FARTHEST, FARTHEST), method="bounded", options={"xatol": 1e-6})
    return math.exp(float(found.x))
