"""The data set: persons, transforms and random draws, which depend only on seed, epoch and clip."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pose_extraction.errors import UsageError
from pose_extraction.skeleton import COCO17
from recognition.data.clip import Clip, ClipFormat
from recognition.data.clip_transforms import ClipTransforms
from recognition.data.clips import open_clips
from recognition.data.dataset import Sample, SkeletonDataset, collate, repeated
from recognition.data.perturbations import (
    FrameCrop,
    GaussianNoise,
    JointOcclusion,
    LowerConfidence,
    Perturbation,
    generator_of,
)
from recognition.data.transforms.placement import crop_scale, to_camera
from recognition.settings import DataSettings
from test_support.clips.made_clips import annotation, write_clips


def made(
    tmp_path: Path,
    clips: list[dict[str, Any]],
    *,
    train: bool = False,
    seed: int = 0,
    perturbation: Perturbation | None = None,
    **settings: Any,
) -> SkeletonDataset:
    data = DataSettings(**settings)
    opened = open_clips(write_clips(tmp_path / "a.pkl", clips), data)
    return SkeletonDataset(opened, np.arange(len(opened)), data, train=train, seed=seed, perturbation=perturbation)


def walk(**extra: Any) -> dict[str, Any]:
    return annotation("walk", np.random.default_rng(1), **extra)


def test_test_input_uses_the_middle_of_the_ranges(tmp_path: Path) -> None:
    clip = walk(unseen=0.2)
    sample = made(tmp_path, [clip], num_frames=50)[0]
    assert sample.keypoint.shape == (1, 50, 17, 3) and sample.keypoint.dtype == np.float32
    frames = [20 * k // 50 for k in range(50)]
    score = clip["keypoint_score"].astype(np.float32)
    keypoint = np.where(score[..., None] > 0, clip["keypoint"].astype(np.float32), np.nan)
    wanted = crop_scale(to_camera(keypoint, (480, 640))[:, frames], score[:, frames], 2)
    np.testing.assert_allclose(sample.keypoint[..., :2], wanted, atol=1e-6)
    np.testing.assert_array_equal(sample.keypoint[..., 2], score[:, frames])
    assert not sample.keypoint[sample.keypoint[..., 2] == 0].any()


def test_with_seen_scores_the_estimators_scores_have_no_influence(tmp_path: Path) -> None:
    clip = walk(unseen=0.2)
    surer = clip | {"keypoint_score": np.sqrt(clip["keypoint_score"])}
    one, other = (made(tmp_path, [own], num_frames=50, scores="seen")[0].keypoint for own in (clip, surer))
    np.testing.assert_array_equal(one, other)
    given = made(tmp_path, [clip], num_frames=50)[0].keypoint
    np.testing.assert_array_equal(one[..., :2], given[..., :2])
    np.testing.assert_array_equal(one[..., 2], given[..., 2] > 0)
    assert len(np.unique(given[..., 2])) > 2


def test_own_lengths_keep_short_clips_and_sample_long_ones(tmp_path: Path) -> None:
    clips = [annotation(f"c{n}", np.random.default_rng(n), frames=n) for n in (5, 60, 90)]
    for train in (False, True):
        data = made(tmp_path, clips, train=train, num_frames="own", max_frames=60)
        assert data.lengths.tolist() == [5, 60, 60]
        assert [data[n].keypoint.shape[1] for n in range(3)] == [5, 60, 60]


def test_training_uses_parts_and_testing_whole_clips(tmp_path: Path) -> None:
    # A clip whose joints encode the frame: x grows by one pixel per frame.
    clip = walk(frames=60)
    clip["keypoint"] = np.zeros((1, 60, 17, 2), np.float32)
    clip["keypoint"][..., 0] = 100 + np.arange(60)[:, None] + np.arange(17)
    clip["keypoint"][..., 1] = 200 + np.arange(17)
    clip["keypoint_score"] = np.ones((1, 60, 17), np.float32)
    fixed = {"random_move": False, "scale_range_train": (2.0, 2.0), "num_frames": "own"}
    lengths = [
        made(tmp_path, [clip], train=True, seed=seed, part_range_train=(0.3, 0.9), **fixed)[0].keypoint.shape[1]
        for seed in range(30)
    ]
    assert 18 <= min(lengths) < 30 < max(lengths) <= 54
    assert made(tmp_path, [clip], part_range_train=(0.3, 0.9), **fixed)[0].keypoint.shape[1] == 60


def test_parts_without_persons_are_skipped(tmp_path: Path) -> None:
    clip = walk(frames=60)
    clip["keypoint_score"][:, 3:] = 0
    for seed in range(20):
        data = made(tmp_path, [clip], train=True, seed=seed, part_range_train=(0.2, 0.3), num_frames="own")
        assert data[0].keypoint.any()


@pytest.mark.parametrize("legacy", [False, True])
def test_draws_depend_only_on_seed_epoch_and_clip(tmp_path: Path, legacy: bool) -> None:
    clips = [annotation(f"c{n}", np.random.default_rng(n)) for n in range(4)]
    data = made(tmp_path, clips, train=True, seed=2, legacy=legacy, flip=0.0 if legacy else 0.5)
    first = data[(7, 3)].keypoint
    data[(7, 1)], data[(8, 3)]
    np.testing.assert_array_equal(data[(7, 3)].keypoint, first)
    np.testing.assert_array_equal(
        made(tmp_path, clips, train=True, seed=2, legacy=legacy, flip=data.settings.flip)[(7, 3)].keypoint, first
    )
    part = SkeletonDataset(data.clips, np.array([3]), data.settings, train=True, seed=2)
    if not legacy:
        np.testing.assert_array_equal(part[(7, 0)].keypoint, first)
    assert not np.array_equal(data[(8, 3)].keypoint, first)
    assert not np.array_equal(made(tmp_path, clips, train=True, seed=3, legacy=legacy)[(7, 3)].keypoint, first)
    test = made(tmp_path, clips, legacy=legacy)
    np.testing.assert_array_equal(test[(0, 3)].keypoint, test[(5, 3)].keypoint)


def test_repeated_clips_get_new_draws_and_other_masks(tmp_path: Path) -> None:
    data = made(tmp_path, [annotation(f"c{n}", np.random.default_rng(n)) for n in range(4)], train=True)
    first, again = data[(7, 3)], data[(repeated(7, 1), 3)]
    assert not np.array_equal(first.keypoint, again.keypoint) and first.name == again.name
    assert first.index == 3 and again.index == 3 + len(data.clips)


def test_persons_never_seen_are_absent(tmp_path: Path) -> None:
    clip = walk(persons=4)
    clip["keypoint"][1] = clip["keypoint_score"][1] = 0
    data = made(tmp_path, [clip], max_persons=2)
    sample = data[0]
    assert len(sample.keypoint) == 2
    # The third person replaces the second, and the fourth exceeds the limit; scores identify them.
    np.testing.assert_array_equal(sample.keypoint[1, 0, :, 2], clip["keypoint_score"][2, 0].astype(np.float32))
    batch = collate([sample, made(tmp_path, [walk()])[0]])
    assert batch.person_mask.tolist() == [[True, True], [True, False]]
    assert not batch.keypoint[1, 1].any()


def test_persons_in_no_sampled_frame_are_absent(tmp_path: Path) -> None:
    clip = walk(persons=2)
    clip["keypoint_score"][1, [t for t in range(20) if t != 7]] = 0
    assert len(made(tmp_path, [clip], num_frames=2)[0].keypoint) == 1
    assert len(made(tmp_path, [clip], num_frames=20)[0].keypoint) == 2


def test_exchanged_persons_are_restored_unless_tracked(tmp_path: Path) -> None:
    clip = walk(persons=2)
    clip["keypoint"][0] -= 90
    straight = made(tmp_path, [clip], num_frames=20)[0].keypoint
    mixed = {**clip}
    for key in ("keypoint", "keypoint_score"):
        mixed[key] = clip[key].copy()
        mixed[key][:, 8:12] = clip[key][::-1, 8:12]
    np.testing.assert_array_equal(made(tmp_path, [mixed], num_frames=20)[0].keypoint, straight)
    tracked = {**mixed, "track_id": np.arange(2)}
    assert not np.array_equal(made(tmp_path, [tracked], num_frames=20)[0].keypoint, straight)


@pytest.mark.parametrize(("joints", "dimensions"), [(13, 2), (20, 3), (25, 2), (25, 3)])
@pytest.mark.parametrize("train", [False, True])
def test_other_layouts_work_in_two_and_three_dimensions(
    tmp_path: Path, joints: int, dimensions: int, train: bool
) -> None:
    clip = walk(joints=joints, dimensions=dimensions, persons=2, unseen=0.1)
    sample = made(tmp_path, [clip], train=train, num_frames=30, flip=0.5)[0]
    assert sample.keypoint.shape == (2, 30, joints, 3)
    assert np.isfinite(sample.keypoint).all() and np.abs(sample.keypoint).max() <= 1
    if dimensions == 3 and not train:
        longest = np.ptp(sample.keypoint.reshape(-1, 3)[sample.keypoint.any(-1).ravel()], axis=0).max()
        assert longest == pytest.approx(1, abs=1e-4)


def test_raw_placement_keeps_the_files_coordinates_in_3d(tmp_path: Path) -> None:
    clip = walk(joints=25, dimensions=3, persons=2)
    sample = made(tmp_path, [clip], num_frames=20, placement="raw")[0]
    np.testing.assert_array_equal(sample.keypoint, clip["keypoint"].astype(np.float32))
    with pytest.raises(UsageError, match=r"data.placement=raw requires 3D joints; set data.placement=box"):
        made(tmp_path, [walk()], placement="raw")


def test_h36m_requires_coco(tmp_path: Path) -> None:
    data = made(tmp_path, [walk()], model_layout="h36m17")
    assert data.layout.name == "h36m17" and data[0].keypoint.shape[2] == 17
    for wrong in ({"joints": 13}, {"joints": 25, "dimensions": 3}):
        with pytest.raises(UsageError, match="h36m17"):
            made(tmp_path, [walk(**wrong)], model_layout="h36m17")
    with pytest.raises(UsageError, match=r"flip.*joints9"):
        made(tmp_path, [walk(joints=9)], flip=0.5)
    with pytest.raises(UsageError, match="legacy"):
        made(tmp_path, [walk(joints=13)], legacy=True)


def test_auto_flip_requires_left_and_right(tmp_path: Path) -> None:
    def mirrored(**extra: Any) -> list[bool]:
        clip = {**walk(**extra)}
        settings = {"train": True, "random_move": False, "scale_range_train": (2.0, 2.0), "num_frames": "own"}
        plain, drawn = (made(tmp_path, [clip], flip=flip, **settings) for flip in (0.0, "auto"))
        # Mirroring keeps heights, but exchanges joints.
        return [not np.allclose(plain[(epoch, 0)].keypoint, drawn[(epoch, 0)].keypoint) for epoch in range(20)]

    assert 4 < sum(mirrored()) < 16
    assert sum(mirrored(joints=9)) == 0
    assert len(made(tmp_path, [walk()], flip="auto", legacy=True)) == 1


@pytest.mark.parametrize("size", [(480, 640), (640, 480)])
def test_a_mirror_image_stays_in_its_frame(tmp_path: Path, size: tuple[int, int]) -> None:
    clip = {**walk(), "img_shape": size, "original_shape": size}
    settings = {"placement": "frame", "random_move": False, "num_frames": "own", "train": True}
    plain, mirrored = (made(tmp_path, [clip], flip=flip, **settings)[0].keypoint for flip in (0.0, 1.0))
    np.testing.assert_allclose(mirrored[..., 0], -plain[..., COCO17.flip_indices, 0], atol=1e-5)
    np.testing.assert_allclose(mirrored[..., 1], plain[..., COCO17.flip_indices, 1], atol=1e-6)


@pytest.mark.parametrize("wrong", [-0.1, 1.5, "often"])
def test_flip_is_a_probability(wrong: object) -> None:
    with pytest.raises(ValueError, match="flip"):
        DataSettings.model_validate({"flip": wrong})


@pytest.mark.parametrize("scores", [False, True])
def test_root_at_the_origin_counts_as_seen(tmp_path: Path, scores: bool) -> None:
    """In 3D, (0, 0, 0) is a valid position; only a person with all joints at zero is absent."""
    clip = walk(joints=25, dimensions=3, persons=2)
    clip["keypoint"] = clip["keypoint"] - clip["keypoint"][:, :, :1]
    clip["keypoint"][0, 3:6] = 0
    if scores:
        clip["keypoint_score"] = clip["keypoint"].any(-1) | np.eye(25, dtype=bool)[0]
        clip["keypoint_score"] = (clip["keypoint_score"] & clip["keypoint"].any((-1, -2))[..., None]).astype(np.float32)
        clip["keypoint_score"][1, 9, 4] = 0
    data = made(tmp_path, [clip], num_frames="own")
    seen = data[0].keypoint.any(-1)
    wanted = np.ones((2, 20, 25), bool)
    wanted[0, 3:6] = False
    wanted[1, 9, 4] = not scores
    np.testing.assert_array_equal(seen, wanted)


def test_seen_joints_are_never_exactly_at_the_origin(tmp_path: Path) -> None:
    """A joint at the centre of the box has the coordinates (0, 0, 0), which mark a joint that was not seen."""
    corners = np.array([[x, y, z] for x in (1, 3) for y in (1, 3) for z in (1, 3)] + [[2, 2, 2]], np.float32)
    clip = walk(joints=9, dimensions=3) | {"keypoint": np.tile(corners, (1, 20, 1, 1))}
    keypoint = made(tmp_path, [clip], num_frames="own")[0].keypoint
    assert keypoint.any(-1).all() and np.abs(keypoint[..., 8, :]).max() < 1e-5


@pytest.mark.parametrize("train", [False, True])
def test_clips_below_the_threshold_contain_one_unseen_person(tmp_path: Path, train: bool) -> None:
    sample = made(tmp_path, [walk()], train=train, num_frames=10, score_threshold=1.0)[0]
    assert sample.keypoint.shape == (1, 10, 17, 3) and not sample.keypoint.any()


def test_padding_is_marked_and_zero() -> None:
    rng = np.random.default_rng(0)
    samples = [
        Sample(rng.uniform(0.1, 1, (persons, frames, 5, 3)).astype(np.float32), 1, index, f"c{index}")
        for index, (persons, frames) in enumerate([(1, 4), (2, 7)])
    ]
    batch = collate(samples)
    assert batch.keypoint.shape == (2, 2, 7, 5, 3) and batch.frame_mask.sum(1).tolist() == [4, 7]
    there = batch.person_mask[:, :, None] & batch.frame_mask[:, None]
    assert torch.equal(batch.keypoint.flatten(3).any(-1), there)
    assert batch.names == ("c0", "c1") and batch.index.tolist() == [0, 1]


def test_perturbations_are_equal_for_two_models_and_spare_unseen_joints(tmp_path: Path) -> None:
    clips = [annotation(f"c{n}", np.random.default_rng(n), unseen=0.2, persons=2) for n in range(3)]
    plain = made(tmp_path, clips, num_frames=20)
    for disturbance in (GaussianNoise(0.01), GaussianNoise(0.01, space="model"), JointOcclusion(0.6)):
        one = made(tmp_path, clips, num_frames=20, perturbation=disturbance)
        other = made(tmp_path, clips[1:], num_frames=20, perturbation=disturbance)
        np.testing.assert_array_equal(one[2].keypoint, other[1].keypoint)
        assert not np.array_equal(one[2].keypoint, plain[2].keypoint)
        assert not one[2].keypoint[plain[2].keypoint[..., 2] == 0].any()
        changed = made(tmp_path, clips, num_frames=20, perturbation=disturbance, seed=1)
        assert not np.array_equal(one[2].keypoint, changed[2].keypoint)


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.4])
def test_joints_with_scores_lowered_below_the_threshold_are_not_seen(tmp_path: Path, threshold: float) -> None:
    """As if the file had these scores: such joints do not count as seen, nor for the bounding box."""
    clip = walk(dtype=np.float32)
    less_sure = clip | {"keypoint_score": clip["keypoint_score"] / 2}
    damaged, wanted = (
        made(tmp_path, [own], num_frames=20, score_threshold=threshold, perturbation=damage)[0].keypoint
        for own, damage in ((clip, LowerConfidence(0.5)), (less_sure, None))
    )
    np.testing.assert_array_equal(damaged, wanted)
    assert (damaged[..., 2] > 0).all() == (threshold == 0) and damaged.any()


@pytest.mark.parametrize("placement", ["box", "frame"])
def test_frame_crop_equals_a_cropped_video(tmp_path: Path, placement: str) -> None:
    clip = walk(dtype=np.float32)
    clip["keypoint"] *= 1.1
    corner = generator_of(0, "walk").uniform(0, 0.25, 2) * (640, 480)
    place = clip["keypoint"] - corner.astype(np.float32)
    outside = ((place < 0) | (place > (480, 360))).any(axis=-1)
    cropped = clip | {
        "keypoint": np.where(outside[..., None], 0, place),
        "keypoint_score": np.where(outside, 0, clip["keypoint_score"]),
        "img_shape": (360, 480),
        "original_shape": (360, 480),
    }
    damaged, wanted = (
        made(tmp_path, [own], num_frames=20, placement=placement, perturbation=damage)[0].keypoint
        for own, damage in ((clip, FrameCrop(0.25)), (cropped, None))
    )
    np.testing.assert_allclose(damaged, wanted, atol=1e-5)
    assert outside.any() and not outside.all()


def test_noise_is_added_to_the_clips_own_frames(tmp_path: Path) -> None:
    """A frame that is repeated to reach 60 frames repeats its noise, whose scale is that of the camera's unit."""
    clip = walk()
    noisy = made(tmp_path, [clip], num_frames=60, perturbation=GaussianNoise(0.01))[0].keypoint
    np.testing.assert_array_equal(noisy[:, 0], noisy[:, 1])
    np.testing.assert_array_equal(noisy[:, 0], noisy[:, 2])
    assert not np.array_equal(noisy[:, 2], noisy[:, 3])


