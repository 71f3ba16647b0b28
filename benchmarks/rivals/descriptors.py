"""The default recognizer without its network: the classifier of movement descriptors, calibrated in the same way."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.rivals.method import Fitted, Method
from benchmarks.rivals.motion import Annotation
from benchmarks.rivals.networks import TEST, TRAIN, write_file
from pipeline.train.settings import train_settings
from recognition.confidence.confidence import Confidence, fit_on_finite
from recognition.confidence.feature_distance import FEWEST_CLIPS, fit_feature_distance, left_out_distances
from recognition.data.clip_transforms import ClipTransforms
from recognition.data.clips import ClipSet, open_clips
from recognition.data.descriptors.kernel_ridge import KernelRidge
from recognition.settings import DataSettings
from recognition.training.mirroring import with_mirroring
from recognition.training.movement import fit_movement, left_out_clips
from recognition.training.preparation import prepare


class FittedDescriptors(Fitted):
    """A fitted classifier of descriptors.

    Args:
        ridge: The classifier.
        confidence: Its calibration.
        names: Class names.
    """

    def __init__(self, ridge: KernelRidge, confidence: Confidence, names: Sequence[str]) -> None:
        self.facts = {"kernel": ridge.kernel, "width": ridge.width, "penalty": ridge.penalty}
        self.facts |= {"unknown_threshold": confidence.threshold}
        self._ridge, self._confidence, self._names = ridge, confidence, names
        self._described: tuple[Sequence[Annotation], np.ndarray] | None = None

    def probabilities(self, clips: Sequence[Annotation]) -> np.ndarray:
        return self._confidence.probabilities(self._ridge.logits(self._descriptors(clips)))

    def unknown(self, clips: Sequence[Annotation], probabilities: np.ndarray) -> np.ndarray:
        descriptors = self._descriptors(clips)
        return self._confidence.unknown(self._ridge.logits(descriptors), descriptors)

    def _descriptors(self, clips: Sequence[Annotation]) -> np.ndarray:
        if self._described is None or self._described[0] is not clips:
            with tempfile.TemporaryDirectory(prefix="real_sets_") as folder:
                file = write_file(Path(folder) / "test.pkl", clips, None, self._names, TEST)
                data = train_settings(["custom"], {"data.file": str(file)}).data
                self._described = (
                    clips,
                    described(open_clips(file, data), data.model_copy(update={"descriptors": True})),
                )
        return self._described[1]


def described(clips: ClipSet, settings: DataSettings) -> np.ndarray:
    """Return the descriptors of all clips.

    Args:
        clips: N clips with joints of COCO-17 in 2D.
        settings: Settings with `descriptors=True`.

    Returns:
        float32 (N, D), NaN where a number is unknown.
    """
    transforms = ClipTransforms(clips, settings)
    return np.stack([transforms.descriptor(clips[index]) for index in range(len(clips))])


class Descriptors(Method):
    """The classifier of movement descriptors of `skelpipe train`, without the network.

    Args:
        words: Settings, as on the command line.
    """

    def __init__(self, words: Sequence[str] = ()) -> None:
        self._words = words

    def fit(self, clips: Sequence[Annotation], labels: np.ndarray, names: Sequence[str], seed: int) -> Fitted:
        with tempfile.TemporaryDirectory(prefix="real_sets_") as folder:
            file = write_file(Path(folder) / "train.pkl", clips, labels, names, TRAIN)
            options = {"data.file": str(file), "data.holdout": 0.0, "training.seed": seed}
            prepared = with_mirroring(prepare(train_settings(["custom", *self._words], options)))
        ridge = fit_movement(prepared)
        apart = left_out_clips(ridge, prepared)
        confidence = Confidence()
        if len(labels) >= FEWEST_CLIPS:
            descriptors = described(prepared.clips, prepared.settings.data)[apart.indices].astype(np.float64)
            truth = prepared.clips.labels[apart.indices]
            fitted = fit_on_finite(
                apart.logits,
                truth,
                distance=fit_feature_distance(descriptors, truth),
                distances=left_out_distances(descriptors, truth, apart.groups),
            )
            confidence = fitted or confidence
        return FittedDescriptors(ridge, confidence, names)
