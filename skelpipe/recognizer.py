"""Action recognition for clips in memory."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from pose_extraction.engines.engine import Backend, Precision


class _Classes(NamedTuple):
    labels: tuple[str, ...]
    probabilities: np.ndarray


class Prediction(_Classes):
    """The classes of one clip, the most probable first; unpacks into `labels` and `probabilities`.

    Attributes:
        labels: Names of the K classes.
        probabilities: float32 (K,), in descending order; they sum to 1.
        unknown_score: How unlike the known actions the clip is; larger is less like them.
        is_unknown: Whether the score exceeds the threshold of the run; False if the run has none.
    """

    # Defaults for copies, which are made from the tuple first.
    unknown_score: float = math.nan
    is_unknown: bool = False

    def __new__(
        cls,
        labels: tuple[str, ...],
        probabilities: np.ndarray,
        unknown_score: float = math.nan,
        is_unknown: bool = False,
    ) -> "Prediction":
        self = super().__new__(cls, labels, probabilities)
        self.unknown_score, self.is_unknown = unknown_score, is_unknown
        return self


class Recognizer:
    """A trained action recognizer for clips in memory.

    Args:
        run: Run directory of `skelpipe.train`, one of its files of weights, or "everyday", the recognizer that the
            package contains; None for the newest run in runs/, or "everyday" if there is none.
        which: For a directory: "best" for the weights of the best epoch, "last" for the most recent ones.
        device: "auto", "cpu" or "cuda:N".
        backend: "auto", "torch", "openvino" or "onnxruntime"; the library that runs the network.
        precision: Compute precision: "auto", "fp32", "bf16" or "fp16".

    Raises:
        WeightsError: The run cannot be read, or contains no recognizer.
        BackendError: The network cannot run with these settings on this machine.

    Examples:
        >>> import skelpipe
        >>> recognizer = skelpipe.Recognizer("runs/mine", device="cpu")
        >>> clip = skelpipe.read_skeletons("skeletons/actions.pkl")["annotations"][0]
        >>> labels, probabilities = recognizer(clip["keypoint"], clip["keypoint_score"], clip["img_shape"])
        >>> labels[0], probabilities.shape
        ('wave', (3,))
    """

    def __init__(
        self,
        run: str | Path | None = None,
        *,
        which: Literal["best", "last"] = "best",
        device: str = "auto",
        backend: "Backend" = "auto",
        precision: "Precision" = "auto",
    ) -> None:
        from pose_extraction.engines.engine import Engine
        from recognition.inference.predictor import Predictor
        from recognition.run_names import newest_or_shipped_run
        from recognition.runs import load_run

        trained = load_run(run if run is not None else newest_or_shipped_run(), which)
        self._predictor = Predictor(trained, Engine(device, backend, precision))

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the K classes, in the order of their numbers."""
        return self._predictor.trained.label_names

    def __call__(
        self,
        keypoint: "ArrayLike",
        score: "ArrayLike | None" = None,
        size: tuple[int, int] | None = None,
        fps: float | None = None,
    ) -> Prediction:
        """Classify one clip.

        Args:
            keypoint: (M, T, V, D), or (T, V, D) for one person: M persons, T frames, V joints; D = 2 in pixels, or
                D = 3 in the unit of the training data. NaN where a joint was not seen.
            score: (M, T, V), or (T, V), in [0, 1], 0 where a joint was not seen; None for 1 where it was seen.
            size: (height, width) of the frame in pixels; required in 2D, unused in 3D.
            fps: Frames per second; None: as in skeleton files without times, 30 are assumed.

        Returns:
            Names and probabilities of the classes, the most probable first, and whether the action is unknown.

        Raises:
            UsageError: The arrays do not match each other or the training data, or no joint was seen.
        """
        from pose_extraction.errors import UsageError
        from pose_extraction.formats.clip_times import rate_of

        if fps is not None and rate_of({"fps": fps}) is None:
            raise UsageError(f"fps is {fps!r}, but must be a number of frames per second above 0")
        arrays = np.asarray(keypoint), None if score is None else np.asarray(score)
        time = None if fps is None or arrays[0].ndim < 3 else np.arange(arrays[0].shape[-3]) / fps
        labels, probabilities, unknown = self._predictor(*arrays, size, time)
        rejection = self._predictor.trained.confidence.rejection(None)
        return Prediction(labels, probabilities, unknown, rejection.applies_to(float(probabilities[0]), unknown))
