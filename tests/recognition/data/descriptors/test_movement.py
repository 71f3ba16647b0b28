"""Descriptors do not depend on place, size, frame rate or scores, and state what a plain computation states."""

import numpy as np
import pytest

from pose_extraction.skeleton import COCO17
from recognition.data.descriptors.copies import varied
from recognition.data.descriptors.movement import FEWEST, GROUPS, RATE, SIDES, SIZE, describe, describe_clip
from test_support.clips.made_motions import made_clip

LEFT_WRIST, RIGHT_HIP = 9, 12


def moving(frames: int = 30, seed: int = 0) -> np.ndarray:
    """Joints of a person who waves and walks to the right, float64 (T, 17, 2)."""
    joints = made_clip(0, np.random.default_rng(seed), frames=frames)[0].copy()
    joints[..., 0] += np.linspace(0, 200, frames)[:, None]
    return joints


def group(descriptor: np.ndarray, name: str) -> np.ndarray:
    sizes = np.cumsum([0, *(size for _, size in GROUPS)])
    place = [found for found, _ in GROUPS].index(name)
    return descriptor[sizes[place] : sizes[place + 1]]


def test_place_and_size_do_not_matter() -> None:
    joints, time = moving(), np.arange(30) / RATE
    np.testing.assert_allclose(describe(joints, time), describe(3.7 * joints + (500, -20), time), rtol=1e-3, atol=1e-4)


def test_the_frame_rate_hardly_matters() -> None:
    time = np.arange(240) / 96
    phase = np.linspace(0, 6 * np.pi, 240)
    joints = np.repeat(moving(1), 240, axis=0)
    joints[:, [LEFT_WRIST, 7]] += 60 * np.stack([np.sin(phase), np.cos(phase)], axis=1)[:, None]
    full, half = describe(joints, time), describe(joints[::4], time[::4])
    assert np.abs(full - half).max() < 0.1 * np.abs(full).max()
    faster = np.abs(group(describe(joints, time / 1.5), "speed")).mean()
    assert faster > 1.15 * np.abs(group(full, "speed")).mean()


def test_numbers_equal_a_plain_computation() -> None:
    frames = 40
    joints, time = moving(frames), np.arange(frames) / RATE
    smooth = joints.copy()
    for frame in range(frames):
        near = [joints[min(max(other, 0), frames - 1)] for other in (frame - 1, frame, frame + 1)]
        smooth[frame] = np.mean(near, axis=0)
    hips = smooth[:, [11, 12]].mean(axis=1)
    shoulders = smooth[:, [5, 6]].mean(axis=1)
    widths = 1.3 * np.linalg.norm(smooth[:, 5] - smooth[:, 6], axis=1)
    torso = max(np.percentile(np.linalg.norm(shoulders - hips, axis=1), 75), np.percentile(widths, 75))
    wrist = (smooth[:, LEFT_WRIST] - hips) / torso
    descriptor = describe(joints, time)
    signals = len(group(descriptor, "spread"))
    # The nose and the joints from the left shoulder on are described, x before y.
    place = 2 * (1 + LEFT_WRIST - 5)
    expected = [wrist.mean(axis=0), *np.percentile(wrist, [10, 50, 90], axis=0)]
    for number, values in enumerate(expected):
        found = group(descriptor, "posture")[number * signals + place : number * signals + place + 2]
        np.testing.assert_allclose(found, values, rtol=1e-5)
    np.testing.assert_allclose(group(descriptor, "spread")[place : place + 2], wrist.std(axis=0), rtol=1e-5)
    speed = np.diff(wrist, axis=0) * RATE
    np.testing.assert_allclose(group(descriptor, "speed")[place : place + 2], np.abs(speed).mean(axis=0), rtol=1e-5)
    moved = (hips[-1] - hips[0]) / torso / (time[-1] - time[0])
    np.testing.assert_allclose(group(descriptor, "travel")[6:8], moved, rtol=1e-5)


def test_what_is_told_of_both_sides_does_not_depend_on_which_is_which() -> None:
    joints, time = moving(), np.arange(30) / RATE
    taken = joints.copy()
    mistaken = np.random.default_rng(0).random(30) < 0.4
    limbs = SIDES.ravel()
    taken[np.ix_(mistaken, limbs)] = joints[np.ix_(mistaken, np.array(COCO17.flip_indices)[limbs])]
    np.testing.assert_allclose(group(describe(taken, time), "sides"), group(describe(joints, time), "sides"), rtol=1e-5)
    assert np.abs(group(describe(taken, time), "speed") - group(describe(joints, time), "speed")).max() > 1


