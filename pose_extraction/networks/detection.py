"""Person detection with one-stage detectors, or with two-stage detectors through mmdet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from pose_extraction.engines.engine import Engine
from pose_extraction.engines.image_networks import ImageNetwork
from pose_extraction.engines.runtimes import autocast, torch_device
from pose_extraction.networks.mmlab import DetectorConfig

if TYPE_CHECKING:
    import torch

# Boxes float32 (N, 4), x1 y1 x2 y2 in pixels of the frame, and scores float32 (N,) in [0, 1], in descending order.
Detections = tuple[np.ndarray, np.ndarray]


class Detector(Protocol):
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


@dataclass(frozen=True)
class DetectorSpec:
    """Input and output format of a one-stage detector.

    Args:
        input_size: (height, width) in pixels to which frames are scaled.
        decoder: "rtmdet" (scores and distances per level) or "yolox" (one tensor, decoded or relative to the grid).
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
        """See `Detector.detect`."""
        found: list[Detections] = [_nothing() for _ in images]
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
        decode = decode_rtmdet if self.spec.decoder == "rtmdet" else decode_yolox
        box, score = decode(outputs, size, self.spec, self.score_threshold)
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


def _yolox_grid(size: tuple[int, int], strides: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return cell coordinates (cells, 2) and strides (cells, 1) in the order of YOLOX's output."""
    grids, steps = [], []
    for stride in strides:
        row, column = np.divmod(np.arange((size[0] // stride) * (size[1] // stride)), size[1] // stride)
        grids.append(np.stack([column, row], -1))
        steps.append(np.full((len(row), 1), stride))
    return np.concatenate(grids).astype(np.float32), np.concatenate(steps).astype(np.float32)


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


def _nothing() -> Detections:
    return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)


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
        """See `Detector.detect`."""
        found: list[Detections] = [_nothing() for _ in images]
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
