"""Objects made of blocks: chairs, hand-held objects, obstacles."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from synthetic.rendering.appearance import draw_cloth
from synthetic.rendering.body import HANDS, WRISTS, Body
from synthetic.rendering.camera import Camera
from synthetic.rendering.family import Family
from synthetic.rendering.kinematics import Motion, Posture, turn_y
from synthetic.rendering.painter import Canvas
from synthetic.rendering.style import Style, ramp

# Faces of a block as (axis, sign); the other two axes span the face.
_FACES = [(axis, sign) for axis in range(3) for sign in (-1.0, 1.0)]


@dataclass(frozen=True)
class Block:
    """A box in the world over T frames.

    Args:
        centre: (T, 3), metres.
        half: (3,), half the edge lengths, metres.
        axes: (T, 3, 3), columns are its axes.
        texture: float32 (64, 64, 3), tile.
    """

    centre: np.ndarray
    half: np.ndarray
    axes: np.ndarray
    texture: np.ndarray

    def paint(self, canvas: Canvas, camera: Camera, frame: int) -> None:
        """Paint the faces that face the camera."""
        centre, axes = self.centre[frame], self.axes[frame]
        for axis, sign in _FACES:
            normal = sign * axes[:, axis]
            middle = centre + normal * self.half[axis]
            if normal @ (camera.centre - middle) <= 0:
                continue
            first, second = (axis + 1) % 3, (axis + 2) % 3
            u, v = axes[:, first] * self.half[first], axes[:, second] * self.half[second]
            corner = np.stack([middle - u - v, middle + u - v, middle + u + v, middle - u + v])
            seen = (corner - camera.centre) @ camera.turn[frame].T
            lit = max(float(camera.turn[frame] @ normal @ canvas.light.direction), 0.0)
            brightness = np.float32(0.85 * canvas.light.ambient + canvas.light.diffuse * lit)
            height, width = camera.size
            pixels = seen[:, :2] / np.maximum(seen[:, 2:], 0.05) * camera.focal[frame]
            pixels += ((width - 1) / 2, (height - 1) / 2)
            tiles = (float(self.half[first] * 3), float(self.half[second] * 3))
            canvas.face(pixels, seen[:, 2], self.texture * brightness, tiles)


def _along(frames: int, centre: np.ndarray) -> np.ndarray:
    return np.tile(centre, (frames, 1))


def chair_of(family: Family, random: np.random.Generator, body: Body, motion: Motion) -> Iterator[Block]:
    """Yield the blocks of a knee-high chair behind a person who sits down or stands up."""
    frames = len(motion.place)
    heading = turn_y(motion.heading[:1])
    ground = np.array([motion.place[0, 0], 0.0, motion.place[0, 1]])
    top = body.ankle + 0.98 * body.shin - 0.12 * body.girth * body.height / 1.72
    axes = np.repeat(heading, frames, 0)
    texture = draw_cloth(family, random)

    def block(offset: tuple[float, float, float], half: tuple[float, float, float]) -> Block:
        return Block(_along(frames, ground + heading[0] @ np.array(offset)), np.array(half), axes, texture)

    behind = -0.45 * body.leg
    yield block((0.0, top - 0.03, behind), (0.22, 0.03, 0.22))
    if random.random() < 0.7:
        yield block((0.0, top + 0.25, behind - 0.24), (0.21, 0.25, 0.02))
    for x in (-0.19, 0.19):
        for z in (-0.19, 0.19):
            yield block((x, top / 2 - 0.03, behind + z), (0.02, top / 2 - 0.03, 0.02))


def held_by(
    family: Family,
    random: np.random.Generator,
    action: str,
    posture: Posture,
    style: Style,
    time: np.ndarray,
) -> Iterator[Block]:
    """Yield the object that a person drinks from, telephones with or picks up."""
    texture = draw_cloth(family, random)
    wrist, tip = posture.point[:, WRISTS[style.lead]], posture.point[:, HANDS[style.lead]]
    hand = 0.35 * wrist + 0.65 * tip
    if action == "drink":
        yield Block(hand, np.array([0.035, 0.06, 0.035]) * random.uniform(0.8, 1.4), posture.chest, texture)
    elif action == "phone":
        yield Block(hand, np.array([0.012, 0.07, 0.035]), posture.head, texture * 0.4)
    elif action == "pick_up":
        half = random.uniform(0.04, 0.16, 3)
        lowest = int(np.argmin(hand[:, 1]))
        taken = ramp(time, float(time[lowest]) - 0.1, float(time[lowest]) + 0.1)[:, None]
        rest = hand[lowest] * (1, 0, 1) + (0, half[1], 0)
        yield Block((1 - taken) * rest + taken * (hand - (0, 0.6 * half[1], 0)), half, posture.pelvis, texture)


def obstacle(family: Family, random: np.random.Generator, camera: Camera, aim: np.ndarray, frames: int) -> Block:
    """Draw an obstacle between the camera and the people: a post, a table, a counter."""
    share = random.uniform(0.25, 0.75)
    middle = camera.centre + share * (aim - camera.centre)
    away = float(np.linalg.norm(aim - camera.centre)) * share
    reach = away * camera.size[1] / float(camera.focal[0])
    if random.random() < 0.5:
        half = np.array([random.uniform(0.015, 0.05) * reach, 1.5, 0.05])
        height = 1.5
    else:
        half = np.array([random.uniform(0.06, 0.22) * reach, random.uniform(0.15, 0.35) * aim[1], 0.1])
        height = half[1]
    centre = np.array([middle[0] + random.uniform(-0.35, 0.35) * reach, height, middle[2]])
    axes = np.repeat(turn_y(np.array([random.uniform(-0.6, 0.6)])), frames, 0)
    return Block(_along(frames, centre), half, axes, draw_cloth(family, random))
