"""The effect of perturbations compared with plain definitions, and what they leave unchanged."""

from pathlib import Path

import numpy as np
import pytest

from pose_extraction.skeleton import COCO17
from recognition.data.clip import Clip
from recognition.data.clips import open_clips
from recognition.data.dataset import SkeletonDataset
from recognition.data.perturbations import (
    GRID,
    DroppedPeople,
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
    grid_rows,
    measure_errors,
)
from recognition.data.transforms.placement import to_camera
from recognition.settings import DataSettings
from test_support.clips.made_clips import annotation, write_clips

SIZE = (1080, 1920)
PARTS = tuple(COCO17.parts.values())
MIRROR = tuple(int(joint) for joint in COCO17.flip_indices)


def clip(persons: int = 2, frames: int = 40, joints: int = 17) -> tuple[np.ndarray, np.ndarray]:
    """Random persons in a frame of SIZE; joint 3 is always unseen and zero, as in the network's input."""
    rng = np.random.default_rng(0)
    keypoint = rng.uniform(-0.9, 0.1, (persons, frames, joints, 2)).astype(np.float32)
    score = rng.uniform(0.3, 1, (persons, frames, joints)).astype(np.float32)
    keypoint[:, :, 3], score[:, :, 3] = 0, 0
    return keypoint, score


