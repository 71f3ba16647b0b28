"""Training data for top-down networks: augmented crops of rendered people with their joints.

A batch depends only on (seed, step), so that a resumed training continues with the same batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pose_extraction.networks.openmmlab.mmlab import TopdownConfig
from pose_extraction.skeleton import COCO17
from synthetic.networks.people import Shown, draw_people
from synthetic.rendering.appearance import draw_cloth
from synthetic.rendering.family import Family
from synthetic.rendering.scene import HIDDEN, SEEN

# Weight of a hidden joint in the loss, relative to a visible one.
HIDDEN_WEIGHT = 0.3
# Each step renders at least a third as many people as it has crops, and crops each person several times.
CUTS = 3


@dataclass(frozen=True)
class Batch:
    """Crops with their joints.

    Args:
        picture: uint8 (N, H, W, 3) BGR.
        keypoint: float32 (N, 17, 2), crop pixels in the convention of the network's codec.
        weight: float32 (N, 17), 0 for a joint outside the crop or the frame.
    """

    picture: np.ndarray
    keypoint: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Jitter:
    """Deviation of a crop from its box.

    Args:
        shift: (x, y), shift of the centre, in box widths and heights.
        zoom: Factor of the size.
        turn: Rotation in degrees, counterclockwise.
        mirror: Whether left and right are swapped.
    """

    shift: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    turn: float = 0.0
    mirror: bool = False


def draw_jitter(random: np.random.Generator) -> Jitter:
    """Draw a deviation that imitates detector errors and people at all angles."""
    return Jitter(
        shift=(float(random.normal() * 0.06), float(random.normal() * 0.05)),
        zoom=float(np.exp(np.clip(random.normal() * 0.16, -0.35, 0.4))),
        turn=float(np.clip(random.normal() * 18, -50, 50)) if random.random() < 0.35 else 0.0,
        mirror=bool(random.random() < 0.5),
    )


def crop_map(box: np.ndarray, config: TopdownConfig, jitter: Jitter) -> np.ndarray:
    """Return the affine map (2, 3) from frame to crop pixels; without jitter it is that of `TopdownEstimator`.

    Args:
        box: (4,), x1 y1 x2 y2 in pixels.
        config: Configuration of the network.
        jitter: Deviation from the box.
    """
    height, width = config.input_size
    centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    extent = np.array([box[2] - box[0], box[3] - box[1]])
    centre = centre + np.array(jitter.shift) * extent
    wide = max(extent[0], extent[1] * width / height) * config.box_scale * jitter.zoom
    # Unbiased data processing measures between pixel centres, w - 1 steps.
    less = 1 if config.codec == "udp" else 0
    scale = np.array([(width - less) / wide, (height - less) / (wide * height / width)])
    angle = np.radians(jitter.turn)
    turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    if jitter.mirror:
        turned = np.diag([-1.0, 1.0]) @ turned
    linear = scale[:, None] * turned
    middle = np.array([width - less, height - less]) / 2
    if jitter.mirror and not less:
        # The last pixel of an image is the first of its mirror image.
        middle[0] -= 1
    return np.column_stack([linear, middle - linear @ centre])


def cut(
    picture: np.ndarray,
    keypoint: np.ndarray,
    visibility: np.ndarray,
    box: np.ndarray,
    config: TopdownConfig,
    jitter: Jitter,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crop a person: returns uint8 (H, W, 3), joints float32 (17, 2) and weights float32 (17,)."""
    height, width = config.input_size
    matrix = crop_map(box, config, jitter)
    crop = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR)
    moved = keypoint @ matrix[:, :2].T + matrix[:, 2]
    weight = np.where(visibility == SEEN, 1.0, np.where(visibility == HIDDEN, HIDDEN_WEIGHT, 0.0))
    if jitter.mirror:
        order = COCO17.flip_indices
        moved, weight = moved[order], weight[order]
    inside = ((moved >= 0) & (moved <= (width - 1, height - 1))).all(-1)
    return crop, moved.astype(np.float32), (weight * inside).astype(np.float32)


def _degrade(random: np.random.Generator, crop: np.ndarray, keypoint: np.ndarray, weight: np.ndarray) -> None:
    """Hide a patch of a crop and shift its colours, in place."""
    height, width = crop.shape[:2]
    if random.random() < 0.2:
        wide, high = int(width * random.uniform(0.1, 0.4)), int(height * random.uniform(0.1, 0.35))
        x, y = int(random.integers(0, width - wide)), int(random.integers(0, height - high))
        crop[y : y + high, x : x + wide] = random.integers(0, 256, 3)
        under = ((keypoint >= (x, y)) & (keypoint < (x + wide, y + high))).all(-1)
        weight[under] = np.minimum(weight[under], HIDDEN_WEIGHT)
    if random.random() < 0.5:
        table = (
            np.arange(256)[:, None] * random.uniform(0.7, 1.3) * random.uniform(0.85, 1.15, 3) + random.normal() * 14
        )
        crop[:] = cv2.LUT(crop, np.clip(table, 0, 255).astype(np.uint8)[None])


def _recolour(random: np.random.Generator, crop: np.ndarray, family: Family) -> None:
    """Add colours, shadows and a pattern that do not occur in the scene, in place."""
    height, width = crop.shape[:2]
    if random.random() < 0.3:
        crop[:] = crop[..., random.permutation(3)]
    share = np.float32(random.uniform(0.15, 0.4)) if random.random() < 0.3 else np.float32(0)
    shade = np.ones((height, width, 1), np.float32)
    if random.random() < 0.3:
        rough = random.uniform(0.55, 1.3, (4, 3)).astype(np.float32)
        shade = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    pattern = np.float32(0)
    if share:
        tile = np.tile(draw_cloth(family, random), (2, 2, 1))
        pattern = cv2.resize(tile, (width, height), interpolation=cv2.INTER_LINEAR)
    crop[:] = np.clip(((1 - share) * crop + share * pattern) * shade, 0, 255).astype(np.uint8)


def draw_batch(family: Family, seed: int, step: int, size: int, config: TopdownConfig) -> Batch:
    """Return the crops of a step with newly rendered people.

    Args:
        family: Family of the people.
        seed: Seed of the training.
        step: Number of the step.
        size: N, number of crops.
        config: Configuration of the network.
    """
    random = family.generator(seed, step, 7)
    return _batch(draw_people(family, random, size / CUTS), random, size, config)


def draw_batch_of(
    people: Sequence[Shown], family: Family, seed: int, step: int, size: int, config: TopdownConfig
) -> Batch:
    """Return the crops of a step that reuses people of an earlier step, with new crops and colours.

    Args:
        people: People to use, at least one.
        family: Their family.
        seed: Seed of the training.
        step: Number of the step.
        size: N, number of crops.
        config: Configuration of the network.
    """
    random = family.generator(seed, step, 17)
    return _batch(people, random, size, config, recoloured=family)


def _batch(
    people: Sequence[Shown],
    random: np.random.Generator,
    size: int,
    config: TopdownConfig,
    *,
    recoloured: Family | None = None,
) -> Batch:
    crops, keypoints, weights = [], [], []
    for number in range(size):
        shown = people[number % len(people)]
        crop, moved, weight = cut(
            shown.picture, shown.keypoint, shown.visibility, shown.box, config, draw_jitter(random)
        )
        if recoloured is not None:
            _recolour(random, crop, recoloured)
        _degrade(random, crop, moved, weight)
        crops.append(crop)
        keypoints.append(moved)
        weights.append(weight)
    return Batch(np.stack(crops), np.stack(keypoints), np.stack(weights))
