"""Two-stage person detectors, run with mmdet's code."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from pose_extraction.engines.engine import Engine
from pose_extraction.engines.runtimes import autocast, torch_device
from pose_extraction.networks.detection import Detections, no_detections
from pose_extraction.networks.openmmlab.mmlab import DetectorConfig

if TYPE_CHECKING:
    import torch


class TwoStageDetector:
    """Detector of the R-CNN family, run with mmdet's code; torch only.

    Args:
        network: mmdet detector.
        config: Preprocessing from the detector's configuration.
        engine: Where it runs; the backend is torch. Precisions other than fp32 use autocast.
        score_threshold: Minimum score of a person, in [0, 1].
        batch_size: Number of frames per batch.
    """

    def __init__(
        self,
        network: "torch.nn.Module",
        config: DetectorConfig,
        engine: Engine,
        *,
        score_threshold: float,
        batch_size: int,
    ) -> None:
        self._device = torch_device(engine)
        self._network = network.to(self._device)
        self._config = config
        self._engine = engine
        self.score_threshold = score_threshold
        self.batch_size = batch_size

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """See `PersonDetector.detect`."""
        found: list[Detections] = [no_detections() for _ in images]
        fitted = [self._fit(image) for image in images]
        by_shape: dict[tuple[int, int], list[int]] = {}
        for index, (plane, _) in enumerate(fitted):
            tall, wide = (-(-side // 32) * 32 for side in plane.shape[1:])
            by_shape.setdefault((tall, wide), []).append(index)
        for shape, indices in by_shape.items():
            for first in range(0, len(indices), self.batch_size):
                chosen = indices[first : first + self.batch_size]
                for index, persons in zip(chosen, self._detect([fitted[i] for i in chosen], shape), strict=True):
                    found[index] = persons
        return found

    def _fit(self, image: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the scaled and normalised frame (3, h, w), and the metadata that mmdet requires."""
        mean, std = np.asarray(self._config.mean, np.float32), np.asarray(self._config.std, np.float32)
        height, width = image.shape[:2]
        short, long = min(self._config.input_size), max(self._config.input_size)
        ratio = min(long / max(height, width), short / min(height, width))
        size = max(1, int(width * ratio + 0.5)), max(1, int(height * ratio + 0.5))
        picture = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        picture = picture[..., ::-1] if self._config.to_rgb else picture
        scale = (size[0] / width, size[1] / height)
        facts = {"img_shape": (size[1], size[0]), "ori_shape": (height, width), "scale_factor": scale}
        return ((picture - mean) / std).transpose(2, 0, 1), facts

    def _detect(self, fitted: Sequence[tuple[np.ndarray, dict[str, Any]]], shape: tuple[int, int]) -> list[Detections]:
        import torch
        from mmdet.structures import DetDataSample

        # Always use a full batch of the frame's shape: rounding depends on the shape of the batch, and the persons of a
        # frame must not depend on the other frames in its batch.
        batch = torch.zeros((self.batch_size, 3, *shape))
        samples = []
        for row in range(self.batch_size):
            plane, facts = fitted[min(row, len(fitted) - 1)]
            samples.append(DetDataSample(metainfo={**facts, "pad_shape": shape, "batch_input_shape": shape}))
            if row < len(fitted):
                batch[row, :, : plane.shape[1], : plane.shape[2]] = torch.from_numpy(plane)
        with torch.inference_mode(), autocast(self._engine):
            results = self._network.predict(batch.to(self._device), samples, rescale=True)  # type: ignore[operator]
        return [self._persons(result.pred_instances) for result in results[: len(fitted)]]

    def _persons(self, instances: Any) -> Detections:
        persons = (instances.labels == 0) & (instances.scores > self.score_threshold)
        box = instances.bboxes[persons].float().cpu().numpy()
        score = instances.scores[persons].float().cpu().numpy()
        order = np.argsort(-score, kind="stable")
        return box[order], score[order]
