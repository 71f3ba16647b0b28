"""Persons as boxes: one-stage detectors over batches of frames, two-stage detectors through mmdet's own code."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from pose_extraction.backends import Network, Placement
from pose_extraction.mmlab import DetectorConfig

if TYPE_CHECKING:
    import torch

# float32 (N, 4) x1 y1 x2 y2 in pixels of the frame, and float32 (N,) scores in [0, 1], best first.
Detections = tuple[np.ndarray, np.ndarray]


class Detector(Protocol):
    """Finds persons in frames, several at once."""

    batch_size: int

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Persons of each uint8 (H, W, 3) BGR frame; the frames may differ in size."""
        ...


@dataclass(frozen=True)
class DetectorSpec:
    """What has to be known of a one-stage detector to feed it and to read its output.

    Args:
        input_size: (height, width) that a frame is scaled to fit.
        decoder: "rtmdet" (scores and distances a level) or "yolox" (one tensor, grid not decoded, or decoded).
        pad_value: Grey level around the scaled frame.
        nms_iou: Boxes that overlap a better one by more than this are dropped.
        strides: Pixels a cell, by level.
        person_class: Index of the class that counts as person.
        letterbox: "corner" puts the scaled frame at the top left, "centre" in the middle, "stretch" fills the input.
        oblong: Whether the network may be run on less than its square input, as much as the frame needs.
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
    """How a frame was fitted into the network's input: input pixel = frame pixel * scale + offset."""

    scale: np.ndarray
    offset: np.ndarray
    frame_size: tuple[int, int]


