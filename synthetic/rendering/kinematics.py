"""Kinematics: from a motion, frame by frame, to the positions of the body's points.

World: x to the right of the image, y up, z towards the camera, metres; the ground is y = 0. A body's own frame has x to
    its left, y up, z forward; with heading 0 it faces the camera.
"""

from dataclasses import dataclass, replace

import numpy as np

from synthetic.rendering.body import (
    ANKLES,
    ELBOWS,
    FACE,
    HANDS,
    HEAD,
    HIPS,
    KNEES,
    NECK,
    NUM_POINTS,
    PELVIS,
    SHOULDERS,
    SIDES,
    TOES,
    WAIST,
    WRISTS,
    Body,
)


@dataclass
class Motion:
    """The motion of a body over T frames; angles in radians.

    Args:
        place: (T, 2), x and z of the ground point below the body, metres.
        heading: (T,), rotation about the vertical axis.
        pelvis: (T, 3), pelvis relative to `place`, in the heading's frame, in leg lengths; (0, 1, 0) is standing.
        lean: (T, 3), pelvis angles: forward, to the right, turn to the left.
        spine: (T, 3), chest angles relative to the pelvis, in the same order.
        head: (T, 3), head angles relative to the chest, in the same order.
        hand: (T, 2, 3), left and right wrist relative to the shoulder, in the chest's frame, in arm lengths.
        reach: (T, 2, 3), world point that replaces `hand`, metres.
        reaching: (T, 2), weight of `reach`, in [0, 1].
        foot: (T, 2, 3), left and right ankle relative to `place`, in the heading's frame, in leg lengths; y is 0 when
            the sole is on the ground.
        flare: (T, 2), direction of the elbows: 0 back and down, 1 sideways.
    """

    place: np.ndarray
    heading: np.ndarray
    pelvis: np.ndarray
    lean: np.ndarray
    spine: np.ndarray
    head: np.ndarray
    hand: np.ndarray
    reach: np.ndarray
    reaching: np.ndarray
    foot: np.ndarray
    flare: np.ndarray

    def moved(self, place: np.ndarray, heading: float) -> "Motion":
        """Return the motion rotated by `heading` about the world's origin and shifted to a ground position (2,)."""
        cosine, sine = np.cos(heading), np.sin(heading)
        x, z = self.place[:, 0], self.place[:, 1]
        turned = np.stack([cosine * x + sine * z, cosine * z - sine * x], -1)
        rotation = turn_y(np.array([heading]))[0]
        reach = self.reach @ rotation.T + (place[0], 0.0, place[1])
        return replace(self, place=turned + place, heading=self.heading + heading, reach=reach)


def standing(frames: int) -> Motion:
    """Return a motion at the origin: upright, arms hanging, looking ahead."""
    hand = np.tile(np.array([[0.14, -0.97, 0.06], [-0.14, -0.97, 0.06]]), (frames, 1, 1))
    foot = np.tile(np.array([[0.13, 0.0, 0.0], [-0.13, 0.0, 0.0]]), (frames, 1, 1))
    return Motion(
        place=np.zeros((frames, 2)),
        heading=np.zeros(frames),
        pelvis=np.tile(np.array([0.0, 0.985, 0.0]), (frames, 1)),
        lean=np.zeros((frames, 3)),
        spine=np.zeros((frames, 3)),
        head=np.zeros((frames, 3)),
        hand=hand,
        reach=np.zeros((frames, 2, 3)),
        reaching=np.zeros((frames, 2)),
        foot=foot,
        flare=np.full((frames, 2), 0.3),
    )


@dataclass(frozen=True)
class Posture:
    """Positions of a body's points.

    Args:
        point: (T, 25, 3), world, metres: COCO's 17, then the additional points of `body`.
        pelvis: (T, 3, 3), columns are the pelvis' axes in the world.
        chest: (T, 3, 3), columns are the chest's axes in the world.
        head: (T, 3, 3), columns are the head's axes in the world.
    """

    point: np.ndarray
    pelvis: np.ndarray
    chest: np.ndarray
    head: np.ndarray


def turn_y(angle: np.ndarray) -> np.ndarray:
    """Return rotations (T, 3, 3) about y by angles (T,); z rotates towards x."""
    cosine, sine, zero = np.cos(angle), np.sin(angle), np.zeros_like(angle)
    one = zero + 1
    rows = [[cosine, zero, sine], [zero, one, zero], [-sine, zero, cosine]]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def tilted(angles: np.ndarray) -> np.ndarray:
    """Return rotations (T, 3, 3) for angles (T, 3), forward, right and left turn: turn, then forward, then sideways."""
    zero = np.zeros(len(angles))
    one = zero + 1
    cosine, sine = np.cos(angles[:, 0]), np.sin(angles[:, 0])
    forward = np.stack(
        [np.stack(row, -1) for row in ([one, zero, zero], [zero, cosine, -sine], [zero, sine, cosine])], -2
    )
    cosine, sine = np.cos(angles[:, 1]), np.sin(angles[:, 1])
    sideways = np.stack(
        [np.stack(row, -1) for row in ([cosine, -sine, zero], [sine, cosine, zero], [zero, zero, one])], -2
    )
    return turn_y(angles[:, 2]) @ forward @ sideways


