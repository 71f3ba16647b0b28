"""How well small networks do on people that they have never seen: those of the testing family."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.rendering.family import TEST, Family
from pipeline.rendering.scene import SEEN, FrameTruth, Scene
from pose_extraction.skeleton import COCO17
from pose_extraction.topdown import TopdownEstimator

# A joint is found when it is nearer to its place than this share of the longer side of the person's true box.
PCK_SHARE = 0.1
# Frames of each scene that are looked at.
FRAMES = 4


@dataclass
class JointCounts:
    """Joints in sight, and how many of them were found.

    Args:
        total: int64 (17,).
        found: int64 (17,).
    """

    total: np.ndarray
    found: np.ndarray

    @classmethod
    def none(cls) -> "JointCounts":
        return cls(np.zeros(COCO17.num_joints, np.int64), np.zeros(COCO17.num_joints, np.int64))

    def add(self, found: np.ndarray, truth: FrameTruth, person: int) -> None:
        """Counts one person's joints; an estimate (17, 2) of NaN is a joint, or a person, that was missed."""
        box, seen = truth.box[person], truth.visibility[person] == SEEN
        near = PCK_SHARE * float((box[2:] - box[:2]).max())
        distance = np.linalg.norm(found - truth.keypoint[person], axis=-1)
        self.total += seen
        self.found += seen & (distance <= near)

    @property
    def pck(self) -> float:
        """The share of the joints in sight that were found."""
        return float(self.found.sum() / max(self.total.sum(), 1))

    @property
    def by_joint(self) -> dict[str, float]:
        return {
            name: float(found / max(total, 1))
            for name, found, total in zip(COCO17.joints, self.found, self.total, strict=True)
        }


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


def measure_topdown(estimator: TopdownEstimator, scenes: int, *, seed: int = 0) -> JointCounts:
    """PCK of an estimator that is given the true boxes, over persons of whom five joints or more are in sight."""
    counts = JointCounts.none()
    for picture, truth in unseen_frames(scenes, seed=seed):
        shown = [person for person in range(len(truth.box)) if (truth.visibility[person] == SEEN).sum() >= 5]
        if not shown:
            continue
        batch = estimator.network.batch_size
        for first in range(0, len(shown), batch):
            group = shown[first : first + batch]
            keypoint, _ = estimator.estimate(estimator.crop(picture, truth.box[group]))
            for found, person in zip(keypoint, group, strict=True):
                counts.add(found, truth, person)
    return counts
