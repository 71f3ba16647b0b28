"""Class probabilities of each frame by a detector."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from pose_extraction.engines.engine import Engine
from pose_extraction.engines.runtimes import autocast, torch_device
from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.skeleton import Skeleton
from recognition.data.batches import as_batch
from recognition.data.clip import Clip
from recognition.inference.clip_predictor import Classified
from recognition.inference.explanation import Explanation
from recognition.inference.predictor import Predictor
from recognition.protocols.detector import ActionDetector


def _places(frames: int, shown: int) -> np.ndarray:
    """Return the index of the nearest of `shown` evenly spaced frames for each frame of a clip, int64 (frames,)."""
    place = (np.arange(frames) + 0.5) * (shown / frames) - 0.5
    return np.clip(np.round(place), 0, shown - 1).astype(np.int64)


class FramePredictor(Predictor):
    """Predicts class probabilities of the frames of clips in memory; for the arguments, see `Predictor`."""

    trained: ActionDetector

    def __init__(
        self,
        trained: ActionDetector,
        engine: Engine | None = None,
        *,
        layout: Skeleton | None = None,
        dimensions: int | None = None,
    ) -> None:
        engine = engine or Engine()
        if engine.backend not in ("auto", "torch"):
            raise UsageError(f"--backend {engine.backend}: {trained.path} runs on torch; leave --backend out")
        super().__init__(trained, replace(engine, backend="torch"), layout=layout, dimensions=dimensions)

    def prepare(self) -> None:
        """Move the network to its device."""
        self.trained.recognizer.to(torch_device(self.engine))

    def classify_frames(self, clips: Sequence[Clip]) -> list[Classified]:
        """Return the results of each frame of each clip, with probabilities float32 (T, K + 1)."""
        self.prepare()
        found = []
        for first in range(0, len(clips), self._batch_size):
            batch = as_batch([self._network_input(clip) for clip in clips[first : first + self._batch_size]])
            with torch.inference_mode(), autocast(self.engine):
                logits = self.trained.recognizer(batch.to(torch.device(self.engine.device)))
            found.append(logits.float().softmax(2).cpu().numpy())
        whole = np.concatenate(found)
        wrong = ~np.isfinite(whole).all(axis=(1, 2))
        if wrong.any():
            name = clips[int(wrong.argmax())].name
            raise WeightsError(
                f"{self.trained.path}: its output for {name} is not finite; recreate it with `skelpipe evaluate "
                f"{self.trained.path.parent} --protocol detection`, or try --precision fp32"
            )
        shown = (rows[_places(clip.num_frames, len(rows))] for rows, clip in zip(whole, clips, strict=True))
        return [Classified(rows, 1 - rows.max(axis=1).astype(np.float64)) for rows in shown]

    def classify(self, clips: Sequence[Clip]) -> Classified:
        """Return the results of N clips, averaged over frames, with probabilities float32 (N, K + 1)."""
        found = self.classify_frames(clips)
        return Classified(
            np.stack([frames.probabilities.mean(axis=0) for frames in found]),
            np.array([frames.unknown.mean() for frames in found]),
        )

    def explanations(self, clips: Sequence[Clip]) -> list[Explanation]:
        raise UsageError(
            f"--explain: {self.trained.path} classifies frames and provides no attention; leave --explain out"
        )
