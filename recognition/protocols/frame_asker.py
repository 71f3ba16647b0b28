"""Class probabilities of each frame by a detector."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.skeleton import COCO17, Skeleton
from recognition.inference.asker import Asker
from recognition.inference.explanation import Explanation
from recognition.protocols.detector import Detector


def _places(frames: int, shown: int) -> np.ndarray:
    """Return the index of the nearest of `shown` evenly spaced frames for each frame of a clip, int64 (frames,)."""
    place = (np.arange(frames) + 0.5) * (shown / frames) - 0.5
    return np.clip(np.round(place), 0, shown - 1).astype(np.int64)


class FrameAsker(Asker):
    """Predicts class probabilities of the frames of clips in memory; for the arguments, see `Asker`."""

    trained: Detector

    def __init__(
        self,
        trained: Detector,
        *,
        layout: Skeleton = COCO17,
        device: str = "auto",
        batch_size: int | None = None,
        precision: str = "auto",
        backend: str = "auto",
    ) -> None:
        if backend not in ("auto", "torch"):
            raise UsageError(f"--backend {backend}: {trained.path} runs on torch; leave --backend out")
        super().__init__(
            trained, layout=layout, device=device, batch_size=batch_size, precision=precision, backend="torch"
        )

    def prepare(self) -> None:
        """Move the network to its device."""
        self.trained.recognizer.to(self.placement.device)

    def shares(self, annotations: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
        """Return the probabilities of each frame of each clip, float32 (T, K + 1)."""
        self.prepare()
        dataset = self._dataset(annotations)
        dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.placement.precision]
        autocast = torch.autocast(self.placement.device.partition(":")[0], dtype, enabled=dtype is not None)
        found = []
        for first in range(0, len(dataset), self._batch_size):
            batch = self._batch(dataset, np.arange(first, min(first + self._batch_size, len(dataset))))
            with torch.inference_mode(), autocast:
                logits = self.trained.recognizer(batch.to(torch.device(self.placement.device)))
            found.append(logits.float().softmax(2).cpu().numpy())
        whole = np.concatenate(found)
        wrong = ~np.isfinite(whole).all(axis=(1, 2))
        if wrong.any():
            name = annotations[int(wrong.argmax())]["frame_dir"]
            raise WeightsError(
                f"{self.trained.path}: its output for {name} is not finite; recreate it with `skelpipe evaluate "
                f"{self.trained.path.parent} --protocol detection`, or try --precision fp32"
            )
        return [
            rows[_places(annotation["keypoint_score"].shape[1], len(rows))]
            for rows, annotation in zip(whole, annotations, strict=True)
        ]

    def probabilities(self, annotations: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Return the probabilities of N clips, averaged over frames, float32 (N, K + 1)."""
        return np.stack([frames.mean(axis=0) for frames in self.shares(annotations)])

    def explanations(self, annotations: Sequence[Mapping[str, Any]]) -> list[Explanation]:
        raise UsageError(
            f"--explain: {self.trained.path} classifies frames and provides no attention; leave --explain out"
        )
