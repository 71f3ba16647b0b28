"""Memory of a process that predicts the actions in a video of several hours, or that tracks persons in a whole video.

    python benchmarks/long_video_memory.py --hours 2
    python benchmarks/long_video_memory.py --tracking --hours 1 --fps 30 --persons 2

A synthetic minute is encoded once and its packets are repeated, so that the video is written in a second. It is
predicted with `windows=3` and the tiny networks of the tests, so that memory that grows with the length is noticeable.
The script prints the memory of the process after a tenth of its time, after half of it, and at the end.

`--tracking` measures the last step of `skelpipe extract` instead, which needs the raw poses of a whole video: made
poses of persons who walk to and fro are read in pieces of ten minutes, tracked and cleaned, and the skeleton file is
written. Half of the hours and all of them are measured in turn, each in a process of its own; the difference of their
peaks is the growth.
"""

import argparse
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

import av
import numpy as np

from pipeline import predict_actions
from pose_extraction.extraction import ExtractionSettings, follow
from pose_extraction.formats.annotations import annotation_from, data_set, pack_raw, unpack_raw
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.tracking.raw_poses import RawPoses
from test_support.networks.tiny_networks import write_tiny_networks
from test_support.networks.trained_run import made_run
from test_support.videos.made_video import write_made_clip

SIZE = (120, 160)
SECONDS = 60
# Seconds of a piece.
PIECE = 600
# Interval in seconds between two memory readings.
INTERVAL = 0.5


def write_long_video(path: Path, *, fps: float, minutes: int) -> Path:
    """Repeat a minute with one figure and a minute with two."""
    parts = [
        write_made_clip(
            path.with_name(f"{persons}.mp4"), size=SIZE, fps=fps, frames=round(SECONDS * fps), persons=persons
        )
        for persons in (1, 2)
    ]
    with av.open(str(path), "w") as made:
        stream = None
        for minute in range(minutes):
            with av.open(str(parts[minute % 2])) as part:
                source = part.streams.video[0]
                stream = stream or made.add_stream_from_template(source)
                offset = round(minute * SECONDS / source.time_base)
                for packet in part.demux(source):
                    if packet.size:
                        packet.pts += offset
                        packet.dts += offset
                        packet.stream = stream
                        made.mux(packet)
    return path


def held() -> int:
    """Resident memory of this process in bytes, including mapped files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this system does not report the memory of a process (/proc/self/status)")


class Watch(threading.Thread):
    """Records the memory of the process periodically until stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: list[int] = []
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(INTERVAL):
            self.seen.append(held())

    def end(self) -> list[int]:
        """Stop, and return all readings including a last one."""
        self._ended.set()
        self.join()
        return [*self.seen, held()]


def made_pieces(hours: float, fps: float, persons: int) -> Iterator[dict[str, np.ndarray]]:
    """Raw poses of a video, as in the files of its pieces."""
    rng = np.random.default_rng(0)
    pose = np.stack([rng.uniform(-40, 40, 17), np.linspace(-100, 100, 17)], axis=-1)
    step = round(PIECE * fps)
    for first in range(0, round(hours * 3600 * fps), step):
        frames = np.arange(first, min(first + step, round(hours * 3600 * fps)))
        rows, whose = np.repeat(frames, persons), np.tile(np.arange(persons), len(frames))
        centre = np.stack([640 + 400 * np.sin(rows / fps / 10 + whose), 250 + 300.0 * whose], axis=-1)
        keypoint = (pose + centre[:, None] + rng.normal(0, 1, (len(rows), 17, 2))).astype(np.float32)
        yield {
            "frame_index": rows,
            "time": rows / fps,
            "box": np.concatenate([keypoint.min(axis=1), keypoint.max(axis=1)], axis=1),
            "box_score": np.full(len(rows), 0.9, np.float32),
            "keypoint": keypoint,
            "keypoint_score": np.full((len(rows), 17), 0.9, np.float32),
            "sampled_frame_index": frames,
            "sampled_time": frames / fps,
        }


