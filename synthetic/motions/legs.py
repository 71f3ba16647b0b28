"""Programs of the legs, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from synthetic.motions import gaits, stances
from synthetic.motions.rhythm import Beat
from synthetic.rendering.body import Body
from synthetic.rendering.kinematics import Motion


@dataclass(frozen=True)
class Legs:
    """A program of the legs.

    Args:
        move: Function of (motion, beat, body) that changes the motion in place.
        hertz: Usual cycles per second.
        travels: Whether the person goes somewhere; such a movement never happens only once.
        firm: Whether the trunk can move freely above.
    """

    move: Callable[[Motion, Beat, Body], None]
    hertz: float
    travels: bool = False
    firm: bool = False


LEGS: Mapping[str, Legs] = {
    "stand": Legs(gaits.stand, 0.3, firm=True),
    "walk": Legs(gaits.walk, 0.85, travels=True),
    "walk_back": Legs(gaits.walk_back, 0.7, travels=True),
    "crouch_walk": Legs(gaits.crouch_walk, 0.7, travels=True),
    "run": Legs(gaits.run, 1.35, travels=True),
    "jog": Legs(gaits.jog, 1.4),
    "march": Legs(gaits.march, 0.8),
    "heels": Legs(gaits.heels, 1.0),
    "skip": Legs(gaits.skip, 0.85, travels=True),
    "gallop": Legs(gaits.gallop, 1.3, travels=True),
    "side_gallop": Legs(gaits.side_gallop, 1.4, travels=True),
    "side_step": Legs(gaits.side_step, 0.6),
    "jump": Legs(gaits.jump, 0.7),
    "jump_forward": Legs(gaits.jump_forward, 0.75, travels=True),
    "bob": Legs(gaits.bob, 1.9),
    "hop": Legs(gaits.hop, 1.6),
    "hop_forward": Legs(gaits.hop_forward, 1.5, travels=True),
    "jack": Legs(gaits.jack, 0.95),
    "squat": Legs(stances.squat, 0.5),
    "bounce": Legs(stances.bounce, 1.4, firm=True),
    "lunge": Legs(stances.lunge, 0.5),
    "side_lunge": Legs(stances.side_lunge, 0.5),
    "kick": Legs(stances.kick, 0.65),
    "kick_side": Legs(stances.kick_side, 0.7),
    "kick_back": Legs(stances.kick_back, 0.7),
    "knee_up": Legs(stances.knee_up, 0.8),
    "tap": Legs(stances.tap, 1.0, firm=True),
    "stork": Legs(stances.stork, 0.3, firm=True),
    "split": Legs(stances.split, 0.3, firm=True),
    "wide": Legs(stances.wide, 0.3, firm=True),
    "sit": Legs(stances.sit, 0.3, firm=True),
    "sit_and_rise": Legs(stances.sit_and_rise, 0.3),
    "sit_on_floor": Legs(stances.sit_on_floor, 0.3),
    "kneel": Legs(stances.kneel, 0.3, firm=True),
    "half_kneel": Legs(stances.half_kneel, 0.3, firm=True),
    "low": Legs(stances.low, 0.3),
    "turn": Legs(gaits.turn, 0.3),
    "sway": Legs(gaits.sway, 0.5, firm=True),
    "skate": Legs(gaits.skate, 0.7),
}
