"""The published reader, rewritten as plain loops, compared with `legacy` mode."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pose_extraction.errors import UsageError
from recognition.data.clips import open_clips
from recognition.data.dataset import SkeletonDataset
from recognition.settings import DataSettings
from test_support.clips.made_clips import annotation, write_clips

TARGET = 24


def published_frames(lengths: list[int]) -> list[list[int]]:
    """Step 1, in the constructor: one generator for all clips, in the file's order."""
    drawn = np.random.RandomState(0)
    chosen = []
    for length in lengths:
        even = [length * k / TARGET for k in range(TARGET)]
        if length < TARGET:
            down = drawn.randint(2, size=TARGET)
            places = sorted(math.floor(e) if d else math.ceil(e) for e, d in zip(even, down, strict=True))
        else:
            places = [e + r * length / TARGET for e, r in zip(even, drawn.random_sample(TARGET), strict=True)]
        chosen.append([int(min(place, length - 1)) for place in places])
    return chosen


def published_pose(clip: dict[str, Any]) -> np.ndarray:
    """Steps 2 to 5 before sampling frames: (2, T, 17, 3), rounded to the file's precision after each operation
    up to step 3, or up to step 5 for one person."""
    height, width = clip["img_shape"]
    stored, score = clip["keypoint"], clip["keypoint_score"]
    half = stored.dtype.type
    persons, frames = stored.shape[:2]
    camera = np.zeros(stored.shape, half)
    for place in np.ndindex(stored.shape):
        camera[place] = half(half(half(stored[place]) / half(max(height, width))) * half(2)) - half(1)
    order = [[0, 1]] * frames
    if persons >= 2:
        swapped = False
        order = [[0, 1]]
        for t in range(1, frames):
            stays = sum(np.sqrt(np.square(camera[0, t, v] - camera[0, t - 1, v]).sum()) for v in range(17))
            changes = sum(np.sqrt(np.square(camera[0, t, v] - camera[1, t - 1, v]).sum()) for v in range(17))
            swapped ^= bool(stays > changes)
            order.append([1, 0] if swapped else [0, 1])
    out = np.zeros((2, frames, 17, 3))
    copies = {1: 12, 2: 14, 3: 16, 4: 11, 5: 13, 6: 15, 9: 0, 11: 5, 12: 7, 13: 9, 14: 6, 15: 8, 16: 10}
    for m in range(min(persons, 2)):
        for t in range(frames):
            pose = camera[order[t][m] if persons >= 2 else 0, t]
            if persons >= 2:
                # Choosing between two persons multiplies by integers, which gives double precision.
                pose = pose.astype(np.float64)
            for h36m, coco in copies.items():
                out[m, t, h36m, :2] = pose[coco]
            root, neck = (pose[11] + pose[12]) * half(0.5), (pose[5] + pose[6]) * half(0.5)
            out[m, t, 0, :2], out[m, t, 8, :2], out[m, t, 7, :2] = root, neck, (root.astype(np.float64) + neck) * 0.5
            out[m, t, 10, :2] = (pose[1] + pose[2]) * half(0.5)
            # The confidence of the COCO joint in slot m, regardless of exchanged persons.
            out[m, t, :, 2] = score[m, t]
    return out


def published_crop(motion: np.ndarray, ratio: float) -> np.ndarray:
    valid = [motion[place] for place in np.ndindex(motion.shape[:3]) if motion[place][2] != 0]
    low = [min(point[axis] for point in valid) for axis in (0, 1)]
    high = [max(point[axis] for point in valid) for axis in (0, 1)]
    scale = max(high[0] - low[0], high[1] - low[1]) * ratio
    out = motion.copy()
    for place in np.ndindex(motion.shape[:3]):
        for axis in (0, 1):
            corner = (low[axis] + high[axis] - scale) / 2
            out[place][axis] = ((motion[place][axis] - corner) / scale - 0.5) * 2
    return np.clip(out, -1, 1)


def published_move(motion: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angles, scales = rng.uniform(-math.pi / 18, math.pi / 18, 2), rng.uniform(0.9, 1.1, 2)
    shifts = [rng.uniform(-0.1, 0.1, 2) for _ in range(2)]
    out = motion.copy()
    for t in range(TARGET):
        share = t / (TARGET - 1)
        angle, scale, right, down = (a * (1 - share) + b * share for a, b in (angles, scales, *shifts))
        for m in range(2):
            for v in range(17):
                x, y = motion[m, t, v, :2]
                out[m, t, v, 0] = scale * (math.cos(angle) * x - math.sin(angle) * y) + right
                out[m, t, v, 1] = scale * (math.sin(angle) * x + math.cos(angle) * y) + down
    return out


def clips() -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    made = [
        annotation("one", rng, frames=15, unseen=0.1),
        annotation("two", rng, frames=40, persons=2),
        annotation("three", rng, frames=24, persons=3),
        annotation("short", rng, frames=5, persons=2, unseen=0.2),
        annotation("precise", rng, frames=9, dtype=np.float32),
        annotation("diagonal", rng, frames=2, persons=2, dtype=np.float32),
    ]
    # The first person is nearer to itself, but not if absolute differences of the coordinates were added up.
    made[5]["keypoint"][:] = 0
    made[5]["keypoint"][0, 1, 0], made[5]["keypoint"][1, 0, 0] = (300, 400), (900, 400)
    # Joints with a position but without confidence.
    made[2]["keypoint_score"][0, 3:8, 5:9] = 0
    made[1]["keypoint"][:, 10:20] = made[1]["keypoint"][::-1, 10:20].copy()
    return made


def legacy(tmp_path: Path, *, train: bool, **settings: Any) -> SkeletonDataset:
    data = DataSettings(legacy=True, num_frames=TARGET, **settings)
    opened = open_clips(write_clips(tmp_path / "a.pkl", clips()), data)
    return SkeletonDataset(opened, np.arange(len(opened)), data, train=train, seed=5)


def test_the_test_input_equals_the_published_one(tmp_path: Path) -> None:
    data = legacy(tmp_path, train=False)
    for position, clip in enumerate(clips()):
        frames = [clip["total_frames"] * k // TARGET for k in range(TARGET)]
        wanted = published_crop(published_pose(clip)[:, frames], 2)
        got = data[position].keypoint
        assert got.shape == (2, TARGET, 17, 3) and got.dtype == np.float32
        np.testing.assert_allclose(got, wanted, atol=2e-6)
    # The absent person ends up at a constant point other than zero.
    absent = data[0].keypoint[1]
    assert absent[..., :2].any() and (absent == absent[0, 0]).all()


def test_the_training_input_equals_the_published_one(tmp_path: Path) -> None:
    data = legacy(tmp_path, train=True)
    chosen = published_frames([clip["total_frames"] for clip in clips()])
    for position, clip in enumerate(clips()):
        rng = np.random.default_rng([5, 3, position])
        moved = published_move(published_pose(clip)[:, chosen[position]], rng)
        wanted = published_crop(moved, rng.uniform(1, 3))
        np.testing.assert_allclose(data[(3, position)].keypoint, wanted, atol=5e-6)


@pytest.mark.parametrize("settings", [{"num_frames": "own"}, {"flip": 0.5}])
def test_settings_unsupported_by_the_published_reader_are_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    data = DataSettings(**{"legacy": True, "num_frames": TARGET, **settings})
    opened = open_clips(write_clips(tmp_path / "a.pkl", clips()), data)
    with pytest.raises(UsageError, match="legacy"):
        SkeletonDataset(opened, np.arange(4), data, train=True)
