"""Synthetic motions: people who stay human, seen by cameras that project correctly, the same on every machine."""

import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pose_extraction.errors import UsageError
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle
from recognition.data.clips import open_clips
from recognition.settings import DataSettings
from synthetic.motions.actions import USUAL, Action, actions_of
from synthetic.motions.arms import ARMS
from synthetic.motions.clips import draw_performance, make_clip, motion_set
from synthetic.motions.estimating import draw_quality, estimated
from synthetic.motions.floor import FLOOR
from synthetic.motions.legs import LEGS
from synthetic.motions.performing import perform
from synthetic.motions.poses import HIP_FLEXION, KNEE_FLEXION, ankle_of, draw_pose
from synthetic.motions.trunk import TRUNKS
from synthetic.motions.views import draw_camera
from synthetic.rendering.body import ANKLES, ELBOWS, HEAD, HIPS, KNEES, PELVIS, SHOULDERS, WRISTS

TIME = np.arange(40) / 12
ACTIONS = actions_of(260, seed=5)


def performed(action: Action, seed: int = 0) -> np.ndarray:
    return perform(action, draw_performance(np.random.default_rng(seed), float(TIME[-1])), TIME)


def named(name: str) -> Action:
    return next(action for action in ACTIONS if action.name == name)


def bend_of(point: np.ndarray, chain: tuple[int, int, int]) -> np.ndarray:
    """Angle (T,) by which a chain of three points is bent, in degrees; 0 is straight."""
    first, second = point[:, chain[1]] - point[:, chain[0]], point[:, chain[2]] - point[:, chain[1]]
    cosine = (first * second).sum(-1) / np.linalg.norm(first, axis=-1) / np.linalg.norm(second, axis=-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def test_bones_keep_their_lengths_and_joints_their_limits_in_every_action() -> None:
    chains = [
        chain for limb in ((SHOULDERS, ELBOWS, WRISTS), (HIPS, KNEES, ANKLES)) for chain in zip(*limb, strict=True)
    ]
    for seed, action in enumerate(ACTIONS):
        point = performed(action, seed)
        assert np.isfinite(point).all(), action.name
        for chain in chains:
            for start, stop in pairwise(chain):
                length = np.linalg.norm(point[:, stop] - point[:, start], axis=-1)
                np.testing.assert_allclose(length, length[0], rtol=1e-9, err_msg=action.name)
            assert bend_of(point, chain).max() < 150, (action.name, chain)
        assert point[..., 1].min() > -0.35, f"{action.name}: below the ground"


def test_knees_bend_forward() -> None:
    for seed, action in enumerate(ACTIONS):
        point = performed(action, seed)
        for hip, knee, ankle in zip(HIPS, KNEES, ANKLES, strict=True):
            shin = point[:, ankle] - point[:, knee]
            thigh = point[:, knee] - point[:, hip]
            across = point[:, HIPS[0]] - point[:, HIPS[1]]
            # The axis about which a knee bends points to the left of the pelvis, not to its right.
            axis = np.cross(thigh, shin)
            least = -0.35 * np.linalg.norm(axis, axis=-1) * np.linalg.norm(across, axis=-1)
            bent = bend_of(point, (hip, knee, ankle)) > 25
            assert ((axis * across).sum(-1) >= least)[bent].all(), action.name


def test_actions_look_like_their_names() -> None:
    walk = performed(named("walk, swing both"), 3)
    assert np.linalg.norm(walk[-1, PELVIS] - walk[0, PELVIS]) > 1
    jack = performed(named("jack, raise_wide both"), 4)
    assert (jack[:, WRISTS, 1] > jack[:, [HEAD], 1]).all(1).any() and np.ptp(jack[:, ANKLES[0], 0]) > 0.1
    jump = performed(named("jump, hang"), 6)
    assert jump[:, ANKLES, 1].min(1).max() > 0.15
    for name in ("floor lie_back", "floor push_up", "floor plank"):
        point = performed(named(name), 1)
        assert np.abs(point[:, HEAD, 1] - point[:, ANKLES[0], 1]).max() < 0.85, name
    over = performed(named("floor handstand"), 1)
    assert (over[:, HEAD, 1] < over[:, ANKLES[0], 1] - 0.8).all()


def test_poses_are_drawn_within_the_limits_and_reached() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        for flexion, _, knee in draw_pose(random).leg:
            assert HIP_FLEXION[0] <= flexion <= HIP_FLEXION[1] and KNEE_FLEXION[0] <= knee <= KNEE_FLEXION[1]
    # A hip bent to the front with a straight knee puts the ankle ahead; a bent knee brings it back under the body.
    np.testing.assert_allclose(ankle_of(np.array([np.pi / 2, 0.0, 0.0]), 1.0), (0, 0, 1), atol=1e-12)
    np.testing.assert_allclose(ankle_of(np.array([np.pi / 2, 0.0, np.pi / 2]), 1.0), (0, -0.5, 0.5), atol=1e-12)


def test_projection_agrees_with_a_pinhole_camera() -> None:
    random = np.random.default_rng(2)
    point = performed(USUAL[1])[:, :17]
    for _ in range(10):
        camera = draw_camera(random, point, TIME)
        found = camera.pixels(camera.seen(point))
        height, width = camera.size
        for frame, joint in ((0, 0), (20, 9), (39, 15)):
            right, down, forward = camera.turn[frame]
            assert abs(float(right @ down)) < 1e-12 and float(np.cross(right, down) @ forward) == pytest.approx(1)
            ray = point[frame, joint] - camera.centre
            scale = camera.focal[frame] / float(ray @ forward)
            expected = (ray @ right * scale + (width - 1) / 2, ray @ down * scale + (height - 1) / 2)
            np.testing.assert_allclose(found[frame, joint], expected, rtol=1e-9)


def test_people_are_upright_in_the_picture() -> None:
    random = np.random.default_rng(3)
    point = performed(USUAL[0])[:, :17]
    for _ in range(20):
        camera = draw_camera(random, point, TIME)
        pixels = camera.pixels(camera.seen(point))
        # y points down in pixels: the nose is above the ankles.
        assert (pixels[:, 0, 1] < pixels[:, 15:, 1].min(1)).all()


@pytest.mark.slow
def test_a_clip_depends_on_seed_and_number_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "synthetic.motions", "--classes", "40", "--clips", "80", "--seed", "7"]
    for name in ("one.pkl", "two.pkl"):
        subprocess.run([*command, "--out", str(tmp_path / name)], check=True, cwd=Path(__file__).parents[3])
    assert (tmp_path / "one.pkl").read_bytes() == (tmp_path / "two.pkl").read_bytes()
    data = read_pickle(tmp_path / "one.pkl")
    alone = make_clip(actions_of(40, 7)[13], 53, seed=7)
    np.testing.assert_array_equal(data["annotations"][53]["keypoint"], alone["keypoint"])
    other = make_clip(actions_of(40, 7)[13], 53, seed=8)
    assert other["keypoint"].shape != alone["keypoint"].shape or (other["keypoint"] != alone["keypoint"]).any()


