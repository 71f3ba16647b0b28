"""Classical rivals on hand-crafted features: a support vector machine, extremely randomised trees, and chance.

Each training clip is used whole and in parts, each of them also mirrored, except by methods without mirror images,
which do not mirror test clips either. With copies, there are also as many random variations of each clip as our
classifier of descriptors would use: noise, lost joints, swaps of left and right, other speeds. Probabilities of a clip
are the mean of those of the clip and of its mirror image, so that mirroring a clip does not change them.
"""

import zlib
from collections.abc import Callable, Sequence
from time import process_time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.rivals.features import features_of
from benchmarks.rivals.method import Fitted, Method
from benchmarks.rivals.motion import Annotation, joints_of, times_of
from pose_extraction.formats.annotations import identifier_of
from recognition.data.descriptors.copies import varied
from recognition.training.fitted_clips import copies_for

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

# Parts of a training clip besides the whole clip, and the shortest as a share of its duration.
PARTS, SHORTEST = 2, 0.5
# Standard deviations at which a feature is clipped, so that damage outside the training data has a limited effect.
OUTLIER = 4.0
# Of the support vector machine: its C, and the factor of the mean squared difference of two clips' features in the
# exponent of its kernel. Of 0.1, 0.3 and 1, the smallest was best on `yoga`; on `weizmann` they are equal.
SVM_C, SVM_GAMMA = 10.0, 0.1
TREES = 500


class Features:
    """Features of clips, their parts and their random copies, computed once for each clip.

    Attributes:
        saved: Processor seconds that were not spent because features were known; to be added to the time of a training.
    """

    def __init__(self) -> None:
        self.saved = 0.0
        self._known: dict[int, tuple[Annotation, dict[Any, tuple[np.ndarray, float]]]] = {}

    def __call__(
        self,
        clip: Annotation,
        *,
        mirrored: bool,
        part: tuple[float, float] = (0.0, 1.0),
        copy: tuple[int, int] | None = None,
    ) -> np.ndarray:
        """Return the features of a clip, of a part of it, or of a random copy.

        Args:
            clip: Annotation with joints of COCO-17.
            mirrored: Whether to compute those of the mirror image.
            part: Begin and end of the part, as shares of the clip's duration in [0, 1].
            copy: Seed and number of a copy, as for `copy_of`; None for the clip itself.

        Returns:
            float64 (F,), NaN where undefined.
        """
        # The clip is kept, so that no other object can get its id.
        _, own = self._known.setdefault(id(clip), (clip, {}))
        view = (mirrored, part, copy)
        if view in own:
            self.saved += own[view][1]
        else:
            begun = process_time()
            shown = clip if copy is None else copy_of(clip, *copy)
            own[view] = features_of(shown, mirrored=mirrored, part=part), process_time() - begun
        return own[view][0]


def parts_of(clip: Annotation) -> list[tuple[float, float]]:
    """Return the parts of a training clip that are used; they depend on its name only.

    Args:
        clip: Annotation.

    Returns:
        (begin, end) of 1 + `PARTS` parts as shares of its duration in [0, 1]: the whole first, then random ones.
    """
    rng = np.random.default_rng(_number_of(clip))
    parts = [(0.0, 1.0)]
    for _ in range(PARTS):
        length = rng.uniform(SHORTEST, 1)
        start = rng.uniform(0, 1 - length)
        parts.append((float(start), float(start + length)))
    return parts


def copy_of(clip: Annotation, seed: int, number: int) -> Annotation:
    """Return a random variation of a clip, as `recognition/data/descriptors/copies.py` makes them for our classifier.

    Args:
        clip: Annotation with joints of COCO-17.
        seed: Random seed.
        number: Number of the copy, from 0; each is another variation.

    Returns:
        Annotation with `keypoint` (M, T', V, 2), NaN where not seen, and `time` (T',) in seconds only.
    """
    rng = np.random.default_rng([seed, _number_of(clip), number])
    keypoint, time = varied(joints_of(clip)[0], times_of(clip), rng)
    return {"keypoint": keypoint, "time": time}


def _number_of(clip: Annotation) -> int:
    """Return a number that depends on the clip's name only, as a seed."""
    return zlib.crc32(identifier_of(dict(clip)).encode())


