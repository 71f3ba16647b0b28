"""Top-down pose estimation: each person is cropped, and a network locates the joints in the crop."""

import logging
from dataclasses import dataclass

import cv2
import numpy as np

from pose_extraction.engines.image_batches import Images, joined, mirror
from pose_extraction.engines.image_networks import ImageNetwork
from pose_extraction.engines.warping import Warp, warp_in_memory
from pose_extraction.networks import heatmaps
from pose_extraction.skeleton import COCO17

log = logging.getLogger(__name__)

# Interpolation of heat maps exceeds 1 by less than this; more such scores than this share are on another scale.
MOST_SCORE, MANY_LARGE = 1.2, 0.2


@dataclass(frozen=True)
class TopdownSpec:
    """Input and output format of a top-down network.

    Args:
        input_size: (height, width) of the crop in pixels.
        codec: "msra", "udp" or "simcc"; see `heatmaps`.
        box_scale: Factor by which a box is enlarged before it is cropped.
        shift_flipped: See `heatmaps.average_with_flipped`.
        blur_kernel: See `heatmaps.decode_udp`.
        split_ratio: See `heatmaps.decode_simcc`.
        score_scale: Divisor of the network's scores that brings them to [0, 1].
        joints: Index of the output channel for each of the V joints of COCO-17.
    """

    input_size: tuple[int, int]
    codec: str = "msra"
    box_scale: float = 1.25
    shift_flipped: bool = True
    blur_kernel: int = 11
    split_ratio: float = 2.0
    score_scale: float = 1.0
    joints: tuple[int, ...] = tuple(range(COCO17.num_joints))


@dataclass(frozen=True)
class Crops:
    """Crops of persons from one or more frames.

    Args:
        images: uint8 (N, H, W, 3) BGR; see `Images`.
        center: float32 (N, 2), centres of the boxes in pixels of the frame.
        scale: float32 (N, 2), width and height of the cropped region in pixels of the frame.
    """

    images: Images
    center: np.ndarray
    scale: np.ndarray


