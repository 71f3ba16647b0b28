"""Movement of rendered people: constant bone lengths, reaching limbs, actions that match their names."""

import numpy as np
import pytest

from pose_extraction.errors import UsageError
from synthetic.rendering.actions import ACTIONS, act
from synthetic.rendering.body import ANKLES, ELBOWS, HEAD, HIPS, KNEES, NECK, PELVIS, SHOULDERS, WRISTS, draw_body
from synthetic.rendering.family import BANDS, FAMILIES, TEST, TRAIN, family_named
from synthetic.rendering.interactions import INTERACTIONS, interact
from synthetic.rendering.kinematics import Posture, posture_of, tilted, two_bones
from synthetic.rendering.style import draw_style, keys

TIME = np.arange(60) / 20


def performed(action: str, seed: int = 0) -> Posture:
    random = TRAIN.generator(seed)
    body = draw_body(TRAIN, random)
    return posture_of(body, act(action, body, draw_style(TRAIN, random), TIME))


@pytest.mark.parametrize("action", ACTIONS)
def test_bones_keep_their_lengths_in_every_action(action: str) -> None:
    for seed in range(4):
        random = TEST.generator(seed)
        body = draw_body(TEST, random)
        point = posture_of(body, act(action, body, draw_style(TEST, random), TIME)).point
        assert np.isfinite(point).all()
        for start, stop, length in (
            (SHOULDERS, ELBOWS, body.upper_arm),
            (ELBOWS, WRISTS, body.forearm),
            (HIPS, KNEES, body.thigh),
            (KNEES, ANKLES, body.shin),
        ):
            measured = np.linalg.norm(point[:, list(stop)] - point[:, list(start)], axis=-1)
            np.testing.assert_allclose(measured, length, rtol=1e-9)


@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_two_persons_face_each_other_within_reach(interaction: str) -> None:
    random = TRAIN.generator(3)
    bodies = draw_body(TRAIN, random), draw_body(TRAIN, random)
    styles = draw_style(TRAIN, random), draw_style(TRAIN, random)
    first, second = (
        posture_of(body, motion)
        for body, motion in zip(bodies, interact(interaction, bodies, styles, TIME), strict=True)
    )
    between = second.point[:, PELVIS] - first.point[:, PELVIS]
    between /= np.linalg.norm(between, axis=-1, keepdims=True)
    assert ((first.pelvis[:, :, 2] * between).sum(-1) > 0.5).all()
    assert ((second.pelvis[:, :, 2] * between).sum(-1) < -0.5).all()
    # A hand of the first comes close to some part of the second.
    gaps = np.linalg.norm(first.point[:, [9, 10, 21, 22], None] - second.point[:, None], axis=-1)
    assert gaps.min() < 0.25


def test_a_limb_of_two_bones_reaches_its_target_or_stretches_towards_it() -> None:
    root = np.zeros((2, 3))
    target = np.array([[0.3, -0.2, 0.1], [3.0, 0.0, 4.0]])
    pole = np.tile([0.0, 0.0, 1.0], (2, 1))
    middle, end = two_bones(root, target, 0.3, 0.25, pole)
    np.testing.assert_allclose(end[0], target[0], atol=1e-12)
    np.testing.assert_allclose(end[1] / np.linalg.norm(end[1]), [0.6, 0.0, 0.8], atol=1e-12)
    assert np.linalg.norm(end[1]) == pytest.approx(0.55, rel=1e-3)
    np.testing.assert_allclose(np.linalg.norm(middle, axis=-1), 0.3, rtol=1e-12)
    # The middle joint bends towards the pole.
    straight = 0.3 * end / np.linalg.norm(end, axis=-1, keepdims=True)
    assert ((middle - straight)[0] @ pole[0]) > 0


def test_tilts_are_rotations_that_lean_forward_right_and_turn_left() -> None:
    for angles, axis, toward in (
        ((0.3, 0, 0), 1, (0, np.cos(0.3), np.sin(0.3))),
        ((0, 0.3, 0), 1, (-np.sin(0.3), np.cos(0.3), 0)),
        ((0, 0, 0.3), 2, (np.sin(0.3), 0, np.cos(0.3))),
    ):
        axes = tilted(np.array([angles], float))[0]
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(axes[:, axis], toward, atol=1e-12)


def test_a_path_passes_through_its_keys() -> None:
    points = ((0.0, (0.0, 0.0, 1.0)), (0.25, (1.0, 2.0, 3.0)), (1.0, (-1.0, 0.0, 0.0)))
    found = keys(np.array([share for share, _ in points]), *points)
    np.testing.assert_allclose(found, [point for _, point in points])


@pytest.mark.parametrize("seed", range(6))
def test_actions_match_their_names(seed: int) -> None:
    def of(action: str) -> np.ndarray:
        return performed(action, seed).point

    height = of("stand")[:, HEAD, 1].mean()
    wave = of("wave")[30:]
    assert (wave[:, WRISTS, 1] - wave[:, ELBOWS, 1]).max(1).min() > 0, "the waving hand is above its elbow"
    assert np.linalg.norm(np.diff(of("clap")[:, WRISTS], axis=1), axis=-1).min() < 0.2
    assert of("squat")[:, PELVIS, 1].min() < 0.8 * of("stand")[:, PELVIS, 1].min()
    jack = of("jumping_jack")
    assert (jack[:, WRISTS, 1] > jack[:, [HEAD], 1]).all(1).any()
    assert np.ptp(np.abs(np.diff(jack[:, ANKLES, 0], axis=1))) > 0.2
    assert of("kick")[:, ANKLES, 1].max() > 0.3
    assert np.linalg.norm(of("walk")[-1, PELVIS] - of("walk")[0, PELVIS]) > 1.0
    sit, rise = of("sit_down"), of("stand_up")
    assert sit[-1, PELVIS, 1] < 0.75 * sit[0, PELVIS, 1] and rise[0, PELVIS, 1] < 0.75 * rise[-1, PELVIS, 1]
    assert of("pick_up")[:, WRISTS, 1].min() < 0.25 * height
    fallen = of("fall")[-1]
    assert fallen[HEAD, 1] < 0.35 * height and abs(fallen[NECK, 1] - fallen[PELVIS, 1]) < 0.25
    for action, place in (("drink", 0), ("phone", [3, 4])):
        point = of(action)
        gap = np.linalg.norm(point[:, WRISTS, None] - np.atleast_3d(point[:, place]).reshape(60, 1, -1, 3), axis=-1)
        assert gap.min() < 0.2, action


def test_families_share_no_band_and_no_name() -> None:
    random = np.random.default_rng(0)
    for family, other in ((TRAIN, TEST), (TEST, TRAIN)):
        drawn = [family.uniform(random, -1.0, 3.0) for _ in range(400)]
        assert all(family.owns(value, -1.0, 3.0) and not other.owns(value, -1.0, 3.0) for value in drawn)
        assert len({int((value + 1) / 4 * BANDS) for value in drawn}) == BANDS // 2
        assert not set(family.cloths) & set(other.cloths) and not set(family.places) & set(other.places)
        assert family.generator(5).random() != other.generator(5).random()


def test_an_unknown_family_is_refused() -> None:
    assert family_named("test") is FAMILIES["test"]
    with pytest.raises(UsageError, match=r"unknown family 'neither'.*train, test"):
        family_named("neither")
