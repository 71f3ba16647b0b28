"""What the demonstration draws."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import resources
from itertools import count

import numpy as np

from pipeline.rendering.family import TEST, TRAIN, family_named
from pipeline.rendering.scene import OUTSIDE, SEEN, Scene
from pose_extraction.oks import box_iou

# Folder of the clips that have a label, and stem of the one that is predicted.
CLIPS, NEW_CLIP = "clips", "two_people"
# Beyond the seeds that small networks are trained on (below 2**40) and measured on.
FIRST_SEED = 2**41
# Beyond the seeds of all clips: what is added to one until its scene is plain to see.
NEXT_SEED = 2**20
# So that somebody who looks at a clip can tell who does what, all of everybody is inside the picture in so many frames;
# the other numbers are: joints in sight, of one who is alone and of each of the two in the clip to predict, how much
# their boxes may overlap, and the least share of the picture's height that each of them takes.
LOOKED_AT = 5
CLEAR_JOINTS, CLEAR_JOINTS_OF_TWO, CLEAR_OVERLAP, CLEAR_HEIGHT = 10, 13, 0.05, 0.35


@dataclass(frozen=True)
class Plan:
    """The demonstration's size.

    Args:
        actions: Classes, of `rendering.actions.ACTIONS`.
        train_each: Clips of each action to train on, by people of the family `train`.
        test_each: Clips of each action to test on, by people of the family `test`.
        size: (height, width) of a clip in pixels.
        frames: Of a clip.
        fps: Frames a second.
        phase1_epochs: Of the training with cross-entropy alone.
        phase2_epochs: Of the training with both pathways.
        new_size: (height, width) of the clip that is predicted.
        new_frames: Its frames.
    """

    actions: tuple[str, ...] = ("clap", "fall", "jumping_jack", "kick", "sit_down", "squat", "walk", "wave")
    train_each: int = 40
    test_each: int = 10
    size: tuple[int, int] = (360, 480)
    frames: int = 32
    fps: float = 16.0
    phase1_epochs: int = 28
    phase2_epochs: int = 8
    new_size: tuple[int, int] = (480, 640)
    new_frames: int = 64

    @property
    def clips(self) -> int:
        """How many have a label."""
        return len(self.actions) * (self.train_each + self.test_each)

    def digest(self) -> str:
        """A digest that changes when other clips would be drawn: of this plan, and of what draws."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode())
        for file in sorted(resources.files("pipeline.rendering").iterdir(), key=lambda one: one.name):
            if file.name.endswith(".py"):
                digest.update(file.read_bytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Order:
    """A clip that is to be drawn.

    Args:
        identifier: Its path below the folder, without suffix.
        family: Name of its people's family.
        seed: Of its scene.
        action: What it shows.
    """

    identifier: str
    family: str
    seed: int
    action: str

    def scene(self, plan: Plan) -> Scene:
        """One person who does it, plain to see."""
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


def orders(plan: Plan) -> Iterator[Order]:
    """All clips that have a label; each shows another person at another place."""
    seeds = count(FIRST_SEED)
    for action in plan.actions:
        for family, each in ((TRAIN, plan.train_each), (TEST, plan.test_each)):
            for number in range(each):
                yield Order(f"{action}/{family.name}_{number:03d}", family.name, next(seeds), action)


def two_people(plan: Plan) -> Scene:
    """The first scene in which two people of the family `test`, both plain to see, do two different of the actions."""
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
    raise AssertionError("seeds never end")


def is_plain(scene: Scene, *, joints: int, height: float = 0.0, overlap: float = CLEAR_OVERLAP) -> bool:
    """Whether everybody in a scene can be seen well, by what is true of it.

    Args:
        scene: The scene.
        joints: How many joints of each person are in sight at least; those that are not are hidden by something, and
            none is outside of the picture.
        height: The least share of the picture's height that each person takes.
        overlap: How much boxes of two persons may overlap.
    """
    for index in np.linspace(0, len(scene) - 1, LOOKED_AT).astype(int):
        _, truth = scene.frame(int(index))
        if (truth.visibility == OUTSIDE).any() or (truth.visibility == SEEN).sum(-1).min() < joints:
            return False
        if (box_iou(truth.box, truth.box) - np.eye(len(truth.box))).max() > overlap:
            return False
        if (truth.box[:, 3] - truth.box[:, 1]).min() < height * scene.size[0]:
            return False
    return True
