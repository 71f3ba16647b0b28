"""Each transform compared with a plain float64 loop, and the treatment of joints that were not seen."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pose_extraction.skeleton import COCO17
from recognition.data.clips import open_clips
from recognition.data.transforms.augmentation import flip, random_move, random_shear, random_turn
from recognition.data.transforms.joints import coco_to_h36m, follow_two
from recognition.data.transforms.placement import (
    crop_scale,
    to_aligned,
    to_body,
    to_camera,
    to_first_frame,
    to_frame,
    to_upright,
)
from recognition.data.transforms.sampling import middle_part, random_part, resample_linear, sample_frames
from recognition.settings import DataSettings

Turn = Callable[..., tuple[np.ndarray, np.ndarray]]


def raw(seed: int, persons: int = 2, frames: int = 12, joints: int = 17, dimensions: int = 2) -> tuple:
    rng = np.random.default_rng(seed)
    keypoint = rng.uniform(-1, 1, (persons, frames, joints, dimensions)).astype(np.float32)
    score = rng.uniform(0.1, 1, (persons, frames, joints)).astype(np.float32)
    hidden = rng.random(score.shape) < 0.2
    keypoint[hidden] = np.nan
    score[hidden] = 0
    return keypoint, score


def test_frames_at_test_are_rounded_down() -> None:
    assert sample_frames(10, 4).tolist() == [0, 2, 5, 7]
    assert sample_frames(3, 7).tolist() == [math.floor(3 * k / 7) for k in range(7)]
    assert sample_frames(1, 5).tolist() == [0] * 5


@pytest.mark.parametrize(("length", "target"), [(7, 24), (24, 24), (100, 24), (1, 24)])
def test_frames_in_training_are_jittered(length: int, target: int) -> None:
    rng = np.random.default_rng(0)
    draws = np.array([sample_frames(length, target, rng) for _ in range(400)])
    assert (np.diff(draws, axis=1) >= 0).all() and draws.min() >= 0 and draws.max() <= length - 1
    for place in range(target):
        even = length * place / target
        if length < target:
            # Sorting exchanges at most neighbours.
            assert set(draws[:, place]) <= set(range(math.floor(even) - 1, math.ceil(even) + 2))
        else:
            assert draws[:, place].min() >= math.floor(even) and draws[:, place].max() <= even + length / target
    if length not in (1, target):
        assert len({tuple(draw) for draw in draws}) > 300


def test_camera_units_keep_the_aspect_and_the_unseen() -> None:
    keypoint = np.array([[[[0, 0], [1920, 1080], [np.nan, np.nan]]]], np.float32)
    camera = to_camera(keypoint, (1080, 1920))
    np.testing.assert_allclose(camera[0, 0, :2], [[-1, -1], [1, 0.125]], atol=1e-6)
    assert np.isnan(camera[0, 0, 2]).all()
    np.testing.assert_allclose(to_camera(keypoint, (1920, 1080))[0, 0, 1], [1, 0.125], atol=1e-6)


def test_body_units_have_extent_one_and_start_at_the_first_person() -> None:
    keypoint, _ = raw(0, dimensions=3)
    keypoint[0, :3] = np.nan
    body = to_body(keypoint * 1000 + 5000)
    seen = np.isfinite(body).all(-1)
    assert np.ptp(body[seen], axis=0).max() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(np.nanmean(body[0, 3], axis=0), 0, atol=1e-5)


def plain_follow(keypoint: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keypoint_out, score_out = keypoint.astype(float).copy(), score.copy()
    swapped = False
    for t in range(1, keypoint.shape[1]):
        stays = changes = 0.0
        for v in range(keypoint.shape[2]):
            poses = (keypoint[0, t, v], keypoint[0, t - 1, v], keypoint[1, t - 1, v])
            if all(np.isfinite(pose).all() for pose in poses):
                now, own, other = (pose.astype(float) for pose in poses)
                stays += math.dist(now, own)
                changes += math.dist(now, other)
        swapped ^= stays > changes
        if swapped:
            keypoint_out[:, t], score_out[:, t] = keypoint[::-1, t], score[::-1, t]
    return keypoint_out, score_out


def test_following_two_persons_equals_the_loop_including_scores() -> None:
    for seed in range(5):
        keypoint, score = raw(seed)
        wanted = plain_follow(keypoint, score)
        got = follow_two(keypoint, score)
        np.testing.assert_allclose(got[0], wanted[0], atol=1e-6)
        np.testing.assert_array_equal(got[1], wanted[1])


def test_persons_are_followed_by_euclidean_distance() -> None:
    """By the sum of absolute differences, the first person would be nearer to the second."""
    keypoint, score = np.zeros((2, 2, 17, 2), np.float32), np.ones((2, 2, 17), np.float32)
    keypoint[0, 1, 0], keypoint[1, 0, 0] = (0.3, 0.4), (0.9, 0.4)
    np.testing.assert_array_equal(follow_two(keypoint, score)[0], keypoint)


def test_exchanged_persons_are_restored() -> None:
    keypoint, score = raw(3)
    keypoint[:, 1:] = keypoint[:, :1]
    score[:, 1:] = score[:, :1]
    mixed, mixed_score = keypoint.copy(), score.copy()
    for frame in (2, 3, 7):
        mixed[:, frame], mixed_score[:, frame] = keypoint[::-1, frame], score[::-1, frame]
    got = follow_two(mixed, mixed_score)
    np.testing.assert_array_equal(got[0], keypoint)
    np.testing.assert_array_equal(got[1], score)


def test_h36m_joints_have_consistent_scores() -> None:
    keypoint, score = raw(1, persons=1)
    mapped, mapped_score = coco_to_h36m(keypoint, score)
    copies = {1: 12, 2: 14, 3: 16, 4: 11, 5: 13, 6: 15, 9: 0, 11: 5, 12: 7, 13: 9, 14: 6, 15: 8, 16: 10}
    for t in range(keypoint.shape[1]):
        pose, trust = keypoint[0, t].astype(float), score[0, t]
        for h36m, coco in copies.items():
            np.testing.assert_array_equal(mapped[0, t, h36m], keypoint[0, t, coco])
            assert mapped_score[0, t, h36m] == trust[coco]
        root, neck = (pose[11] + pose[12]) / 2, (pose[5] + pose[6]) / 2
        for joint, place, parents in ((0, root, (11, 12)), (8, neck, (5, 6)), (7, (root + neck) / 2, (5, 6, 11, 12))):
            np.testing.assert_allclose(mapped[0, t, joint], place, atol=1e-6)
            assert mapped_score[0, t, joint] == min(trust[parent] for parent in parents)
            assert np.isnan(mapped[0, t, joint]).any() == (mapped_score[0, t, joint] == 0)
        eyes = [eye for eye in (1, 2) if trust[eye] > 0]
        if eyes:
            np.testing.assert_allclose(mapped[0, t, 10], pose[eyes].mean(0), atol=1e-6)
            assert mapped_score[0, t, 10] == min(trust[eyes])
        else:
            assert np.isnan(mapped[0, t, 10]).all() and mapped_score[0, t, 10] == 0


@pytest.mark.parametrize(("nodes", "translation"), [(2, 0.1), (5, 0.3)])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_random_move_equals_the_loop(dimensions: int, nodes: int, translation: float) -> None:
    keypoint, _ = raw(2, dimensions=dimensions)
    moved = random_move(keypoint, np.random.default_rng(7), nodes=nodes, translation=translation)
    if (nodes, translation) == (2, 0.1):
        np.testing.assert_array_equal(random_move(keypoint, np.random.default_rng(7)), moved)
    rng = np.random.default_rng(7)
    angle, scale = rng.uniform(-math.pi / 18, math.pi / 18, nodes), rng.uniform(0.9, 1.1, nodes)
    shift = [rng.uniform(-translation, translation, nodes) for _ in range(dimensions)]
    frames = keypoint.shape[1]
    for t in range(frames):
        place = t / (frames - 1) * (nodes - 1)
        before = min(int(place), nodes - 2)
        share = place - before
        a, s, *d = (at[before] * (1 - share) + at[before + 1] * share for at in (angle, scale, *shift))
        for m in range(2):
            for v in range(17):
                point = keypoint[m, t, v].astype(float)
                if dimensions == 2:
                    x, y = point
                    wanted = [s * (math.cos(a) * x - math.sin(a) * y), s * (math.sin(a) * x + math.cos(a) * y)]
                else:
                    x, y, z = point
                    wanted = [s * (math.cos(a) * x + math.sin(a) * z), s * y, s * (math.cos(a) * z - math.sin(a) * x)]
                np.testing.assert_allclose(moved[m, t, v], np.add(wanted, d), atol=2e-6)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_crop_scale_equals_the_loop(dimensions: int) -> None:
    keypoint, score = raw(4, dimensions=dimensions)
    ratio = 1.3
    seen = [keypoint[place].astype(float) for place in np.ndindex(score.shape) if score[place] > 0]
    low = [min(point[axis] for point in seen) for axis in range(dimensions)]
    high = [max(point[axis] for point in seen) for axis in range(dimensions)]
    side = max(b - a for a, b in zip(low, high, strict=True)) * ratio
    placed = crop_scale(keypoint, score, ratio)
    for place in np.ndindex(score.shape):
        if score[place] == 0:
            assert (placed[place] == 0).all()
            continue
        for axis in range(dimensions):
            corner = (low[axis] + high[axis]) / 2 - side / 2
            wanted = 2 * (float(keypoint[place][axis]) - corner) / side - 1
            assert placed[place][axis] == pytest.approx(min(1, max(-1, wanted)), abs=2e-6)


def test_ratio_below_one_is_clipped_and_clips_without_size_are_zero() -> None:
    keypoint, score = raw(5)
    assert np.abs(crop_scale(keypoint, score, 0.5)).max() == 1
    assert not crop_scale(np.ones_like(keypoint), np.ones_like(score), 2).any()
    few = np.zeros_like(score)
    few[0, 0, :3] = 1
    assert not crop_scale(np.where(few[..., None] > 0, keypoint, np.nan), few, 2).any()


def test_a_mirror_image_exchanges_left_and_right_with_their_scores() -> None:
    keypoint, score = raw(6)
    mirrored, mirrored_score = flip(keypoint, score, COCO17.flip_indices)
    np.testing.assert_array_equal(mirrored[..., 5, 0], -keypoint[..., 6, 0])
    np.testing.assert_array_equal(mirrored[..., 5, 1], keypoint[..., 6, 1])
    np.testing.assert_array_equal(mirrored_score[..., 5], score[..., 6])
    np.testing.assert_array_equal(mirrored_score[..., 0], score[..., 0])
    again, _ = flip(mirrored, mirrored_score, COCO17.flip_indices)
    np.testing.assert_array_equal(again, keypoint)
    about, _ = flip(keypoint, score, COCO17.flip_indices, middle=-0.5)
    np.testing.assert_allclose(about[..., 5, 0], -1 - keypoint[..., 6, 0], rtol=1e-6)


def test_missing_joints_of_penn_change_nothing(shared_data: Path) -> None:
    """Its clips lack eyes and ears, so the box must be that of the 13 joints that exist."""
    path = shared_data / "skeletons" / "penn_action.pkl"
    clips = open_clips(path, DataSettings(skip_bad=True))
    for index in range(0, len(clips), 200):
        clip = clips[index]
        there = [0, *range(5, 17)]
        assert clip.size is not None and not clip.score[..., 1:5].any()
        whole = crop_scale(to_camera(clip.keypoint, clip.size), clip.score, 2)
        part = crop_scale(to_camera(clip.keypoint[:, :, there], clip.size), clip.score[:, :, there], 2)
        np.testing.assert_array_equal(whole[:, :, there], part)
        assert not whole[:, :, 1:5].any()
        longest = np.ptp(part[clip.score[:, :, there] > 0], axis=0).max()
        assert longest == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_shear_is_one_matrix_with_ones_on_its_diagonal(dimensions: int) -> None:
    keypoint, _ = raw(0, dimensions=dimensions)
    sheared = random_shear(keypoint, 0.4, np.random.default_rng(3))
    # Recover the matrix from its effect on the joints that were seen.
    seen = np.isfinite(keypoint).all(axis=-1)
    matrix, *_ = np.linalg.lstsq(keypoint[seen].astype(np.float64), sheared[seen].astype(np.float64), rcond=None)
    np.testing.assert_allclose(keypoint[seen] @ matrix, sheared[seen], atol=1e-5)
    np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-5)
    off_diagonal = matrix[~np.eye(dimensions, dtype=bool)]
    assert (np.abs(off_diagonal) <= 0.4).all() and (np.abs(off_diagonal) > 0.001).all()
    assert np.isnan(sheared[~seen]).all()


def test_parts_are_contiguous_and_have_the_requested_length() -> None:
    rng = np.random.default_rng(0)
    parts = [random_part(40, (0.25, 0.75), rng) for _ in range(500)]
    lengths = {part.stop - part.start for part in parts}
    # Rounded down, so that the upper limit is reached only by the largest draw.
    assert min(lengths) == 10 and max(lengths) == 29
    assert min(part.start for part in parts) == 0 and max(part.stop for part in parts) == 40
    assert random_part(1, (0.1, 0.2), rng) == slice(0, 1)


def test_middle_parts_leave_out_as_many_frames_at_either_end() -> None:
    """As published: the frames left out at one end are a share of the clip's frames, rounded down."""
    for length in range(1, 200):
        for share in (0.5, 0.9, 0.95):
            left_out = int((1 - share) * length / 2)
            assert middle_part(length, share) == slice(left_out, length - left_out)
    assert middle_part(100, 0.5, fewest=64) == slice(18, 82)
    assert middle_part(20, 0.5, fewest=64) == slice(0, 20)


