"""How far a clip lies from the known actions, in the space of the recognizer's features.

The relative Mahalanobis distance (Ren et al., 2021, A simple fix to Mahalanobis distance for improving near-OOD
detection): the squared distance to the nearest class, with one covariance within all classes, minus the distance to the
distribution of all clips, which removes what makes a clip unusual without making its action unknown.
"""

from dataclasses import dataclass

import numpy as np

# Number of principal components; fewer if there are few clips per component.
COMPONENTS, CLIPS_PER_COMPONENT = 30, 3
FEWEST_CLIPS = 2 * CLIPS_PER_COMPONENT
# Share of the identity in the covariances, so that directions in which few clips hardly differ count less.
SHRINKAGE = 0.1


@dataclass(frozen=True, eq=False)
class FeatureDistance:
    """Relative Mahalanobis distance in the principal components of standardised features; all arrays are float64.

    Args:
        centre: (D,), mean of the features.
        projection: (D, C), features to C components in which the covariance within the classes is the identity.
        means: (K, C), mean of each class.
        background: (C, C), components to those in which the covariance of all clips is the identity.
    """

    centre: np.ndarray
    projection: np.ndarray
    means: np.ndarray
    background: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return the distance of each clip, float64 (N,), from features (N, D); larger is less known."""
        placed = (np.asarray(features, np.float64) - self.centre) @ self.projection
        nearest = np.full(len(placed), np.inf)
        # Class by class, because (N, K, C) would be large for hundreds of classes.
        for mean in self.means:
            nearest = np.minimum(nearest, ((placed - mean) ** 2).sum(axis=1))
        distance: np.ndarray = nearest - ((placed @ self.background) ** 2).sum(axis=1)
        return distance


def fit_feature_distance(features: np.ndarray, labels: np.ndarray) -> FeatureDistance:
    """Fit the distance to the features of training clips.

    Args:
        features: (N, D), N >= `FEWEST_CLIPS`, at least one of them not constant.
        labels: int (N,), their actions; classes without clips are left out.

    Raises:
        ValueError: There are too few clips, shapes do not match, or a feature is not finite.
    """
    features, labels = np.asarray(features, np.float64), np.asarray(labels)
    if features.ndim != 2 or labels.shape != features.shape[:1] or len(labels) < FEWEST_CLIPS:
        raise ValueError(f"features {features.shape} and labels {labels.shape} must describe {FEWEST_CLIPS} clips")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite")
    centre, deviation = features.mean(axis=0), features.std(axis=0)
    # Features that are constant but for rounding errors tell nothing.
    varies = deviation > 1e-6 * deviation.max()
    scale = np.divide(1, deviation, out=np.zeros(len(deviation)), where=varies)
    standard = (features - centre) * scale
    components = min(COMPONENTS, len(features) // CLIPS_PER_COMPONENT, max(1, int(varies.sum())))
    axes = np.linalg.svd(standard, full_matrices=False)[2][:components].T
    placed = standard @ axes
    _, class_of = np.unique(labels, return_inverse=True)
    means = np.stack([placed[class_of == number].mean(axis=0) for number in range(class_of.max() + 1)])
    within = _whitening(placed - means[class_of])
    return FeatureDistance(centre, scale[:, None] * axes @ within, means @ within, _whitening(placed @ within))


def _whitening(centred: np.ndarray) -> np.ndarray:
    """Return the (C, C) matrix W that makes the shrunk covariance of centred rows (N, C) the identity."""
    covariance = centred.T @ centred / len(centred)
    size = len(covariance)
    even = max(float(np.trace(covariance)) / size, 1e-12)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * even * np.eye(size)
    # W W^T is the inverse of the covariance.
    whitening: np.ndarray = np.linalg.cholesky(np.linalg.inv(shrunk))
    return whitening
