"""How well small networks do on people that they have never seen: those of the testing family."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.rendering.family import TEST, Family
from pipeline.rendering.scene import SEEN, FrameTruth, Scene
from pose_extraction.detection import Detector
from pose_extraction.oks import box_iou
from pose_extraction.skeleton import COCO17
from pose_extraction.topdown import TopdownEstimator

if TYPE_CHECKING:
    from pose_extraction.openpifpaf import OpenPifPafEstimator

# A joint is found when it is nearer to its place than this share of the longer side of the person's true box.
PCK_SHARE = 0.1
# Frames of each scene that are looked at.
FRAMES = 4
# Persons of whom fewer joints are in sight need not be found, and count neither for nor against.
FEWEST_SEEN = 5
# A box is a person's when both overlap by this much.
SAME_BOX = 0.5


@dataclass(frozen=True)
class JointCounts:
    """Joints in sight, and how many of them were found.

    Args:
        total: int64 (17,).
        found: int64 (17,).
    """

    total: np.ndarray
    found: np.ndarray

    @property
    def pck(self) -> float:
        """The share of the joints in sight that were found; those of a person who was missed were not."""
        return float(self.found.sum() / max(self.total.sum(), 1))

    @property
    def by_joint(self) -> dict[str, float]:
        """The same, joint by joint."""
        share = self.found / np.maximum(self.total, 1)
        return dict(zip(COCO17.joints, share.tolist(), strict=True))


@dataclass(frozen=True)
class BoxCounts:
    """Persons to be found, how many of them were, and boxes that are nobody's."""

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
    """Frames of so many scenes of a family, with their truth; the same ones each time.

    Args:
        scenes: How many.
        family: Whose people.
        seed: Other seeds show others.
        size: (height, width) in pixels.
    """
    for number in range(scenes):
        scene = Scene(family, seed * 1_000_000 + number, size=size)
        for index in np.linspace(0, len(scene) - 1, FRAMES).astype(int):
            yield scene.frame(int(index))


def shown_persons(truth: FrameTruth) -> np.ndarray:
    """Numbers (K,) of the persons of whom enough is in sight to ask for them."""
    return np.flatnonzero((truth.visibility == SEEN).sum(-1) >= FEWEST_SEEN)


def joint_counts(estimates: Sequence[np.ndarray], truths: Sequence[FrameTruth]) -> JointCounts:
    """PCK of estimates, over persons and joints in sight.

    Each person is given, best first, the estimate of the frame that has most joints right; no estimate serves two.

    Args:
        estimates: For each frame (M, 17, 2) in pixels, NaN where a joint was missed.
        truths: The frames' truths.
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
    """Keypoints (M, 17, 2) in pixels and scores (M, 17) of the persons in boxes (M, 4), however many there are."""
    batch = estimator.network.batch_size
    parts = [estimator.estimate(estimator.crop(picture, box[at : at + batch])) for at in range(0, len(box), batch)]
    keypoint, score = np.zeros((0, COCO17.num_joints, 2)), np.zeros((0, COCO17.num_joints))
    keypoints, scores = [part[0] for part in parts], [part[1] for part in parts]
    return np.concatenate([keypoint, *keypoints]), np.concatenate([score, *scores])


def measure_topdown(estimator: TopdownEstimator, scenes: int, *, seed: int = 0) -> JointCounts:
    """PCK of an estimator that is given the true boxes."""
    estimates, truths = [], []
    for picture, truth in unseen_frames(scenes, seed=seed):
        estimates.append(poses_in(estimator, picture, truth.box[shown_persons(truth)])[0])
        truths.append(truth)
    return joint_counts(estimates, truths)


def measure_bottomup(estimator: "OpenPifPafEstimator", scenes: int, *, seed: int = 0) -> JointCounts:
    """PCK of an estimator that finds persons by itself."""
    estimates, truths = [], []
    for picture, truth in unseen_frames(scenes, seed=seed):
        estimates.append(estimator.estimate([picture])[0][2])
        truths.append(truth)
    return joint_counts(estimates, truths)


def measure_detector(detector: Detector, scenes: int, *, seed: int = 0) -> BoxCounts:
    """How many persons a detector finds, and how many more it believes to."""
    frames = unseen_frames(scenes, seed=seed)
    # A box around somebody of whom little is in sight is no mistake.
    return box_counts(detector, ((picture, truth.box, shown_persons(truth)) for picture, truth in frames))


def box_counts(detector: Detector, frames: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> BoxCounts:
    """Persons that a detector finds, and boxes of its that are nobody's.

    Args:
        detector: The detector.
        frames: Picture, boxes (M, 4) of all persons, and numbers (K,) of those that are to be found.
    """
    total = found = false = 0
    for picture, persons, wanted in frames:
        box, _ = detector.detect([picture])[0]
        overlap = box_iou(persons, box)
        total += len(wanted)
        found += int((overlap[wanted].max(1, initial=0) >= SAME_BOX).sum())
        false += int((overlap.max(0, initial=0) < SAME_BOX).sum())
    return BoxCounts(total, found, false)
