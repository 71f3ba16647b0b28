"""OpenPifPaf, a bottom-up estimator: a single pass of one network finds all persons in a frame, without boxes.

Kreiss et al., "OpenPifPaf: Composite Fields for Semantic Keypoint Detection and Spatio-Temporal Association", 2021.
The network is in `openpifpaf_network`, and the decoder of its output in `composite_fields`.

Unlike this project, openpifpaf is licensed under AGPL-3.0. It is therefore imported only when this estimator is used
(`composite_fields.load_library`), and none of its code is included here. Distributing or serving a program that uses it
is subject to that licence.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from pose_extraction.engines.devices import cpu_count
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from pose_extraction.networks.composite_fields import CompositeFieldDecoder
from pose_extraction.networks.openpifpaf_network import BASE_STRIDE, Forward, build_network, network_forward

# box (M, 4), box_score (M,), keypoint (M, 17, 2), keypoint_score (M, 17), as in `FramePoses`.
Persons = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

RGB_MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
RGB_STD = np.array([0.229, 0.224, 0.225], np.float32) * 255
RGB_PADDING = (124, 116, 104)
# Input size of the published networks.
LONG_EDGE = 641


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Position of a frame in the network input: input = (frame + 0.5) * scale - 0.5 + offset, for x and y.

    Args:
        scale: float64 (2,), input pixels per frame pixel in x and y.
        offset: float64 (2,), padding before the frame in input pixels in x and y.
    """

    scale: np.ndarray
    offset: np.ndarray

    def to_frame(self, point: np.ndarray) -> np.ndarray:
        """Map points (..., 2) from input pixels to frame pixels."""
        return (point - self.offset + 0.5) / self.scale - 0.5


def prepare(image: np.ndarray, long_edge: int) -> tuple[np.ndarray, Letterbox]:
    """Prepare the network input for a frame.

    Args:
        image: uint8 (H, W, 3) BGR.
        long_edge: Length in pixels to which the longer edge is scaled.

    Returns:
        float32 (3, h, w), normalised RGB, padded to h and w of the form 16k + 1; and the position of the frame in it.
    """
    height, width = image.shape[:2]
    ratio = long_edge / max(height, width)
    new_width, new_height = max(1, int(width * ratio)), max(1, int(height * ratio))
    if width >= height:
        new_width = long_edge
    if height >= width:
        new_height = long_edge
    # The library scales in the same way (`fast_rescaling`), but maps points as if the corner pixels were fixed. OpenCV
    # keeps the borders of pixels fixed, and so does `Letterbox`.
    scaled = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    pad_x, pad_y = -(new_width - 1) % BASE_STRIDE, -(new_height - 1) % BASE_STRIDE
    left, top = pad_x // 2, pad_y // 2
    padded = cv2.copyMakeBorder(
        scaled, top, pad_y - top, left, pad_x - left, cv2.BORDER_CONSTANT, value=RGB_PADDING[::-1]
    )
    normalised = (padded[..., ::-1] - RGB_MEAN) / RGB_STD
    scale = np.array([new_width / width, new_height / height])
    letterbox = Letterbox(scale, np.array([left, top], np.float64))
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)), letterbox