@pytest.mark.parametrize("target", [1, 5, 12, 31])
def test_interpolated_frames_equal_the_loop(target: int) -> None:
    """As in image resizing: the centre of a frame is half a frame from its edge; nothing lies beyond the end."""
    keypoint, score = raw(7)
    got, got_score = resample_linear(keypoint, score, target)
    assert got.shape == (2, target, 17, 2) and got.dtype == got_score.dtype == np.float32
    for m in range(2):
        for t in range(target):
            place = min(max((t + 0.5) * 12 / target - 0.5, 0.0), 11.0)
            early = math.floor(place)
            late = min(early + 1, 11)
            for v in range(17):
                parts = [(early, 1 - (place - early)), (late, place - early)]
                parts = [(frame, share) for frame, share in parts if score[m, frame, v] > 0 and share > 1e-6]
                total = sum(share for _, share in parts)
                if not parts:
                    assert np.isnan(got[m, t, v]).all() and got_score[m, t, v] == 0
                    continue
                wanted = sum(share * keypoint[m, frame, v].astype(float) for frame, share in parts) / total
                wanted_score = sum(share * float(score[m, frame, v]) for frame, share in parts) / total
                np.testing.assert_allclose(got[m, t, v], wanted, atol=1e-5)
                assert got_score[m, t, v] == pytest.approx(wanted_score, abs=1e-5)


