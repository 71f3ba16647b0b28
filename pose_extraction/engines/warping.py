"""Cut affine regions out of an image: on the CPU with OpenCV, or on the device of a network with torch.

On a GPU, a frame is copied to the device once, and its persons are cut out there, instead of on the CPU, which decodes
the next frames meanwhile. With OpenCV 5, both ways give the same bytes, so the poses do not depend on them.
"""

import logging
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from pose_extraction.engines.image_batches import Images, joined, on_device

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# Regions that are cut out together on a device: each takes about 7 MB of its memory meanwhile, at 256x192 pixels.
TOGETHER = 16
# Two interpolations at places that are wrong by 1/64 of a pixel.
OLDER_DIFFERENCE = 8
# Black pixels around the image, so that both neighbours of a place outside it exist.
MARGIN = 2


class Warp(Protocol):
    """Cuts regions out of an image, with bilinear interpolation; what is outside the image is black."""

    def __call__(self, image: np.ndarray, matrices: np.ndarray, size: tuple[int, int]) -> Images:
        """Cut regions out.

        Args:
            image: uint8 (H, W, 3).
            matrices: float (N, 2, 3), affine matrices from pixels of the image to pixels of the region.
            size: (height, width) of the regions in pixels.

        Returns:
            uint8 (N, height, width, 3); see `Images`.
        """
        ...


def warp_in_memory(image: np.ndarray, matrices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut regions out with OpenCV, on the CPU.

    Args:
        image: uint8 (H, W, 3).
        matrices: float (N, 2, 3), affine matrices from pixels of the image to pixels of the region.
        size: (height, width) of the regions in pixels.

    Returns:
        uint8 (N, height, width, 3), bilinear; black outside the image.
    """
    height, width = size
    images = np.empty((len(matrices), height, width, 3), np.uint8)
    for region, matrix in zip(images, matrices, strict=True):
        cv2.warpAffine(image, matrix, (width, height), dst=region, flags=cv2.INTER_LINEAR)
    return images


class DeviceWarp:
    """Cuts regions out with torch; see `Warp`.

    The bytes are those of OpenCV 5, whose kernel computes in fp32 with fused multiplications. On processors without
    these, and in the last columns of regions whose width is not a multiple of 16, some values of OpenCV differ by one.
    OpenCV 4 rounds places to 1/32 of a pixel, so its values differ by up to `OLDER_DIFFERENCE`.

    Args:
        device: Where the images are needed.
        together: Number of regions that are cut out at once; fewer once the memory of the device did not suffice.
    """

    def __init__(self, device: "torch.device", *, together: int = TOGETHER) -> None:
        self._device = device
        self._together = together

    def __call__(self, image: np.ndarray, matrices: np.ndarray, size: tuple[int, int]) -> "torch.Tensor":
        """See `Warp`. Where the memory of the device does not suffice for one region, OpenCV cuts all of them out."""
        import torch

        if not len(matrices):
            return torch.zeros((0, *size, 3), dtype=torch.uint8, device=self._device)
        inverse = _inverted(matrices)
        while self._together:
            try:
                frame = self._framed(image)
                parts = [
                    self.cut(frame, inverse[first : first + self._together], size)
                    for first in range(0, len(inverse), self._together)
                ]
            except torch.OutOfMemoryError:
                self._together //= 2
            else:
                return joined(parts)
            # After the exception is gone, which keeps the tensors.
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            if not self._together:
                log.warning("%s: has too little free memory; from now on, the CPU cuts persons out", self._device)
        return torch.from_numpy(warp_in_memory(image, matrices, size))

    def _framed(self, image: np.ndarray) -> "torch.Tensor":
        """Copy an image to the device, and put the margin around it."""
        import torch

        return torch.nn.functional.pad(on_device(image, self._device), (0, 0, MARGIN, MARGIN, MARGIN, MARGIN))

    def cut(self, frame: "torch.Tensor", inverse: np.ndarray, size: tuple[int, int]) -> "torch.Tensor":
        """Cut regions out of an image on the device.

        Args:
            frame: uint8 (H, W, 3), with the margin.
            inverse: float32 (N, 2, 3), affine matrices from pixels of the region to pixels of the image.
            size: (height, width) of the regions in pixels.
        """
        import torch

        tall, wide = frame.shape[0] - 2 * MARGIN, frame.shape[1] - 2 * MARGIN
        matrix = torch.from_numpy(inverse).to(self._device)
        y = torch.arange(size[0], dtype=torch.float32, device=self._device)
        x = torch.arange(size[1], dtype=torch.float64, device=self._device)
        # As OpenCV: the part of the row is rounded twice, that of the column once. In fp64, a product of fp32 numbers
        # is exact, so that each processor gives the same.
        row = matrix[:, :, 1, None] * y + matrix[:, :, 2, None]
        place = (matrix[:, :, 0, None, None].double() * x + row.double()[..., None]).float()
        # An empty box has no place.
        place = place.nan_to_num(nan=-MARGIN, posinf=-MARGIN, neginf=-MARGIN)
        whole = place.floor()
        across, along = (place - whole).double().unsqueeze(-1).unbind(1)
        column = whole[:, 0].clamp(-MARGIN, wide).long() + MARGIN
        index = (whole[:, 1].clamp(-MARGIN, tall).long() + MARGIN) * frame.shape[1] + column
        pixels = frame.reshape(-1, 3)
        above = _between(pixels[index].float(), pixels[index + 1].float(), across)
        index += frame.shape[1]
        below = _between(pixels[index].float(), pixels[index + 1].float(), across)
        return _between(above, below, along).round().clamp(0, 255).byte()


def _between(first: "torch.Tensor", last: "torch.Tensor", weight: "torch.Tensor") -> "torch.Tensor":
    """Interpolate in fp32 with one rounding, as a fused multiplication does; the weight is fp64."""
    return (weight * (last - first).double() + first.double()).float()


def _inverted(matrices: np.ndarray) -> np.ndarray:
    """Return the inverse of affine matrices (N, 2, 3) in fp32, computed in the steps of OpenCV; 0 if there is none."""
    (a, b, c), (d, e, f) = np.asarray(matrices, np.float64).transpose(1, 2, 0)
    with np.errstate(all="ignore"):
        determinant = a * e - b * d
        factor = np.where(determinant != 0, 1 / determinant, 0.0)
        a, b, d, e = e * factor, -b * factor, -d * factor, a * factor
        inverse = np.array([[a, b, -a * c - b * f], [d, e, -d * c - e * f]])
        return inverse.transpose(2, 0, 1).astype(np.float32)
