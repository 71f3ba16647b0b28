"""Writes what a prediction finds to the files of `pipeline.serve.scene`, in bounded memory, and reports progress."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pipeline.predict.observer import Observer
from pipeline.predict.persons import PersonId
from pipeline.serve.messages import Progress
from pipeline.serve.scene import ATTENTION, FRAME, FRAMES_NAME, POSE, append, attention_file, poses_file, read
from pose_extraction.drawing.overlay import Stretch
from pose_extraction.poses import PoseTrack, VideoPoses
from pose_extraction.video.reader import VideoInfo
from recognition.inference.windows import Cell

# Seconds between two reports of progress.
REPORT_INTERVAL = 0.2
WINDOWS_NAME = "windows.jsonl"


class Cancelled(Exception):
    """The job has been cancelled."""


class Reporter:
    """Reports the progress of a job, a few times per second, and stops it if it has been cancelled.

    Args:
        job: Id of the job.
        send: Sends a message to the service.
        is_cancelled: Whether the job has been cancelled.
    """

    def __init__(self, job: str, send: Callable[[Progress], None], is_cancelled: Callable[[], bool]) -> None:
        self._job, self._send, self._is_cancelled = job, send, is_cancelled
        self._stage, self._done, self._total = "loading", 0, None
        self._began = self._reported = time.monotonic()
        # Duration of each stage in seconds.
        self.seconds: dict[str, float] = {}

    _total: int | None

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a stage.

        Args:
            name: See `Progress`.
            total: Number of frames; None if unknown.
        """
        self.close()
        self._stage, self._done, self._total = name, 0, total
        self._report()

    def frame(self, total: int | None = None) -> None:
        """Count a frame of the stage.

        Raises:
            Cancelled: The job has been cancelled.
        """
        self._done += 1
        self._total = total or self._total
        if self._is_cancelled():
            raise Cancelled
        if time.monotonic() - self._reported >= REPORT_INTERVAL:
            self._report()

    def close(self) -> None:
        """End the last stage."""
        now = time.monotonic()
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._began
        self._began = now

    def _report(self) -> None:
        if self._is_cancelled():
            raise Cancelled
        self._reported = time.monotonic()
        rate = self._done / max(self._reported - self._began, 1e-3)
        self._send(Progress(self._job, self._stage, self._done, self._total, round(rate, 2)))


class Recorder(Observer):
    """Records the prediction of one video.

    Args:
        folder: Folder for the files.
        reporter: Receives the progress.
        stride: Every N-th frame is processed.
        most_frames: Number of frames beyond which a video is refused.
    """

    def __init__(self, folder: Path, reporter: Reporter, *, stride: int, most_frames: int) -> None:
        self._folder, self._reporter = folder, reporter
        self._stride, self._most_frames = stride, most_frames
        self._windows = (folder / WINDOWS_NAME).open("w", encoding="utf-8")
        self.info: VideoInfo | None = None
        # Number of frames whose poses are known, and of those that are recorded.
        self.frames = self.recorded = 0
        self.has_attention = False

    def frame(self, info: VideoInfo) -> None:
        self.info = info
        self.frames += 1
        if self.frames > self._most_frames:
            raise TooLong(
                f"has more than {self._most_frames:,} frames; cut it into shorter videos, or start the service with a "
                "larger --max-frames"
            )
        # Rounded up, as the first frame is always sampled.
        self._reporter.frame(-(-info.claimed_frames // self._stride) or None)

    def last_frame(self) -> None:
        self._reporter.stage("recognizing", self.frames)

    def settled(self, cells: Sequence[Cell[PersonId]], stretch: Stretch) -> None:
        for cell in cells:
            window = {
                "person": cell.person,
                "start": cell.start,
                "end": cell.end,
                "probabilities": [round(float(value), 4) for value in cell.probabilities],
            }
            self._windows.write(json.dumps(window) + "\n")
        video = stretch.video
        if not video.num_frames:
            return
        frames = np.zeros(video.num_frames, FRAME)
        frames["time"], frames["index"] = video.time, video.frame_index
        append(self._folder / FRAMES_NAME, frames)
        for track in video.tracks:
            rows = _rows_of(track, video.time, self.recorded)
            append(poses_file(self._folder, track.track_id), rows)
        for person, heat in stretch.heat.items():
            known = np.isfinite(heat).all(axis=1)
            rows = np.zeros(int(known.sum()), ATTENTION)
            rows["time"], rows["value"] = video.time[known], heat[known]
            if len(rows):
                self.has_attention = True
                append(attention_file(self._folder, person), rows)
        self.recorded += video.num_frames

    def windows(self) -> dict[PersonId, list[dict]]:
        """Return the recorded windows, by track id; call it once, after the prediction."""
        self._windows.close()
        found: dict[PersonId, list[dict]] = {}
        path = self._folder / WINDOWS_NAME
        for line in path.read_text(encoding="utf-8").splitlines():
            window = json.loads(line)
            found.setdefault(window.pop("person"), []).append(window)
        path.unlink()
        return found

    def close(self) -> None:
        """Close the files."""
        self._windows.close()


class TooLong(Exception):
    """A video has more frames than the service processes."""


def _rows_of(track: PoseTrack, time: np.ndarray, before: int) -> np.ndarray:
    """Return the rows of a track in the frames in which something of the person is known."""
    known = np.isfinite(track.keypoint).all(-1).any(-1) | track.seen
    rows = np.zeros(int(known.sum()), POSE)
    places = track.start + np.flatnonzero(known)
    rows["time"], rows["row"] = time[places], before + places
    for name, values in (
        ("keypoint", track.keypoint),
        ("score", track.keypoint_score),
        ("box", track.box),
        ("box_score", track.box_score),
        ("imputed", track.imputed),
    ):
        rows[name] = values[known]
    return rows


def recorded_poses(folder: Path, size: tuple[int, int], persons: Sequence[int]) -> VideoPoses:
    """Return the recorded poses of a whole video.

    Args:
        folder: Folder of the recording.
        size: (height, width) of the frames in pixels.
        persons: Track ids.
    """
    frames = read(folder / FRAMES_NAME, FRAME)
    tracks = [_track_of(person, read(poses_file(folder, person), POSE)) for person in persons]
    return VideoPoses(np.array(frames["index"]), np.array(frames["time"]), size, tracks)


def _track_of(person: int, rows: np.ndarray) -> PoseTrack:
    """Return the track from the first to the last of its rows; nothing is known in the frames between them."""
    start, stop = int(rows["row"][0]), int(rows["row"][-1]) + 1
    whole = np.zeros(stop - start, POSE)
    for name in ("keypoint", "box"):
        whole[name] = np.nan
    whole[np.asarray(rows["row"]) - start] = rows
    columns = ("keypoint", "score", "box", "box_score", "imputed")
    return PoseTrack(person, start, *(np.ascontiguousarray(whole[name]) for name in columns))
