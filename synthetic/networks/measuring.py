"""Accuracy of the small networks on people of the test family, which training never uses."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pose_extraction.networks.detection import PersonDetector
from pose_extraction.networks.topdown import TopdownEstimator
from pose_extraction.oks import box_iou
from pose_extraction.skeleton import COCO17
from synthetic.rendering.family import TEST, Family
from synthetic.rendering.scene import SEEN, FrameTruth, Scene

if TYPE_CHECKING:
    from pose_extraction.networks.openpifpaf import OpenPifPafEstimator

# A joint is found if its error is at most this share of the longer side of the person's true box.
PCK_SHARE = 0.1
# Frames per scene.
FRAMES = 4
# Persons with fewer visible joints are ignored, whether found or not.
FEWEST_SEEN = 5
# Smallest IoU between a box and the person that it detects.
SAME_BOX = 0.5


@dataclass(frozen=True)
class JointCounts:
    """Numbers of visible and of found joints.

    Args:
        total: int64 (17,), visible joints.
        found: int64 (17,), found joints.
    """

    total: np.ndarray
    found: np.ndarray

    @property
    def pck(self) -> float:
        """Share of the visible joints that were found; all joints of a missed person count as missed."""
        return float(self.found.sum() / max(self.total.sum(), 1))

    @property
    def by_joint(self) -> dict[str, float]:
        """PCK by joint name."""
        share = self.found / np.maximum(self.total, 1)
        return dict(zip(COCO17.joints, share.tolist(), strict=True))


@dataclass(frozen=True)
class BoxCounts:
    """Numbers of persons, of found persons, and of false detections."""

    total: int
    found: int
    false: int

    @property
    def recall(self) -> float:
        return self.found / max(self.total, 1)

    @property
    def precision(self) -> float:
        return self.found / max(self.found + self.false, 1)


def unseen_frames(
    scenes: int, *, family: Family = TEST, seed: int = 0, size: tuple[int, int] = (240, 320)
) -> Iterator[tuple[np.ndarray, FrameTruth]]:
    """Yield frames of a family's scenes with their ground truth; deterministic.

    Args:
        scenes: Number of scenes.
        family: Family of the people.
        seed: Random seed.
        size: (height, width) in pixels.
    """
    for number in range(scenes):
        scene = Scene(family, seed * 1_000_000 + number, size=size)
        for index in np.linspace(0, len(scene) - 1, FRAMES).astype(int):
            yield scene.frame(int(index))


def shown_persons(truth: FrameTruth) -> np.ndarray:
    """Return the indices (K,) of the persons with enough visible joints."""
    return np.flatnonzero((truth.visibility == SEEN).sum(-1) >= FEWEST_SEEN)


def joint_counts(estimates: Sequence[np.ndarray], truths: Sequence[FrameTruth]) -> JointCounts:
    """Compute the PCK of estimates over visible persons and joints.

    Persons and estimates of a frame are matched greedily by the number of correct joints; each estimate is used once.

    Args:
        estimates: (M, 17, 2) per frame, pixels, NaN for missed joints.
        truths: Ground truth of the frames.
    """
    total, found = np.zeros(COCO17.num_joints, np.int64), np.zeros(COCO17.num_joints, np.int64)
    for keypoint, truth in zip(estimates, truths, strict=True):
        shown = shown_persons(truth)
        seen = truth.visibility[shown] == SEEN
        total += seen.sum(0)
        near = PCK_SHARE * (truth.box[shown, 2:] - truth.box[shown, :2]).max(-1)
        distance = np.linalg.norm(truth.keypoint[shown, None] - keypoint[None], axis=-1)
        right = seen[:, None] & (distance <= near[:, None, None])  # (K, M, 17)
        score = right.sum(-1)
        while score.size and score.max() > 0:
            person, estimate = np.unravel_index(score.argmax(), score.shape)
            found += right[person, estimate]
            score[person], score[:, estimate] = 0, 0
    return JointCounts(total, found)


def poses_in(estimator: TopdownEstimator, picture: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return keypoints (M, 17, 2) in pixels and scores (M, 17) of the persons in boxes (M, 4), in several batches."""
    batch = estimator.network.batch_size
    parts = [estimator.estimate(estimator.crop(picture, box[at : at + batch])) for at in range(0, len(box), batch)]
    keypoint, score = np.zeros((0, COCO17.num_joints, 2)), np.zeros((0, COCO17.num_joints))
    keypoints, scores = [part[0] for part in parts], [part[1] for part in parts]
    return np.concatenate([keypoint, *keypoints]), np.concatenate([score, *scores])


def measure_topdown(estimator: TopdownEstimator, scenes: int, *, seed: int = 0) -> JointCounts:
    """Measure the PCK of an estimator with true boxes."""
    estimates, truths = [], []
    for picture, truth in unseen_frames(scenes, seed=seed):
        estimates.append(poses_in(estimator, picture, truth.box[shown_persons(truth)])[0])
        truths.append(truth)
    return joint_counts(estimates, truths)


def measure_bottomup(estimator: "OpenPifPafEstimator", scenes: int, *, seed: int = 0) -> JointCounts:
    """Measure the PCK of an estimator that detects persons itself."""
    estimates, truths = [], []
    for picture, truth in unseen_frames(scenes, seed=seed):
        estimates.append(estimator.estimate([picture])[0][2])
        truths.append(truth)
    return joint_counts(estimates, truths)


def measure_detector(detector: PersonDetector, scenes: int, *, seed: int = 0) -> BoxCounts:
    """Measure recall and precision of a detector."""
    frames = unseen_frames(scenes, seed=seed)
    # A box around a barely visible person is not a false detection.
    return box_counts(detector, ((picture, truth.box, shown_persons(truth)) for picture, truth in frames))


def box_counts(detector: PersonDetector, frames: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> BoxCounts:
    """Count found persons and false detections.

    Args:
        detector: The detector.
        frames: Image, boxes (M, 4) of all persons, and indices (K,) of the persons to find.
    """
    total = found = false = 0
    for picture, persons, wanted in frames:
        box, _ = detector.detect([picture])[0]
        overlap = box_iou(persons, box)
        total += len(wanted)
        found += int((overlap[wanted].max(1, initial=0) >= SAME_BOX).sum())
        false += int((overlap.max(0, initial=0) < SAME_BOX).sum())
    return BoxCounts(total, found, false)