class OpenPifPafEstimator:
    """Estimates the COCO-17 keypoints of all persons in whole frames.

    Args:
        name: One of `NETWORKS`.
        state_dict: Weights, see `build_network`; None for random weights.
        seed: Seed of the random weights.
        long_edge: Length in pixels to which the longer edge of a frame is scaled. People whose size in the input
            differs much from the training data (about 30 to 500 pixels) are not detected.
        batch_size: Frames per batch, all of the same shape. Smaller batches are padded and take as long.
        engine: Where and how the network runs; None is torch on the CPU in float32.
        forward: Function that replaces the network, float32 (N, 3, h, w) -> [CIF, CAF] as in `build_network`. If set,
            `name`, `state_dict`, `seed` and `engine` are ignored.
        decoder_threads: Number of decoder threads; 0 for half the number of CPUs, at most 8.

    Raises:
        UsageError: A size is out of range.
        BackendError, WeightsError: See `build_network`.
    """

    def __init__(
        self,
        name: str = "shufflenetv2k16",
        *,
        state_dict: Mapping[str, torch.Tensor] | None = None,
        seed: int = 0,
        long_edge: int = LONG_EDGE,
        batch_size: int = 4,
        engine: Engine | None = None,
        forward: Forward | None = None,
        decoder_threads: int = 0,
    ) -> None:
        if long_edge <= BASE_STRIDE:
            raise UsageError(
                f"openpifpaf long edge {long_edge}: must be greater than {BASE_STRIDE} pixels, such as 641"
            )
        if batch_size < 1 or decoder_threads < 0:
            raise UsageError(f"batch size {batch_size}, {decoder_threads} decoder threads: must be >= 1 and >= 0")
        self.long_edge = long_edge
        self.batch_size = batch_size
        self._decoder = CompositeFieldDecoder()
        self._forward = forward or network_forward(
            build_network(name, state_dict=state_dict, seed=seed), engine or Engine("cpu", "torch", "fp32")
        )
        threads = decoder_threads or min(8, max(1, cpu_count() // 2))
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="openpifpaf-decoder")

    def estimate(self, images: Sequence[np.ndarray]) -> list[Persons]:
        """Estimate the persons in a list of frames. The result of a frame does not depend on the other frames.

        Args:
            images: uint8 (H, W, 3) BGR frames of any size. With more than `batch_size` frames, the network and the
                decoder run concurrently.

        Returns:
            For each frame, sorted by descending score: box float32 (M, 4), x1 y1 x2 y2 around the seen joints,
            extended by their size and not clipped to the frame; box score float32 (M,) in [0, 1]; keypoint float32
            (M, 17, 2) in pixels of the frame, NaN where not seen; keypoint score float32 (M, 17) in [0, 1], 0 there.
        """
        pending: dict[int, Future[Persons]] = {}
        for rows, inputs, letterboxes in self._batches(images):
            # Kernels depend on the shape of the batch. With a fixed batch size, the result of a frame is bit-identical
            # for any other frames in the batch, and a resumed run gives the same result as an uninterrupted one.
            padding = np.zeros((self.batch_size - len(rows), *inputs.shape[1:]), np.float32)
            cif, caf = self._forward(np.concatenate([inputs, padding]))
            # The stride follows from the longer edge: an edge of one pixel has one cell at any stride.
            stride = (max(inputs.shape[2:]) - 1) // (max(cif.shape[3:]) - 1)
            for place, row in enumerate(rows):
                pending[row] = self._threads.submit(self._decode, cif[place], caf[place], stride, letterboxes[place])
        return [pending[row].result() for row in range(len(images))]

    def _decode(self, cif: np.ndarray, caf: np.ndarray, stride: int, letterbox: Letterbox) -> Persons:
        decoded = self._decoder(cif, caf, stride)
        keypoint = letterbox.to_frame(decoded.point)  # (M, 17, 2)
        radius = decoded.radius[..., None] / letterbox.scale
        box = np.concatenate([np.nanmin(keypoint - radius, 1), np.nanmax(keypoint + radius, 1)], 1)
        return box.astype(np.float32), decoded.person_score, keypoint.astype(np.float32), decoded.score

    def _batches(self, images: Sequence[np.ndarray]) -> Iterator[tuple[list[int], np.ndarray, list[Letterbox]]]:
        """Yield frame numbers, network inputs (N, 3, h, w), and the positions of the frames in them."""
        waiting: dict[tuple[int, ...], list[tuple[int, np.ndarray, Letterbox]]] = defaultdict(list)
        for row, image in enumerate(images):
            prepared, letterbox = prepare(image, self.long_edge)
            group = waiting[prepared.shape]
            group.append((row, prepared, letterbox))
            if len(group) == self.batch_size:
                yield _stack(waiting.pop(prepared.shape))
        for group in waiting.values():
            yield _stack(group)


def _stack(group: list[tuple[int, np.ndarray, Letterbox]]) -> tuple[list[int], np.ndarray, list[Letterbox]]:
    rows, inputs, letterboxes = zip(*group, strict=True)
    return list(rows), np.stack(inputs), list(letterboxes)