def test_interpolation_to_the_same_length_changes_nothing() -> None:
    keypoint, score = raw(8)
    got, got_score = resample_linear(keypoint, score, 12)
    np.testing.assert_allclose(got, keypoint, atol=1e-6)
    np.testing.assert_allclose(got_score, score, atol=1e-6)


def test_frame_units_span_the_frame() -> None:
    """As in PYSKL: [-1, 1] over the width and over the height, regardless of which is longer."""
    rng = np.random.default_rng(0)
    for height, width in ((1080, 1920), (640, 360)):
        pixels = rng.uniform(0, 1, (2, 4, 5, 2)) * (width, height)
        score = np.ones((2, 4, 5), np.float32)
        score[0, 1, 2] = 0
        got = to_frame(to_camera(pixels.astype(np.float32), (height, width)), score, (height, width))
        for m, t, v in np.ndindex(2, 4, 5):
            x, y = pixels[m, t, v]
            wanted = (0, 0) if score[m, t, v] == 0 else (2 * x / width - 1, 2 * y / height - 1)
            np.testing.assert_allclose(got[m, t, v], wanted, atol=1e-5)


def test_first_frame_with_the_joint_defines_the_origin() -> None:
    keypoint, _ = raw(2, joints=25, dimensions=3)
    keypoint[0, :3, 1] = np.nan
    keypoint[0, 3, 1] = (1, 2, 3)
    np.testing.assert_allclose(to_first_frame(keypoint, 1), keypoint.astype(float) - (1, 2, 3), atol=1e-6)
    keypoint[:, :, 1] = np.nan
    np.testing.assert_array_equal(to_first_frame(keypoint, 1), keypoint)


