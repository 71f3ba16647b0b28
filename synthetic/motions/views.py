"""Random cameras for a person in motion: from all sides, from below to above, near and far, still or moving."""

import numpy as np

from synthetic.rendering.camera import Camera

# (height, width) in pixels.
SIZES = ((144, 180), (240, 320), (360, 480), (480, 640), (480, 854), (720, 1280), (1080, 1920), (854, 480), (1280, 720))
UP = np.array([0.0, 1.0, 0.0])
# Nearest distance of the camera, in metres.
NEAREST = 1.2


def draw_camera(random: np.random.Generator, point: np.ndarray, time: np.ndarray) -> Camera:
    """Draw a camera that has a person in view, most of the time.

    Args:
        random: Random generator.
        point: (T, V, 3), points of the person in the world, metres; y is up.
        time: (T,), seconds.
    """
    size = SIZES[int(random.integers(len(SIZES)))]
    short = min(size)
    focal = short / (2 * np.tan(np.radians(random.uniform(25, 70)) / 2))
    low, high = point.min((0, 1)), point.max((0, 1))
    person = float(np.median(np.ptp(point, axis=1).max(-1)))
    whole = float((high - low).max())
    follows = random.random() < 0.35
    # Most cameras show the whole path; some let the person walk out of the picture, or follow.
    extent = person if follows or random.random() < 0.15 else 0.5 * (person + whole) + 0.5 * abs(whole - person)
    share = random.uniform(0.3, 0.92) if random.random() < 0.92 else random.uniform(1.0, 1.6)
    distance = max(focal * extent / (share * short), NEAREST)
    angle = random.uniform(-np.pi, np.pi) if random.random() < 0.7 else random.normal(0, 0.35)
    steep = (
        np.radians(random.uniform(25, 70)) if random.random() < 0.08 else np.clip(random.normal(0.12, 0.15), -0.3, 1)
    )
    middle = 0.5 * (low + high)
    direction = np.array([np.sin(angle) * np.cos(steep), np.sin(steep), np.cos(angle) * np.cos(steep)])
    centre = middle + distance * direction
    aside = random.uniform(-0.12, 0.12, 3) * person
    aim = np.tile(middle + aside, (len(time), 1))
    if follows:
        aim = _smoothed(point.mean(1), time) + aside
    aim = aim + _shaking(random, time) * distance
    roll = random.normal(0, np.radians(3))
    zoom = np.exp(random.uniform(-0.04, 0.04) * (time - time.mean())) if random.random() < 0.15 else np.ones(len(time))
    turn = looking(centre, aim, roll)
    return Camera(size, focal * zoom, centre, turn, turn[0])


def looking(centre: np.ndarray, aim: np.ndarray, roll: float) -> np.ndarray:
    """Return the axes (T, 3, 3) of a camera, rows right, down and forward, that looks from a place at points.

    Args:
        centre: (3,), place of the camera.
        aim: (T, 3), points in the middle of the picture; not exactly above or below the camera.
        roll: Turn about the line of sight, radians.
    """
    forward = aim - centre
    forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
    right = np.cross(forward, UP)
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    down = np.cross(forward, right)
    cosine, sine = np.cos(roll), np.sin(roll)
    return np.stack([cosine * right + sine * down, cosine * down - sine * right, forward], 1)


def _smoothed(path: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Return a path (T, 3) averaged over about a second, as a person follows with a camera."""
    near = np.exp(-0.5 * ((time[:, None] - time[None]) / 0.5) ** 2)
    return (near / near.sum(1, keepdims=True)) @ path


def _shaking(random: np.random.Generator, time: np.ndarray) -> np.ndarray:
    """Return shifts (T, 3) of the aim, relative to the distance: none for a tripod, otherwise a hand's."""
    if random.random() < 0.55:
        return np.zeros((len(time), 3))
    strength = random.uniform(0.002, 0.012)
    shift = np.zeros((len(time), 3))
    for rate in (0.4, 0.9, 2.3):
        shift += strength / rate**0.7 * np.sin(2 * np.pi * (rate * time[:, None] + random.random(3)))
    return shift
