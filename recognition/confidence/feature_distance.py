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
# Standard deviations at which features are cut off, so that a single one cannot decide.
FARTHEST = 5.0
# Number of folds in which the distances of training clips are computed.
MOST_FOLDS = 10


@dataclass(frozen=True, eq=False)
class FeatureDistance:
    """Relative Mahalanobis distance in the principal components of standardised features; all arrays are float64.

    Args:
        centre: (D,), mean of the features.
        scale: (D,), 1 / their standard deviation; 0 for those that are constant.
        projection: (D, C), standardised features to components in which the covariance within classes is the identity.
        means: (K, C), mean of each class.
        background: (C, C), components to those in which the covariance of all clips is the identity.
    """

    centre: np.ndarray
    scale: np.ndarray
    projection: np.ndarray
    means: np.ndarray
    background: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return the distance of each clip, float64 (N,), from features (N, D); larger is less known.

        Unknown features are NaN and count as the mean.
        """
        # Those of an earlier version were fitted to fewer numbers of a descriptor.
        features = features[:, : len(self.centre)]
        placed = _times(_standardised(features, self.centre, self.scale), self.projection)
        nearest = np.full(len(placed), np.inf)
        # Class by class, because (N, K, C) would be large for hundreds of classes.
        for mean in self.means:
            nearest = np.minimum(nearest, ((placed - mean) ** 2).sum(axis=1))
        distance: np.ndarray = nearest - (_times(placed, self.background) ** 2).sum(axis=1)
        return distance


def _times(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return rows @ matrix, where the result of a row does not depend on the number of rows, not even its last bit."""
    return np.stack([row @ matrix for row in rows]) if len(rows) else rows @ matrix


def fit_feature_distance(features: np.ndarray, labels: np.ndarray) -> FeatureDistance:
    """Fit the distance to the features of training clips.

    Args:
        features: (N, D), N >= `FEWEST_CLIPS`; NaN where unknown.
        labels: int (N,), their actions; classes without clips are left out.

    Raises:
        ValueError: There are too few clips, shapes do not match, or a feature is infinite.
    """
    features, labels = np.asarray(features, np.float64), np.asarray(labels)
    if features.ndim != 2 or labels.shape != features.shape[:1] or len(labels) < FEWEST_CLIPS:
        raise ValueError(f"features {features.shape} and labels {labels.shape} must describe {FEWEST_CLIPS} clips")
    if np.isinf(features).any():
        raise ValueError("features must be finite or NaN")
    known = np.isfinite(features)
    counts = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, features, 0).sum(axis=0) / counts
    deviation = np.sqrt((np.where(known, features - centre, 0) ** 2).sum(axis=0) / counts)
    # Features that are constant except for rounding errors carry no information.
    varies = deviation > 1e-6 * np.maximum(deviation.max(), np.abs(centre))
    scale = np.divide(1, deviation, out=np.zeros(len(deviation)), where=varies)
    standard = _standardised(features, centre, scale)
    components = min(COMPONENTS, len(features) // CLIPS_PER_COMPONENT, max(1, int(varies.sum())))
    axes = np.linalg.svd(standard, full_matrices=False)[2][:components].T
    placed = standard @ axes
    _, class_of = np.unique(labels, return_inverse=True)
    means = np.stack([placed[class_of == number].mean(axis=0) for number in range(class_of.max() + 1)])
    within = _whitening(placed - means[class_of])
    return FeatureDistance(centre, scale, axes @ within, means @ within, _whitening(placed @ within))


def left_out_distances(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the distance of each training clip from the clips of other groups, float64 (N,).

    Groups are left out in at most `MOST_FOLDS` folds. NaN where the other folds have too few clips, or none of the
    clip's action.

    Args:
        features: (N, D), see `fit_feature_distance`.
        labels: int (N,).
        groups: int (N,), group of each clip, such as its person, from 0.
    """
    found = np.full(len(labels), np.nan)
    for fold in range(MOST_FOLDS):
        own = groups % MOST_FOLDS == fold
        if own.any() and (~own).sum() >= FEWEST_CLIPS:
            shown = own & np.isin(labels, labels[~own])
            found[shown] = fit_feature_distance(features[~own], labels[~own])(features[shown])
    return found


def _standardised(features: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    standard = (np.asarray(features, np.float64) - centre) * scale
    return np.clip(np.nan_to_num(standard, nan=0.0), -FARTHEST, FARTHEST)


def _whitening(centred: np.ndarray) -> np.ndarray:
    """Return the (C, C) matrix W that makes the shrunk covariance of centred rows (N, C) the identity."""
    covariance = centred.T @ centred / len(centred)
    size = len(covariance)
    even = max(float(np.trace(covariance)) / size, 1e-12)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * even * np.eye(size)
    # W W^T is the inverse of the covariance.
    whitening: np.ndarray = np.linalg.cholesky(np.linalg.inv(shrunk))
    return whitening