class Peaks(NamedTuple):
    """What a process needed, in bytes.

    Args:
        file: Size of the skeleton file.
        libraries: Memory before the work.
        tracking: Peak memory after tracking and cleaning.
        writing: Peak memory after writing the skeleton file.
    """

    file: int
    libraries: int
    tracking: int
    writing: int


def peaks_of_tracking(hours: float, fps: float, persons: int) -> Peaks:
    """Track a whole video, and write its skeleton file."""
    libraries = held()
    frames = RawPoses()
    for piece in made_pieces(hours, fps, persons):
        for frame in unpack_raw(piece):
            frames.append(frame)
    [clip] = follow(frames, (720, 1280), ExtractionSettings())
    assert len(clip.poses.tracks) == persons
    tracking = peak()
    annotation = annotation_from(clip.poses, frame_dir="made", estimator="none", fps=fps, source="made.mp4")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.pkl"
        write_pickle(path, data_set([annotation], {"all": ["made"]}, raw=pack_raw(frames)))
        return Peaks(path.stat().st_size, libraries, tracking, peak())


def peak() -> int:
    """Peak memory of this process in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def measure_tracking(hours: float, fps: float, persons: int, rounds: int) -> None:
    """Print the peaks for half of the hours and for all of them, and what an hour adds."""
    lengths = (hours / 2, hours)
    found: dict[float, list[Peaks]] = {length: [] for length in lengths}
    # One process for each: the peak of a process never falls.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for _ in range(rounds):
            for length in lengths:
                found[length].append(pool.submit(peaks_of_tracking, length, fps, persons).result())
    whose = "1 person" if persons == 1 else f"{persons} persons"
    processes = "1 process" if rounds == 1 else f"{rounds} processes"
    print(f"{whose} at {fps:g} frames/s, median of {processes} per length, in MB")
    print(f"{'':12} {lengths[0]:>8g} h {lengths[1]:>8g} h   for each hour")
    for name in Peaks._fields:
        half, whole = (median(getattr(one, name) for one in found[length]) / 1e6 for length in lengths)
        # Zero is added so that a small decrease is not "-0.0".
        growth = round((whole - half) / (hours / 2), 1) + 0.0
        print(f"{name:12} {half:10.1f} {whole:10.1f} {growth:+15.1f}")


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2, help="(default: %(default)s)")
    parser.add_argument("--fps", type=float, default=5, help="frames per second (default: %(default)s)")
    parser.add_argument("--overlay", action="store_true", help="also draw an overlay")
    parser.add_argument("--tracking", action="store_true", help="measure the tracking of a whole video")
    parser.add_argument("--persons", type=int, default=1, help="persons to track (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each length (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.tracking:
        measure_tracking(arguments.hours, arguments.fps, arguments.persons, arguments.rounds)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        estimator, detector = write_tiny_networks(folder / "networks")
        run, _ = made_run(folder)
        video = write_long_video(folder / "long.mp4", fps=arguments.fps, minutes=round(arguments.hours * 60))
        overlay = folder / "overlay.mp4" if arguments.overlay else None
        started = time.monotonic()
        watch = Watch()
        watch.start()
        answers, end = 0, 0.0
        for answer in predict_actions(
            video, run, estimator=estimator, detector=detector, windows=3, overlay=overlay, device="cpu"
        ):
            answers += 1
            end = max(end, answer.end or 0.0)
        seen = watch.end()
        seconds = time.monotonic() - started
    print(f"{end / 3600:.2f} h of video in {seconds:.0f} s, {answers} predictions")
    for share in (0.1, 0.5, 1.0):
        print(f"after {share:4.0%} of the time: {seen[round(share * (len(seen) - 1))] / 1e6:.0f} MB")
    print(f"peak: {max(seen) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