def oblong_size(frame_size: tuple[int, int], input_size: tuple[int, int]) -> tuple[int, int]:
    """The smallest of five shapes, multiples of 32, that holds the frame at the scale at which the square holds it.

    Five (16:9, 4:3, square, and the first two upright) and not any: each is compiled once, and frames of one shape
    share a batch.

    Args:
        frame_size: (height, width) of the frame.
        input_size: (height, width) of the network's published input.

    Returns:
        (height, width).
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
    """A detector whose network sees the frame once: RTMDet, YOLOX.

    Args:
        make_network: Builds the network for an input size (height, width); called once a size.
        spec: What it reads and writes.
        score_threshold: Boxes below are not persons.
        batch_size: Frames at once.
    """

    def __init__(
        self,
        make_network: Callable[[tuple[int, int]], Network],
        spec: DetectorSpec,
        *,
        score_threshold: float,
        batch_size: int,
    ) -> None:
        self.make_network = make_network
        self._networks: dict[tuple[int, int], Network] = {}
        self.spec = spec
        self.score_threshold = score_threshold
        self.batch_size = batch_size

    def _network(self, input_size: tuple[int, int]) -> Network:
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
    """Reads boxes out of RTMDet's levels (Lyu et al. 2022): distances to the four sides from each cell's corner.

    Args:
        outputs: Per level the scores before the sigmoid (classes, h, w), then per level the distances (4, h, w) in
            pixels of the input.
        size: (height, width) of the input.
        spec: Strides and the person class.
        threshold: Boxes below are left out.

    Returns:
        Boxes in pixels of the input, unsorted, and their scores.
    """
    levels = len(outputs) // 2
    boxes, scores = [], []
    # The inverse of the sigmoid, taken once, spares the sigmoid of every cell.
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
    """Reads boxes out of YOLOX's output (Ge et al. 2021): centre and size a cell, objectness, class scores.

    Args:
        outputs: One array (cells, 5 + classes). Centre and size either raw (centre as offset in cells, size as
            logarithm of cells) or in pixels; which one is told by their magnitude.
        size: (height, width) of the input.
        spec: Strides and the person class.
        threshold: Boxes below are left out.

    Returns:
        Boxes in pixels of the input, unsorted, and their scores.
    """
    cells = outputs[0]
    score = cells[:, 4] * cells[:, 5 + spec.person_class]
    kept = score > threshold
    geometry = cells[kept, :4]
    # Raw values are a few cells at most; pixels reach the input's size at the far cells, found persons or not.
    if np.abs(cells[:, :2]).max(initial=0) < max(spec.strides):
        grid, stride = _yolox_grid(size, spec.strides)
        centre = (geometry[:, :2] + grid[kept]) * stride[kept]
        extent = np.exp(geometry[:, 2:]) * stride[kept]
    else:
        centre, extent = geometry[:, :2], geometry[:, 2:]
    return np.concatenate([centre - extent / 2, centre + extent / 2], -1), score[kept]


def _yolox_grid(size: tuple[int, int], strides: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Cell coordinates (cells, 2) and strides (cells, 1) in the order in which YOLOX writes its cells."""
    grids, steps = [], []
    for stride in strides:
        row, column = np.divmod(np.arange((size[0] // stride) * (size[1] // stride)), size[1] // stride)
        grids.append(np.stack([column, row], -1))
        steps.append(np.full((len(row), 1), stride))
    return np.concatenate(grids).astype(np.float32), np.concatenate(steps).astype(np.float32)


def suppress_overlaps(box: np.ndarray, score: np.ndarray, iou: float) -> Detections:
    """Non-maximum suppression; empty boxes go too. Returns the survivors, best first."""
    order = np.argsort(-score, kind="stable")
    box, score = box[order], score[order]
    area = np.prod(np.maximum(box[:, 2:] - box[:, :2], 0), -1)
    alive = area > 0
    kept = []
    for index in range(len(box)):
        if not alive[index]:
            continue
        kept.append(index)
        corner = np.maximum(box[index, :2], box[index + 1 :, :2])
        shared = np.prod(np.maximum(np.minimum(box[index, 2:], box[index + 1 :, 2:]) - corner, 0), -1)
        alive[index + 1 :] &= shared <= iou * (area[index] + area[index + 1 :] - shared)
    return box[kept].astype(np.float32), score[kept].astype(np.float32)


def _nothing() -> Detections:
    return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)


class TwoStageDetector:
    """A detector of the R-CNN family, through mmdet's own code from picture to boxes. Torch only.

    Args:
        network: mmdet's detector.
        config: What its config says.
        placement: Where it runs; precision fp32 or, on a GPU, autocast to the one named.
        score_threshold: Boxes below are not persons.
        batch_size: Frames at once.
    """

    def __init__(
        self,
        network: "torch.nn.Module",
        config: DetectorConfig,
        placement: Placement,
        *,
        score_threshold: float,
        batch_size: int,
    ) -> None:
        self._network = network.to(placement.device)
        self._config = config
        self._placement = placement
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
        """The scaled and normalised frame (3, h, w), and what mmdet has to know of it."""
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

        # Always a full batch of the frame's own shape: sums are rounded differently in batches of another shape, and
        # a frame's persons must not depend on its company.
        batch = torch.zeros((self.batch_size, 3, *shape))
        samples = []
        for row in range(self.batch_size):
            plane, facts = fitted[min(row, len(fitted) - 1)]
            samples.append(DetDataSample(metainfo={**facts, "pad_shape": shape, "batch_input_shape": shape}))
            if row < len(fitted):
                batch[row, :, : plane.shape[1], : plane.shape[2]] = torch.from_numpy(plane)
        device = torch.device(self._placement.device)
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self._placement.precision)
        with torch.inference_mode(), torch.autocast(device.type, half, enabled=half is not None):
            results = self._network.predict(batch.to(device), samples, rescale=True)  # type: ignore[operator]
        return [self._persons(result.pred_instances) for result in results[: len(fitted)]]

    def _persons(self, instances: Any) -> Detections:
        persons = (instances.labels == 0) & (instances.scores > self.score_threshold)
        box = instances.bboxes[persons].float().cpu().numpy()
        score = instances.scores[persons].float().cpu().numpy()
        order = np.argsort(-score, kind="stable")
        return box[order], score[order]
