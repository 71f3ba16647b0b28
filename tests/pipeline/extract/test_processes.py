"""Several devices with one process each, and the memory use of a run."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from pipeline.reporting.progress import RunProgress
from test_support.networks.made_runs import SIZE, all_files
from test_support.videos.made_video import write_made_clip

pytestmark = pytest.mark.slow


def test_two_processes_write_the_same_files_as_one(run, clips, tmp_path):
    run(clips, tmp_path / "one")
    outcome = run(clips, tmp_path / "two", device="cpu,cpu")
    assert (outcome.report.done, outcome.report.failed) == (4, {})
    assert all_files(tmp_path / "two") == all_files(tmp_path / "one")


def at_the_first_frame(monkeypatch, act: Callable[[], bool]) -> None:
    """Calls `act` on each message of a device process until it returns true."""
    report = RunProgress.frame
    acted: list[bool] = []

    def frame(progress: RunProgress) -> None:
        if not acted and act():
            acted.append(True)
        report(progress)

    monkeypatch.setattr(RunProgress, "frame", frame)


def is_reading(process: BaseProcess, folder: Path) -> bool:
    """Whether a process has an open file in a folder."""
    try:
        opened = [descriptor.resolve() for descriptor in Path(f"/proc/{process.pid}/fd").iterdir()]
    except OSError:
        return False
    return any(path.is_relative_to(folder) for path in opened)


def test_a_dying_process_loses_only_its_own_videos(run, clips, tmp_path, monkeypatch):
    # Long enough to be still in progress when its first frames are reported.
    videos = tmp_path / "videos"
    shutil.copytree(clips, videos)
    write_made_clip(videos / "a long one.mp4", size=SIZE, frames=300)

    def kill_one() -> bool:
        reading = [process for process in multiprocessing.active_children() if is_reading(process, videos)]
        for process in reading[:1]:
            process.kill()
        return bool(reading)

    with monkeypatch.context() as patched:
        at_the_first_frame(patched, kill_one)
        outcome = run(videos, tmp_path / "out", device="cpu,cpu")
    failed = outcome.report.failed
    assert outcome.report.done + len(failed) == 5
    assert failed
    assert outcome.report.done >= 1
    assert all(
        "the process of device cpu was killed by signal 9; run the command again" in cause for cause in failed.values()
    )
    assert all(cause in outcome.output for cause in failed.values())
    run(videos, tmp_path / "out")
    run(videos, tmp_path / "one")
    assert all_files(tmp_path / "out") == all_files(tmp_path / "one")


def test_every_video_is_reported_if_all_processes_die(run, tmp_path, monkeypatch):
    clip = write_made_clip(tmp_path / "videos" / "0.mp4", size=SIZE, frames=80)
    for number in range(1, 20):
        shutil.copy(clip, clip.with_stem(str(number)))

    def kill_all() -> bool:
        for process in multiprocessing.active_children():
            process.kill()
        return True

    at_the_first_frame(monkeypatch, kill_all)
    outcome = run(tmp_path / "videos", tmp_path / "out", device="cpu,cpu")
    assert outcome.report.done + len(outcome.report.failed) == 20
    assert any("killed by signal 9" in cause for cause in outcome.report.failed.values())
    assert any("not processed" in cause for cause in outcome.report.failed.values())


def test_device_processes_ignore_an_interrupt_from_the_terminal(run, clips, tmp_path, monkeypatch):
    def interrupt() -> bool:
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGINT)
        return True

    at_the_first_frame(monkeypatch, interrupt)
    outcome = run(clips, tmp_path, device="cpu,cpu")
    assert (outcome.report.done, outcome.report.failed) == (4, {})


PEAK = """
import resource, sys
from pipeline import extract_videos
clip, out, estimator, detector = sys.argv[1:]
extract_videos(clip, out, estimator=estimator, detector=detector, device="cpu", backend="onnxruntime")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_a_clips_length(networks, tmp_path):
    size = (288, 384)
    short = write_made_clip(tmp_path / "short.mp4", size=size, frames=60, options={"preset": "ultrafast"})
    long = write_made_clip(tmp_path / "long.mp4", size=size, frames=600, options={"preset": "ultrafast"})

    def peak(clip) -> int:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(clip), str(tmp_path / clip.stem), *map(str, networks)],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return int(done.stdout.split()[-1])

    # All 600 frames of 330 kB would be 200 MB more.
    assert peak(long) < 1.1 * peak(short)
