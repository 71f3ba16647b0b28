"""OpenPifPaf, bottom-up: every person of a frame from one pass of one network, without boxes.

Kreiss et al., "OpenPifPaf: Composite Fields for Semantic Keypoint Detection and Spatio-Temporal Association", 2021.
`openpifpaf_network` holds the network, `composite_fields` reads persons out of what it predicts.

openpifpaf is licensed AGPL-3.0, unlike this package. It is therefore imported only inside functions, when this
estimator has been chosen (`composite_fields.load_library`), and nothing of it is contained here. Whoever ships or
serves a program that runs it has that licence's duties towards its users.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from pose_extraction.backends import Placement, cpu_count
from pose_extraction.composite_fields import CompositeFieldDecoder
from pose_extraction.errors import UsageError
from pose_extraction.openpifpaf_network import BASE_STRIDE, Forward, build_network, network_forward

# box (M, 4), box_score (M,), keypoint (M, 17, 2), keypoint_score (M, 17), as in `FramePoses`.
Persons = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

RGB_MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
RGB_STD = np.array([0.229, 0.224, 0.225], np.float32) * 255
RGB_PADDING = (124, 116, 104)
# Of the published networks.
LONG_EDGE = 641


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where a frame lies within its network input: input = (frame + 0.5) * scale - 0.5 + offset, for x and y alike.

    Args:
        scale: float64 (2,), input pixels per frame pixel, x and y.
        offset: float64 (2,), padding before the frame in input pixels, x and y.
    """

    scale: np.ndarray
    offset: np.ndarray

    def to_input(self, point: np.ndarray) -> np.ndarray:
        """Maps points (..., 2) in frame pixels to input pixels."""
        return (point + 0.5) * self.scale - 0.5 + self.offset

    def to_frame(self, point: np.ndarray) -> np.ndarray:
        """Maps points (..., 2) in input pixels to frame pixels."""
        return (point - self.offset + 0.5) / self.scale - 0.5


def prepare(image: np.ndarray, long_edge: int) -> tuple[np.ndarray, Letterbox]:
    """Makes one network input of one frame.

    Args:
        image: uint8 (H, W, 3), BGR.
        long_edge: Length in pixels that the longer edge is scaled to, up or down.

    Returns:
        float32 (3, h, w), RGB, normalised, padded around to h and w of the form 16k + 1; and the frame's place in it.
    """
    height, width = image.shape[:2]
    ratio = long_edge / max(height, width)
    new_width, new_height = max(1, int(width * ratio)), max(1, int(height * ratio))
    if width >= height:
        new_width = long_edge
    if height >= width:
        new_height = long_edge
    # The library's own scaling is this one too (`fast_rescaling`), though it maps points as if corner pixels stayed
    # corner pixels; OpenCV keeps the borders of pixels instead, and `Letterbox` follows what OpenCV does.
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
    """Finds every person's COCO-17 keypoints in whole frames.

    Args:
        name: One of `NETWORKS`.
        state_dict: Weights, as for `build_network`; None draws random ones.
        seed: Of the random weights.
        long_edge: Pixels that a frame's longer edge is scaled to; people far smaller or larger in the input than the
            network was trained on (about 30 to 500 pixels) are missed.
        batch_size: Frames a run of the network, all of one shape; a smaller rest is padded and costs as much.
        placement: Where and how the network runs; None is torch on the CPU in float32.
        forward: Another way to run a network, float32 (N, 3, h, w) -> [CIF, CAF] as `build_network` describes; it takes
            the place of `name`, `state_dict`, `seed` and `placement`.
        decoder_threads: Decoders that work beside the network; 0 takes one for every two cores, at most 8.

    Raises:
        UsageError: A size is out of range.
        BackendError, WeightsError: As `build_network`.
    """

    def __init__(
        self,
        name: str = "shufflenetv2k16",
        *,
        state_dict: Mapping[str, torch.Tensor] | None = None,
        seed: int = 0,
        long_edge: int = LONG_EDGE,
        batch_size: int = 4,
        placement: Placement | None = None,
        forward: Forward | None = None,
        decoder_threads: int = 0,
    ) -> None:
        if long_edge <= BASE_STRIDE:
            raise UsageError(f"long edge {long_edge} of openpifpaf: give more than {BASE_STRIDE} pixels, such as 641")
        if batch_size < 1 or decoder_threads < 0:
            raise UsageError(f"batch size {batch_size} and {decoder_threads} decoder threads: give at least 1 and 0")
        self.long_edge = long_edge
        self.batch_size = batch_size
        self._decoder = CompositeFieldDecoder()
        self._forward = forward or network_forward(
            build_network(name, state_dict=state_dict, seed=seed), placement or Placement("cpu", "torch", "fp32")
        )
        threads = decoder_threads or min(8, max(1, cpu_count() // 2))
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="openpifpaf-decoder")

    def estimate(self, images: Sequence[np.ndarray]) -> list[Persons]:
        """Finds the persons of many frames; a frame's result does not depend on the others.

        Args:
            images: uint8 (H, W, 3), BGR, of any sizes. More than `batch_size` at once keep network and decoder busy
                side by side.

        Returns:
            For every frame, the best person first: box float32 (M, 4) as x1 y1 x2 y2 around the seen joints, widened
            by their size, not clipped to the frame; box score float32 (M,) in [0, 1]; keypoint float32 (M, 17, 2) in
            pixels of the frame, NaN where a joint was missed; keypoint score float32 (M, 17) in [0, 1], 0 there.
        """
        pending: dict[int, Future[Persons]] = {}
        for rows, inputs, letterboxes in self._batches(images):
            # Kernels are chosen by shape: with a batch of one size, a frame's result is the same, to the last bit,
            # whichever frames it came with, and a run that was resumed ends like one that was not.
            padding = np.zeros((self.batch_size - len(rows), *inputs.shape[1:]), np.float32)
            cif, caf = self._forward(np.concatenate([inputs, padding]))
            # An edge of one pixel has one cell and tells nothing of the stride; the longer one always has more.
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
        """Yields the numbers of the frames, their inputs (N, 3, h, w) and their places in them."""
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
