"""Scenes: people, actions, place, light and camera, with the ground truth of each frame."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from pose_extraction.errors import UsageError
from synthetic.rendering.actions import ACTIONS, NEED_SEAT, act
from synthetic.rendering.appearance import draw_look
from synthetic.rendering.background import draw_background
from synthetic.rendering.body import PELVIS, Body, draw_body
from synthetic.rendering.camera import draw_camera
from synthetic.rendering.family import Family, chosen
from synthetic.rendering.figure import Figure
from synthetic.rendering.imaging import ImageDegradation, draw_imaging
from synthetic.rendering.interactions import INTERACTIONS, interact
from synthetic.rendering.kinematics import Motion, posture_of
from synthetic.rendering.painter import Canvas, Light
from synthetic.rendering.props import Block, chair_of, held_by, obstacle
from synthetic.rendering.style import Style, draw_style

# Visibility of a joint: outside the image, occluded, visible.
OUTSIDE, HIDDEN, SEEN = 0, 1, 2
NUM_JOINTS = 17


@dataclass(frozen=True)
class FrameTruth:
    """Ground truth of a frame with M persons.

    Args:
        keypoint: float32 (M, 17, 2), pixels; also valid for hidden joints.
        visibility: uint8 (M, 17), one of `OUTSIDE`, `HIDDEN`, `SEEN`.
        box: float32 (M, 4), x1 y1 x2 y2 around the part of a person inside the image, whether hidden or not; empty for
            a person outside.
    """

    keypoint: np.ndarray
    visibility: np.ndarray
    box: np.ndarray


@dataclass(frozen=True)
class Person:
    """A person of a scene: action, body, style and motion."""

    action: str
    body: Body
    style: Style
    motion: Motion


class Scene:
    """A clip whose frames can be rendered in any order.

    Args:
        family: Family of bodies, clothes, movements, places and cameras.
        seed: Random seed, which determines everything else.
        size: (height, width) of the image in pixels, at least 32 each.
        frames: Number of frames, at least 1.
        fps: Frames per second.
        action: One of `ACTIONS` or `INTERACTIONS`; None for a random one.
        persons: Number of persons, 1 to 3; None for a random number, or two for an interaction. With an action of one
            person, the others perform random actions.

    Attributes:
        label: Action of the clip, that of the first person.
        actions: Action of each person.

    Raises:
        UsageError: The action is unknown, or does not match the number of persons.
    """

    def __init__(
        self,
        family: Family,
        seed: int,
        *,
        size: tuple[int, int] = (240, 320),
        frames: int = 60,
        fps: float = 20.0,
        action: str | None = None,
        persons: int | None = None,
    ) -> None:
        _check(action, persons, frames, fps, size)
        random = family.generator(seed)
        self.family, self.size, self.fps = family, size, fps
        self.time = np.arange(frames) / fps
        if action is None:
            action = chosen(random, tuple(INTERACTIONS) if persons == 2 and random.random() < 0.4 else tuple(ACTIONS))
        self.label = action
        cast = self._cast(random, action, persons)
        self.actions = tuple(person.action for person in cast)
        postures = [posture_of(person.body, person.motion) for person in cast]
        tall = max(person.body.height for person in cast) * (1 + 0.12 * (len(cast) - 1))
        centres = np.stack([posture.point[:, PELVIS] for posture in postures])
        middle = centres.reshape(-1, 3)
        aim = np.array([np.median(middle[:, 0]), 0.5 * tall, np.median(middle[:, 2])])
        self.camera = draw_camera(family, random, size=size, time=self.time, tall=tall, aim=aim)
        self.figures = [
            Figure(person.body, draw_look(family, random), posture, self.camera)
            for person, posture in zip(cast, postures, strict=True)
        ]
        self._grounds = self.camera.seen((centres * (1, 0, 1)).transpose(1, 0, 2))
        self._blocks = list(self._props(random, cast, postures, aim))
        self._light = _draw_light(family, random)
        self._background, self._margin = self._paint_background(random)
        self._degradation = ImageDegradation(draw_imaging(family, random), size, family.generator(seed, 1))

    def _cast(self, random: np.random.Generator, action: str, persons: int | None) -> list[Person]:
        heading = random.normal() * 0.75 if random.random() < 0.6 else random.uniform(-np.pi, np.pi)
        if action in INTERACTIONS:
            bodies = draw_body(self.family, random), draw_body(self.family, random)
            styles = draw_style(self.family, random), draw_style(self.family, random)
            motions = interact(action, bodies, styles, self.time)
            # Mostly seen from the side, since one person would hide the other.
            heading = np.pi / 2 * random.choice([-1, 1]) + random.normal() * 0.45
            return [
                Person(action, body, style, motion.moved(np.zeros(2), heading))
                for body, style, motion in zip(bodies, styles, motions, strict=True)
            ]
        count = persons if persons is not None else int(random.choice([1, 2, 3], p=[0.55, 0.3, 0.15]))
        cast = []
        left = -0.5 * (count - 1) * random.uniform(0.75, 1.3)
        gap = -2 * left / max(count - 1, 1)
        for number, place in enumerate(random.permutation(count)):
            own = action if number == 0 else chosen(random, tuple(ACTIONS))
            body, style = draw_body(self.family, random), draw_style(self.family, random)
            turned = heading if number == 0 else random.uniform(-np.pi, np.pi)
            spot = np.array([left + gap * place, 0.0 if number == 0 else random.uniform(-1.2, 0.6)])
            motion = act(own, body, style, self.time).moved(spot + random.normal(size=2) * 0.08, turned)
            cast.append(Person(own, body, style, motion))
        return cast

    def _props(
        self, random: np.random.Generator, cast: list[Person], postures: list, aim: np.ndarray
    ) -> Iterator[Block]:
        for person, posture in zip(cast, postures, strict=True):
            if person.action in NEED_SEAT:
                yield from chair_of(self.family, random, person.body, person.motion)
            yield from held_by(self.family, random, person.action, posture, person.style, self.time)
        for _ in range(int(random.choice([0, 1, 2], p=[0.68, 0.24, 0.08]))):
            yield obstacle(self.family, random, self.camera, aim, len(self.time))

    def _paint_background(self, random: np.random.Generator) -> tuple[np.ndarray, tuple[int, int]]:
        height, width = self.size
        margin = (height // 5, width // 5)
        focal, level = float(self.camera.focal[0]), self.camera.level
        ahead = -level[:, 2] * 1.0
        horizon = margin[0] + (height - 1) / 2 + focal * ahead[1] / max(ahead[2], 0.1)
        # The wall is some metres behind the origin.
        foot = level @ (np.array([0.0, 0.0, -random.uniform(1.2, 7)]) - self.camera.centre)
        ground = margin[0] + (height - 1) / 2 + focal * foot[1] / foot[2]
        size = (height + 2 * margin[0], width + 2 * margin[1])
        return draw_background(self.family, random, size, ground, horizon), margin

    def __len__(self) -> int:
        return len(self.time)

    def frame(self, index: int) -> tuple[np.ndarray, FrameTruth]:
        """Render a frame, uint8 (H, W, 3) BGR, with its ground truth. Each call draws new noise."""
        height, width = self.size
        moved = self.camera.background_map(index, self._margin, float(self.camera.focal[0]))
        picture = cv2.warpPerspective(
            self._background, moved, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        canvas = Canvas(picture, self._light)
        for person in range(len(self.figures)):
            self._shade(canvas.picture, index, person)
        for block in self._blocks:
            block.paint(canvas, self.camera, index)
        for figure in self.figures:
            figure.paint(canvas, index)
        return self._degradation.apply(canvas.picture), self._truth(canvas.depth, index)

    def _shade(self, picture: np.ndarray, index: int, person: int) -> None:
        """Darken the ground below a person."""
        x, y, away = self._grounds[index, person]
        if away < 0.5:
            return
        height, width = self.size
        focal = float(self.camera.focal[index])
        column, row = x / away * focal + (width - 1) / 2, y / away * focal + (height - 1) / 2
        wide = 0.4 * focal / away
        flat = max(wide * min(float(self.camera.centre[1]) / away, 1.0), 1.0)
        x0, x1 = max(int(column - 2 * wide), 0), min(int(column + 2 * wide) + 1, width)
        y0, y1 = max(int(row - 2 * flat), 0), min(int(row + 2 * flat) + 1, height)
        if x1 <= x0 or y1 <= y0:
            return
        aside = (np.arange(x0, x1, dtype=np.float32) - np.float32(column)) / np.float32(wide)
        along = (np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(row)) / np.float32(flat)
        shade = 1 - np.float32(0.45) * np.exp(-1.2 * (aside**2 + along**2))
        picture[y0:y1, x0:x1] *= shade[..., None]

    def _truth(self, depth: np.ndarray, index: int) -> FrameTruth:
        height, width = self.size
        point = np.stack([figure.point[index, :NUM_JOINTS] for figure in self.figures])
        away = np.stack([figure.depth[index, :NUM_JOINTS] for figure in self.figures])
        thick = np.stack([figure.thickness[:NUM_JOINTS] for figure in self.figures])
        column, row = np.rint(point[..., 0]), np.rint(point[..., 1])
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (away > 0.3)
        pixel = np.where(inside, row, 0).astype(int), np.where(inside, column, 0).astype(int)
        seen = inside & (depth[pixel] > away - thick)
        visibility = np.where(seen, SEEN, np.where(inside, HIDDEN, OUTSIDE)).astype(np.uint8)
        box = np.stack([figure.box[index] for figure in self.figures])
        box = np.clip(box, 0, [width, height, width, height])
        return FrameTruth(point.astype(np.float32), visibility, box.astype(np.float32))


def _check(action: str | None, persons: int | None, frames: int, fps: float, size: tuple[int, int]) -> None:
    known = (*ACTIONS, *INTERACTIONS)
    if action is not None and action not in known:
        raise UsageError(f"unknown action {action!r}; choose one of {', '.join(known)}")
    if action in INTERACTIONS and persons not in (None, 2):
        raise UsageError(f"{action} requires two persons, not {persons}; leave the number out")
    if persons is not None and not 1 <= persons <= 3:
        raise UsageError(f"cannot render {persons} persons; choose 1, 2 or 3")
    if frames < 1 or fps <= 0 or min(size) < 32:
        raise UsageError(
            f"cannot render {frames} frames of {size[1]}x{size[0]} at {fps} per second; give at least one frame, "
            "32 pixels per side and a rate above 0"
        )


def _draw_light(family: Family, random: np.random.Generator) -> Light:
    direction = np.array([random.normal() * 0.8, -abs(random.normal()) - 0.3, -random.uniform(-0.2, 1.2)])
    ambient = family.uniform(random, 0.35, 0.85)
    return Light(direction / np.linalg.norm(direction), ambient, family.uniform(random, 0.25, 0.7))
