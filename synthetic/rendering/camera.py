"""A camera, static, panning, drifting or shaking, that projects the world to pixels."""

from dataclasses import dataclass

import numpy as np

from synthetic.rendering.family import Family
from synthetic.rendering.kinematics import tilted


@dataclass(frozen=True)
class Camera:
    """A camera over T frames; it looks along negative z of the world.

    Args:
        size: (height, width) of the image in pixels.
        focal: (T,), focal length in pixels.
        centre: (3,), position in the world, metres.
        turn: (T, 3, 3), rows are the camera's axes in the world: right, down, forward.
        level: (3, 3), axes of the motionless camera, for which the background is painted.
    """

    size: tuple[int, int]
    focal: np.ndarray
    centre: np.ndarray
    turn: np.ndarray
    level: np.ndarray

    def seen(self, point: np.ndarray) -> np.ndarray:
        """Transform world points (T, ..., 3) to the camera's axes (right, down, forward), metres."""
        return np.einsum("tij,t...j->t...i", self.turn, point - self.centre)

    def pixels(self, seen: np.ndarray) -> np.ndarray:
        """Project points (T, ..., 3) in the camera's axes to pixels (T, ..., 2); pixel centres are integers."""
        height, width = self.size
        focal = self.focal.reshape(-1, *[1] * (seen.ndim - 1))
        depth = np.maximum(seen[..., 2:], 0.05)
        return seen[..., :2] / depth * focal + ((width - 1) / 2, (height - 1) / 2)

    def background_map(self, frame: int, margin: tuple[int, int], focal: float) -> np.ndarray:
        """Return the homography (3, 3) from the background to a frame.

        Args:
            frame: Frame index.
            margin: Pixels (y, x) by which the background exceeds the image on each side.
            focal: Focal length in pixels for which the background was painted.
        """
        height, width = self.size
        middle = np.array([(width - 1) / 2, (height - 1) / 2])

        def inner(focal_length: float, x: float, y: float) -> np.ndarray:
            return np.array([[focal_length, 0, x], [0, focal_length, y], [0, 0, 1.0]])

        source = inner(focal, middle[0] + margin[1], middle[1] + margin[0])
        return inner(self.focal[frame], *middle) @ self.turn[frame] @ self.level.T @ np.linalg.inv(source)


# Camera motion and its probability.
HOLDS = {"tripod": 0.35, "hand": 0.4, "pan": 0.25}


def draw_camera(
    family: Family,
    random: np.random.Generator,
    *,
    size: tuple[int, int],
    time: np.ndarray,
    tall: float,
    aim: np.ndarray,
) -> Camera:
    """Draw a camera of a family that has the subject in view.

    Args:
        family: Family of the clip.
        random: Random generator.
        size: (height, width) of the image in pixels.
        time: (T,), seconds.
        tall: Height of the subject in metres.
        aim: (3,), centre of the subject in the world, metres.
    """
    height, width = size
    focal = height / (2 * np.tan(np.radians(family.uniform(random, 28, 62)) / 2))
    share = family.uniform(random, 0.48, 0.94)
    if random.random() < 0.08:
        share = family.uniform(random, 1.0, 1.6)
    away = focal * tall / (share * height)
    stands = family.uniform(random, 0.7, 2.3)
    centre = aim + np.array([0.0, 0.0, away])
    centre[1] = min(stands, aim[1] + 0.8 * away)
    aside, over = random.uniform(-0.22, 0.22) * width / focal, random.uniform(-0.06, 0.06) * height / focal
    pitch = -np.arctan2(centre[1] - aim[1], away) + over
    roll = np.radians(family.uniform(random, -4, 4))
    level = _axes(np.array([[pitch, roll, aside]]))[0]
    hold = str(random.choice(list(HOLDS), p=list(HOLDS.values())))
    angles = np.tile(np.array([pitch, roll, aside]), (len(time), 1))
    zoom = np.ones(len(time))
    if hold != "tripod":
        strength = 0.012 * family.uniform(random, 0.2, 1.5)
        for rate in (0.4, 0.9, 2.3):
            angles += strength / rate**0.7 * np.sin(2 * np.pi * (rate * time[:, None] + random.random(3))) * (1, 0.6, 1)
    if hold == "pan":
        middle = time - time.mean()
        angles[:, 2] += random.uniform(-0.06, 0.06) * middle
        zoom = np.exp(random.uniform(-0.08, 0.08) * middle)
    return Camera(size, focal * zoom, centre, _axes(angles), level)


def _axes(angles: np.ndarray) -> np.ndarray:
    """Return rows (T, 3, 3), right, down and forward, of a camera with angles (T, 3): pitch up, roll, turn left."""
    axes = tilted(angles)
    # The columns are x, y, z of a frame that looks along -z: right is x, down is -y, forward is -z.
    return np.stack([axes[:, :, 0], -axes[:, :, 1], -axes[:, :, 2]], 1)
