"""What the disturbances of robustness do, and to what they do nothing."""

import numpy as np
import pytest

from recognition.perturbations import GaussianNoise, JointOcclusion


def clip(persons: int = 2, frames: int = 40, joints: int = 17) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    keypoint = rng.uniform(-0.9, 0.9, (persons, frames, joints, 2)).astype(np.float32)
    score = np.ones((persons, frames, joints), np.float32)
    score[:, :, 3] = 0
    return keypoint, score


def test_noise_has_its_deviation_and_differs_between_persons_frames_and_axes() -> None:
    keypoint, score = clip(frames=400)
    keypoint[score == 0] = np.nan
    noisy, same = GaussianNoise(0.01)(keypoint, score, np.random.default_rng(1))
    added = (noisy - keypoint)[score > 0]
    assert added.std() == pytest.approx(0.01, rel=0.02) and abs(added.mean()) < 2e-4
    assert abs(np.corrcoef(added.T)[0, 1]) < 0.03
    difference = noisy - keypoint
    assert abs(np.corrcoef(difference[0, :, 0, 0], difference[1, :, 0, 0])[0, 1]) < 0.2
    assert noisy.dtype == np.float32 and np.isnan(noisy[score == 0]).all()
    np.testing.assert_array_equal(same, score)


def test_noise_at_the_input_leaves_absent_joints_at_zero_and_stays_in_range() -> None:
    keypoint, score = clip()
    keypoint[score == 0] = 0
    noisy, _ = GaussianNoise(0.5, space="model")(keypoint, score, np.random.default_rng(1))
    assert not noisy[score == 0].any()
    assert np.abs(noisy).max() == 1


@pytest.mark.parametrize("share", [0, 0.15, 0.6, 1])
def test_occlusion_takes_exactly_its_share_of_each_person(share: float) -> None:
    keypoint, score = clip()
    score[:] = 1
    hidden, hidden_score = JointOcclusion(share)(keypoint, score, np.random.default_rng(2))
    gone = hidden_score == 0
    assert gone.sum(axis=(1, 2)).tolist() == [round(share * 40 * 17)] * 2
    assert not hidden[gone].any()
    np.testing.assert_array_equal(hidden[~gone], keypoint[~gone])
    assert score.all()
    if share == 0.6:
        # Cells of the person, not whole joints or frames, and not the same ones for both.
        assert (gone[0] != gone[1]).any() and gone[0].all(axis=0).sum() == gone[0].all(axis=1).sum() == 0
