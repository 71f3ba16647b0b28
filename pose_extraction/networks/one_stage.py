"""One-stage person detectors, RTMDet and YOLOX: input, output and post-processing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pose_extraction.engines.image_networks import ImageNetwork
from pose_extraction.networks.detection import Detections, no_detections, suppress_overlaps


@dataclass(frozen=True)
class DetectorSpec:
    """Input and output format of a one-stage detector.

    Args:
        input_size: (height, width) in pixels to which frames are scaled.
        decoder: "rtmdet" (scores and distances per level), "yolox" (one tensor, decoded or relative to the grid), or
            "finished" (boxes with scores, and their classes); overlapping boxes are removed after each of them.
        pad_value: Grey level of the padding, 0 to 255.
        nms_iou: Intersection over union above which the box with the lower score is removed.
        strides: Cell size in pixels per level.
        person_class: Index of the class "person".
        letterbox: Position of the scaled frame: "corner" (top left), "centre", or "stretch" (fills the input).
        oblong: Whether the network may run on the part of its square input that the frame needs.
    """

    input_size: tuple[int, int]
    decoder: str
    pad_value: float = 114.0
    nms_iou: float = 0.65
    strides: tuple[int, ...] = (8, 16, 32)
    person_class: int = 0
    letterbox: str = "corner"
    oblong: bool = False


@dataclass(frozen=True)
class _Fit:
    """Transform of a frame into the network input: input pixel = frame pixel * scale + offset."""

    scale: np.ndarray
    offset: np.ndarray
    frame_size: tuple[int, int]


def oblong_size(frame_size: tuple[int, int], input_size: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest of five input shapes that fits the frame at the scale of the square input.

    The shapes (16:9, 4:3, square, 3:4 and 9:16, rounded up to multiples of 32) are limited to five because each one is
    compiled once, and frames of the same shape share a batch.

    Args:
        frame_size: (height, width) of the frame in pixels.
        input_size: (height, width) of the network's published input in pixels.

    Returns:
        (height, width) in pixels.
    """
    height, width = input_size
    if height != width:
        return input_size
    ratio = min(frame_size) / max(frame_size)
    for limit in (9 / 16, 3 / 4):
        if ratio <= limit + 1e-6:
            short = -(-int(np.ceil(width * limit)) // 32) * 32
            return (short, width) if frame_size[0] <= frame_size[1] else (height, short)
    return input_size


def _fit(image: np.ndarray, input_size: tuple[int, int], spec: DetectorSpec) -> tuple[np.ndarray, _Fit]:
    height, width = image.shape[:2]
    if spec.letterbox == "stretch":
        new_width, new_height = input_size[1], input_size[0]
    else:
        ratio = min(input_size[0] / height, input_size[1] / width)
        new_width, new_height = max(1, int(width * ratio + 0.5)), max(1, int(height * ratio + 0.5))
    resized = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    left = (input_size[1] - new_width) // 2 if spec.letterbox == "centre" else 0
    top = (input_size[0] - new_height) // 2 if spec.letterbox == "centre" else 0
    canvas = np.full((*input_size, 3), int(spec.pad_value), np.uint8)
    canvas[top : top + new_height, left : left + new_width] = resized
    scale = np.array([new_width / width, new_height / height], np.float32)
    return canvas, _Fit(scale, np.array([left, top], np.float32), (height, width))


class OneStageDetector:
    """Single-pass detector: RTMDet, YOLOX.

    Args:
        make_network: Builds the network for an input size (height, width); called once per size.
        spec: Input and output format.
        score_threshold: Minimum score of a person, in [0, 1].
        batch_size: Number of frames per batch.
    """

    def __init__(
        self,
        make_network: Callable[[tuple[int, int]], ImageNetwork],
        spec: DetectorSpec,
        *,
        score_threshold: float,
        batch_size: int,
    ) -> None:
        self.make_network = make_network
        self._networks: dict[tuple[int, int], ImageNetwork] = {}
        self.spec = spec
        self.score_threshold = score_threshold
        self.batch_size = batch_size

    def _network(self, input_size: tuple[int, int]) -> ImageNetwork:
        if input_size not in self._networks:
            self._networks[input_size] = self.make_network(input_size)
        return self._networks[input_size]

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """See `PersonDetector.detect`."""
        found: list[Detections] = [no_detections() for _ in images]
        by_shape: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(images):
            size = oblong_size(image.shape[:2], self.spec.input_size) if self.spec.oblong else self.spec.input_size
            by_shape.setdefault(size, []).append(index)
        for size, indices in by_shape.items():
            network = self._network(size)
            for first in range(0, len(indices), network.batch_size):
                chosen = indices[first : first + network.batch_size]
                fitted = [_fit(images[index], size, self.spec) for index in chosen]
                outputs = network(np.stack([canvas for canvas, _ in fitted]))
                for row, (index, (_, fit)) in enumerate(zip(chosen, fitted, strict=True)):
                    found[index] = self._decode([output[row] for output in outputs], size, fit)
        return found

    def _decode(self, outputs: list[np.ndarray], size: tuple[int, int], fit: _Fit) -> Detections:
        box, score = _DECODERS[self.spec.decoder](outputs, size, self.spec, self.score_threshold)
        box = (box.reshape(-1, 2, 2) - fit.offset) / fit.scale
        height, width = fit.frame_size
        box = np.clip(box, 0, [width, height]).reshape(-1, 4)
        return suppress_overlaps(box.astype(np.float32), score, self.spec.nms_iou)


def decode_rtmdet(outputs: list[np.ndarray], size: tuple[int, int], spec: DetectorSpec, threshold: float) -> Detections:
    """Decode the output of RTMDet (Lyu et al. 2022): distances from the corner of each cell to the four sides.

    Args:
        outputs: For each level, the logits (classes, h, w); then, for each level, the distances (4, h, w) in pixels of
            the input.
        size: (height, width) of the input in pixels.
        spec: Strides and index of the class "person".
        threshold: Minimum score, in (0, 1).

    Returns:
        Boxes float32 (N, 4) in pixels of the input, unsorted, and scores float32 (N,).
    """
    levels = len(outputs) // 2
    boxes, scores = [], []
    # Thresholding the logits avoids a sigmoid for every cell.
    limit = np.log(threshold / (1 - threshold))
    for level, stride in zip(range(levels), spec.strides, strict=True):
        logit = outputs[level][spec.person_class]
        row, column = np.nonzero(logit > limit)
        left, top, right, bottom = outputs[levels + level][:, row, column]
        x, y = column * stride, row * stride
        boxes.append(np.stack([x - left, y - top, x + right, y + bottom], -1))
        scores.append(1 / (1 + np.exp(-logit[row, column])))
    return np.concatenate(boxes).astype(np.float32), np.concatenate(scores).astype(np.float32)


def decode_yolox(outputs: list[np.ndarray], size: tuple[int, int], spec: DetectorSpec, threshold: float) -> Detections:
    """Decode the output of YOLOX (Ge et al. 2021): centre and size per cell, objectness, class scores.

    Args:
        outputs: One array (cells, 5 + classes). Centre and size are either raw (centre relative to the cell, size as
            logarithm, both in cells) or in pixels; their magnitude distinguishes the two.
        size: (height, width) of the input in pixels.
        spec: Strides and index of the class "person".
        threshold: Minimum score, in [0, 1].

    Returns:
        Boxes float32 (N, 4) in pixels of the input, unsorted, and scores float32 (N,).
    """
    cells = outputs[0]
    score = cells[:, 4] * cells[:, 5 + spec.person_class]
    kept = score > threshold
    geometry = cells[kept, :4]
    # Raw values are at most a few cells. Values in pixels reach the input size at the far cells, even without persons.
    if np.abs(cells[:, :2]).max(initial=0) < max(spec.strides):
        grid, stride = _yolox_grid(size, spec.strides)
        centre = (geometry[:, :2] + grid[kept]) * stride[kept]
        extent = np.exp(geometry[:, 2:]) * stride[kept]
    else:
        centre, extent = geometry[:, :2], geometry[:, 2:]
    return np.concatenate([centre - extent / 2, centre + extent / 2], -1), score[kept]


def decode_finished(
    outputs: list[np.ndarray], size: tuple[int, int], spec: DetectorSpec, threshold: float
) -> Detections:
    """Select the persons in the output of a detector whose export includes all post-processing.

    Args:
        outputs: Boxes and scores (N, 5); the class of each box (N,) if there are several.
        size: (height, width) of the input in pixels.
        spec: Index of the class "person".
        threshold: Minimum score, in [0, 1].

    Returns:
        Boxes float32 (N, 4) in pixels of the input, unsorted, and scores float32 (N,).
    """
    boxes = outputs[0]
    kept = boxes[:, 4] > threshold
    if len(outputs) > 1:
        kept &= outputs[1] == spec.person_class
    return boxes[kept, :4].astype(np.float32), boxes[kept, 4].astype(np.float32)


_DECODERS = {"rtmdet": decode_rtmdet, "yolox": decode_yolox, "finished": decode_finished}


def _yolox_grid(size: tuple[int, int], strides: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return cell coordinates (cells, 2) and strides (cells, 1) in the order of YOLOX's output."""
    grids, steps = [], []
    for stride in strides:
        row, column = np.divmod(np.arange((size[0] // stride) * (size[1] // stride)), size[1] // stride)
        grids.append(np.stack([column, row], -1))
        steps.append(np.full((len(row), 1), stride))
    return np.concatenate(grids).astype(np.float32), np.concatenate(steps).astype(np.float32)