def two_bones(
    root: np.ndarray, target: np.ndarray, first: float, second: float, pole: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return middle joint and end (T, 3) of a two-bone limb that reaches for a target as far as it can.

    Args:
        root: (T, 3), start of the limb.
        target: (T, 3), desired position of its end.
        first: Length of the bone at the root.
        second: Length of the other bone.
        pole: (T, 3), direction in which the middle joint bends.
    """
    offset = target - root
    distance = np.linalg.norm(offset, axis=-1, keepdims=True)
    direction = offset / np.maximum(distance, 1e-9)
    reached = np.clip(distance, abs(first - second) + 0.02 * first, 0.9995 * (first + second))
    along = (first**2 - second**2 + reached**2) / (2 * reached)
    across = np.sqrt(np.maximum(first**2 - along**2, 0))
    bend = pole - (pole * direction).sum(-1, keepdims=True) * direction
    bend /= np.maximum(np.linalg.norm(bend, axis=-1, keepdims=True), 1e-9)
    return root + along * direction + across * bend, root + reached * direction


def posture_of(body: Body, motion: Motion) -> Posture:
    """Compute forward kinematics of trunk and head, and inverse kinematics of arms and legs."""
    frames = len(motion.place)
    point = np.zeros((frames, NUM_POINTS, 3))
    heading = turn_y(motion.heading)
    ground = np.stack([motion.place[:, 0], np.zeros(frames), motion.place[:, 1]], -1)
    pelvis = heading @ tilted(motion.lean)
    loin = pelvis @ tilted(0.5 * motion.spine)
    chest = loin @ tilted(0.5 * motion.spine)
    head = chest @ tilted(motion.head)

    def at(base: np.ndarray, axes: np.ndarray, offset: tuple[float, float, float]) -> np.ndarray:
        return base + axes @ np.array(offset)

    raised = motion.pelvis * body.leg + (0.0, body.ankle, 0.0)
    point[:, PELVIS] = ground + _turned(heading, raised)
    point[:, WAIST] = at(point[:, PELVIS], loin, (0.0, body.loin, 0.0))
    point[:, NECK] = at(point[:, WAIST], chest, (0.0, body.chest, 0.0))
    throat = at(point[:, NECK], chest, (0.0, 0.45 * body.neck, 0.01))
    point[:, HEAD] = at(throat, head, (0.0, 0.75 * body.neck, 0.015))
    point[:, :5] = point[:, HEAD, None] + np.einsum("tij,vj->tvi", head, FACE * body.head)
    for number, side in enumerate(SIDES):
        shoulder = at(point[:, NECK], chest, (side * body.shoulder, -0.1 * body.chest, 0.0))
        own = shoulder + body.arm * _turned(chest, motion.hand[:, number])
        share = motion.reaching[:, number, None]
        flare = motion.flare[:, number, None]
        outwards = (1 - flare) * np.array([0.35 * side, -0.5, -0.8]) + flare * np.array([side, -0.35, -0.1])
        elbow, wrist = two_bones(
            shoulder,
            (1 - share) * own + share * motion.reach[:, number],
            body.upper_arm,
            body.forearm,
            _turned(chest, outwards),
        )
        point[:, SHOULDERS[number]], point[:, ELBOWS[number]], point[:, WRISTS[number]] = shoulder, elbow, wrist
        point[:, HANDS[number]] = wrist + body.hand * (wrist - elbow) / body.forearm
        hip = at(point[:, PELVIS], pelvis, (side * body.hip, -0.01, 0.0))
        ankle_at = ground + _turned(heading, motion.foot[:, number] * body.leg + (0.0, body.ankle, 0.0))
        pole = _turned(pelvis, np.tile(np.array([0.2 * side, 0.15, 1.0]), (frames, 1)))
        knee, ankle = two_bones(hip, ankle_at, body.thigh, body.shin, pole)
        point[:, HIPS[number]], point[:, KNEES[number]], point[:, ANKLES[number]] = hip, knee, ankle
        point[:, TOES[number]] = ankle + body.foot * _foot_direction(body, knee, ankle, heading, side)
    return Posture(point, pelvis, chest, head)


def _turned(axes: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Rotate offsets (T, 3) by axes (T, 3, 3) into the world."""
    return np.einsum("tij,tj->ti", axes, offset)


def _foot_direction(body: Body, knee: np.ndarray, ankle: np.ndarray, heading: np.ndarray, side: float) -> np.ndarray:
    """Return the toes' direction (T, 3): along the ground for a standing foot, perpendicular to the shin in the air."""
    ahead = _turned(heading, np.tile(np.array([0.25 * side, 0.0, 1.0]), (len(ankle), 1)))
    shin = (ankle - knee) / body.shin
    square = ahead - (ahead * shin).sum(-1, keepdims=True) * shin + 0.3 * shin
    flat = ahead + np.array([0.0, -0.8 * body.ankle / body.foot, 0.0])
    in_air = np.clip((ankle[:, 1:2] - 1.3 * body.ankle) / (0.25 * body.leg), 0, 1)
    direction = (1 - in_air) * flat + in_air * square
    return direction / np.maximum(np.linalg.norm(direction, axis=-1, keepdims=True), 1e-9)
