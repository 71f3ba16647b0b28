"""The content of the demonstration."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import resources
from itertools import count
from typing import Literal

import numpy as np

from pose_extraction.oks import box_iou
from synthetic.rendering.family import TEST, TRAIN, family_named
from synthetic.rendering.scene import OUTSIDE, SEEN, Scene

# Folder of the labelled clips, and stem of the clip for prediction.
CLIPS, NEW_CLIP = "clips", "two_people"
# Above the seeds used for training (below 2**40) and measuring the small networks.
FIRST_SEED = 2**41
# Above the seeds of all clips: added to a seed until its scene is clearly visible.
NEXT_SEED = 2**20
# Criteria for clearly visible scenes: number of frames in which every person must be completely inside the image;
# visible joints of a single person, and of each person in the clip for prediction; largest overlap of boxes; smallest
# height of each person in that clip, relative to the image.
CHECKED_FRAMES = 5
CLEAR_JOINTS, CLEAR_JOINTS_OF_TWO, CLEAR_OVERLAP, CLEAR_HEIGHT = 10, 13, 0.05, 0.35


@dataclass(frozen=True)
class DemoPlan:
    """Size of the demonstration.

    Args:
        actions: Classes, names in `rendering.actions.ACTIONS`.
        train_each: Training clips per action, with people of the family `train`.
        test_each: Test clips per action, with people of the family `test`.
        size: (height, width) of a clip in pixels.
        frames: Frames per clip.
        fps: Frames per second.
        phase1_epochs: Epochs of the training with cross-entropy only.
        phase2_epochs: Epochs of the training with both pathways.
        new_size: (height, width) of the clip for prediction.
        new_frames: Frames of the clip for prediction.
    """

    actions: tuple[str, ...] = ("clap", "fall", "jumping_jack", "kick", "sit_down", "squat", "walk", "wave")
    train_each: int = 40
    test_each: int = 10
    size: tuple[int, int] = (360, 480)
    frames: int = 32
    fps: float = 16.0
    phase1_epochs: int | Literal["auto"] = "auto"
    phase2_epochs: int | Literal["auto"] = "auto"
    new_size: tuple[int, int] = (480, 640)
    new_frames: int = 64

    @property
    def clips(self) -> int:
        """Number of labelled clips."""
        return len(self.actions) * (self.train_each + self.test_each)

    def digest(self) -> str:
        """Return a digest of this plan and of the rendering code, which changes if clips may change."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode())
        for file in sorted(resources.files("synthetic.rendering").iterdir(), key=lambda one: one.name):
            if file.name.endswith(".py"):
                digest.update(file.read_bytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Order:
    """A clip to render.

    Args:
        identifier: Path below the folder, without suffix.
        family: Name of the family.
        seed: First seed of its scene.
        action: Action of the clip.
    """

    identifier: str
    family: str
    seed: int
    action: str

    def scene(self, plan: DemoPlan) -> Scene:
        """Return the first clearly visible scene with one person who performs the action."""
        scenes = (
            Scene(
                family_named(self.family),
                seed,
                size=plan.size,
                frames=plan.frames,
                fps=plan.fps,
                action=self.action,
                persons=1,
            )
            for seed in count(self.seed, NEXT_SEED)
        )
        return next(scene for scene in scenes if is_plain(scene, joints=CLEAR_JOINTS))


def orders(plan: DemoPlan) -> Iterator[Order]:
    """Yield all labelled clips; each shows a different person and place."""
    seeds = count(FIRST_SEED)
    for action in plan.actions:
        for family, each in ((TRAIN, plan.train_each), (TEST, plan.test_each)):
            for number in range(each):
                yield Order(f"{action}/{family.name}_{number:03d}", family.name, next(seeds), action)


def two_people(plan: DemoPlan) -> Scene:
    """Return the first scene of two clearly visible people of the family `test` with different actions of the plan."""
    for seed in count(2 * FIRST_SEED):
        scene = Scene(
            TEST,
            seed,
            size=plan.new_size,
            frames=plan.new_frames,
            fps=plan.fps,
            action=plan.actions[seed % len(plan.actions)],
            persons=2,
        )
        different = len(set(scene.actions)) == 2 and set(scene.actions) <= set(plan.actions)
        if different and is_plain(scene, joints=CLEAR_JOINTS_OF_TWO, height=CLEAR_HEIGHT):
            return scene
    raise AssertionError("unreachable: seeds are infinite")


def is_plain(scene: Scene, *, joints: int, height: float = 0.0, overlap: float = CLEAR_OVERLAP) -> bool:
    """Whether everyone in a scene is clearly visible according to the ground truth.

    Args:
        scene: The scene.
        joints: Smallest number of visible joints per person; the others may be hidden, but not outside the image.
        height: Smallest height of each person relative to the image, 0 to 1.
        overlap: Largest IoU of two persons' boxes, 0 to 1.
    """
    for index in np.linspace(0, len(scene) - 1, CHECKED_FRAMES).astype(int):
        _, truth = scene.frame(int(index))
        if (truth.visibility == OUTSIDE).any() or (truth.visibility == SEEN).sum(-1).min() < joints:
            return False
        if (box_iou(truth.box, truth.box) - np.eye(len(truth.box))).max() > overlap:
            return False
        if (truth.box[:, 3] - truth.box[:, 1]).min() < height * scene.size[0]:
            return False
    return True
