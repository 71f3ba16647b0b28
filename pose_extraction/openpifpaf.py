"""OpenPifPaf, bottom-up: every person of a frame from one pass of one network, without boxes.

Kreiss et al., "OpenPifPaf: Composite Fields for Semantic Keypoint Detection and Spatio-Temporal Association", 2021.
This file holds the network and the way into it; `composite_fields` reads persons out of what it predicts.

openpifpaf is licensed AGPL-3.0, unlike this package. It is therefore imported only inside functions, when this
estimator has been chosen (`composite_fields.load_library`), and nothing of it is contained here. Whoever ships or
serves a program that runs it has that licence's duties towards its users.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from pose_extraction.composite_fields import CIF_CHANNELS, CompositeFieldDecoder, load_library
from pose_extraction.errors import UsageError, WeightsError

NETWORKS = ("shufflenetv2k16", "shufflenetv2k30")

Forward = Callable[[np.ndarray], Sequence[np.ndarray]]
# box (M, 4), box_score (M,), keypoint (M, 17, 2), keypoint_score (M, 17), as in `FramePoses`.
Persons = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

# The networks' stride; an input of 16k + 1 pixels puts the first and last cell on the first and last pixel.
BASE_STRIDE = 16
# Cells a stride, in each direction, of the published COCO networks (trained with `--cocokp-upsample=2`).
PUBLISHED_UPSAMPLE = 2

RGB_MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
RGB_STD = np.array([0.229, 0.224, 0.225], np.float32) * 255
RGB_PADDING = (124, 116, 104)


@dataclass(frozen=True, slots=True)
class Placement:
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


def prepare(image: np.ndarray, long_edge: int) -> tuple[np.ndarray, Placement]:
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
    # corner pixels; OpenCV keeps the borders of pixels instead, and `Placement` follows what OpenCV does.
    scaled = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    pad_x, pad_y = -(new_width - 1) % BASE_STRIDE, -(new_height - 1) % BASE_STRIDE
    left, top = pad_x // 2, pad_y // 2
    padded = cv2.copyMakeBorder(
        scaled, top, pad_y - top, left, pad_x - left, cv2.BORDER_CONSTANT, value=RGB_PADDING[::-1]
    )
    normalised = (padded[..., ::-1] - RGB_MEAN) / RGB_STD
    scale = np.array([new_width / width, new_height / height])
    placement = Placement(scale, np.array([left, top], np.float64))
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)), placement


def build_network(
    name: str = "shufflenetv2k16", *, state_dict: Mapping[str, torch.Tensor] | None = None, seed: int = 0
) -> torch.nn.Module:
    """Builds a network with openpifpaf's own parts and COCO heads; downloads nothing, leaves torch's generator alone.

    Args:
        name: One of `NETWORKS`.
        state_dict: Weights of the whole network, every name and shape as here; None draws random ones.
        seed: Of the random weights.

    Returns:
        A network in evaluation mode, float32 (N, 3, 16a + 1, 16b + 1) -> CIF (N, 17, 5, h, w), CAF (N, 19, 8, h, w),
        with h = ua + 1, w = ub + 1 and u cells a stride: as `state_dict` has it, else `PUBLISHED_UPSAMPLE`. The
        values are raw, without the heads' activations: `activate` says why.

    Raises:
        UsageError: The name is none of `NETWORKS`.
        BackendError: openpifpaf is not installed or does not load.
        WeightsError: `state_dict` does not fit.
    """
    if name not in NETWORKS:
        raise UsageError(f"openpifpaf network {name!r}: choose one of {', '.join(NETWORKS)}")
    library = load_library()
    upsample = PUBLISHED_UPSAMPLE if state_dict is None else _upsample(name, state_dict)
    head_metas = library.plugins.coco.CocoKp(upsample_stride=upsample, with_dense=False).head_metas
    # Only the CPU's generator: `torch.manual_seed` would reseed those of the accelerators, which this does not restore.
    state = torch.default_generator.get_state()
    try:
        torch.default_generator.manual_seed(seed)
        shell, _ = library.network.Factory(base_name=name, checkpoint=None).factory(head_metas=head_metas)
    finally:
        torch.default_generator.set_state(state)
    if state_dict is not None:
        try:
            shell.load_state_dict(state_dict, strict=True)
        except RuntimeError as error:
            raise WeightsError(f"the checkpoint does not fit openpifpaf's {name} with COCO heads: {error}") from error
    return RawFields(shell).eval()


def _upsample(name: str, state_dict: Mapping[str, torch.Tensor]) -> int:
    weight = state_dict.get("head_nets.0.conv.weight")
    if weight is None:
        raise WeightsError(
            f"the checkpoint is no openpifpaf {name}: it has no 'head_nets.0.conv.weight' "
            f"among its {len(state_dict)} tensors"
        )
    cells, rest = divmod(weight.shape[0], 17 * CIF_CHANNELS)
    upsample = round(cells**0.5)
    if rest or upsample < 1 or upsample**2 != cells:
        raise WeightsError(
            f"the checkpoint's first head has {weight.shape[0]} channels; 17 joints need 85 or 85 times a square: "
            "take one that was trained on cocokp"
        )
    return upsample


class RawFields(torch.nn.Module):
    """The network up to its heads' last convolution, free of the shapes of its input, for any backend to run.

    Args:
        shell: openpifpaf's `Shell` of a base network and two heads.
    """

    def __init__(self, shell: Any) -> None:
        super().__init__()
        self.shell = shell

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        feature = self.shell.base_net(image)
        fields = []
        for head in self.shell.head_nets:
            field = head.conv(feature)
            if head.upsample_op is not None:
                # k + 1 strided cells become u(k + 1), of which the uk + 1 between the first and last pixel are wanted.
                field = head.upsample_op(field)
                before = (head.upsample_stride - 1) // 2
                after = head.upsample_stride - 1 - before
                field = field[:, :, before : field.shape[2] - after, before : field.shape[3] - after]
            fields.append(field.unflatten(1, (head.n_fields, head.n_components)))
        return tuple(fields)


class OpenPifPafEstimator:
    """Finds every person's COCO-17 keypoints in whole frames.

    Args:
        name: One of `NETWORKS`.
        state_dict: Weights, as for `build_network`; None draws random ones.
        seed: Of the random weights.
        long_edge: Pixels that a frame's longer edge is scaled to; people far smaller or larger in the input than the
            network was trained on (about 30 to 500 pixels) are missed.
        batch_size: Frames a run of the network; equal shapes only, so a mixed batch takes several.
        forward: The network in another backend, float32 (N, 3, h, w) -> [CIF, CAF] as `build_network` describes; it
            takes the place of `name`, `state_dict`, `seed` and `device`.
        device: Where torch runs the network.
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
        long_edge: int = 641,
        batch_size: int = 4,
        forward: Forward | None = None,
        device: str = "cpu",
        decoder_threads: int = 0,
    ) -> None:
        if long_edge <= BASE_STRIDE:
            raise UsageError(f"long edge {long_edge} of openpifpaf: give more than {BASE_STRIDE} pixels, such as 641")
        if batch_size < 1 or decoder_threads < 0:
            raise UsageError(f"batch size {batch_size} and {decoder_threads} decoder threads: give at least 1 and 0")
        self.long_edge = long_edge
        self.batch_size = batch_size
        self._decoder = CompositeFieldDecoder()
        self._forward = forward or _torch_forward(build_network(name, state_dict=state_dict, seed=seed), device)
        threads = decoder_threads or min(8, max(1, (os.cpu_count() or 1) // 2))
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
        for rows, inputs, placements in self._batches(images):
            cif, caf = self._forward(inputs)
            # An edge of one pixel has one cell and tells nothing of the stride; the longer one always has more.
            stride = (max(inputs.shape[2:]) - 1) // (max(cif.shape[3:]) - 1)
            for place, row in enumerate(rows):
                pending[row] = self._threads.submit(self._decode, cif[place], caf[place], stride, placements[place])
        return [pending[row].result() for row in range(len(images))]

    def _decode(self, cif: np.ndarray, caf: np.ndarray, stride: int, placement: Placement) -> Persons:
        decoded = self._decoder(cif, caf, stride)
        keypoint = placement.to_frame(decoded.point)  # (M, 17, 2)
        radius = decoded.radius[..., None] / placement.scale
        box = np.concatenate([np.nanmin(keypoint - radius, 1), np.nanmax(keypoint + radius, 1)], 1)
        return box.astype(np.float32), decoded.person_score, keypoint.astype(np.float32), decoded.score

    def _batches(self, images: Sequence[np.ndarray]) -> Iterator[tuple[list[int], np.ndarray, list[Placement]]]:
        """Yields the numbers of the frames, their inputs (N, 3, h, w) and their places in them."""
        waiting: dict[tuple[int, ...], list[tuple[int, np.ndarray, Placement]]] = defaultdict(list)
        for row, image in enumerate(images):
            prepared, placement = prepare(image, self.long_edge)
            group = waiting[prepared.shape]
            group.append((row, prepared, placement))
            if len(group) == self.batch_size:
                yield _stack(waiting.pop(prepared.shape))
        for group in waiting.values():
            yield _stack(group)


def _stack(group: list[tuple[int, np.ndarray, Placement]]) -> tuple[list[int], np.ndarray, list[Placement]]:
    rows, inputs, placements = zip(*group, strict=True)
    return list(rows), np.stack(inputs), list(placements)


def _torch_forward(network: torch.nn.Module, device: str) -> Forward:
    network = network.to(device)

    def forward(inputs: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            return [field.float().cpu().numpy() for field in network(torch.from_numpy(inputs).to(device))]

    return forward
