"""The perturbations that are measured, and the meaning of each condition."""

import dataclasses

import numpy as np
import pytest

from pose_extraction.skeleton import COCO17, H36M17, NTU25, layout_by_shape
from recognition.data.perturbations import GaussianNoise, JointOcclusion, PartOcclusion, ShiftedJoints
from recognition.robustness.conditions import (
    BY_NAME,
    CLEAN,
    ESTIMATOR_ERRORS,
    FAMILIES,
    NOISE,
    BenchSettings,
    Condition,
    conditions_of,
    families_for,
    perturbation_of,
    seeds_of,
)

SETTINGS = BenchSettings()


def test_the_paper_s_levels_are_measured() -> None:
    sigmas = BY_NAME[NOISE].levels
    np.testing.assert_allclose(sigmas[:10], np.arange(1, 11) / 1000)
    assert sigmas[-1] == 0.1
    assert BY_NAME["joints"].levels == (0.15, 0.3, 0.45, 0.6)
    assert BY_NAME["part"].levels == tuple(COCO17.parts)
    assert BY_NAME["shifted"].levels == (1, 3, 5, 10)


def test_families_that_skeletons_do_not_support_are_left_out() -> None:
    def names(*args: object, **sizes: object) -> set[str]:
        return {family.name for family in families_for(*args, **sizes)}  # type: ignore[arg-type]

    everything = {family.name for family in FAMILIES}
    assert names(COCO17, dimensions=2, several=True) == everything
    assert names(COCO17, dimensions=2, several=False) == everything - {"identity_switches"}
    assert names(NTU25, dimensions=3, several=True) == everything - {"frame_crop", "lower_confidence"}
    assert everything - names(layout_by_shape(5, 2), dimensions=2, several=True) == {
        "part",
        "spatial",
        "left_right_swaps",
    }


def test_every_condition_has_a_perturbation_and_a_unique_name() -> None:
    conditions = conditions_of(FAMILIES)
    assert conditions[0] == Condition(CLEAN)
    assert len({condition.name for condition in conditions}) == len(conditions)
    for condition in conditions:
        found = perturbation_of(condition, SETTINGS, layout=COCO17, model_layout=COCO17)
        assert (found is None) == (condition.family == CLEAN)
    others = conditions_of((), others=["pifpaf"])
    assert [one.family for one in others] == [CLEAN, *[ESTIMATOR_ERRORS] * 3]


def test_settings_select_the_interpretation_of_the_paper() -> None:
    def made(family: str, level: float | str, **changes: object) -> object:
        settings = BenchSettings(**changes)  # type: ignore[arg-type]
        return perturbation_of(Condition(family, level), settings, layout=COCO17, model_layout=H36M17)

    assert made(NOISE, 0.002) == GaussianNoise(0.002)
    assert made(NOISE, 0.002, noise_space="model") == GaussianNoise(0.002, "model")
    assert made("joints", 0.3) == JointOcclusion(0.3)
    assert made("joints", 0.3, occluded="joints") == JointOcclusion(0.3, whole=True)
    assert made("shifted", 3, shifted="constant") == ShiftedJoints(3, constant=True)
    # Occlusion acts on the network's input, and uses its joint names.
    assert made("part", "left_leg") == PartOcclusion(H36M17.parts["left_leg"])


def test_only_random_perturbations_are_repeated() -> None:
    assert seeds_of(Condition(NOISE, 0.01), BenchSettings(repeats=3, seed=5)) == [5, 6, 7]
    assert seeds_of(Condition(CLEAN), SETTINGS) == seeds_of(Condition("part", "head"), SETTINGS) == [0]
    assert len(seeds_of(Condition(ESTIMATOR_ERRORS, 1.0, "other"), SETTINGS)) == 3


def test_conditions_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Condition(CLEAN).family = NOISE  # type: ignore[misc]
