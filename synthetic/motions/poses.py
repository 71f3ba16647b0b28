"""Random static poses within human limits, such as those of yoga: upright, lying, upside down."""

from dataclasses import dataclass

import numpy as np

from synthetic.motions.rhythm import Beat
from synthetic.rendering.body import SIDES
from synthetic.rendering.kinematics import Motion, tilted

# Ranges of the angles of a pose, in radians.
HIP_FLEXION, HIP_SPREAD, KNEE_FLEXION = (-0.35, 2.0), (-0.05, 0.85), (0.0, 2.2)
SHOULDER_FLEXION, SHOULDER_SPREAD = (-0.6, 3.0), (0.0, 1.4)
# Distance of the wrist from the shoulder in arm lengths.
ARM_REACH = (0.4, 0.95)
# How the whole body is turned (forward, to the right), and how often.
ATTITUDES = {
    "upright": ((0.0, 0.0), 0.5),
    "on the back": ((-np.pi / 2, 0.0), 0.14),
    "on the front": ((np.pi / 2, 0.0), 0.12),
    "on the side": ((0.0, np.pi / 2), 0.08),
    "upside down": ((np.pi, 0.0), 0.16),
}


@dataclass(frozen=True)
class Pose:
    """A static pose; angles in radians.

    Args:
        turned: (2,), turn of the whole body, forward and to the right.
        lean: (3,), angles of the pelvis, see `Motion`.
        spine: (3,), angles of the chest.
        head: (3,), angles of the head.
        hand: (2, 3), wrists relative to the shoulders, in arm lengths, in the chest's frame.
        leg: (2, 3), flexion and spread of the hip, and flexion of the knee.
    """

    turned: np.ndarray
    lean: np.ndarray
    spine: np.ndarray
    head: np.ndarray
    hand: np.ndarray
    leg: np.ndarray


def draw_pose(random: np.random.Generator) -> Pose:
    """Draw a pose within the limits; half of them have equal arms, and half equal legs."""
    names = list(ATTITUDES)
    attitude = names[int(random.choice(len(names), p=[share for _, share in ATTITUDES.values()]))]
    hand = np.stack([_draw_hand(random, side) for side in SIDES])
    if random.random() < 0.5:
        hand[1] = hand[0] * (-1, 1, 1)
    leg = np.stack([_draw_leg(random) for _ in SIDES])
    if random.random() < 0.5:
        leg[1] = leg[0]
    if attitude == "upright" and random.random() < 0.7:
        # A standing person has at least one leg that carries.
        leg[0] = (random.uniform(-0.1, 0.3), random.uniform(0.02, 0.4), random.uniform(0, 0.4))
    return Pose(
        turned=np.array(ATTITUDES[attitude][0]) + random.normal(0, 0.1, 2),
        lean=random.uniform((-0.3, -0.4, -0.4), (1.2, 0.4, 0.4)) * (random.random() < 0.7),
        spine=random.uniform((-0.5, -0.5, -0.5), (0.7, 0.5, 0.5)),
        head=random.uniform((-0.5, -0.3, -0.7), (0.5, 0.3, 0.7)),
        hand=hand,
        leg=leg,
    )


def _draw_hand(random: np.random.Generator, side: float) -> np.ndarray:
    flexion, spread = random.uniform(*SHOULDER_FLEXION), random.uniform(*SHOULDER_SPREAD)
    reach = 0.95 if random.random() < 0.5 else random.uniform(*ARM_REACH)
    return reach * np.array(
        [side * np.sin(spread), -np.cos(spread) * np.cos(flexion), np.cos(spread) * np.sin(flexion)]
    )


def _draw_leg(random: np.random.Generator) -> np.ndarray:
    knee = 0.1 if random.random() < 0.4 else random.uniform(*KNEE_FLEXION)
    return np.array([random.uniform(*HIP_FLEXION), random.uniform(*HIP_SPREAD), knee])


def ankle_of(leg: np.ndarray, side: float) -> np.ndarray:
    """Return the ankle (3,) relative to the hip in the pelvis' frame, in leg lengths.

    Args:
        leg: (3,), flexion and spread of the hip, and flexion of the knee, radians.
        side: +1 for the left leg, -1 for the right one.
    """
    flexion, spread, knee = leg

    def bone(angle: float) -> np.ndarray:
        return 0.5 * np.array(
            [side * np.sin(spread), -np.cos(spread) * np.cos(angle), np.cos(spread) * np.sin(angle)]
        )  # fmt: skip

    return bone(flexion) + bone(flexion - knee)


def hold(motion: Motion, pose: Pose, beat: Beat, share: np.ndarray, hip: float) -> np.ndarray:
    """Bring a standing person into a pose, in place.

    Args:
        motion: The motion at rest.
        pose: The pose.
        beat: Beat of the small movements of a person who keeps a pose.
        share: (T,), 0 for standing, 1 for the pose.
        hip: Half the distance between the hips, in leg lengths.

    Returns:
        Angles (T, 3) by which the whole body is turned, as in `floor`.
    """
    mixed = share[:, None]
    trembling = 0.02 * beat.wave()[:, None]
    motion.lean += mixed * pose.lean
    motion.spine += mixed * (pose.spine + trembling * (1, 0.5, 0.5))
    motion.head += mixed * pose.head
    axes = tilted(motion.lean)
    for number, side in enumerate(SIDES):
        motion.hand[:, number] += mixed * (pose.hand[number] + trembling * (0.3, 1, 0.5) - motion.hand[:, number])
        offset = ankle_of(pose.leg[number], side) + np.array([side * hip, 0, 0])
        target = motion.pelvis + np.einsum("tij,j->ti", axes, offset)
        motion.foot[:, number] += mixed * (target - motion.foot[:, number])
    motion.flare[:] = 0.5
    return np.concatenate([mixed * pose.turned, 0 * mixed], 1)
