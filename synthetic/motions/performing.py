"""A person who performs an action: from programs and a body to points in space."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pose_extraction.skeleton import COCO17
from synthetic.motions.actions import Action
from synthetic.motions.arms import ARMS
from synthetic.motions.floor import FLOOR
from synthetic.motions.legs import LEGS
from synthetic.motions.poses import hold
from synthetic.motions.rhythm import Pace
from synthetic.motions.trunk import TRUNKS
from synthetic.rendering.body import HANDS, NUM_POINTS, PELVIS, SIDES, TOES, Body
from synthetic.rendering.kinematics import Motion, Posture, posture_of, standing, tilted
from synthetic.rendering.style import Style, at_rest

# Smallest and largest distance of a wrist from its shoulder, in arm lengths, and of an ankle from its hip, in leg
# lengths: 0.34 is a joint that is bent by about 140 degrees.
NEAREST, FARTHEST = 0.34, 0.985
# Height of the lowest point of a lying person, in metres.
THICKNESS = 0.04
_MIRRORED = np.arange(NUM_POINTS)
_MIRRORED[:17] = COCO17.flip_indices
for _pair in (HANDS, TOES):
    _MIRRORED[list(_pair)] = _pair[::-1]


@dataclass(frozen=True)
class Performance:
    """How an action is performed in one clip.

    Args:
        body: Body of the person.
        style: Habits: stance, stoop, small movements.
        paces: Pace of each part: "legs", "arms", "trunk".
        mirrored: Whether left and right are exchanged.
        settling: For poses, seconds to get into the pose, and 0 for a clip that begins with it.
    """

    body: Body
    style: Style
    paces: Mapping[str, Pace]
    mirrored: bool
    settling: float


def perform(action: Action, performance: Performance, time: np.ndarray) -> np.ndarray:
    """Compute the points of a person over time.

    Args:
        action: The action.
        performance: How it is performed.
        time: (T,), seconds from 0.

    Returns:
        (T, 25, 3), metres: COCO's 17 joints and the further points of `synthetic.rendering.body`; facing +z at the
        origin.
    """
    body = performance.body
    motion = at_rest(standing(len(time)), performance.style, time)
    if action.pose is not None:
        turned = _posed(motion, action, performance, time)
    elif action.floor is not None:
        turned = _on_floor(motion, action, performance, time)
    else:
        turned = None
        _upright(motion, action, performance, time)
    _limit(motion, body)
    posture = posture_of(body, motion)
    point = posture.point if turned is None else _turn(posture, turned)
    if performance.mirrored:
        point = point[:, _MIRRORED] * (-1, 1, 1)
    return point


def _upright(motion: Motion, action: Action, performance: Performance, time: np.ndarray) -> None:
    legs, trunk = LEGS[action.legs], TRUNKS[action.trunk]
    paces = performance.paces
    beat = paces["legs"].beat(time, legs.hertz, repeats=legs.travels)
    legs.move(motion, beat, performance.body)
    own = beat if action.in_step else paces["trunk"].beat(time, trunk.hertz)
    trunk.move(motion, own)
    _move_arms(motion, action, performance, time, beat.turns if action.in_step else None)


def _on_floor(motion: Motion, action: Action, performance: Performance, time: np.ndarray) -> np.ndarray:
    assert action.floor is not None
    floor = FLOOR[action.floor]
    beat = performance.paces["legs"].beat(time, floor.hertz)
    turned = floor.move(motion, beat, performance.body)
    if floor.free_arms:
        _move_arms(motion, action, performance, time, None)
    return turned


def _posed(motion: Motion, action: Action, performance: Performance, time: np.ndarray) -> np.ndarray:
    assert action.pose is not None
    share = np.ones_like(time)
    if performance.settling > 0:
        share = np.clip((time - 0.15 * time[-1]) / performance.settling, 0, 1)
        share = share * share * (3 - 2 * share)
    beat = performance.paces["legs"].beat(time, 0.3, repeats=True)
    return hold(motion, action.pose, beat, share, performance.body.hip / performance.body.leg)


def _move_arms(
    motion: Motion, action: Action, performance: Performance, time: np.ndarray, turns: np.ndarray | None
) -> None:
    """Move both arms; `turns` (T,) are those of the legs if the arms follow them."""
    chest = tilted(motion.lean) @ tilted(0.5 * motion.spine) @ tilted(0.5 * motion.spine)
    down = -chest[:, 1]
    pace = performance.paces["arms"]
    for number, side in enumerate(SIDES):
        # The right arm leads.
        name = action.arm if number == 1 else action.other_arm
        if name is None:
            hanging = 0.93 * down + (side * (0.06 + performance.style.spread), 0, 0.04)
            motion.hand[:, number] = hanging
            continue
        arm = ARMS[name]
        beat = pace.beat(time, arm.hertz, repeats=turns is not None)
        if turns is not None:
            beat = type(beat)(turns, beat.size, beat.variant)
        if number == 0 and action.alternate:
            beat = beat.late(0.5)
        path = arm.path(beat, side)
        if pace.once and not arm.still and turns is None and performance.settling > 0:
            # A movement that happens once begins with hanging arms.
            path = _from_rest(path, 0.93 * down + (side * 0.14, 0, 0.04), beat.turns)
        motion.hand[:, number] = path
        motion.flare[:, number] = arm.flare


def _from_rest(path: np.ndarray, rest: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Blend a path (T, 3) with a resting arm before and after its only turn."""
    acting = np.clip(6 * turns, 0, 1) * np.clip(6 * (1 - turns), 0, 1)
    acting = (acting * acting * (3 - 2 * acting))[:, None]
    return rest + acting * (path - rest)


def _limit(motion: Motion, body: Body) -> None:
    """Keep elbows and knees from folding or stretching beyond what people can do."""
    length = np.linalg.norm(motion.hand, axis=-1, keepdims=True)
    motion.hand *= np.clip(length, NEAREST, FARTHEST) / np.maximum(length, 1e-9)
    pelvis = tilted(motion.lean)
    for number, side in enumerate(SIDES):
        hip = motion.pelvis + np.einsum("tij,j->ti", pelvis, np.array([side * body.hip, -0.01, 0.0])) / body.leg
        leg = motion.foot[:, number] - hip
        length = np.linalg.norm(leg, axis=-1, keepdims=True)
        motion.foot[:, number] = hip + leg * np.clip(length, NEAREST, FARTHEST) / np.maximum(length, 1e-9)


def _turn(posture: Posture, angles: np.ndarray) -> np.ndarray:
    """Turn the points about the pelvis by angles (T, 3), and put the lowest one on the ground."""
    centre = posture.point[:, PELVIS, None]
    point = centre + np.einsum("tij,tvj->tvi", tilted(angles), posture.point - centre)
    moved = np.abs(angles).max(-1) > 1e-6
    # A person who is not turned keeps the feet where the program puts them, perhaps in the air.
    drop = np.where(moved, point[:, :, 1].min(1) - THICKNESS, 0.0)
    return point - drop[:, None, None] * np.array([0.0, 1.0, 0.0])
