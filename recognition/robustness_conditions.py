"""What robustness is measured under: families of damage, their levels, and the settings that papers leave open."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from pose_extraction.skeleton import Skeleton
from recognition.perturbations import (
    DroppedPeople,
    ErrorStatistics,
    EstimatorErrors,
    FrameCrop,
    FrameMasking,
    GaussianNoise,
    IdentitySwitches,
    JointOcclusion,
    LeftRightSwaps,
    LowerConfidence,
    LowerFrameRate,
    PartOcclusion,
    Perturbation,
    ShiftedJoints,
    SpatialOcclusion,
    TemporalOcclusion,
)
from recognition.settings import Strict

CLEAN = "clean"
NOISE, CONSTANT_NOISE = "noise", "constant_noise"
ESTIMATOR_ERRORS = "estimator_errors"
# What is measured beside damage: the clips as other estimators saw them, and deletion and insertion curves.
ESTIMATORS, TARGETED = "estimators", "targeted"
# Figure 5's levels, and on to where everybody fails.
SIGMAS = (*(round(0.001 * step, 3) for step in range(1, 11)), *(round(0.01 * step, 2) for step in range(2, 11)))
# The paper's levels for tables: drops (table 3), gains of classes, confusions (supplementary, section 6).
NOISE_OF_TABLES, NOISE_OF_CONFUSIONS, MASKED_FRAMES = 0.002, 0.005, 0.5


class BenchSettings(Strict):
    """The choices that the papers leave open; written into every result."""

    repeats: int = Field(3, ge=1, description="times that each damage is drawn")
    seed: int = Field(0, ge=0, description="of the first draw")
    noise_space: Literal["camera", "model"] = Field(
        "camera",
        description="camera: on the clip's own frames, in halves of the picture's longer side; model: on the input",
    )
    occluded: Literal["cells", "joints"] = Field(
        "cells", description="joint occlusion takes joints of single frames, or whole joints"
    )
    shifted: Literal["frame", "constant"] = Field(
        "frame", description="a shifted joint is somewhere else in every frame, or keeps its place in the person's box"
    )
    steps: int = Field(20, ge=2, description="of deletion and insertion curves")
    limit: int | None = Field(None, ge=1, description="clips at most, evenly over the split; none: all")
    resamples: int = Field(2000, ge=100, description="of the bootstrap over clips")
    families: tuple[str, ...] = Field(
        (), description="families of damage, and other measures; none: all that skeletons and files admit"
    )

    def wants(self, name: str) -> bool:
        """Whether something of `MEASURES` is to be measured."""
        return not self.families or name in self.families


@dataclass(frozen=True, order=True)
class Family:
    """A kind of damage.

    Args:
        name: As settings and files spell it.
        title: As tables and figures call it.
        unit: What a level is.
        levels: Rising.
        drawn: Whether something is drawn at random, so that repeats differ.
        limits: Least and largest level, where levels are numbers; those in words are `levels` alone.
        whole: Whether levels are whole numbers.
    """

    name: str
    title: str
    unit: str
    levels: tuple[float | str, ...]
    drawn: bool = True
    limits: tuple[float, float] = (0, 1)
    whole: bool = False

    @property
    def in_words(self) -> bool:
        """Whether levels are words, which have no order."""
        return isinstance(self.levels[0], str)

    def check(self, level: float | str) -> None:
        """Refuses what is no level.

        Raises:
            ValueError: With what there is.
        """
        least, most = self.limits
        if self.in_words:
            good, there = level in self.levels, " or ".join(map(str, self.levels))
        else:
            good = not isinstance(level, str) and math.isfinite(level) and least <= level <= most
            good = good and not (self.whole and level != int(level))
            kind = "a whole number" if self.whole else "a number"
            there = f"{kind} from {least:g} " + (f"to {most:g}" if math.isfinite(most) else "on")
        if not good:
            raise ValueError(f"{self.name}: {level!r} is no level of it; it must be {there}")


# Numbers from 1 on, and shares that leave something over.
FROM_ONE, NOT_ALL = (1, math.inf), (0, 0.99)
PARTS = ("head", "left_arm", "right_arm", "left_leg", "right_leg")
FAMILIES = (
    Family(NOISE, "Gaussian noise in space and time", "sigma", SIGMAS, limits=(0, math.inf)),
    Family(CONSTANT_NOISE, "Gaussian noise constant in time", "sigma", SIGMAS, limits=(0, math.inf)),
    Family("part", "occlusion of a body part", "part", PARTS, drawn=False),
    Family("joints", "joint occlusion", "share of joints", (0.15, 0.3, 0.45, 0.6)),
    Family("frames_deleted", "frames deleted", "share of frames", (MASKED_FRAMES,)),
    Family("frames_empty", "frames left empty", "share of frames", (MASKED_FRAMES,)),
    Family("shifted", "shifted joints", "joints", (1, 3, 5, 10), limits=FROM_ONE, whole=True),
    Family("spatial", "occlusion of parts (PCM3, spatial)", "share of parts", ("0.3-0.7",)),
    Family("temporal", "occlusion of a block of frames (PCM3, temporal)", "share of frames", ("0.3-0.7",)),
    Family("identity_switches", "identity switches", "switches a frame", (0.01, 0.03, 0.1)),
    Family("left_right_swaps", "left taken for right", "share of frames", (0.1, 0.3, 0.5)),
    Family("dropped_people", "people lost", "share of frames", (0.1, 0.3, 0.5)),
    Family("lower_frame_rate", "lower frame rate", "of so many frames, one", (2, 4, 8), limits=FROM_ONE, whole=True),
    Family("lower_confidence", "lower confidence", "loss of the score", (0.25, 0.5, 0.75), drawn=False, limits=NOT_ALL),
    Family("frame_crop", "smaller picture", "cut of height and width", (0.1, 0.25, 0.4), limits=NOT_ALL),
)
BY_NAME = {family.name: family for family in FAMILIES}
STRENGTHS = (0.5, 1.0, 2.0)
# All that a bench can be told to measure.
MEASURES = (*BY_NAME, ESTIMATOR_ERRORS, ESTIMATORS, TARGETED)


@dataclass(frozen=True, order=True)
class Condition:
    """One damage at one level.

    Args:
        family: Name of the family, or "clean".
        level: Its level; None when clean.
        other: Of `estimator_errors`, which estimator's.
    """

    family: str
    level: float | str | None = None
    other: str = ""

    @property
    def name(self) -> str:
        """As it is called in files: "noise-0.002"."""
        parts = (self.family, self.other, "" if self.level is None else str(self.level))
        return "-".join(part for part in parts if part)


def families_for(layout: Skeleton, *, dimensions: int, several: bool) -> tuple[Family, ...]:
    """The families that skeletons admit.

    Args:
        layout: Of the file.
        dimensions: 2 or 3.
        several: Whether some clip shows several persons, whose identities can be exchanged.
    """
    without = set()
    if not all(part in layout.parts for part in PARTS):
        without |= {"part", "spatial"}
    if not layout.flip_pairs:
        without.add("left_right_swaps")
    if not several:
        without.add("identity_switches")
    if dimensions == 3:
        # Neither a frame to crop nor scores to lower.
        without |= {"frame_crop", "lower_confidence"}
    return tuple(family for family in FAMILIES if family.name not in without)


def conditions_of(families: Sequence[Family], *, others: Sequence[str] = ()) -> list[Condition]:
    """Clean, and every level of every family; the errors of other estimators last."""
    listed = [Condition(CLEAN)]
    listed += [Condition(family.name, level) for family in families for level in family.levels]
    return listed + [Condition(ESTIMATOR_ERRORS, strength, other) for other in others for strength in STRENGTHS]


def seeds_of(condition: Condition, settings: BenchSettings) -> list[int]:
    """The seeds that a condition is drawn with; 0 alone where nothing is drawn."""
    family = BY_NAME.get(condition.family)
    once = condition.family == CLEAN or (family is not None and not family.drawn)
    return [0] if once else [settings.seed + number for number in range(settings.repeats)]


def perturbation_of(
    condition: Condition,
    settings: BenchSettings,
    *,
    layout: Skeleton,
    model_layout: Skeleton,
    statistics: Mapping[str, ErrorStatistics] | None = None,
) -> Perturbation | None:
    """The damage that a condition stands for; None for clean.

    Results are kept by a condition's name and settings: where the damage behind it changes, raise
    `pipeline.robustness_tasks.FORMAT`, so that those of the old one are not taken for it.

    Args:
        condition: Of `conditions_of`.
        settings: What the papers leave open.
        layout: Joints of the file, which damage of the clip's own frames sees.
        model_layout: Joints of the network's input, which occlusion sees.
        statistics: Of `measure_errors`, by the name of the other estimator.
    """
    family, level = condition.family, condition.level
    if family == CLEAN:
        return None
    if family == ESTIMATOR_ERRORS:
        return EstimatorErrors((statistics or {})[condition.other], float(level or 0))
    if family == "part":
        return PartOcclusion(model_layout.parts[str(level)])
    if family == "spatial":
        return SpatialOcclusion(tuple(model_layout.parts[part] for part in PARTS))
    if family == "temporal":
        return TemporalOcclusion()
    amount = float(level or 0)
    if family == "joints":
        return JointOcclusion(amount, whole=settings.occluded == "joints")
    if family == "shifted":
        return ShiftedJoints(int(amount), constant=settings.shifted == "constant")
    if family == "left_right_swaps":
        return LeftRightSwaps(amount, tuple(int(joint) for joint in layout.flip_indices))
    simple: dict[str, Perturbation] = {
        NOISE: GaussianNoise(amount, settings.noise_space),
        CONSTANT_NOISE: GaussianNoise(amount, settings.noise_space, constant=True),
        "frames_deleted": FrameMasking(amount),
        "frames_empty": FrameMasking(amount, by="zeros"),
        "identity_switches": IdentitySwitches(amount),
        "dropped_people": DroppedPeople(amount),
        "lower_frame_rate": LowerFrameRate(int(amount)),
        "lower_confidence": LowerConfidence(amount),
        "frame_crop": FrameCrop(amount),
    }
    return simple[family]
