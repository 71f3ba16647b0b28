"""Predictions of exported recognizers, without torch."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.engines.engine import Engine, resolve_engine
from pose_extraction.engines.runtimes import Runner, onnx_runner
from pose_extraction.engines.torch_extra import require_torch
from pose_extraction.errors import BackendError, UsageError, WeightsError
from pose_extraction.skeleton import Skeleton
from recognition.data.clip import Clip, ClipFormat
from recognition.data.clip_transforms import first_persons
from recognition.inference.arrays import arrays_of
from recognition.inference.clip_predictor import Classified, best_of
from recognition.inference.exported_run import MODELS, ExportedRun
from recognition.inference.skeleton_clips import check_layout

# Backends that run each format, the best first.
_BACKENDS = {"onnx": ("onnxruntime", "openvino"), "openvino": ("openvino",), "torch": ("torch",)}
# Names of the inputs in the order of `arrays_of`.
INPUTS = ("keypoint", "score", "frames", "size", "time", "tracked")
# Clips per call unless the batch size is specified.
BATCH = 8


class ExportedPredictor:
    """An exported recognizer that is ready for predictions; the same interface as `Predictor`.

    Args:
        trained: The exported recognizer.
        engine: Backend and clips per call; the precision is fp32.
        layout: Joint layout of the clips.
        dimensions: Coordinates per joint.

    Raises:
        BackendError: The backend cannot run this file or is not installed.
        UsageError: The joints do not fit the recognizer.
    """

    def __init__(self, trained: ExportedRun, engine: Engine, *, layout: Skeleton, dimensions: int) -> None:
        self.trained = trained
        self.engine = _resolved(trained, engine)
        check_layout(trained, ClipFormat(trained.path, layout, dimensions))
        self._run: Runner | None = None

    @property
    def threshold(self) -> float:
        """Score above which a joint counts as seen, in [0, 1]."""
        return self.trained.settings.data.score_threshold

    def prepare(self) -> None:
        """Load the network now instead of at the first prediction.

        Raises:
            WeightsError: The file is damaged.
        """
        if self._run is not None:
            return
        path = self.trained.path / MODELS[self.trained.format]
        try:
            self._run = _runner(path, self.engine)
        except (OSError, RuntimeError, ValueError) as error:
            raise WeightsError(f"{path}: cannot be loaded ({error}); export the recognizer again") from error

    def classify(self, clips: Sequence[Clip]) -> Classified:
        """Classify N clips; in each, at least one joint was seen.

        Raises:
            WeightsError: The output of the network is not finite.
        """
        self.prepare()
        assert self._run is not None
        probabilities = np.zeros((len(clips), len(self.trained.label_names)), np.float32)
        unknown = np.zeros(len(clips))
        # Clips of similar length share a call.
        order = np.argsort([clip.num_frames for clip in clips], kind="stable")
        size = self.engine.batch_size or BATCH
        for first in range(0, len(order), size):
            rows = order[first : first + size]
            arrays = dict(zip(INPUTS, arrays_of([clips[row] for row in rows]), strict=True))
            if self.engine.backend == "openvino":
                # It computes in single precision, in which large times are too coarse.
                arrays["time"] = arrays["time"] - arrays["time"][:, :1]
            found, scores = self._run([arrays[name] for name in self.trained.inputs])
            wrong = ~np.isfinite(found).all(axis=1)
            if wrong.any():
                name = clips[rows[int(wrong.argmax())]].name
                raise WeightsError(f"{self.trained.path}: its output for {name} is not finite; export the run again")
            probabilities[rows], unknown[rows] = found, scores
        return Classified(probabilities, unknown)

    def classify_frames(self, clips: Sequence[Clip]) -> list[Classified]:
        """Return the result of each clip, as one row for all its frames."""
        return self.classify(clips).rows()

    def explanations(self, clips: Sequence[Clip]) -> list[Any]:
        """Refuse: exported recognizers provide no attention.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"--explain: {self.trained.path} is an exported recognizer without attention; use the run")

    def persons_used(self, clip: Clip) -> np.ndarray:
        """Return the indices of the persons that the network uses; int64."""
        score = np.where(clip.score > self.threshold, clip.score, 0)
        return first_persons(score, self.trained.settings.data.max_persons)

    def best(self, probabilities: np.ndarray, count: int = 5) -> tuple[tuple[str, float], ...]:
        """Return the most probable classes of one clip (K,) as (name, probability), the most probable first."""
        return best_of(self.trained.label_names, probabilities, count)


def _resolved(trained: ExportedRun, engine: Engine) -> Engine:
    """Choose the backend of an exported recognizer.

    Raises:
        BackendError: The backend cannot run this file or is not installed.
    """
    able = _BACKENDS[trained.format]
    backend = able[0] if engine.backend == "auto" else engine.backend
    if backend not in able:
        raise BackendError(
            f"--backend {backend}: {trained.path / MODELS[trained.format]} runs on {' or '.join(able)}; choose that, "
            "or export the run in another format"
        )
    precision = "fp32" if engine.precision == "auto" else engine.precision
    if precision != "fp32":
        raise BackendError(f"--precision {precision}: an exported recognizer computes in fp32; leave --precision out")
    # A small graph of many operations, for which a GPU is no gain.
    device = "cpu" if engine.device == "auto" else engine.device
    return resolve_engine(
        replace(engine, backend=backend, precision=precision, device=device), onnx=trained.format != "torch"
    )


def _runner(path: Path, engine: Engine) -> Runner:
    if engine.backend == "torch":
        return _torchscript_runner(path, engine)
    if path.suffix == ".xml":
        from pose_extraction.engines.openvino_core import openvino_core
        from pose_extraction.engines.runtimes import openvino_runner

        return openvino_runner(openvino_core().read_model(path), engine)
    return onnx_runner(path.read_bytes(), engine)


def _torchscript_runner(path: Path, engine: Engine) -> Runner:
    require_torch(str(path))
    import torch

    network = torch.jit.load(path, map_location=engine.device).eval()

    def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode():
            outputs = network(*(torch.from_numpy(np.ascontiguousarray(array)).to(engine.device) for array in inputs))
        return [output.float().cpu().numpy() for output in outputs]

    return run
