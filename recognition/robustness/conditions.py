"""Conditions under which robustness is measured: families of perturbations, their levels, and free settings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from pose_extraction.skeleton import Skeleton
from recognition.data.perturbations import (
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
# Measurements other than perturbations: skeletons of other estimators, and deletion and insertion curves.
ESTIMATORS, TARGETED = "estimators", "targeted"
# Levels of figure 5, extended to levels at which every method fails.
SIGMAS = (*(round(0.001 * step, 3) for step in range(1, 11)), *(round(0.01 * step, 2) for step in range(2, 11)))
# The paper's levels: accuracy drops (table 3), gains per class, confusions (supplementary material, section 6).
NOISE_OF_TABLES, NOISE_OF_CONFUSIONS, MASKED_FRAMES = 0.002, 0.005, 0.5


class BenchSettings(Strict):
    """Settings that the papers do not specify; stored with every result."""

    repeats: int = Field(3, ge=1, description="number of random draws of each perturbation")
    seed: int = Field(0, ge=0, description="seed of the first draw")
    noise_space: Literal["camera", "model"] = Field(
        "camera",
        description="camera: noise on the original frames, in units of half the longer side; model: on the input",
    )
    occluded: Literal["cells", "joints"] = Field(
        "cells", description="unit of joint occlusion: cells: joints of single frames; joints: whole joints"
    )
    shifted: Literal["frame", "constant"] = Field(
        "frame", description="position of a shifted joint: frame: drawn per frame; constant: fixed in the person's box"
    )
    steps: int = Field(20, ge=2, description="steps of deletion and insertion curves")
    limit: int | None = Field(None, ge=1, description="maximum number of clips, evenly over the split; none: all")
    resamples: int = Field(2000, ge=100, description="number of bootstrap samples of the clips")
    families: tuple[str, ...] = Field(
        (), description="perturbations and other measurements to run; none: all that skeletons and files allow"
    )

    def wants(self, name: str) -> bool:
        """Return whether to run one of `MEASURES`."""
        return not self.families or name in self.families


@dataclass(frozen=True, order=True)
class Family:
    """A type of perturbation.

    Args:
        name: Name in settings and files.
        title: Name in tables and figures.
        unit: Unit of the levels.
        levels: Levels in ascending order.
        drawn: Whether the perturbation is random, so that repeats differ.
        limits: Smallest and largest valid level, if levels are numbers. Levels in words are limited to `levels`.
        whole: Whether levels are integers.
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
        """Refuse an invalid level.

        Raises:
            ValueError: The level is invalid; the message lists the valid ones.
        """
        least, most = self.limits
        if self.in_words:
            good, there = level in self.levels, " or ".join(map(str, self.levels))
        else:
            good = not isinstance(level, str) and math.isfinite(level) and least <= level <= most
            good = good and not (self.whole and level != int(level))
            kind = "an integer" if self.whole else "a number"
            there = f"{kind} from {least:g} " + (f"to {most:g}" if math.isfinite(most) else "on")
        if not good:
            raise ValueError(f"{self.name}: {level!r} is not a valid level; it must be {there}")


# Limits of levels: numbers from 1 on, and shares below 1.
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
    Family("identity_switches", "identity switches", "switches per frame", (0.01, 0.03, 0.1)),
    Family("left_right_swaps", "left-right swaps", "share of frames", (0.1, 0.3, 0.5)),
    Family("dropped_people", "dropped persons", "share of frames", (0.1, 0.3, 0.5)),
    Family("lower_frame_rate", "lower frame rate", "n, every n-th frame kept", (2, 4, 8), limits=FROM_ONE, whole=True),
    Family("lower_confidence", "lower confidence", "loss of the score", (0.25, 0.5, 0.75), drawn=False, limits=NOT_ALL),
    Family("frame_crop", "frame crop", "cut of height and width", (0.1, 0.25, 0.4), limits=NOT_ALL),
)
BY_NAME = {family.name: family for family in FAMILIES}
STRENGTHS = (0.5, 1.0, 2.0)
# Everything that a bench can measure.
MEASURES = (*BY_NAME, ESTIMATOR_ERRORS, ESTIMATORS, TARGETED)


@dataclass(frozen=True, order=True)
class Condition:
    """One perturbation at one level.

    Args:
        family: Name of the family, or "clean".
        level: Level of the perturbation; None for "clean".
        other: Name of the other estimator, for `estimator_errors`.
    """

    family: str
    level: float | str | None = None
    other: str = ""

    @property
    def name(self) -> str:
        """Name in files, for example "noise-0.002"."""
        parts = (self.family, self.other, "" if self.level is None else str(self.level))
        return "-".join(part for part in parts if part)


def families_for(layout: Skeleton, *, dimensions: int, several: bool) -> tuple[Family, ...]:
    """Return the families that can be applied to a file's skeletons.

    Args:
        layout: Joint layout of the file.
        dimensions: Coordinates per joint, 2 or 3.
        several: Whether any clip shows several persons, whose identities can be exchanged.
    """
    without = set()
    if not all(part in layout.parts for part in PARTS):
        without |= {"part", "spatial"}
    if not layout.flip_pairs:
        without.add("left_right_swaps")
    if not several:
        without.add("identity_switches")
    if dimensions == 3:
        # 3D skeletons have neither a frame to crop nor scores to lower.
        without |= {"frame_crop", "lower_confidence"}
    return tuple(family for family in FAMILIES if family.name not in without)


def conditions_of(families: Sequence[Family], *, others: Sequence[str] = ()) -> list[Condition]:
    """Return clean, then every level of every family, then the errors of other estimators."""
    listed = [Condition(CLEAN)]
    listed += [Condition(family.name, level) for family in families for level in family.levels]
    return listed + [Condition(ESTIMATOR_ERRORS, strength, other) for other in others for strength in STRENGTHS]


def seeds_of(condition: Condition, settings: BenchSettings) -> list[int]:
    """Return the seeds that a condition is drawn with; only 0 if it is not random."""
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
    """Return the perturbation of a condition; None for clean.

    Results are cached by the condition's name and settings. If an implementation changes, increase
    `pipeline.robustness.tasks.FORMAT`, so that earlier results are not reused.

    Args:
        condition: Result of `conditions_of`.
        settings: Settings that the papers do not specify.
        layout: Joint layout of the file, for perturbations of the original frames.
        model_layout: Joint layout of the network's input, for occlusions.
        statistics: Results of `measure_errors` by the name of the other estimator.
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
