"""Drawn people as a detector is trained on them: frames at many scales, alone or four together, with their boxes."""

from collections.abc import Iterator

import cv2
import numpy as np
import torch

from pipeline.rendering.family import TRAIN, Family
from pipeline.rendering.scene import SEEN, Scene
from pipeline.tiny.recipes import Recipe
from pose_extraction import mmlab

# Frames of each scene: drawing a scene costs as much as two of its frames.
FRAMES = 4
# Persons with fewer joints in sight are not to be found, nor boxes of which less lies inside the picture.
FEWEST_SEEN, LEAST_INSIDE = 4, 0.35
# More persons than this are never in one picture: four frames of three.
MOST = 12


def draw_frames(family: Family, random: np.random.Generator, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Frames with the boxes (K, 4) of the persons that can be seen in them."""
    frames: list[tuple[np.ndarray, np.ndarray]] = []
    while len(frames) < count:
        scene = Scene(family, int(random.integers(2**40)), frames=40)
        for index in random.choice(len(scene), FRAMES, replace=False):
            picture, truth = scene.frame(int(index))
            frames.append((picture, truth.box[(truth.visibility == SEEN).sum(-1) >= FEWEST_SEEN]))
    return frames[:count]


def place(
    canvas: np.ndarray,
    corner: tuple[int, int, int, int],
    frame: tuple[np.ndarray, np.ndarray],
    random: np.random.Generator,
) -> np.ndarray:
    """Puts a frame, scaled, shifted and perhaps mirrored, into a part of a canvas.

    Args:
        canvas: uint8 (H, W, 3), changed in place.
        corner: The part, as x1, y1, x2, y2.
        frame: uint8 (h, w, 3), and boxes (K, 4), x1 y1 x2 y2 in its pixels.
        random: For scale, shift and mirroring.

    Returns:
        The boxes of those of whom enough is inside, in pixels of the canvas.
    """
    (x0, y0, x1, y1), (picture, box) = corner, frame
    height, width = picture.shape[:2]
    if random.random() < 0.5:
        picture, box = picture[:, ::-1], (width, 0, width, 0) + box[:, [2, 1, 0, 3]] * (-1, 1, -1, 1)
    zoom = (x1 - x0) / width * float(np.exp(random.uniform(-0.5, 0.35)))
    # Of what is larger than the part, any piece; of what is smaller, any place.
    x = x0 + random.uniform(min(0, x1 - x0 - zoom * width), max(0, x1 - x0 - zoom * width))
    y = y0 + random.uniform(min(0, y1 - y0 - zoom * height), max(0, y1 - y0 - zoom * height))
    matrix = np.array([[zoom, 0, x - x0], [0, zoom, y - y0]])
    flags = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    canvas[y0:y1, x0:x1] = cv2.warpAffine(
        np.ascontiguousarray(picture), matrix, (x1 - x0, y1 - y0), flags=flags, borderValue=(114, 114, 114)
    )
    moved = box * zoom + (x, y, x, y)
    clipped = np.clip(moved, (x0, y0, x0, y0), (x1, y1, x1, y1))
    share = np.prod(clipped[:, 2:] - clipped[:, :2], -1) / np.maximum(np.prod(moved[:, 2:] - moved[:, :2], -1), 1e-6)
    return clipped[(share >= LEAST_INSIDE) & ((clipped[:, 2:] - clipped[:, :2]).min(-1) >= 4)]


def draw_pictures(
    family: Family, seed: int, step: int, count: int, size: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the pictures, uint8 (H, W, 3) BGR, and boxes (K, 4) of one step."""
    random = family.generator(seed, step, 11)
    frames = draw_frames(family, random, count)
    height, width = size
    for number in range(count):
        canvas = np.full((height, width, 3), 114, np.uint8)
        if random.random() < 0.6:
            boxes = [place(canvas, (0, 0, width, height), frames[number], random)]
        else:
            x, y = int(width * random.uniform(0.35, 0.65)), int(height * random.uniform(0.35, 0.65))
            parts = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
            chosen = random.integers(count, size=4)
            boxes = [place(canvas, part, frames[other], random) for part, other in zip(parts, chosen, strict=True)]
        yield canvas, np.concatenate(boxes)[:MOST]


class DetectorObjective:
    """The losses of RTMDet's own head.

    Args:
        recipe: Whose network.
        seed: Of the weights it begins with.
    """

    def __init__(self, recipe: Recipe, seed: int) -> None:
        self.network, self.config = mmlab.build_detector(recipe.package, recipe.config, seed=seed)
        self._size = recipe.batch

    def batch(self, seed: int, step: int) -> tuple[np.ndarray, ...]:
        """See `Objective`: pictures uint8 (N, H, W, 3), boxes float32 (N, MOST, 4), how many of them (N,)."""
        drawn = list(draw_pictures(TRAIN, seed, step, self._size, self.config.input_size))
        boxes = np.zeros((len(drawn), MOST, 4), np.float32)
        for row, (_, box) in enumerate(drawn):
            boxes[row, : len(box)] = box
        return np.stack([canvas for canvas, _ in drawn]), boxes, np.array([len(box) for _, box in drawn])

    def loss(self, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """See `Objective`."""
        picture, boxes, count = batch
        own = [box[:number] for box, number in zip(boxes, count.tolist(), strict=True)]
        return mmlab.detection_loss(self.network, mmlab.normalised(picture, self.config), own)