def test_perturbations_differ_between_clips(tmp_path: Path) -> None:
    clips = [walk(), {**walk(), "frame_dir": "the same again"}]
    for disturbance in (GaussianNoise(0.01), JointOcclusion(0.6)):
        data = made(tmp_path, clips, num_frames=20, perturbation=disturbance)
        assert not np.array_equal(data[0].keypoint, data[1].keypoint)


def test_frames_of_a_resampled_clip_are_those_that_the_result_shows() -> None:
    """The network sees a window with a person, wherever in the clip it is."""
    generator = np.random.default_rng(0)
    keypoint = generator.uniform(10, 90, (1, 60, 17, 2)).astype(np.float32)
    score = np.ones((1, 60, 17), np.float32)
    keypoint[:, :50], score[:, :50] = np.nan, 0
    clip = Clip("clip", 0, keypoint, score, (100, 100), True, np.arange(60) / 20)
    settings = DataSettings.model_validate({"num_frames": "own", "frame_rate": 10.0, "max_frames": 8})
    transforms = ClipTransforms(ClipFormat(Path("clips.pkl"), COCO17), settings)
    frames, shown = transforms.frames_of(clip), (transforms(clip)[0, ..., 2] > 0).any(axis=1)
    assert len(frames) == len(shown) == 8 and shown.any()
    assert (frames >= 50).tolist() == shown.tolist()
