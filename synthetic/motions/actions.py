"""The actions: combinations of programs, numbered as classes."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from pose_extraction.errors import UsageError
from synthetic.motions.arms import ARMS
from synthetic.motions.floor import FLOOR
from synthetic.motions.legs import LEGS
from synthetic.motions.poses import Pose, draw_pose
from synthetic.motions.trunk import TRUNKS

# Share of the classes that are static poses.
POSES = 0.15


@dataclass(frozen=True)
class Action:
    """An action, which is a class.

    Args:
        name: Name of the class.
        legs: Name in `LEGS`.
        arm: Name in `ARMS` for the right arm, which leads; None for hanging.
        other_arm: The same for the left arm.
        trunk: Name in `TRUNKS`.
        alternate: Whether the left arm is half a cycle late.
        in_step: Whether arms and trunk have the cycle of the legs.
        floor: Name in `FLOOR`, instead of legs and trunk; None for an upright action.
        pose: A static pose, instead of all others.
    """

    name: str
    legs: str = "stand"
    arm: str | None = None
    other_arm: str | None = None
    trunk: str = "upright"
    alternate: bool = False
    in_step: bool = False
    floor: str | None = None
    pose: Pose | None = None


def combined(
    legs: str = "stand",
    arm: str | None = None,
    other_arm: str | None = None,
    trunk: str = "upright",
    *,
    both: bool = False,
    alternate: bool = False,
    in_step: bool = False,
) -> Action:
    """Return an upright action that is named after its programs.

    Args:
        legs: Name in `LEGS`.
        arm: Name in `ARMS` for the leading arm.
        other_arm: The same for the other arm.
        trunk: Name in `TRUNKS`.
        both: Whether both arms do the same.
        alternate: Whether they do so in turn.
        in_step: Whether arms and trunk have the cycle of the legs.
    """
    together = both or alternate
    other_arm = arm if together else other_arm
    arms = [arm or "hang"]
    if together:
        arms[0] += " in turn" if alternate else " both"
    elif other_arm != arm:
        arms.append(other_arm or "hang")
    name = ", ".join([legs, " and ".join(arms), *([trunk] if trunk != "upright" else [])])
    return Action(name, legs, arm, other_arm, trunk, alternate, in_step)


# Actions whose parts belong together, as people do them.
USUAL: tuple[Action, ...] = (
    combined(),
    combined("walk", "swing", both=True, in_step=True),
    combined("run", "pump", both=True, in_step=True),
    combined("skip", "swing", both=True, in_step=True),
    combined("walk_back", "swing", both=True, in_step=True),
    combined("march", "pump", both=True, in_step=True),
    combined("jog", "pump", both=True, in_step=True),
    combined("side_gallop"),
    combined("side_step"),
    combined("gallop"),
    combined("jump", "pendulum", both=True),
    combined("jump"),
    combined("jump_forward", "pendulum", both=True),
    combined("jump_forward"),
    combined("hop"),
    combined("hop_forward"),
    combined("jack", "raise_wide", both=True, in_step=True),
    combined("jack", "clap_over", both=True, in_step=True),
    combined("bob", "rope", both=True),
    combined("squat", "raise_front", both=True, in_step=True),
    combined("squat", "at_chest", both=True),
    combined("squat", "hold_up", both=True),
    combined("squat", "press", both=True, in_step=True),
    combined("stand", "wave"),
    combined("stand", "wave", both=True),
    combined("stand", "wave_wide"),
    combined("stand", "wave_wide", both=True),
    combined("stand", "raise_wide", both=True),
    combined("stand", "raise_side", both=True),
    combined("stand", "raise_front", both=True),
    combined("stand", "raise_over", both=True),
    combined("stand", "clap", both=True),
    combined("stand", "clap_over", both=True),
    combined("stand", None, None, "bend"),
    combined("stand", None, None, "bow"),
    combined("stand", "drink"),
    combined("stand", "phone"),
    combined("walk", "phone"),
    combined("stand", "crossed", both=True),
    combined("stand", "on_hip", both=True),
    combined("stand", "scratch"),
    combined("stand", "knock"),
    combined("stand", "beckon"),
    combined("stand", "hold_front"),
    combined("stand", "reading", both=True),
    combined("split", "punch", alternate=True),
    combined("stand", "punch", alternate=True),
    combined("bounce", "punch", alternate=True),
    combined("stand", "uppercut", alternate=True),
    combined("stand", "hook", "at_chest", "twist"),
    combined("stand", "throw", None, "whip"),
    combined("split", "throw", None, "whip"),
    combined("stand", "bowl", None, "stooped"),
    combined("lunge", "bowl", None, in_step=True),
    combined("stand", "serve", None, "whip"),
    combined("wide", "forehand", None, "whip"),
    combined("wide", "backhand", None, "twist"),
    combined("wide", "bat", trunk="whip", both=True),
    combined("wide", "golf", trunk="stooped", both=True),
    combined("wide", "axe", both=True),
    combined("split", "dig", trunk="stooped", both=True),
    combined("stand", "strum", "neck_of_guitar"),
    combined("sit", "strum", "neck_of_guitar"),
    combined("stand", "bow_string", "violin"),
    combined("sit", "drum", alternate=True),
    combined("stand", "drum", alternate=True),
    combined("sit", "row", both=True),
    combined("sit_on_floor", "paddle", both=True),
    combined("sit"),
    combined("sit", "on_lap", both=True),
    combined("sit", "drink"),
    combined("sit", "stir"),
    combined("sit", "clap", both=True),
    combined("sit_and_rise"),
    combined("kick"),
    combined("kick", "at_chest", both=True),
    combined("kick_side", "at_chest", both=True),
    combined("kick_back"),
    combined("lunge", "on_hip", both=True),
    combined("side_lunge", "at_chest", both=True),
    combined("knee_up", "on_hip", both=True),
    combined("stork", "hold_side", both=True),
    combined("stork", "hold_up", both=True),
    combined("wide", "hold_side", None, "lean_side"),
    combined("wide", "hold_side", trunk="lean_side", both=True),
    combined("split", "hold_side", both=True),
    combined("split", "hold_up", both=True),
    combined("stand", "hold_up", trunk="lean_side", both=True),
    combined("stand", "hold_up", both=True),
    combined("stand", "on_hip", trunk="twist", both=True),
    combined("stand", "on_hip", trunk="circle", both=True),
    combined("stand", "at_head", trunk="lean_side", both=True),
    combined("stand", "curl", both=True),
    combined("stand", "curl", alternate=True),
    combined("stand", "press", both=True),
    combined("stand", "fly", both=True),
    combined("stand", "pull_down", both=True),
    combined("stand", "row", trunk="stooped", both=True),
    combined("stand", "circle_front", alternate=True),
    combined("stand", "circle_side", both=True),
    combined("stand", "breast_stroke", both=True),
    combined("stand", "wipe"),
    combined("stand", "stir"),
    combined("bounce", "dribble"),
    combined("jump", "shoot", both=True, in_step=True),
    combined("wide", "pendulum", trunk="stooped", both=True),
    combined("kneel", "raise_over", both=True),
    combined("half_kneel"),
    combined("low"),
    combined("turn"),
    combined("sway", "wave_wide", both=True),
    combined("skate", "swing", both=True, in_step=True),
    combined("stand", None, None, "look_around"),
    combined("crouch_walk"),
    *(Action(f"floor {name}", floor=name) for name in FLOOR),
    Action("floor lie_bent, push", floor="lie_bent", arm="push", other_arm="push"),
    Action("floor lie_back, hold_up", floor="lie_back", arm="hold_up", other_arm="hold_up"),
    Action("floor leg_raise, hold_up", floor="leg_raise", arm="hold_up", other_arm="hold_up"),
    Action("floor lie_back, wave", floor="lie_back", arm="wave"),
)  # fmt: skip


def _draw_combination(random: np.random.Generator, order: list[tuple[str, str]], number: int) -> Action:
    """Draw an action with the legs and the leading arm at a place of a shuffled list, so that all occur equally."""
    legs, arm = order[number % len(order)]
    trunks = [name for name, trunk in TRUNKS.items() if name != "upright" and (LEGS[legs].firm or not trunk.deep)]
    trunk = trunks[int(random.integers(len(trunks)))] if random.random() < 0.35 else "upright"
    kind = random.random()
    if kind < 0.3:
        return combined(legs, arm, None, trunk)
    if kind < 0.6:
        return combined(legs, arm, trunk=trunk, both=True)
    if kind < 0.75 and not ARMS[arm].still:
        return combined(legs, arm, trunk=trunk, alternate=True)
    others = list(ARMS)
    return combined(legs, arm, others[int(random.integers(len(others)))], trunk)


def actions_of(classes: int, seed: int = 0) -> list[Action]:
    """Return the actions of a data set: the usual ones, poses, and random combinations.

    Args:
        classes: Number of actions, at least 2. Fewer than the usual ones give the first of these.
        seed: Random seed of poses and combinations.

    Raises:
        UsageError: The number is below 2, or larger than the number of combinations.
    """
    pairs = list(product(LEGS, ARMS))
    if not 2 <= classes <= len(pairs):
        raise UsageError(f"--classes {classes}: must be from 2 to {len(pairs)}")
    poses = round(POSES * classes)
    usual = list(USUAL[: classes - poses])
    random = np.random.default_rng([seed, 1])
    still = [Action(f"pose {number}", pose=draw_pose(random)) for number in range(poses)]
    found = {action.name: action for action in usual + still}
    order = [pairs[int(index)] for index in np.random.default_rng([seed, 2]).permutation(len(pairs))]
    number = 0
    while len(found) < classes:
        action = _draw_combination(random, order, number)
        found.setdefault(action.name, action)
        number += 1
    return list(found.values())