def plain_turn(points: np.ndarray, vector: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Rotate points (..., 3) by the quaternion of the shortest rotation from one direction to another."""
    vector = vector / np.sqrt(sum(v * v for v in vector))
    w = 1 + sum(a * b for a, b in zip(vector, axis, strict=True))
    x, y, z = np.cross(vector, axis)
    norm = math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w / norm, x / norm, y / norm, z / norm
    turned = np.empty_like(points)
    for place in np.ndindex(points.shape[:-1]):
        p = points[place]
        q = np.array([x, y, z])
        turned[place] = p + 2 * w * np.cross(q, p) + 2 * np.cross(q, np.cross(q, p))
    return turned


def three_dimensional(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two persons in 3D: one joint is unseen in one frame, the second person comes late and leaves early."""
    rng = np.random.default_rng(seed)
    keypoint = rng.normal(size=(2, 8, 25, 3)).astype(np.float32) + np.float32(3)
    score = np.ones((2, 8, 25), np.float32)
    keypoint[1, 4, 7], score[1, 4, 7] = np.nan, 0
    for person, frames in ((0, slice(6, 8)), (1, slice(0, 2)), (1, slice(3, 4)), (1, slice(7, 8))):
        keypoint[person, frames], score[person, frames] = np.nan, 0
    return keypoint, score


def plain_loop(poses: np.ndarray) -> np.ndarray:
    """Fill the frames of a person (T, V, 3) without a pose as 2s-AGCN does."""
    there = np.isfinite(poses).any(axis=(1, 2))
    filled = poses.copy()
    if not there[0]:
        filled[:] = np.nan
        filled[: there.sum()] = poses[there]
    end = 1 + max(t for t in range(len(filled)) if np.isfinite(filled[t]).any())
    for t in range(end, len(filled)):
        filled[t] = filled[t - end]
    return filled


def test_alignment_equals_the_loop() -> None:
    keypoint, score = three_dimensional(4)
    got, got_score = to_aligned(keypoint, score, joint=1, upwards=(0, 1), across=(4, 8))
    wanted = np.stack([plain_loop(person) for person in keypoint.astype(float)])
    np.testing.assert_array_equal(got_score > 0, np.isfinite(wanted).all(axis=-1))
    for t in range(8):
        wanted[:, t] -= wanted[0, t, 1].copy()
    wanted = plain_turn(wanted, wanted[0, 0, 1] - wanted[0, 0, 0], np.array([0.0, 0, 1]))
    wanted = plain_turn(wanted, wanted[0, 0, 8] - wanted[0, 0, 4], np.array([1.0, 0, 0]))
    np.testing.assert_allclose(got, wanted, atol=1e-4)
    # From the left to the right shoulder along x.
    shoulders = got[0, 0, 8] - got[0, 0, 4]
    np.testing.assert_allclose(shoulders, [np.linalg.norm(shoulders), 0, 0], atol=1e-4)


def test_upright_clips_are_turned_about_the_vertical_axis_only() -> None:
    """As runs were trained whose settings said "aligned" before 2s-AGCN's turn was followed."""
    keypoint, score = three_dimensional(5)
    keypoint[1], score[1] = keypoint[0], score[0]
    got, got_score = to_upright(keypoint, score, joint=1, upwards=(0, 1), across=(4, 8))
    wanted = keypoint.astype(float)
    wanted[:, 6:] = wanted[:, 5:6]
    for t in range(8):
        wanted[:, t] -= wanted[0, t, 1].copy()
    wanted = plain_turn(wanted, wanted[0, 0, 1] - wanted[0, 0, 0], np.array([0.0, 0, 1]))
    line = wanted[0, 0, 4] - wanted[0, 0, 8]
    line[2] = 0
    wanted = plain_turn(wanted, line, np.array([1.0, 0, 0]))
    np.testing.assert_allclose(got, wanted, atol=1e-4)
    np.testing.assert_array_equal(got_score[:, 6], score[:, 5])
    spine = got[0, 0, 1] - got[0, 0, 0]
    np.testing.assert_allclose(spine, [0, 0, np.linalg.norm(spine)], atol=1e-4)


@pytest.mark.parametrize(("turn", "side"), [(to_aligned, -1), (to_upright, 1)])
def test_upside_down_bodies_are_turned_and_empty_beginnings_filled(turn: Turn, side: int) -> None:
    keypoint = np.zeros((1, 4, 25, 3), np.float32)
    keypoint[0, :, 0] = (0, 0, 1)
    keypoint[0, :, 4] = (1, 0, 0)
    keypoint[0, :, 8] = (-1, 0, 0)
    score = np.ones((1, 4, 25), np.float32)
    keypoint[:, :2], score[:, :2] = np.nan, 0
    got, got_score = turn(keypoint, score, joint=1, upwards=(0, 1), across=(4, 8))
    assert (got_score == 1).all() and np.isfinite(got).all()
    np.testing.assert_allclose(got[0, :, 4], [[side, 0, 0]] * 4, atol=1e-6)
    nobody = np.full_like(keypoint, np.nan)
    assert np.isnan(turn(nobody, np.zeros_like(score), joint=1, upwards=(0, 1), across=(4, 8))[0]).all()


def test_turns_are_about_x_then_y_then_z() -> None:
    keypoint, _ = raw(6, joints=25, dimensions=3)
    got = random_turn(keypoint, 0.5, np.random.default_rng(9))
    a, b, c = np.random.default_rng(9).uniform(-0.5, 0.5, 3)
    for m, t, v in np.ndindex(2, 12, 25):
        x, y, z = keypoint[m, t, v].astype(float)
        y, z = math.cos(a) * y - math.sin(a) * z, math.sin(a) * y + math.cos(a) * z
        z, x = math.cos(b) * z - math.sin(b) * x, math.sin(b) * z + math.cos(b) * x
        x, y = math.cos(c) * x - math.sin(c) * y, math.sin(c) * x + math.cos(c) * y
        np.testing.assert_allclose(got[m, t, v], (x, y, z), atol=1e-5)
    # The angles about the three axes differ, and are zero for an amount of zero.
    np.testing.assert_allclose(random_turn(keypoint, 0.0, np.random.default_rng(9)), keypoint, atol=1e-6)