class TopdownEstimator:
    """A top-down network with cropping and decoding.

    Args:
        network: Returns heat maps (N, K, h, w), or the two SimCC vectors (N, K, w'), (N, K, h').
        spec: Input and output format of the network.
        flip_test: Whether to average the output with that of the mirrored crop. This improves AP by about 0.5 points
            and doubles the computing time.
        warp: Cuts persons out of frames; one that gives tensors needs a torch network.
    """

    def __init__(
        self, network: ImageNetwork, spec: TopdownSpec, *, flip_test: bool = False, warp: Warp = warp_in_memory
    ) -> None:
        self.network = network
        self.spec = spec
        self.flip_test = flip_test
        self._warp = warp
        self._has_warned = False

    @property
    def persons_per_batch(self) -> int:
        """Number of crops that fill a batch of the network."""
        return max(1, self.network.batch_size // 2) if self.flip_test else self.network.batch_size

    def crop(self, image: np.ndarray, box: np.ndarray) -> Crops:
        """Crop persons from a frame.

        Args:
            image: uint8 (H, W, 3) BGR.
            box: float (N, 4), x1 y1 x2 y2 in pixels.

        Returns:
            The crops, resized to the network's input size.
        """
        box = np.asarray(box, np.float32).reshape(-1, 4)
        height, width = self.spec.input_size
        center = (box[:, 2:] + box[:, :2]) * np.float32(0.5)
        scale = (box[:, 2:] - box[:, :2]) * np.float32(self.spec.box_scale)
        aspect = width / height
        wide = scale[:, :1] > scale[:, 1:] * aspect
        scale = np.where(
            wide,
            np.concatenate([scale[:, :1], scale[:, :1] / aspect], 1),
            np.concatenate([scale[:, 1:] * aspect, scale[:, 1:]], 1),
        ).astype(np.float32)
        matrices = [self._warp_matrix(*pair) for pair in zip(center, scale, strict=True)]
        return Crops(self._warp(image, np.array(matrices).reshape(-1, 2, 3), self.spec.input_size), center, scale)

    def _warp_matrix(self, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Return the affine matrix (2, 3) from pixels of the frame to pixels of the crop."""
        height, width = self.spec.input_size
        if self.spec.codec == "udp":
            # UDP measures distances between pixel centres: w pixels span w - 1. Use float32 as in the published
            # pipelines, because differences in the last digit of the matrix change grey levels.
            factor = np.array([width - 1, height - 1], np.float32) / scale
            offset = factor * (np.float32(0.5) * scale - center)
            return np.array([[factor[0], 0, offset[0]], [0, factor[1], offset[1]]], np.float32)
        # The region has the aspect ratio of the crop, so its width determines the scale. Use three points and OpenCV's
        # solver as in the published pipelines, for the same reason.
        left = center + np.array([scale[0] * np.float32(-0.5), 0], np.float32)
        below = np.array([left[0], left[1] + (center[0] - left[0])], np.float32)
        source = np.array([center, left, below], np.float32)
        target = np.array([[width / 2, height / 2], [0, height / 2], [0, height / 2 + width / 2]], np.float32)
        return cv2.getAffineTransform(source, target)

    def heatmaps(self, images: Images) -> list[np.ndarray]:
        """Run the network on crops, and average with the mirrored crops if `flip_test` is enabled.

        Args:
            images: uint8 (N, H, W, 3) BGR crops; see `Images`.

        Returns:
            One float32 array of length N per output, with one channel per joint of COCO-17.
        """
        batches = [
            self._run(images[first : first + self.persons_per_batch])
            for first in range(0, len(images), self.persons_per_batch)
        ]
        return [np.concatenate(parts) for parts in zip(*batches, strict=True)]

    def _run(self, images: Images) -> list[np.ndarray]:
        joints = list(self.spec.joints)
        if not self.flip_test:
            return [output[:, joints] for output in self.network(images)]
        if self.network.batch_size == 1:
            direct, mirrored = self.network(images), self.network(mirror(images))
        else:
            both = self.network(joined([images, mirror(images)]))
            direct, mirrored = [out[: len(images)] for out in both], [out[len(images) :] for out in both]
        direct, mirrored = [out[:, joints] for out in direct], [out[:, joints] for out in mirrored]
        flip_indices = COCO17.flip_indices
        if self.spec.codec == "simcc":
            across = mirrored[0][:, flip_indices, ::-1]
            along = mirrored[1][:, flip_indices]
            return [(direct[0] + across) * np.float32(0.5), (direct[1] + along) * np.float32(0.5)]
        return [heatmaps.average_with_flipped(direct[0], mirrored[0], flip_indices, shift=self.spec.shift_flipped)]

    def decode(self, outputs: list[np.ndarray], center: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decode the network's output into keypoints.

        Args:
            outputs: Output of `heatmaps`.
            center: float32 (N, 2), see `Crops`.
            scale: float32 (N, 2), see `Crops`.

        Returns:
            keypoint float32 (N, 17, 2) in pixels of the frame, NaN where not seen; score float32 (N, 17) in [0, 1].
        """
        size = self.spec.input_size
        if self.spec.codec == "udp":
            keypoint, score = heatmaps.decode_udp(outputs[0], size, self.spec.blur_kernel)
        elif self.spec.codec == "simcc":
            keypoint, score = heatmaps.decode_simcc(outputs[0], outputs[1], self.spec.split_ratio)
        else:
            keypoint, score = heatmaps.decode_msra(outputs[0], size)
        extent = np.array([size[1], size[0]], np.float32)
        keypoint = keypoint / extent * scale[:, None] + (center - 0.5 * scale)[:, None]
        score = score / np.float32(self.spec.score_scale)
        self._note_large(score)
        return keypoint.astype(np.float32), np.clip(score, 0, 1)

    def _note_large(self, score: np.ndarray) -> None:
        """Warn once if many scores exceed 1: they would all be stored as 1."""
        if self._has_warned or not score.size or (score > MOST_SCORE).mean() < MANY_LARGE:
            return
        self._has_warned = True
        log.warning(
            "%.0f %% of the scores exceed 1 (the largest is %.3g), and are stored as 1; set score_scale in the YAML "
            "file of the network to the largest score it gives",
            100 * float((score > MOST_SCORE).mean()),
            float(score.max()),
        )

    def estimate(self, crops: Crops) -> tuple[np.ndarray, np.ndarray]:
        """Estimate the poses of persons.

        Args:
            crops: Crops of N persons.

        Returns:
            keypoint float32 (N, 17, 2) in pixels of the frame, NaN where not seen; score float32 (N, 17) in [0, 1].
        """
        if not len(crops.images):
            return np.zeros((0, COCO17.num_joints, 2), np.float32), np.zeros((0, COCO17.num_joints), np.float32)
        return self.decode(self.heatmaps(crops.images), crops.center, crops.scale)