def test_numbers_of_both_sides_equal_a_plain_computation() -> None:
    frames = 40
    joints, time = moving(frames), np.arange(frames) / RATE
    smooth, middle, apart = joints.copy(), joints[:, 0].copy(), joints[:, 0].copy()
    for frame in range(frames):
        near = [joints[min(max(other, 0), frames - 1)] for other in (frame - 1, frame, frame + 1)]
        smooth[frame] = np.mean(near, axis=0)
        middle[frame] = np.mean([(one[LEFT_WRIST] + one[LEFT_WRIST + 1]) / 2 for one in near], axis=0)
        apart[frame] = np.mean([np.abs(one[LEFT_WRIST] - one[LEFT_WRIST + 1]) for one in near], axis=0)
    hips, shoulders = smooth[:, [11, 12]].mean(axis=1), smooth[:, [5, 6]].mean(axis=1)
    widths = 1.3 * np.linalg.norm(smooth[:, 5] - smooth[:, 6], axis=1)
    torso = max(np.percentile(np.linalg.norm(shoulders - hips, axis=1), 75), np.percentile(widths, 75))
    # Elbows come before wrists; the middles of all pairs come before their distances.
    for place, values in ((2, (middle - hips) / torso), (8 + 2, apart / torso)):
        speed = np.diff(values, axis=0) * RATE
        expected = [values.mean(axis=0), *np.percentile(values, [10, 50, 90], axis=0), values.std(axis=0)]
        expected += [np.abs(speed).mean(axis=0), speed.std(axis=0)]
        found = group(describe(joints, time), "sides").reshape(7, 16)[:, place : place + 2]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_gaps_are_interpolated_and_joints_never_seen_are_unknown() -> None:
    joints, time = moving(), np.arange(30) / RATE
    gaps = joints.copy()
    gaps[10:13, LEFT_WRIST] = np.nan
    whole = describe(joints, time)
    assert np.isfinite(describe(gaps, time)).all()
    assert np.abs(group(describe(gaps, time), "posture") - group(whole, "posture")).max() < 0.5
    without = joints.copy()
    without[:, LEFT_WRIST] = np.nan
    unknown = np.isnan(describe(without, time))
    assert 0 < unknown.sum() < SIZE / 2
    np.testing.assert_allclose(describe(without, time)[~unknown], whole[~unknown], rtol=1e-5)
    one_hip = joints.copy()
    one_hip[:, RIGHT_HIP] = np.nan
    assert np.isfinite(group(describe(one_hip, time), "travel")).all()


@pytest.mark.parametrize("frames", [1, 2, FEWEST])
def test_short_clips_are_described(frames: int) -> None:
    assert np.isfinite(describe(moving(frames), np.arange(frames) / 30)).all()


def test_a_person_who_is_never_seen_is_unknown() -> None:
    assert np.isnan(describe(np.full((10, 17, 2), np.nan), np.arange(10) / 30)).all()


def test_a_bystander_does_not_change_the_descriptor_of_a_clip() -> None:
    joints, time = moving(), np.arange(30) / RATE
    bystander = np.full_like(joints, np.nan)
    bystander[:10] = moving(seed=1)[:10] * 0.5
    both = np.stack([joints, bystander])
    np.testing.assert_array_equal(describe_clip(both, time), describe(joints, time))
    partner = np.stack([joints, moving(seed=1)])
    expected = (describe(partner[0], time) + describe(partner[1], time)) / 2
    np.testing.assert_allclose(describe_clip(partner, time), expected, rtol=1e-5)


def test_copies_vary_within_their_limits_and_keep_joints_unseen() -> None:
    joints, time = moving()[None], np.arange(30) / RATE
    joints[0, :, LEFT_WRIST] = np.nan
    rng = np.random.default_rng(0)
    for _ in range(20):
        keypoint, when = varied(joints, time, rng)
        assert keypoint.shape[1] == len(when) and 18 <= len(when) <= 30
        # Left and right may be swapped in some frames.
        wrists = np.isnan(keypoint[0, :, [LEFT_WRIST, LEFT_WRIST + 1]]).any(axis=-1)
        assert wrists.any(axis=0).all() and np.isfinite(keypoint).any()
        assert 0.8 < (when[-1] - when[0]) / (len(when) - 1) * RATE < 1.2
