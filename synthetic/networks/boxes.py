"""Training data for detectors: frames of rendered people at many scales, single or as a mosaic of four, with boxes."""

from collections.abc import Iterator

import cv2
import numpy as np
import torch

from pose_extraction.networks.openmmlab import mmlab
from synthetic.networks.mmlab_training import detection_loss, normalised
from synthetic.networks.recipes import Recipe
from synthetic.rendering.family import TRAIN, Family
from synthetic.rendering.scene import SEEN, Scene

# Frames per scene: creating a scene takes as long as rendering two frames.
FRAMES = 4
# Boxes are dropped if fewer joints are visible, a smaller share lies inside the image, or they are smaller (pixels).
FEWEST_SEEN, LEAST_INSIDE, SMALLEST = 4, 0.35, 4.0
# Largest number of persons in one image: four frames of three.
MOST = 12


def draw_frames(family: Family, random: np.random.Generator, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Render frames with the boxes (K, 4) of the visible persons."""
    frames: list[tuple[np.ndarray, np.ndarray]] = []
    while len(frames) < count:
        scene = Scene(family, int(random.integers(2**40)), frames=40)
        for index in random.choice(len(scene), FRAMES, replace=False):
            picture, truth = scene.frame(int(index))
            frames.append((picture, truth.box[(truth.visibility == SEEN).sum(-1) >= FEWEST_SEEN]))
    return frames[:count]


def place(
    canvas: np.ndarray, corner: tuple[int, int, int, int], picture: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, bool]:
    """Paste a frame, scaled, shifted and possibly mirrored, into a part of a canvas.

    Args:
        canvas: uint8 (H, W, 3), changed in place.
        corner: The part, as x1, y1, x2, y2.
        picture: uint8 (h, w, 3).
        random: Random generator for scale, shift and mirroring.

    Returns:
        The affine map (2, 3) from frame pixels to canvas pixels, and whether it mirrors.
    """
    x0, y0, x1, y1 = corner
    height, width = picture.shape[:2]
    mirrored = bool(random.random() < 0.5)
    zoom = (x1 - x0) / width * float(np.exp(random.uniform(-0.5, 0.35)))
    # A random crop of frames larger than the part, a random position for smaller ones.
    x = random.uniform(min(0, x1 - x0 - zoom * width), max(0, x1 - x0 - zoom * width))
    y = random.uniform(min(0, y1 - y0 - zoom * height), max(0, y1 - y0 - zoom * height))
    matrix = np.array([[zoom, 0, x], [0, zoom, y]])
    if mirrored:
        matrix = np.array([[-zoom, 0, x + zoom * (width - 1)], [0, zoom, y]])
    canvas[y0:y1, x0:x1] = cv2.warpAffine(
        picture, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR, borderValue=(114, 114, 114)
    )
    matrix[:, 2] += (x0, y0)
    return matrix, mirrored


def moved_boxes(box: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Transform boxes (K, 4) by an affine map (2, 3) without rotation."""
    corners = box.reshape(-1, 2, 2) @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([corners.min(1), corners.max(1)], -1)


def boxes_inside(box: np.ndarray, corner: tuple[int, int, int, int]) -> np.ndarray:
    """Clip boxes (K, 4) to a part of the image, and drop those of which too little remains."""
    x0, y0, x1, y1 = corner
    clipped = np.clip(box, (x0, y0, x0, y0), (x1, y1, x1, y1))
    share = np.prod(clipped[:, 2:] - clipped[:, :2], -1) / np.maximum(np.prod(box[:, 2:] - box[:, :2], -1), 1e-6)
    return clipped[(share >= LEAST_INSIDE) & ((clipped[:, 2:] - clipped[:, :2]).min(-1) >= SMALLEST)]


def draw_pictures(
    family: Family, seed: int, step: int, count: int, size: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the images, uint8 (H, W, 3) BGR, and boxes (K, 4) of a step."""
    random = family.generator(seed, step, 11)
    frames = draw_frames(family, random, count)
    height, width = size
    for number in range(count):
        canvas = np.full((height, width, 3), 114, np.uint8)
        parts, chosen = [(0, 0, width, height)], [number]
        if random.random() < 0.4:
            x, y = int(width * random.uniform(0.35, 0.65)), int(height * random.uniform(0.35, 0.65))
            parts = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
            chosen = random.integers(count, size=4).tolist()
        boxes = []
        for part, other in zip(parts, chosen, strict=True):
            picture, box = frames[other]
            matrix, _ = place(canvas, part, picture, random)
            boxes.append(boxes_inside(moved_boxes(box, matrix), part))
        yield canvas, np.concatenate(boxes)[:MOST]


class DetectorObjective:
    """The losses of RTMDet's own head.

    Args:
        recipe: Recipe of the network.
        seed: Seed of the initial weights.
    """

    def __init__(self, recipe: Recipe, seed: int) -> None:
        self.network, self.config = mmlab.build_detector(recipe.package, recipe.config, seed=seed)
        self._size = recipe.batch

    def batch(self, seed: int, step: int) -> tuple[np.ndarray, ...]:
        """See `Objective`: images uint8 (N, H, W, 3), boxes float32 (N, MOST, 4), number of boxes (N,)."""
        drawn = list(draw_pictures(TRAIN, seed, step, self._size, self.config.input_size))
        boxes = np.zeros((len(drawn), MOST, 4), np.float32)
        for row, (_, box) in enumerate(drawn):
            boxes[row, : len(box)] = box
        return np.stack([canvas for canvas, _ in drawn]), boxes, np.array([len(box) for _, box in drawn])

    def loss(self, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """See `Objective`."""
        picture, boxes, count = batch
        own = [box[:number] for box, number in zip(boxes, count.tolist(), strict=True)]
        return detection_loss(self.network, normalised(picture, self.config), own)
