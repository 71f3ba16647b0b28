"""Backgrounds: a wall or a view, a ground, and objects.

Each is painted once per clip, larger than the image, and moves with the camera.
"""

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from synthetic.rendering.appearance import any_colour
from synthetic.rendering.family import Family, chosen

# Function of (random, family, height, width) that returns float32 (H, W, 3).
Surface = Callable[[np.random.Generator, Family, int, int], np.ndarray]


def _noise(random: np.random.Generator, height: int, width: int, octaves: int = 4, base: int = 3) -> np.ndarray:
    """Return noise (H, W) of several scales, about [-1, 1]."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        cells = base * 2**octave
        rough = random.normal(size=(cells, cells + 1)).astype(np.float32)
        total += cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC) / 2 ** (0.8 * octave)
    return total * 0.5


def _tinted(colour: tuple[float, float, float], shade: np.ndarray) -> np.ndarray:
    """Return a colour times 1 + shade (H, W), float32 (H, W, 3)."""
    return np.array(colour, np.float32) * (1 + shade[..., None])


def _plaster(random: np.random.Generator, family: Family, height: int, width: int) -> np.ndarray:
    slope = np.linspace(-0.2, 0.2, width) * random.normal() + np.linspace(-0.2, 0.2, height)[:, None] * random.normal()
    return _tinted(any_colour(random, family), slope + 0.08 * _noise(random, height, width))


def _bricks(random: np.random.Generator, family: Family, height: int, width: int) -> np.ndarray:
    wall = _tinted(any_colour(random, family), 0.12 * _noise(random, height, width))
    tall, wide = int(random.integers(6, 18)), int(random.integers(16, 48))
    mortar = any_colour(random, family)
    for number, y in enumerate(range(0, height, tall)):
        for x in range(-(number % 2) * wide // 2, width, wide):
            wall[y : y + tall, max(x, 0) : max(x + wide, 0)] *= random.uniform(0.8, 1.15)
            cv2.rectangle(wall, (x, y), (x + wide, y + tall), mortar, 1)
    return wall


def _panels(random: np.random.Generator, family: Family, height: int, width: int) -> np.ndarray:
    wall = np.empty((height, width, 3), np.float32)
    x = 0
    colours = [any_colour(random, family) for _ in range(3)]
    while x < width:
        wide = int(random.integers(12, 120))
        wall[:, x : x + wide] = np.array(colours[int(random.integers(3))]) * random.uniform(0.8, 1.2)
        x += wide
    return wall * (1 + 0.05 * _noise(random, height, width)[..., None])


def _park(random: np.random.Generator, family: Family, height: int, width: int) -> np.ndarray:
    sky = np.linspace(0.15, -0.1, height)[:, None] * np.ones((1, width))
    view = _tinted((220, 195, 165), sky + 0.08 * _noise(random, height, width))
    for _ in range(int(random.integers(5, 14))):
        x, y = int(random.integers(width)), int(height * random.uniform(0.3, 0.95))
        radius = int(height * random.uniform(0.08, 0.3))
        green = (random.uniform(20, 60), random.uniform(60, 130), random.uniform(30, 90))
        cv2.rectangle(view, (x - radius // 8, y), (x + radius // 8, height), (35, 50, 70), cv2.FILLED)
        for _ in range(9):
            offset = random.normal(size=2) * radius * 0.45
            centre = (int(x + offset[0]), int(y - radius / 2 + offset[1]))
            cv2.circle(
                view, centre, max(radius // 2, 1), tuple(v * random.uniform(0.7, 1.3) for v in green), cv2.FILLED
            )
    return view * (1 + 0.1 * _noise(random, height, width, 5, 12)[..., None])


def _street(random: np.random.Generator, family: Family, height: int, width: int) -> np.ndarray:
    view = _tinted(any_colour(random, family), np.linspace(0.1, -0.1, height)[:, None] * np.ones((1, width)))
    x = 0
    while x < width:
        wide, top = int(random.integers(50, 160)), int(height * random.uniform(0, 0.5))
        front, pane = any_colour(random, family), any_colour(random, family)
        cv2.rectangle(view, (x, top), (x + wide, height), front, cv2.FILLED)
        step, size = int(random.integers(14, 40)), random.uniform(0.35, 0.7)
        for wy in range(top + 6, height, step):
            for wx in range(x + 6, x + wide - step // 2, step):
                shade = random.uniform(0.6, 1.2)
                corner = (int(wx + size * step), int(wy + size * step))
                cv2.rectangle(view, (wx, wy), corner, tuple(shade * v for v in pane), cv2.FILLED)
        x += wide
    return view * (1 + 0.06 * _noise(random, height, width)[..., None])


def _blobs(random: np.random.Generator, family: Family, height: int, width: int) -> np.ndarray:
    first, second = np.array(any_colour(random, family)), np.array(any_colour(random, family))
    share = np.clip(0.5 + 0.5 * _noise(random, height, width, 6, 3), 0, 1)[..., None]
    return ((1 - share) * first + share * second).astype(np.float32)


def _wallpaper(random: np.random.Generator, family: Family, height: int, width: int) -> np.ndarray:
    tall, wide = int(random.integers(12, 40)), int(random.integers(12, 40))
    tile = np.empty((tall, wide, 3), np.float32)
    tile[:] = any_colour(random, family)
    cv2.ellipse(tile, (wide // 2, tall // 2), (wide // 3, tall // 5), random.uniform(0, 90), 0, 360,
                any_colour(random, family), cv2.FILLED)  # fmt: skip
    wall = np.tile(tile, (height // tall + 1, width // wide + 1, 1))[:height, :width]
    return wall * (1 + 0.06 * _noise(random, height, width)[..., None])


def _tiles(random: np.random.Generator, family: Family, height: int, width: int) -> np.ndarray:
    side = int(random.integers(12, 44))
    y, x = np.mgrid[:height, :width] // side
    other = ((x + y) % 2)[..., None] * random.uniform(0.1, 1)
    wall = (1 - other) * np.array(any_colour(random, family)) + other * np.array(any_colour(random, family))
    rows, columns = np.mgrid[:height, :width] % side
    gap = ((rows < 1) | (columns < 1))[..., None]
    return (np.where(gap, wall * 0.6, wall) * (1 + 0.06 * _noise(random, height, width)[..., None])).astype(np.float32)


def _shelves(random: np.random.Generator, family: Family, height: int, width: int) -> np.ndarray:
    wall = _tinted(any_colour(random, family), 0.05 * _noise(random, height, width)) * 0.6
    tall = int(random.integers(24, 60))
    for y in range(0, height, tall):
        x = 0
        while x < width:
            wide, high = int(random.integers(4, 26)), int(tall * random.uniform(0.4, 0.9))
            cv2.rectangle(
                wall, (x, y + tall - high), (x + wide - 1, y + tall - 4), any_colour(random, family), cv2.FILLED
            )
            x += wide
        cv2.rectangle(wall, (0, y + tall - 4), (width, y + tall - 1), (50, 70, 95), cv2.FILLED)
    return wall


def _hills(random: np.random.Generator, family: Family, height: int, width: int) -> np.ndarray:
    view = _tinted((200, 180, 170), np.linspace(0.2, -0.2, height)[:, None] + 0.1 * _noise(random, height, width))
    x = np.linspace(0, 1, width)
    for layer in range(4):
        line = 0.25 + 0.18 * layer + 0.1 * sum(np.sin(2 * np.pi * (k * x + random.random())) / k for k in (1, 2, 5))
        below = np.arange(height)[:, None] > line * height
        tint = np.array([90 - 15 * layer, 120 - 10 * layer, 95 - 20 * layer]) * random.uniform(0.7, 1.2)
        view = np.where(below[..., None], tint, view)
    return (view * (1 + 0.12 * _noise(random, height, width, 5, 10)[..., None])).astype(np.float32)


def _curtain(random: np.random.Generator, family: Family, height: int, width: int) -> np.ndarray:
    x = np.linspace(0, random.uniform(5, 25), width) + 0.4 * _noise(random, height, width, 2)
    return _tinted(any_colour(random, family), 0.35 * np.sin(2 * np.pi * x))


def _blotches(random: np.random.Generator, family: Family, height: int, width: int) -> np.ndarray:
    wall = _tinted(any_colour(random, family), 0.1 * _noise(random, height, width))
    for _ in range(int(random.integers(15, 60))):
        centre = (int(random.integers(width)), int(random.integers(height)))
        axes = (int(random.integers(3, 50)), int(random.integers(3, 50)))
        cv2.ellipse(wall, centre, axes, random.uniform(0, 180), 0, 360, any_colour(random, family), cv2.FILLED)
    return wall


PLACES: Mapping[str, Surface] = {
    "plaster": _plaster,
    "bricks": _bricks,
    "panels": _panels,
    "park": _park,
    "street": _street,
    "noise": _blobs,
    "wallpaper": _wallpaper,
    "tiles": _tiles,
    "shelves": _shelves,
    "hills": _hills,
    "curtain": _curtain,
    "blotches": _blotches,
}


def draw_background(
    family: Family, random: np.random.Generator, size: tuple[int, int], ground: float, horizon: float
) -> np.ndarray:
    """Paint a background of a family.

    Args:
        family: Family of the clip.
        random: Random generator.
        size: (height, width) in pixels.
        ground: Row at which the ground meets the wall or view.
        horizon: Row of the horizon; the ground lies below it.

    Returns:
        uint8 (H, W, 3) BGR.
    """
    height, width = size
    picture = PLACES[chosen(random, family.places)](random, family, height, width)
    if random.random() < 0.6:
        _furnish(random, family, picture, min(ground, height))
    row = int(np.clip(ground, 0, height))
    if row < height:
        picture[row:] = _floor(random, family, height, width, horizon)[row:]
        picture[row : row + max(height // 60, 1)] *= 0.7
    return np.clip(picture, 0, 255).astype(np.uint8)


def _furnish(random: np.random.Generator, family: Family, picture: np.ndarray, ground: float) -> None:
    """Add pictures, doors, lamps and poles, in place."""
    height, width = picture.shape[:2]
    for _ in range(int(random.integers(1, 7))):
        x, y = int(random.integers(width)), int(random.integers(max(int(ground), 1)))
        wide, high = int(width * random.uniform(0.02, 0.2)), int(height * random.uniform(0.04, 0.35))
        kind = random.random()
        if kind < 0.5:
            cv2.rectangle(picture, (x, y), (x + wide, y + high), any_colour(random, family), cv2.FILLED)
            cv2.rectangle(picture, (x, y), (x + wide, y + high), any_colour(random, family), 2)
        elif kind < 0.75:
            # A pole with a disc on it, as a distractor.
            colour = any_colour(random, family)
            cv2.line(picture, (x, y), (x, int(ground)), colour, max(wide // 6, 1))
            cv2.circle(picture, (x, y), max(wide // 3, 2), any_colour(random, family), cv2.FILLED)
        else:
            colour = any_colour(random, family)
            cv2.rectangle(picture, (x, int(ground) - high), (x + wide, int(ground)), colour, cv2.FILLED)


def _floor(random: np.random.Generator, family: Family, height: int, width: int, horizon: float) -> np.ndarray:
    """Return ground that recedes to the horizon, with boards, slabs or grass, float32 (H, W, 3)."""
    base = _tinted(any_colour(random, family), 0.08 * _noise(random, height, width, 5, 6))
    kind = random.random()
    if kind < 0.5:
        distance = 1 / np.maximum(np.arange(height) - horizon, 1.0)[:, None]
        across = (np.arange(width) - width * random.uniform(0.3, 0.7)) * distance * random.uniform(1.5, 5)
        along = distance * height * random.uniform(2, 8) * np.ones((1, width))
        marks = np.floor(across) % 2 if kind < 0.25 else (np.floor(across) + np.floor(along)) % 2
        base *= (1 - 0.25 * random.random() * marks)[..., None].astype(np.float32)
    return base
