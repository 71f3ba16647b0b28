"""From raw poses to cleaned clips: what is cut from a video and what is said of it."""

import numpy as np
import pytest
from made_motion import STANDING

from pose_extraction.extraction import ExtractedClip, ExtractionSettings, follow
from pose_extraction.oks import pose_bounds
from pose_extraction.poses import FramePoses

SIZE = (1080, 1920)
STEP = 0.1


def standing(index: int, *places: float) -> FramePoses:
    """People of 400 pixels who stand at the given x."""
    if not places:
        return FramePoses.empty(index, index * STEP)
    keypoint = np.stack([STANDING * 400 + (x, 600) for x in places]).astype(np.float32)
    ones = np.ones(keypoint.shape[:2], np.float32)
    return FramePoses(index, index * STEP, pose_bounds(keypoint), ones[:, 0], keypoint, ones)


@pytest.fixture(scope="module")
def gap() -> list[FramePoses]:
    """One person for two seconds, away for one (longer than what is filled in), and back where he was."""
    return [standing(i, *([] if 20 <= i < 30 else [900])) for i in range(50)]


def one_clip(frames: list[FramePoses], start: float, end: float) -> ExtractedClip:
    (clip,) = follow(frames, SIZE, ExtractionSettings(), [(start, end)])
    return clip


def test_a_clip_inside_a_gap_has_nobody_and_misses_nobody(gap):
    assert len(follow(gap, SIZE, ExtractionSettings())[0].poses.tracks) == 1, "the person was not found again"
    clip = one_clip(gap, 2.15, 2.85)
    assert (clip.poses.num_frames, clip.poses.tracks) == (7, [])
    assert clip.quality["clean"]["people_expected"] == clip.quality["clean"]["people_missing"] == 0


@pytest.mark.parametrize(("start", "end", "first", "length"), [(2.45, 3.45, 5, 5), (1.45, 2.45, 0, 5)])
def test_a_clip_at_the_edge_of_a_gap_has_the_person_while_he_is_there(gap, start, end, first, length):
    clip = one_clip(gap, start, end)
    (track,) = clip.poses.tracks
    assert (clip.poses.num_frames, track.start, len(track)) == (10, first, length)
    assert track.seen.all()
    assert (track.keypoint_score > 0).all()
    assert clip.quality["clean"]["people_missing"] == 0


def test_a_gap_in_the_middle_of_a_clip_stays_a_gap(gap):
    (track,) = one_clip(gap, 1.45, 3.45).poses.tracks
    assert (track.start, len(track), int(track.seen.sum())) == (0, 20, 10)
