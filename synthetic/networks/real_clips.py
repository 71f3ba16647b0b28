"""Compares small networks with larger ones on real clips, which have no ground truth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from pose_extraction.networks.detection import PersonDetector
from pose_extraction.networks.estimators import load_detector, load_estimator
from pose_extraction.networks.identity import NetworkOptions, identify
from pose_extraction.networks.topdown import TopdownEstimator
from pose_extraction.oks import OUTLINE_SHARE, box_area, joint_likeness
from pose_extraction.skeleton import COCO17
from pose_extraction.video.reader import VideoReader
from synthetic.networks.measuring import BoxCounts, box_counts, poses_in

if TYPE_CHECKING:
    from pose_extraction.networks.openpifpaf import OpenPifPafEstimator

# Lowest score of a reference joint, and fewest such joints of a reference person.
SURE, FEWEST_SURE = 0.6, 8
# Frames per video, and the stride between them.
FRAMES, STRIDE = 3, 20


@dataclass(frozen=True)
class ReferenceFrame:
    """A frame with the results of the larger networks.

    Args:
        picture: uint8 (H, W, 3), BGR.
        box: (M, 4), boxes of all persons, pixels.
        keypoint: (M, 17, 2), pixels, NaN where the score is too low.
    """

    picture: np.ndarray
    box: np.ndarray
    keypoint: np.ndarray

    @property
    def sure_persons(self) -> np.ndarray:
        """Indices (K,) of the persons with enough confident joints."""
        return np.flatnonzero((~np.isnan(self.keypoint[..., 0])).sum(-1) >= FEWEST_SURE)


@dataclass(frozen=True)
class Similarity:
    """Similarity of each joint to the larger network's, exp(-d^2 / (2 A k^2)) as in COCO's OKS; 0 for a missed one.

    Args:
        total: int64 (17,), number of compared joints.
        alike: float64 (17,), sum of their similarities.
        persons: Number of persons.
    """

    total: np.ndarray
    alike: np.ndarray
    persons: int

    @property
    def by_joint(self) -> dict[str, float]:
        """Mean similarity by joint name, for compared joints."""
        return {
            name: float(alike / total)
            for name, total, alike in zip(COCO17.joints, self.total, self.alike, strict=True)
            if total
        }

    @property
    def mean(self) -> float:
        return float(self.alike.sum() / max(self.total.sum(), 1))


def reference_frames(videos: Sequence[Path], estimator: str, detector: str) -> list[ReferenceFrame]:
    """Run the larger networks on some frames of videos.

    Args:
        videos: Video files.
        estimator: Name or ONNX file of a top-down network.
        detector: Name or ONNX file of a detector.

    Raises:
        UsageError: The estimator is not a top-down network.
        VideoError: A video cannot be read.
    """
    options = NetworkOptions(Engine(precision="fp32"))
    poses = load_estimator(identify("estimator", estimator, options=options), options)
    boxes = load_detector(identify("detector", detector, options=options), options)
    if not isinstance(poses, TopdownEstimator):
        raise UsageError(f"{estimator} detects persons itself; name a top-down network as the reference")
    found = []
    for video in videos:
        for picture in _some_frames(video):
            box, _ = boxes.detect([picture])[0]
            keypoint, score = poses_in(poses, picture, box)
            found.append(ReferenceFrame(picture, box, np.where(score[..., None] >= SURE, keypoint, np.nan)))
    return found


def _some_frames(video: Path) -> Iterator[np.ndarray]:
    with VideoReader(video, stride=STRIDE) as reader:
        for number, frame in enumerate(reader):
            if number == FRAMES:
                return
            yield frame.image


def compare_estimator(
    estimator: "TopdownEstimator | OpenPifPafEstimator", frames: Sequence[ReferenceFrame]
) -> Similarity:
    """Compute the similarity of an estimator's joints to those of the larger network.

    A top-down network receives the same boxes; for one that detects persons itself, each person's most similar pose
    counts.
    """
    total, alike, persons = np.zeros(COCO17.num_joints, np.int64), np.zeros(COCO17.num_joints), 0
    for frame in frames:
        sure = frame.sure_persons
        box, reference = frame.box[sure], frame.keypoint[sure]
        area = OUTLINE_SHARE * box_area(box)
        if isinstance(estimator, TopdownEstimator):
            values = joint_likeness(poses_in(estimator, frame.picture, box)[0], reference, area)
        else:
            found = estimator.estimate([frame.picture])[0][2]
            each = [joint_likeness(pose, reference, area) for pose in found]
            pairs = np.stack([np.zeros(reference.shape[:2]), *each])
            values = pairs[pairs.sum(-1).argmax(0), np.arange(len(sure))]
        alike += values.sum(0)
        total += (~np.isnan(reference[..., 0])).sum(0)
        persons += len(sure)
    return Similarity(total, alike, persons)


def compare_detector(detector: PersonDetector, frames: Sequence[ReferenceFrame]) -> BoxCounts:
    """Count how many of the larger detector's persons a detector finds, and its other detections."""
    return box_counts(detector, ((frame.picture, frame.box, np.arange(len(frame.box))) for frame in frames))
