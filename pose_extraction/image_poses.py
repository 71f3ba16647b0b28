"""Estimate poses in single images, without files, tracking or cleaning."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from pose_extraction.drawing.persons import draw_poses
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from pose_extraction.extraction import ExtractionSettings, PoseExtractor
from pose_extraction.networks.detection import PersonDetector
from pose_extraction.networks.estimators import load_detector, load_estimator
from pose_extraction.networks.identity import NetworkOptions, identify, with_supported_backend
from pose_extraction.networks.names import AUTO, detector_of, is_blazepose
from pose_extraction.video.image_folder import read_image
from pose_extraction.video.reader import Frame

# An image file, or uint8 (H, W, 3) in RGB order: an array, or anything that NumPy converts to one, such as an image of
# Pillow.
ImageLike = str | Path | ArrayLike


@dataclass(frozen=True)
class ImagePoses:
    """The persons in one image, in the order of the detector: most confident first for top-down estimators.

    Args:
        boxes: float32 (N, 4), x1 y1 x2 y2 in pixels.
        box_scores: float32 (N,) in [0, 1].
        keypoints: float32 (N, 17, 2), x y in pixels, NaN for unseen joints; the joints of COCO-17.
        scores: float32 (N, 17) in [0, 1], 0 for unseen joints.
    """

    boxes: np.ndarray
    box_scores: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def draw(self, image: ImageLike) -> np.ndarray:
        """Draw the persons, numbered in their order, on a copy of the image.

        Args:
            image: The image in which the poses were estimated, or another one of the same size; see `ImageLike`.

        Returns:
            uint8 (H, W, 3) RGB.

        Raises:
            UsageError: The array has another type or shape.
            VideoError: The file cannot be read or is not an image.
        """
        canvas = np.ascontiguousarray(rgb_image(image)[..., ::-1])
        numbers = np.arange(len(self))
        return np.ascontiguousarray(draw_poses(canvas, self.keypoints, self.scores, numbers, self.boxes)[..., ::-1])


def rgb_image(image: ImageLike, *, name: str = "the image") -> np.ndarray:
    """Return an image as an array.

    Args:
        image: See `ImageLike`.
        name: Name of the image for error messages.

    Returns:
        uint8 (H, W, 3) RGB; the array itself if an array is given.

    Raises:
        UsageError: The array has another type or shape.
        VideoError: The file cannot be read or is not an image.
    """
    if isinstance(image, str | Path):
        return read_image(Path(image))[..., ::-1]
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise UsageError(
            f"{name} is {array.dtype} {array.shape}; pass a path, or a uint8 array of shape (height, width, 3) "
            "in RGB order"
        )
    if not array.size:
        raise UsageError(f"{name} is empty: its shape is {array.shape}")
    return array


class ImagePoseEstimator:
    """Estimates the poses in images: the poses that extraction finds in a frame before it tracks and cleans them.

    Args:
        estimator: Name listed by `skelpipe models`, or path of an ONNX file.
        detector: Name, path of an ONNX file, or a custom detector; "auto" chooses one for the estimator. Ignored by
            estimators that need none.
        checkpoint: Weights of the estimator to use instead of the official ones; "seed:N" for random weights.
        detector_checkpoint: The same for the detector.
        device: "auto", "cpu" or "cuda:N".
        backend: "auto", "torch", "openvino" or "onnxruntime"; a network that the backend cannot run uses "auto".
        precision: "auto", "fp32", "bf16" or "fp16"; "auto" runs detectors in fp32.
        score_threshold: Minimum score of a person box, in [0, 1]; None uses the detector's default.

    Raises:
        UsageError: A network does not exist, or the options contradict each other.
        WeightsError: Weights are missing, damaged or unsafe.
        BackendError: A network cannot run on this machine.
    """

    def __init__(
        self,
        estimator: str | Path = "vitpose",
        detector: str | Path | PersonDetector = AUTO,
        *,
        checkpoint: str | None = None,
        detector_checkpoint: str | None = None,
        device: str = "auto",
        backend: str = "auto",
        precision: str = "auto",
        score_threshold: float | None = None,
    ) -> None:
        options = NetworkOptions(Engine(device, backend, precision), score_threshold=score_threshold)
        name = str(estimator)
        own = with_supported_backend(options, name)
        network = load_estimator(identify("estimator", name, checkpoint=checkpoint, options=own), own)
        chosen = detector_of(name, str(detector) if isinstance(detector, str | Path) else AUTO)
        finder: PersonDetector | None = None
        if not isinstance(detector, str | Path):
            finder = detector if chosen is not None or is_blazepose(name) else None
        elif chosen is not None:
            own = with_supported_backend(options, chosen)
            finder = load_detector(identify("detector", chosen, checkpoint=detector_checkpoint, options=own), own)
        self._extractor = PoseExtractor(network, finder, ExtractionSettings(detect_every=1))

    def __call__(self, images: Iterable[ImageLike]) -> list[ImagePoses]:
        """Estimate the poses in images, which share batches.

        Args:
            images: See `ImageLike`; sizes may differ. They are read one after the other, so there may be more images
                than fit into memory.

        Returns:
            The persons in each image.

        Raises:
            UsageError: An image has another type or shape.
            VideoError: A file cannot be read or is not an image.
        """
        # Each image is a video of its own: nobody is followed from one to the next.
        found = {
            number: ImagePoses(poses.box, poses.box_score, poses.keypoint, poses.keypoint_score)
            for number, poses in self._extractor.poses(_frames(images))
            if poses is not None
        }
        return [found[number] for number in sorted(found)]


def _frames(images: Iterable[ImageLike]) -> Iterator[tuple[int, Frame | None]]:
    for number, image in enumerate(images):
        array = rgb_image(image, name=f"image {number}")
        yield number, Frame(number, float(number), np.ascontiguousarray(array[..., ::-1]))
        yield number, None