def given_to(perturbation: Perturbation, **sizes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a clip in the perturbation's space."""
    keypoint, score = clip(**sizes)
    if perturbation.space == "camera":
        keypoint[score == 0] = np.nan
    return keypoint, score


def errors(**changes: float) -> EstimatorErrors:
    """Errors of an estimator that is off by 3 sigma of the box's side and misses a fifth of the joints."""
    rng = np.random.default_rng(5)
    walk = rng.uniform(200, 700, (1, 300, 17, 2)).astype(np.float32)
    other = walk + rng.normal(0, 5, walk.shape).astype(np.float32)
    score = np.full(walk.shape[:3], 0.9, np.float32)
    missed = rng.random(score.shape) < 0.2
    other[missed] = np.nan
    first = Clip("a", 0, walk, score, SIZE)
    second = Clip("a", 0, other, np.where(missed, 0, 0.5).astype(np.float32), SIZE)
    statistics = measure_errors([(first, second)])
    assert statistics is not None
    return EstimatorErrors(statistics, **changes)


AT_LEVEL_ZERO = [
    GaussianNoise(0),
    GaussianNoise(0, constant=True),
    GaussianNoise(0, space="model"),
    ShiftedJoints(0),
    PartOcclusion(()),
    JointOcclusion(0),
    JointOcclusion(0, whole=True),
    FrameMasking(0),
    FrameMasking(0, by="zeros"),
    SpatialOcclusion(PARTS, 0, 0),
    TemporalOcclusion(0, 0),
    IdentitySwitches(0),
    LeftRightSwaps(0, MIRROR),
    DroppedPeople(0),
    LowerFrameRate(1),
    LowerConfidence(0),
    FrameCrop(0),
    errors(strength=0),
]
AT_SOME_LEVEL = [
    GaussianNoise(0.01),
    GaussianNoise(0.01, constant=True),
    GaussianNoise(0.5, space="model"),
    ShiftedJoints(3),
    ShiftedJoints(3, constant=True),
    PartOcclusion(COCO17.parts["left_arm"]),
    JointOcclusion(0.3),
    JointOcclusion(0.3, whole=True),
    FrameMasking(0.5),
    FrameMasking(0.5, by="zeros"),
    SpatialOcclusion(PARTS),
    TemporalOcclusion(),
    IdentitySwitches(0.2),
    LeftRightSwaps(0.3, MIRROR),
    DroppedPeople(0.3),
    LowerFrameRate(3),
    LowerConfidence(0.5),
    FrameCrop(0.4),
    errors(),
]


@pytest.mark.parametrize("perturbation", AT_LEVEL_ZERO, ids=str)
def test_level_zero_changes_nothing(perturbation: Perturbation) -> None:
    keypoint, score = given_to(perturbation)
    disturbed, disturbed_score = perturbation(keypoint, score, np.random.default_rng(1), SIZE)
    np.testing.assert_array_equal(disturbed, keypoint)
    np.testing.assert_array_equal(disturbed_score, score)


@pytest.mark.parametrize("perturbation", AT_SOME_LEVEL, ids=str)
def test_scores_mark_visible_joints_none_appear_and_the_input_is_unchanged(perturbation: Perturbation) -> None:
    keypoint, score = given_to(perturbation)
    before, before_score = keypoint.copy(), score.copy()
    disturbed, disturbed_score = perturbation(keypoint, score, np.random.default_rng(1), SIZE)
    np.testing.assert_array_equal(keypoint, before)
    np.testing.assert_array_equal(score, before_score)
    assert disturbed.dtype == disturbed_score.dtype == np.float32
    assert disturbed.shape[:3] == disturbed_score.shape and len(disturbed) == 2
    assert not np.array_equal(disturbed, keypoint, equal_nan=True) or not np.array_equal(disturbed_score, score)
    absent = np.isnan(disturbed).all(axis=-1) if perturbation.space == "camera" else (disturbed == 0).all(axis=-1)
    np.testing.assert_array_equal(absent, disturbed_score == 0)
    assert np.isfinite(disturbed[~absent]).all()
    # Joint 3, always unseen, does not appear, except as the mirror image when left and right are swapped.
    unseen = 4 if isinstance(perturbation, LeftRightSwaps) else 3
    assert not disturbed_score[:, :, (3, unseen)].all(axis=-1).any()
    again, again_score = perturbation(keypoint, score, np.random.default_rng(1), SIZE)
    np.testing.assert_array_equal(disturbed, again)
    np.testing.assert_array_equal(disturbed_score, again_score)


@pytest.mark.parametrize("perturbation", AT_SOME_LEVEL, ids=lambda perturbation: type(perturbation).__name__)
def test_labels_are_kept_and_no_person_is_added(perturbation: Perturbation, tmp_path: Path) -> None:
    """Of two persons the second is visible only in the first half; the next clip has only the first."""
    rng = np.random.default_rng(0)
    clips = [annotation(f"c{label}", rng, label=label, persons=2, frames=40) for label in (2, 1)]
    clips[0]["keypoint_score"][1, 20:] = 0
    clips[1]["keypoint_score"][1] = 0
    settings = DataSettings(num_frames="own", max_frames=40)
    opened = open_clips(write_clips(tmp_path / "a.pkl", clips), settings)
    data = SkeletonDataset(opened, np.arange(2), settings, train=False, perturbation=perturbation)
    for sample, label in zip((data[0], data[1]), (2, 1), strict=True):
        assert (sample.label, sample.name) == (label, f"c{label}")
    assert data.labels.tolist() == [2, 1]
    several, alone = (sample.keypoint.any(axis=(2, 3)) for sample in (data[0], data[1]))
    assert len(several) == 2 and len(alone) == 1
    both = np.flatnonzero(several.all(axis=0))
    # Deleted frames move later frames forward, and none back.
    assert both.max(initial=0) < 20 and several.any(axis=0)[both.max(initial=0) + 1 :].any()
    if not isinstance(perturbation, IdentitySwitches):
        assert not several[1, 20:].any()


@pytest.mark.parametrize("perturbation", AT_SOME_LEVEL, ids=str)
def test_a_frame_with_a_single_joint_stays_finite(perturbation: Perturbation) -> None:
    keypoint, score = given_to(perturbation)
    for frame in (0, 2, 3):
        score[:, frame, :9] = score[:, frame, 10:] = 0
        keypoint[:, frame, :9] = keypoint[:, frame, 10:] = np.nan if perturbation.space == "camera" else 0
    disturbed, disturbed_score = perturbation(keypoint, score, np.random.default_rng(1), SIZE)
    assert np.isfinite(disturbed[disturbed_score > 0]).all()


def test_noise_has_its_deviation_and_differs_between_persons_frames_and_axes() -> None:
    keypoint, score = clip(frames=400)
    keypoint[score == 0] = np.nan
    noisy, same = GaussianNoise(0.01)(keypoint, score, np.random.default_rng(1))
    added = (noisy - keypoint)[score > 0]
    assert added.std() == pytest.approx(0.01, rel=0.02) and abs(added.mean()) < 2e-4
    assert abs(np.corrcoef(added.T)[0, 1]) < 0.03
    difference = noisy - keypoint
    assert abs(np.corrcoef(difference[0, :, 0, 0], difference[1, :, 0, 0])[0, 1]) < 0.2
    np.testing.assert_array_equal(same, score)


@pytest.mark.parametrize(("size", "sigma", "pixels"), [((1080, 1920), 0.002, 1.92), ((480, 640), 0.01, 3.2)])
def test_noise_has_the_expected_size_in_pixels(size: tuple[int, int], sigma: float, pixels: float) -> None:
    place = np.random.default_rng(2).uniform(0, 400, (1, 3000, 17, 2)).astype(np.float32)
    camera = to_camera(place, size)
    noisy, _ = GaussianNoise(sigma)(camera, np.ones((1, 3000, 17), np.float32), np.random.default_rng(1))
    assert ((noisy + 1) * max(size) / 2 - place).std() == pytest.approx(pixels, rel=0.02)


def test_constant_noise_is_one_offset_per_joint_and_person() -> None:
    keypoint, score = clip(persons=300)
    noisy, _ = GaussianNoise(0.01, constant=True)(keypoint, score, np.random.default_rng(1))
    offset = (noisy - keypoint)[:, :, :3]
    np.testing.assert_allclose(offset, np.broadcast_to(offset[:, :1], offset.shape), atol=1e-6)
    assert offset[:, 0].std() == pytest.approx(0.01, rel=0.05)


def test_noise_at_the_input_leaves_absent_joints_at_zero_and_stays_in_range() -> None:
    keypoint, score = clip()
    noisy, _ = GaussianNoise(0.5, space="model")(keypoint, score, np.random.default_rng(1))
    assert not noisy[score == 0].any()
    assert np.abs(noisy).max() == 1


@pytest.mark.parametrize("count", [1, 3, 5, 10, 99])
@pytest.mark.parametrize("constant", [False, True])
def test_shifted_joints_are_the_same_in_all_frames_and_stay_in_the_persons_box(count: int, constant: bool) -> None:
    perturbation = ShiftedJoints(count, constant)
    keypoint, score = given_to(perturbation, frames=200)
    # The second person is at a different position than the first.
    keypoint[1] += 0.5
    moved, _ = perturbation(keypoint, score, np.random.default_rng(3))
    changed = (moved != keypoint).any(axis=-1) & (score > 0)
    joints = np.flatnonzero(changed.any(axis=(0, 1)))
    assert len(joints) == min(count, 16) and changed[:, :, joints].all()
    low, high = np.nanmin(keypoint, axis=2), np.nanmax(keypoint, axis=2)
    within = (moved[:, :, joints] - low[:, :, None]) / (high - low)[:, :, None]
    assert within.min() > -1e-5 and within.max() < 1 + 1e-5
    if constant:
        np.testing.assert_allclose(within, np.broadcast_to(within[:, :1], within.shape), atol=1e-4)
    else:
        # Uniform in the box: mean 1/2, variance 1/12.
        assert within.mean() == pytest.approx(0.5, abs=0.05) and within.var() == pytest.approx(1 / 12, abs=0.02)


@pytest.mark.parametrize("part", COCO17.parts)
def test_exactly_one_part_is_hidden_in_all_frames(part: str) -> None:
    keypoint, score = clip()
    hidden, hidden_score = PartOcclusion(COCO17.parts[part])(keypoint, score, np.random.default_rng(0))
    for joint in range(17):
        kept = joint not in COCO17.parts[part]
        np.testing.assert_array_equal(hidden[:, :, joint], keypoint[:, :, joint] * kept)
        np.testing.assert_array_equal(hidden_score[:, :, joint], score[:, :, joint] * kept)


@pytest.mark.parametrize("share", [0, 0.15, 0.6, 1])
def test_occlusion_hides_exactly_its_share_of_each_person(share: float) -> None:
    keypoint, score = clip()
    score[:] = 1
    hidden, hidden_score = JointOcclusion(share)(keypoint, score, np.random.default_rng(2))
    gone = hidden_score == 0
    assert gone.sum(axis=(1, 2)).tolist() == [round(share * 40 * 17)] * 2
    assert not hidden[gone].any()
    np.testing.assert_array_equal(hidden[~gone], keypoint[~gone])
    assert score.all()
    if share == 0.6:
        # Single cells of a person, not whole joints or frames, and different ones for both persons.
        assert (gone[0] != gone[1]).any() and gone[0].all(axis=0).sum() == gone[0].all(axis=1).sum() == 0


def test_occlusion_of_whole_joints_hides_them_in_all_frames() -> None:
    keypoint, score = clip(persons=5)
    score[:] = 1
    _, hidden_score = JointOcclusion(0.3, whole=True)(keypoint, score, np.random.default_rng(2))
    gone = hidden_score == 0
    np.testing.assert_array_equal(gone, np.broadcast_to(gone[:, :1], gone.shape))
    assert gone[:, 0].sum(axis=1).tolist() == [5] * 5 and len(np.unique(gone[:, 0], axis=0)) > 1


def test_frames_are_deleted_in_order_or_left_empty() -> None:
    keypoint, score = clip(frames=243)
    keypoint[:, :, 0, 0] = np.arange(243)
    deleted, deleted_score = FrameMasking(0.5)(keypoint, score, np.random.default_rng(4))
    left = deleted[0, :, 0, 0].astype(int)
    assert len(left) == 243 - 122 and (np.diff(left) > 0).all()
    np.testing.assert_array_equal(deleted, keypoint[:, left])
    np.testing.assert_array_equal(deleted_score, score[:, left])
    empty, empty_score = FrameMasking(0.5, by="zeros")(keypoint, score, np.random.default_rng(4))
    there = (empty_score > 0).any(axis=(0, 2))
    assert empty.shape == keypoint.shape and np.flatnonzero(there).tolist() == left.tolist()
    assert FrameMasking(1)(keypoint, score, np.random.default_rng(4))[1].shape[1] == 1


def test_pcm3_occlusions_hide_whole_parts_or_one_block_of_frames() -> None:
    keypoint, score = clip(persons=1, frames=100)
    score[:] = 1
    parts, lengths = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        _, spatial = SpatialOcclusion(PARTS)(keypoint, score, rng)
        gone = (spatial == 0).all(axis=1)[0]
        whole = [gone[list(part)] for part in PARTS]
        assert all(part.all() or not part.any() for part in whole)
        parts.append(sum(bool(part.all()) for part in whole))
        _, temporal = TemporalOcclusion()(keypoint, score, rng)
        frames = np.flatnonzero((temporal == 0).all(axis=2)[0])
        lengths.append(len(frames))
        assert frames[-1] - frames[0] == len(frames) - 1
    assert set(parts) == {2, 3}
    assert min(lengths) >= 30 and max(lengths) <= 70 and np.ptp(lengths) > 30


@pytest.mark.parametrize("frames", [1, 7, 12, 16, 64, 100, 243, 1024])
def test_each_frame_takes_the_roundest_row_that_is_nearest_to_it(frames: int) -> None:
    rows = grid_rows(frames)
    assert len(set(rows.tolist())) == frames
    for t, row in enumerate(rows.tolist()):
        near = [r for r in range(GRID) if 2 * t - 1 <= 2 * r * frames / GRID < 2 * t + 1]
        assert row == max(near, key=lambda r: r & -r or GRID)


def test_networks_with_different_numbers_of_frames_lose_the_same_joints() -> None:
    """Every fourth of 64 frames is one of 16; independent draws would agree in half of the cells."""

    def hidden(perturbation: Perturbation, frames: int, seed: int) -> np.ndarray:
        score = np.ones((2, frames, 17), np.float32)
        keypoint = np.ones((2, frames, 17, 2), np.float32)
        keypoint[..., 0] = np.arange(1, frames + 1)[:, None]
        left, kept = perturbation(keypoint, score, np.random.default_rng(seed))
        if kept.shape == score.shape:
            return kept == 0
        return ~np.isin(keypoint, left[0, :, 0, 0])[..., 0]

    for perturbation, least in (
        (JointOcclusion(0.5), 0.95),
        (JointOcclusion(0.5, whole=True), 1),
        (FrameMasking(0.5), 0.8),
        (FrameMasking(0.5, by="zeros"), 0.8),
        (SpatialOcclusion(PARTS), 1),
        (TemporalOcclusion(), 0.9),
    ):
        for few in (16, 12):
            at = grid_rows(few)
            same = [
                hidden(perturbation, 64, seed)[:, at // 16] == hidden(perturbation, few, seed) for seed in range(20)
            ]
            assert np.mean(same) >= least, (perturbation, few)
    places = np.zeros((1, 64, 17, 3), np.float32)
    noise = GaussianNoise(0.1, space="model")
    long, _ = noise(places, np.ones((1, 64, 17)), np.random.default_rng(1))
    short, _ = noise(places[:, ::4], np.ones((1, 16, 17)), np.random.default_rng(1))
    np.testing.assert_array_equal(long[:, ::4], short)


def test_joint_occlusion_hides_the_cells_with_the_smallest_numbers() -> None:
    numbers = np.random.default_rng(3).random((2, GRID, 17))
    _, left = JointOcclusion(0.3)(np.ones((2, 16, 17, 2)), np.ones((2, 16, 17)), np.random.default_rng(3))
    for person in range(2):
        cells = sorted(
            ((t, joint) for t in range(16) for joint in range(17)),
            key=lambda cell: numbers[person][64 * cell[0], cell[1]],
        )
        assert set(zip(*np.nonzero(left[person] == 0), strict=True)) == set(cells[: round(0.3 * 16 * 17)])


def test_identities_are_swapped_from_a_frame_on_and_no_pose_is_lost() -> None:
    perturbation = IdentitySwitches(0.1)
    keypoint, score = given_to(perturbation, frames=2000)
    switched, switched_score = perturbation(keypoint, score, np.random.default_rng(1))
    first = np.array([np.array_equal(switched[0, t], keypoint[0, t], equal_nan=True) for t in range(2000)])
    for t in range(2000):
        order = [0, 1] if first[t] else [1, 0]
        np.testing.assert_array_equal(switched[:, t], keypoint[order, t])
        np.testing.assert_array_equal(switched_score[:, t], score[order, t])
    assert first[0] and np.abs(np.diff(first.astype(int))).mean() == pytest.approx(0.1, abs=0.02)
    alone = given_to(perturbation, persons=1)
    np.testing.assert_array_equal(perturbation(*alone, np.random.default_rng(1))[0], alone[0])


def test_left_and_right_are_swapped_in_exactly_the_share_of_frames() -> None:
    perturbation = LeftRightSwaps(0.3, MIRROR)
    keypoint, score = given_to(perturbation)
    swapped, swapped_score = perturbation(keypoint, score, np.random.default_rng(1))
    for person in range(2):
        wrong = 0
        for t in range(40):
            mirrored = not np.array_equal(swapped_score[person, t], score[person, t])
            joints = list(MIRROR) if mirrored else list(range(17))
            np.testing.assert_array_equal(swapped[person, t], keypoint[person, t, joints])
            np.testing.assert_array_equal(swapped_score[person, t], score[person, t, joints])
            wrong += mirrored
        assert wrong == 12


@pytest.mark.parametrize("share", [0.1, 0.5, 1])
def test_people_are_lost_in_exactly_the_share_of_frames_and_in_runs(share: float) -> None:
    perturbation = DroppedPeople(share)
    keypoint, score = given_to(perturbation, frames=200)
    _, left = perturbation(keypoint, score, np.random.default_rng(1))
    lost = (left == 0).all(axis=2)
    assert lost.sum(axis=1).tolist() == [round(share * 200)] * 2
    if share == 0.1:
        begins = (np.diff(lost.astype(int), prepend=0, axis=1) == 1).sum(axis=1)
        assert (begins <= 4).all()


def test_a_lower_frame_rate_keeps_every_nth_frame() -> None:
    keypoint, score = given_to(LowerFrameRate(4), frames=41)
    starts = set()
    for seed in range(30):
        kept, kept_score = LowerFrameRate(4)(keypoint, score, np.random.default_rng(seed))
        start = next(s for s in range(4) if np.array_equal(keypoint[:, s::4], kept, equal_nan=True))
        np.testing.assert_array_equal(kept_score, score[:, start::4])
        starts.add(start)
    assert starts == {0, 1, 2, 3}
    assert LowerFrameRate(99)(keypoint, score, np.random.default_rng(0))[1].shape[1] == 1


def test_lower_confidence_does_not_move_joints() -> None:
    keypoint, score = given_to(LowerConfidence(0.25))
    same, lower = LowerConfidence(0.25)(keypoint, score, np.random.default_rng(0))
    np.testing.assert_array_equal(same, keypoint)
    np.testing.assert_allclose(lower, 0.75 * score, rtol=1e-6)


def test_a_crop_hides_what_lies_outside_its_window_in_pixels() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.uniform((0, 0), (1920, 1080), (1, 50, 200, 2)).astype(np.float32)
    score = np.ones(pixels.shape[:3], np.float32)
    for seed in range(20):
        draws = np.random.default_rng(seed).uniform(0, 0.4, 2)
        low = draws * (1920, 1080)
        inside = ((pixels >= low) & (pixels <= low + 0.6 * np.array([1920, 1080]))).all(axis=-1)
        moved, kept = FrameCrop(0.4)(to_camera(pixels, SIZE), score, np.random.default_rng(seed), SIZE)
        assert ((kept > 0) != inside).sum() <= 2  # rounding at the very edge
        there = inside & (kept > 0)
        np.testing.assert_allclose(moved[there], to_camera((pixels - low)[there], (648, 1152)), atol=1e-5)
    with pytest.raises(ValueError, match="3D"):
        FrameCrop(0.4)(pixels, score, rng, None)


def test_measured_and_replayed_errors_match_the_simulated_ones() -> None:
    """An estimator with an offset of 2 % of the box, slow jitter, and runs of missed left wrists."""
    rng = np.random.default_rng(7)
    frames, wrist = 6000, 9
    first = rng.uniform(100, 300, (1, frames, 17, 2)).astype(np.float32)
    first[:, :, 0], first[:, :, 1] = (0, 0), (400, 200)  # a box 400 wide
    tremble = rng.normal(0, 1, (1, frames, 17, 2))
    for t in range(1, frames):
        tremble[:, t] = 0.8 * tremble[:, t - 1] + 0.6 * tremble[:, t]
    second = (first + 4 * tremble + (8, 0)).astype(np.float32)
    score = np.full((1, frames, 17), 0.8, np.float32)
    other_score = np.full((1, frames, 17), 0.4, np.float32)
    missed = np.zeros(frames, bool)
    for start in range(0, frames, 50):
        missed[start : start + 10] = True
    second[0, missed, wrist], other_score[0, missed, wrist] = np.nan, 0
    stranger = np.full((1, frames, 17, 2), 2000, np.float32)
    found = measure_errors(
        [
            (
                Clip("a", 0, first, score, SIZE),
                Clip("a", 0, np.concatenate([stranger, second]), np.concatenate([score, other_score]), SIZE),
            )
        ]
    )
    assert found is not None and found.clips == 1 and found.pairs == frames * 17 - missed.sum()
    middle = found.displacement[:, :, 50]
    np.testing.assert_allclose(middle, np.broadcast_to((0.02, 0), middle.shape), atol=1.5e-3)
    assert found.displacement[5, 0, 84] - found.displacement[5, 0, 16] == pytest.approx(2 * 0.01, rel=0.1)
    assert found.correlation == pytest.approx(0.8, abs=0.05)
    assert found.missed[wrist] == pytest.approx(0.2) and found.missed.sum() == found.missed[wrist]
    assert found.still_missed[wrist] == pytest.approx(0.9, abs=0.01)

    replayed, replayed_score = EstimatorErrors(found)(to_camera(first, SIZE), score, np.random.default_rng(1), SIZE)
    again = measure_errors(
        [
            (
                Clip("a", 0, first, score, SIZE),
                Clip("a", 0, ((replayed + 1) * 960).astype(np.float32), replayed_score, SIZE),
            )
        ]
    )
    assert again is not None
    np.testing.assert_allclose(again.displacement[..., 10:91:10], found.displacement[..., 10:91:10], atol=4e-3)
    np.testing.assert_allclose(again.correlation, found.correlation, atol=0.06)
    assert again.missed[wrist] == pytest.approx(0.2, abs=0.05)
    assert again.still_missed[wrist] == pytest.approx(0.9, abs=0.03)
    assert np.median(replayed_score) == pytest.approx(0.4)
    twice, _ = EstimatorErrors(found, 2)(to_camera(first, SIZE), score, np.random.default_rng(1), SIZE)
    both = np.isfinite(replayed) & np.isfinite(twice)
    np.testing.assert_allclose(
        (twice - to_camera(first, SIZE))[both], 2 * (replayed - to_camera(first, SIZE))[both], atol=1e-4
    )


def test_a_file_with_smaller_images_is_converted_to_the_first_frame_size() -> None:
    """The same skeletons at half the height and a third of the width, with the two persons swapped."""
    rng = np.random.default_rng(0)
    keypoint = (rng.uniform(100, 400, (2, 60, 17, 2)) + np.array([0, 1000])[:, None, None, None]).astype(np.float32)
    score = np.full((2, 60, 17), 0.7, np.float32)
    small = (keypoint[::-1] / (3, 2)).astype(np.float32)
    found = measure_errors([(Clip("a", 0, keypoint, score, SIZE), Clip("a", 0, small, score, (540, 640)))])
    assert found is not None and found.pairs == score.size
    np.testing.assert_allclose(found.displacement, 0, atol=1e-6)


def test_errors_in_3d_are_measured_and_replayed_along_all_axes() -> None:
    rng = np.random.default_rng(0)
    walk = rng.uniform(0, 1, (1, 400, 25, 3)).astype(np.float32)
    walk[:, :, 0], walk[:, :, 1] = 0, (1, 1, 2)  # a box 2 long
    shift = np.array([0.02, -0.04, 0.06], np.float32)
    score = np.ones((1, 400, 25), np.float32)
    found = measure_errors([(Clip("a", 0, walk, score, None), Clip("a", 0, walk + shift, score, None))])
    assert found is not None and found.displacement.shape == (25, 3, 101)
    np.testing.assert_allclose(found.displacement, np.broadcast_to(shift[:, None] / 2, (25, 3, 101)), atol=1e-6)
    replayed, replayed_score = EstimatorErrors(found, 2)(walk, score, np.random.default_rng(1))
    np.testing.assert_allclose(replayed, walk + 2 * shift, atol=1e-5)
    np.testing.assert_array_equal(replayed_score, score)


def test_clips_without_common_persons_give_no_statistics() -> None:
    keypoint = np.random.default_rng(0).uniform(0, 100, (1, 30, 17, 2)).astype(np.float32)
    score = np.ones((1, 30, 17), np.float32)
    here, far = Clip("a", 0, keypoint, score, SIZE), Clip("a", 0, keypoint + 900, score, SIZE)
    shorter = Clip("a", 0, keypoint[:, :20], score[:, :20], SIZE)
    assert measure_errors([(here, far)]) is None and measure_errors([(here, shorter)]) is None
