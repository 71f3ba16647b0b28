"""Bodies: lengths and thicknesses of body parts, in metres."""

from dataclasses import dataclass

import numpy as np

from synthetic.rendering.family import Family

# Additional points of a body, after the 17 of COCO.
PELVIS, WAIST, NECK, HEAD = 17, 18, 19, 20
HANDS, TOES = (21, 22), (23, 24)
NUM_POINTS = 25
SHOULDERS, ELBOWS, WRISTS = (5, 6), (7, 8), (9, 10)
HIPS, KNEES, ANKLES = (11, 12), (13, 14), (15, 16)
# x of the left and of the right side in the body's own frame (x to its left, y up, z forward).
SIDES = (1.0, -1.0)

# Nose, eyes and ears in the head's frame, in head radii. The face texture (`appearance`) must match them.
FACE = np.array([[0, -0.3, 1.2], [0.34, 0.0, 0.92], [-0.34, 0.0, 0.92], [0.98, -0.1, -0.08], [-0.98, -0.1, -0.08]])
# A head is a sphere of radius 1 at (0, 0.18, 0) that tapers to radius `HEAD_TAPER` at a distance of `HEAD_LENGTH`.
HEAD_LENGTH, HEAD_TAPER = 0.82, 0.66


@dataclass(frozen=True)
class Body:
    """Lengths of a body in metres, from joint to joint.

    Args:
        height: From sole to crown, standing.
        thigh: Hip to knee.
        shin: Knee to ankle.
        ankle: Ankle above the sole.
        foot: Ankle to toes.
        hip: Half the distance between the hips.
        loin: Pelvis to waist.
        chest: Waist to the height of the shoulders.
        shoulder: Half the distance between the shoulders.
        upper_arm: Shoulder to elbow.
        forearm: Elbow to wrist.
        hand: Wrist to fingertips.
        neck: Shoulders to the centre of the head.
        head: Radius of the head.
        girth: Factor of all thicknesses, 1 for an average build.
        waistline: Width of the waist relative to the mean of hips and chest.
    """

    height: float
    thigh: float
    shin: float
    ankle: float
    foot: float
    hip: float
    loin: float
    chest: float
    shoulder: float
    upper_arm: float
    forearm: float
    hand: float
    neck: float
    head: float
    girth: float
    waistline: float

    @property
    def leg(self) -> float:
        """Length of the extended leg, hip to ankle, in metres."""
        return self.thigh + self.shin

    @property
    def arm(self) -> float:
        """Length of the extended arm, shoulder to wrist, in metres."""
        return self.upper_arm + self.forearm


def draw_body(family: Family, random: np.random.Generator) -> Body:
    """Draw a body of a family, from child to tall adult, from thin to stout.

    The mean proportions are those of Drillis and Contini, "Body segment parameters" (1966).
    """

    def share(mean: float, spread: float = 0.06) -> float:
        return mean * height * family.uniform(random, 1 - spread, 1 + spread)

    child = random.random() < 0.12
    height = family.uniform(random, 1.15, 1.5) if child else family.uniform(random, 1.5, 1.98)
    return Body(
        height=height,
        thigh=share(0.245),
        shin=share(0.246),
        ankle=0.039 * height,
        foot=share(0.10),
        hip=share(0.052, 0.12),
        loin=share(0.115),
        chest=share(0.185),
        shoulder=share(0.112, 0.12),
        upper_arm=share(0.18),
        forearm=share(0.15),
        hand=share(0.09),
        neck=share(0.1, 0.1),
        head=share(0.062 if child else 0.053, 0.07),
        girth=family.uniform(random, 0.78, 1.42),
        waistline=family.uniform(random, 0.8, 1.15),
    )
