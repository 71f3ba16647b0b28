"""Rendered people for crops: rendered for a step, or stored by an earlier one and reused."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from pose_extraction.files import atomic_write
from synthetic.rendering.family import Family
from synthetic.rendering.scene import SEEN, Scene

# Scenes at once, and frames per scene: creating a scene takes as long as rendering two frames.
SCENES, FRAMES = 2, 4
# Persons with fewer visible joints, or a smaller box in pixels, are not used.
FEWEST_SEEN, SMALLEST = 5, 24.0
# JPEG quality of stored images.
KEPT_QUALITY = 92


@dataclass(frozen=True)
class Shown:
    """A person in a frame.

    Args:
        picture: The frame, uint8 (H, W, 3) BGR.
        keypoint: (17, 2), pixels of the frame.
        visibility: (17,), one of `scene.OUTSIDE`, `HIDDEN`, `SEEN`.
        box: (4,), x1 y1 x2 y2, pixels.
    """

    picture: np.ndarray
    keypoint: np.ndarray
    visibility: np.ndarray
    box: np.ndarray


def draw_people(family: Family, random: np.random.Generator, fewest: float) -> list[Shown]:
    """Render at least `fewest` people of a family."""
    people: list[Shown] = []
    while len(people) < fewest:
        for _ in range(SCENES):
            scene = Scene(family, int(random.integers(2**40)), frames=40)
            for index in random.choice(len(scene), FRAMES, replace=False):
                picture, truth = scene.frame(int(index))
                for keypoint, visibility, box in zip(truth.keypoint, truth.visibility, truth.box, strict=True):
                    if (visibility == SEEN).sum() >= FEWEST_SEEN and (box[2:] - box[:2]).max() >= SMALLEST:
                        people.append(Shown(picture, keypoint, visibility, box))
    return people


def kept_people(folder: Path, family: Family, seed: int, step: int, fewest: float) -> list[Shown]:
    """Return the people of a step, rendering and storing them if necessary.

    Args:
        folder: Folder of stored people.
        family: Family of the people.
        seed: Seed of the training.
        step: Number of the step.
        fewest: Smallest number of people.
    """
    path = folder / f"{family.name}_{seed}_{step:06d}_{fewest:.1f}.npz"
    if not path.is_file():
        _keep(path, draw_people(family, family.generator(seed, step, 7), fewest))
    with np.load(path, allow_pickle=False) as kept:
        bounds = kept["bounds"]
        frames = [cv2.imdecode(kept["frames"][first:last], cv2.IMREAD_COLOR) for first, last in pairwise(bounds)]
        rows = zip(kept["frame"], kept["keypoint"], kept["visibility"], kept["box"], strict=True)
        return [Shown(frames[frame], keypoint, visibility, box) for frame, keypoint, visibility, box in rows]


def _keep(path: Path, people: list[Shown]) -> None:
    frames = {id(one.picture): one.picture for one in people}
    numbers = {key: number for number, key in enumerate(frames)}
    packed = [cv2.imencode(".jpg", one, [cv2.IMWRITE_JPEG_QUALITY, KEPT_QUALITY])[1] for one in frames.values()]
    with atomic_write(path) as file:
        np.savez(
            file,
            frames=np.concatenate(packed),
            bounds=np.cumsum([0, *map(len, packed)]),
            frame=np.array([numbers[id(one.picture)] for one in people]),
            keypoint=np.stack([one.keypoint for one in people]),
            visibility=np.stack([one.visibility for one in people]),
            box=np.stack([one.box for one in people]),
        )