class FittedClassifier(Fitted):
    """A classifier of features.

    Args:
        scores: From features (N, F) to probabilities (N, K).
        features: Cache of features.
        saved: Seconds that the cache saved in the training.
        sides: For each view of a clip whose probabilities are averaged, whether it is mirrored.
    """

    def __init__(
        self,
        scores: Callable[[np.ndarray], np.ndarray],
        features: Features,
        saved: float,
        sides: Sequence[bool],
    ) -> None:
        self.facts, self.saved = {}, saved
        self._scores, self._features, self._sides = scores, features, sides

    def probabilities(self, clips: Sequence[Annotation]) -> np.ndarray:
        rows = [self._features(clip, mirrored=mirrored) for mirrored in self._sides for clip in clips]
        scores = self._scores(np.stack(rows))
        return scores.reshape(len(self._sides), len(clips), -1).mean(axis=0)


class Classical(Method):
    """A scikit-learn classifier on hand-crafted features.

    Args:
        build: Returns the pipeline for a seed.
        features: Cache of features, which several methods may share.
        copies: Whether to train on random copies of the clips as well, as many as our classifier would use.
        mirrored: Whether to use mirror images as well.
    """

    def __init__(
        self, build: Callable[[int], "Pipeline"], features: Features, *, copies: bool = False, mirrored: bool = True
    ) -> None:
        # Here, so that the time of a training does not contain the import.
        import sklearn.ensemble
        import sklearn.svm  # noqa: F401

        self._build, self._features, self._copies = build, features, copies
        self._sides = (False, True) if mirrored else (False,)

    def fit(self, clips: Sequence[Annotation], labels: np.ndarray, names: Sequence[str], seed: int) -> Fitted:
        rows: list[np.ndarray] = []
        self._features.saved = 0.0
        copies = copies_for(len(clips), mirrored=len(self._sides) > 1) if self._copies else 0
        for clip in clips:
            views = [(part, mirrored) for part in parts_of(clip) for mirrored in self._sides]
            rows += [self._features(clip, mirrored=mirrored, part=part) for part, mirrored in views]
            # As in our classifier, every other copy is one of the mirror image.
            of_copies = [(number, self._sides[number % len(self._sides)]) for number in range(copies)]
            rows += [self._features(clip, mirrored=mirrored, copy=(seed, number)) for number, mirrored in of_copies]
        pipeline = self._build(seed).fit(np.stack(rows), np.repeat(labels, len(rows) // len(clips)))
        classes = pipeline.classes_

        def scores(values: np.ndarray) -> np.ndarray:
            # Classes without clips have probability 0.
            result = np.zeros((len(values), len(names)))
            result[:, classes] = _probabilities(pipeline, values)
            return result

        return FittedClassifier(scores, self._features, self._features.saved, self._sides)


def _probabilities(pipeline: "Pipeline", values: np.ndarray) -> np.ndarray:
    if hasattr(pipeline, "predict_proba"):
        return pipeline.predict_proba(values)
    decision = pipeline.decision_function(values)
    if decision.ndim == 1:
        decision = np.stack([-decision, decision], axis=1)
    weights = np.exp(decision - decision.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def without_outliers(values: np.ndarray) -> np.ndarray:
    """Limit standardised features to `OUTLIER` in both directions, and divide them by sqrt(F).

    Squared distances of two rows are then means over the features instead of sums.

    Args:
        values: float (N, F), without NaN, in standard deviations.
    """
    return np.clip(values, -OUTLIER, OUTLIER) / np.sqrt(values.shape[1])


def svm(seed: int) -> "Pipeline":
    """Return a support vector machine with a radial kernel, for features (N, F) with NaN.

    Args:
        seed: Not used, because nothing in it is random.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler
    from sklearn.svm import SVC

    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        FunctionTransformer(without_outliers),
        SVC(C=SVM_C, gamma=SVM_GAMMA, class_weight="balanced", break_ties=True),
    )


def trees(seed: int) -> "Pipeline":
    """Return extremely randomised trees, for features (N, F) with NaN.

    Args:
        seed: Random seed of the trees.
    """
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        ExtraTreesClassifier(TREES, class_weight="balanced", random_state=seed, n_jobs=1),
    )


class FittedChance(Fitted):
    """Draws answers.

    Args:
        num_classes: K.
        seed: Random seed.
    """

    def __init__(self, num_classes: int, seed: int) -> None:
        self.facts = {}
        self._num_classes, self._seed = num_classes, seed

    def probabilities(self, clips: Sequence[Annotation]) -> np.ndarray:
        drawn = [np.random.default_rng([self._seed, _number_of(clip)]) for clip in clips]
        return np.stack([rng.dirichlet(np.ones(self._num_classes)) for rng in drawn])


class Chance(Method):
    """Random answers, all classes equally often."""

    def fit(self, clips: Sequence[Annotation], labels: np.ndarray, names: Sequence[str], seed: int) -> Fitted:
        return FittedChance(len(names), seed)