def test_a_set_is_balanced_and_ready_for_training(tmp_path: Path) -> None:
    data = motion_set(60, 180, seed=1)
    counts = Counter(annotation["label"] for annotation in data["annotations"])
    assert len(counts) == 60 and set(counts.values()) == {3}
    assert len(set(data["label_names"])) == 60
    for annotation in data["annotations"]:
        keypoint, score = annotation["keypoint"], annotation["keypoint_score"]
        assert np.isfinite(keypoint).all() and (score >= 0).all() and (score <= 1).all() and (score > 0).any()
        assert (keypoint[score == 0] == 0).all()
        height, width = annotation["img_shape"]
        assert keypoint[..., 0].max() <= width and keypoint[..., 1].max() <= height
        assert 8 <= annotation["total_frames"] <= 240 and 8 <= annotation["fps"] <= 30
    write_pickle(tmp_path / "set.pkl", data)
    clips = open_clips(tmp_path / "set.pkl", DataSettings())
    assert len(clips) == 180 and not clips.skipped


def test_all_programs_occur_about_equally_often() -> None:
    actions = actions_of(1200, seed=2)
    assert len({action.name for action in actions}) == 1200
    upright = [action for action in actions if action.floor is None and action.pose is None]
    for table, names in ((LEGS, [action.legs for action in upright]), (TRUNKS, [action.trunk for action in upright])):
        assert set(names) == set(table)
    used = Counter(action.arm for action in upright)
    assert set(ARMS) <= set(used)
    rare, often = np.quantile([used[name] for name in ARMS], (0.05, 0.95))
    assert often < 3 * rare
    assert {action.floor for action in actions if action.floor} == set(FLOOR)


@pytest.mark.parametrize(("classes", "clips"), [(1, 10), (100_000, 100_000), (50, 20)])
def test_impossible_numbers_are_refused(classes: int, clips: int) -> None:
    with pytest.raises(UsageError, match="--cl"):
        motion_set(classes, clips)


def test_errors_grow_with_the_person_and_only_lose_joints() -> None:
    point = performed(USUAL[0])[:, :17]
    near = 400 * point[..., :2] * (1, -1) + (400, 900)
    depth = np.full(near.shape[:2], 5.0)
    qualities = [draw_quality(np.random.default_rng(seed)) for seed in range(30)]
    quality = max(qualities, key=lambda one: one.jitter)
    errors = []
    for scale in (1.0, 0.25):
        found, score = estimated(np.random.default_rng(4), quality, near * scale, depth, (2000, 2000))
        assert (np.isnan(found).any(-1) == (score == 0)).all()
        errors.append(np.nanmedian(np.abs(found - near * scale)))
    assert errors[0] == pytest.approx(4 * errors[1], rel=0.05)
    side = float(np.ptp(near[0], axis=0).max())
    assert 0.005 < errors[0] / side < 0.06
