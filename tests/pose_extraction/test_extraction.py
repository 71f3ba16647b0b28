"""From raw poses to cleaned clips: cutting of videos, and their statistics."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pose_extraction.extraction import ExtractedClip, ExtractionSettings, PoseExtractor, follow, frame_rate
from pose_extraction.networks.topdown import TopdownEstimator, TopdownSpec
from pose_extraction.oks import pose_bounds
from pose_extraction.poses import FramePoses
from pose_extraction.tracking.tracker import TrackerSettings
from pose_extraction.video.decoding import VideoJob
from test_support.clips.made_motion import STANDING

SIZE = (1080, 1920)
STEP = 0.1


def standing(index: int, *places: float) -> FramePoses:
    """People of 400 pixels who stand at the given x positions."""
    if not places:
        return FramePoses.empty(index, index * STEP)
    keypoint = np.stack([STANDING * 400 + (x, 600) for x in places]).astype(np.float32)
    ones = np.ones(keypoint.shape[:2], np.float32)
    return FramePoses(index, index * STEP, pose_bounds(keypoint), ones[:, 0], keypoint, ones)


@pytest.fixture(scope="module")
def gap() -> list[FramePoses]:
    """A person for two seconds, absent for one (longer than the gaps that are filled), and back at the same place."""
    return [standing(i, *([] if 20 <= i < 30 else [900])) for i in range(50)]


def one_clip(frames: list[FramePoses], start: float, end: float) -> ExtractedClip:
    (clip,) = follow(frames, SIZE, ExtractionSettings(), [(start, end)])
    return clip


def test_a_clip_inside_a_gap_has_no_person_and_none_missing(gap):
    assert len(follow(gap, SIZE, ExtractionSettings())[0].poses.tracks) == 1, "the person was not found again"
    clip = one_clip(gap, 2.15, 2.85)
    assert (clip.poses.num_frames, clip.poses.tracks) == (7, [])
    assert clip.quality["clean"]["people_expected"] == clip.quality["clean"]["people_missing"] == 0


@pytest.mark.parametrize(("start", "end", "first", "length"), [(2.45, 3.45, 5, 5), (1.45, 2.45, 0, 5)])
def test_a_clip_at_the_edge_of_a_gap_has_the_person_while_present(gap, start, end, first, length):
    clip = one_clip(gap, start, end)
    (track,) = clip.poses.tracks
    assert (clip.poses.num_frames, track.start, len(track)) == (10, first, length)
    assert track.seen.all()
    assert (track.keypoint_score > 0).all()
    assert clip.quality["clean"]["people_missing"] == 0


def test_a_gap_inside_a_clip_is_kept(gap):
    (track,) = one_clip(gap, 1.45, 3.45).poses.tracks
    assert (track.start, len(track), int(track.seen.sum())) == (0, 20, 10)


class Nobody:
    """A detector that finds no persons and counts its frames."""

    batch_size = 2

    def __init__(self) -> None:
        self.shown = 0

    def detect(self, images: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        self.shown += len(images)
        return [(np.zeros((0, 4), np.float32), np.zeros(0, np.float32)) for _ in images]


class NeverRun:
    """A network for frames without persons."""

    batch_size = 2

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        raise AssertionError("called without persons")


def webm(path: Path, stamps: Sequence[int], rate: int) -> Path:
    """A video with the given time stamps in milliseconds, whose header specifies `rate` frames per second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=rate)
        stream.width, stream.height = 64, 48
        stream.codec_context.time_base = Fraction(1, 1000)
        for stamp in stamps:
            image = av.VideoFrame.from_ndarray(np.full((48, 64, 3), stamp % 250, np.uint8), "bgr24")
            image.pts, image.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    return path


def extract(path: Path, every: int | None, stride: int = 1) -> tuple[VideoJob, list[FramePoses], int]:
    detector = Nobody()
    estimator = TopdownEstimator(NeverRun(), TopdownSpec((64, 48)))
    extractor = PoseExtractor(estimator, detector, ExtractionSettings(detect_every=every))
    ((job, frames),) = extractor.videos([VideoJob(path, stride=stride)])
    return job, frames, detector.shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fps", "stride", "every"), [(10, 1, 1), (25, 1, 2), (30, 1, 3), (60, 1, 6), (30, 3, 1), (60, 2, 3)]
)
def test_key_frames_depend_on_time_stamps_and_not_on_the_header(tmp_path, fps, stride, every):
    path = webm(tmp_path / "clip.webm", [round(1000 * i / fps) for i in range(61)], rate=2)
    job, frames, shown = extract(path, None, stride)
    assert (len(frames), job.info.fps) == (len(range(0, 61, stride)), 2), "the clip's header was to be wrong"
    assert shown == len(frames[::every]) + ((len(frames) - 1) % every > 0)
    assert frame_rate(frames, job.info.fps) == pytest.approx(fps, rel=0.03)


def test_an_explicit_interval_is_used_at_any_frame_rate(tmp_path):
    path = webm(tmp_path / "clip.webm", [0, 5, 300, 310, 900, 905, 1000, 1010, 1020], rate=1000)
    assert extract(path, 4)[2] == 3


def test_the_detector_runs_immediately_after_a_gap_in_the_stream(tmp_path):
    """Key frames are at 0, 99 and, after a gap, at 1065, 1164 and 1197 ms."""
    stamps = [0, 33, 66, 99, 1065, 1098, 1131, 1164, 1197]
    assert extract(webm(tmp_path / "clip.webm", stamps, rate=30), None)[2] == 5


def test_an_approximately_correct_header_is_used():
    frames = [standing(i) for i in range(0, 20, 2)]
    assert frame_rate(frames, 9.99) == 9.99
    assert frame_rate(frames[:1], 1000.0) == 1000.0
    assert frame_rate(frames, 1000.0) == pytest.approx(10)


def test_the_history_contains_all_tracker_settings():
    settings = ExtractionSettings(tracker=TrackerSettings(decay=3.0))
    history = follow([standing(0, 900)], SIZE, settings)[0].poses.history
    (entry,) = [entry for entry in history if entry["step"] == "track"]
    assert TrackerSettings(**entry["parameters"]) == settings.tracker
