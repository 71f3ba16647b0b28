"""Pose estimation in single images."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pose_extraction.engines.engine import Backend, Precision
    from pose_extraction.image_poses import ImageLike, ImagePoses
    from pose_extraction.networks.detection import PersonDetector


class PoseEstimator:
    """Estimates the poses of all persons in an image, without tracking.

    Args:
        estimator: Pose estimator: a name listed by `skelpipe models`, or the path of an ONNX file.
        detector: Person detector: a name, the path of an ONNX file, or an object with the method `detect`; "auto" is
            the one that suits the estimator: "rtmdet" or, for RTMPose, a YOLOX. Ignored by estimators that need none.
        checkpoint: Weights of the estimator instead of the official ones; "seed:N" for random weights.
        detector_checkpoint: The same for the detector.
        device: "auto", "cpu" or "cuda:N".
        backend: "auto", "torch", "openvino" or "onnxruntime"; the library that runs the networks.
        precision: Compute precision: "auto", "fp32", "bf16" or "fp16"; "auto" uses bf16 where the processor supports
            it, and fp32 for detectors.
        detection_threshold: Minimum score of a person box, in (0, 1); None for the detector's default.

    Raises:
        UsageError: A network does not exist, or the options contradict each other.
        WeightsError: Weights are missing, damaged or unsafe.
        BackendError: A network cannot run on this machine.

    Examples:
        >>> import skelpipe
        >>> estimator = skelpipe.PoseEstimator("hrnet-tiny", detector="rtmdet-nano-rendered", device="cpu")
        >>> poses = estimator("person.png")
        >>> poses.boxes.shape, poses.keypoints.shape, poses.scores.shape
        ((1, 4), (1, 17, 2), (1, 17))
        >>> poses.draw("person.png").shape
        (360, 480, 3)
    """

    def __init__(
        self,
        estimator: str | Path = "vitpose",
        detector: "str | Path | PersonDetector" = "auto",
        *,
        checkpoint: str | None = None,
        detector_checkpoint: str | None = None,
        device: str = "auto",
        backend: "Backend" = "auto",
        precision: "Precision" = "auto",
        detection_threshold: float | None = None,
    ) -> None:
        from pose_extraction.image_poses import ImagePoseEstimator

        self._find = ImagePoseEstimator(
            estimator,
            detector,
            checkpoint=checkpoint,
            detector_checkpoint=detector_checkpoint,
            device=device,
            backend=backend,
            precision=precision,
            score_threshold=detection_threshold,
        )

    def __call__(self, image: "ImageLike") -> "ImagePoses":
        """Estimate the poses in one image.

        Args:
            image: uint8 (H, W, 3) in RGB order: an array, or anything that NumPy converts to one, such as an image of
                Pillow; or the path of an image file.

        Returns:
            The persons: `boxes` (N, 4), `box_scores` (N,), `keypoints` (N, 17, 2) in pixels, NaN where a joint was not
            seen, `scores` (N, 17) in [0, 1]; `draw(image)` draws them.

        Raises:
            UsageError: The array has another type or shape.
            VideoError: The file is missing, or is not an image.
        """
        return self.batch([image])[0]

    def batch(self, images: "Iterable[ImageLike]") -> "list[ImagePoses]":
        """Estimate the poses in several images at once, which is faster than one after the other.

        Args:
            images: Images as in a call for one; their sizes may differ. They are read one after the other, so there may
                be more of them than fit into memory.

        Returns:
            The persons in each image.

        Raises:
            UsageError: An array has another type or shape.
            VideoError: A file is missing, or is not an image.
        """
        return self._find(images)
