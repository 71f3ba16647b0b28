"""Person detection: what a detector is, and what detectors have in common."""

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

# Boxes float32 (N, 4), x1 y1 x2 y2 in pixels of the frame, and scores float32 (N,) in [0, 1], in descending order.
Detections = tuple[np.ndarray, np.ndarray]


class PersonDetector(Protocol):
    """Detects persons in batches of frames."""

    batch_size: int

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Detect persons.

        Args:
            images: uint8 (H, W, 3) BGR frames, which may differ in size.

        Returns:
            Boxes and scores per frame.
        """
        ...


def suppress_overlaps(box: np.ndarray, score: np.ndarray, iou: float) -> Detections:
    """Non-maximum suppression, which also removes empty boxes.

    Args:
        box: float (N, 4), x1 y1 x2 y2 in pixels.
        score: float (N,), greater than 0.
        iou: Intersection over union above which the box with the lower score is removed, in [0, 1].

    Returns:
        Remaining boxes float32 (K, 4) and scores float32 (K,), in descending order of the scores.
    """
    # Empty boxes overlap with nothing, so they would all remain.
    solid = np.prod(np.maximum(box[:, 2:] - box[:, :2], 0), -1) > 0
    box, score = box[solid], score[solid]
    corner_and_size = np.concatenate([box[:, :2], box[:, 2:] - box[:, :2]], -1)
    kept = np.asarray(cv2.dnn.NMSBoxes(corner_and_size.tolist(), score.tolist(), 0.0, iou), np.int64)
    return box[kept].astype(np.float32), score[kept].astype(np.float32)


def no_detections() -> Detections:
    """Return the result for a frame without persons."""
    return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
