"""Every format: what is written is read again, but for what the format cannot hold."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pose_extraction.errors import AnnotationError
from pose_extraction.exchange.clips import Given, PoseClip
from pose_extraction.exchange.skeletons import clip_of
from pose_extraction.exchange.table import DEPTH, FORMATS, RATE, SIZE, parts_of
from pose_extraction.formats.pickles import read_pickle
from test_support.clips.exchanged import assert_same, file_for, made_clip, what_can_be_written

BOTH_WAYS = [name for name, one in FORMATS.items() if one.read is not None and one.write is not None]
QUICK = [name for name in BOTH_WAYS if FORMATS[name].package is None]
# Coordinates in Label Studio are per cent of the frame.
ROUNDED = {"labelstudio": 1e-4}


def there_and_back(name: str, clip: PoseClip, folder: Path) -> PoseClip:
    path = file_for(name, folder)
    FORMATS[name].write(clip, path)
    (found,) = FORMATS[name].read(path, Given(fps=clip.fps if RATE in FORMATS[name].lacks else None))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", BOTH_WAYS)
def test_made_clips(name: str, tmp_path: Path) -> None:
    for dimensions in what_can_be_written(name):
        clip = made_clip(dimensions=dimensions)
        assert_same(there_and_back(name, clip, tmp_path), clip, FORMATS[name].lacks, pixels=ROUNDED.get(name, 0.0))
        assert not list(tmp_path.rglob(".*")), "no temporary file is left"


@pytest.mark.parametrize("name", QUICK)
@given(
    persons=st.integers(1, 4),
    frames=st.integers(4, 9),
    fps=st.sampled_from([5.0, 12.5, 24000 / 1001, 30.0, 120.0]),
    seed=st.integers(0, 10_000),
    missing=st.floats(0, 0.9),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_generated_clips(
    name: str, tmp_path: Path, persons: int, frames: int, fps: float, seed: int, missing: float
) -> None:
    folder = tmp_path / f"{seed}-{persons}-{frames}-{fps}-{missing}"
    clip = made_clip(persons=persons, frames=frames, fps=fps, seed=seed, missing=missing)
    assert_same(there_and_back(name, clip, folder), clip, FORMATS[name].lacks)


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_real_skeletons(name: str, shared_data: Path, tmp_path: Path) -> None:
    """Two persons of different clips, side by side; half precision, so the numbers are exact in every format."""
    annotations = read_pickle(shared_data / "skeletons" / "motions5.pkl")["annotations"][:2]
    first, second = (clip_of({**one, "fps": 29.97}, "real") for one in annotations)
    frames = 40
    clip = PoseClip(
        first.joints,
        np.concatenate([first.keypoint[:, :frames], second.keypoint[:, :frames] + np.float32([640, 0])]),
        np.concatenate([first.keypoint_score[:, :frames], second.keypoint_score[:, :frames]]),
        np.arange(frames), np.arange(frames) / 29.97, 29.97, (480, 1280), np.array([5, 2]),
        imputed=np.zeros((2, frames, 17), bool),
    )  # fmt: skip
    assert_same(there_and_back(name, clip, tmp_path), clip, FORMATS[name].lacks, pixels=ROUNDED.get(name, 0.0))


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_a_person_who_appears_late_and_a_joint_at_the_origin(name: str, tmp_path: Path) -> None:
    """Zeros are a place like any other where the score says so, and absence is not a pose at (0, 0)."""
    clip = made_clip(persons=2, frames=8, missing=0)
    clip.keypoint[1, :5], clip.keypoint_score[1, :5] = np.nan, 0
    clip.keypoint[0, 4, 5] = 0
    assert_same(there_and_back(name, clip, tmp_path), clip, FORMATS[name].lacks, pixels=ROUNDED.get(name, 0.0))


def test_only_what_a_format_holds_is_said_to_be_held() -> None:
    clip = made_clip()
    assert parts_of(clip) == {
        "joints", "scores", "uneven times", "frame rate", "frame size", "ids", "frames without persons",
        "imputed marks",
    }  # fmt: skip
    assert DEPTH in parts_of(made_clip(dimensions=3))
    assert SIZE not in parts_of(made_clip(dimensions=3))


@pytest.mark.parametrize("name", [name for name in BOTH_WAYS if not FORMATS[name].lacks & {"frame numbers", "ids"}])
def test_every_second_frame_keeps_its_number_and_its_time(name: str, tmp_path: Path) -> None:
    clip = made_clip(frames=8)
    clip.frame_index = clip.frame_index * 2
    clip.time = clip.frame_index / clip.fps
    found = there_and_back(name, clip, tmp_path)
    assert_same(found, clip, FORMATS[name].lacks, pixels=ROUNDED.get(name, 0.0))


def test_boxes_of_mot15(tmp_path: Path) -> None:
    clip = made_clip(persons=2, frames=4)
    clip.track_id = np.array([0, 4])
    FORMATS["mot15"].write(clip, tmp_path / "a.txt")
    rows = np.loadtxt(tmp_path / "a.txt", delimiter=",")
    assert rows[:, 0].tolist() == [1, 1, 2, 2, 4, 4], "frames from 1; nobody is in the third one"
    assert rows[:, 1].tolist() == [1, 5] * 3, "ids from 1"
    low, high = np.nanmin(clip.keypoint[0, 0], axis=0), np.nanmax(clip.keypoint[0, 0], axis=0)
    np.testing.assert_allclose(rows[0, 2:6], [*(low + 1), *(high - low)], atol=1e-3, err_msg="pixels from 1")


def test_persons_of_an_earlier_export_are_not_mixed_with_those_of_a_later_one(tmp_path: Path) -> None:
    FORMATS["trc"].write(made_clip(persons=2, frames=4), tmp_path / "walk.trc")
    FORMATS["trc"].write(made_clip(persons=2, frames=4), tmp_path / "walk.trc")
    FORMATS["trc"].write(made_clip(persons=1, frames=4), tmp_path / "walk_on.trc")
    with pytest.raises(AnnotationError, match=r"walk_P11\.trc: would be read as another person of the clip walk"):
        FORMATS["trc"].write(made_clip(persons=1, frames=4), tmp_path / "walk.trc")
