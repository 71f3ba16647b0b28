"""Several devices, each with a process of its own, and the memory that a run takes."""

import multiprocessing
import subprocess
import sys

from made_runs import SIZE, all_files

from pipeline.progress import RunProgress
from pose_extraction.made_video import write_made_clip


def test_two_processes_write_the_same_files_as_one(run, clips, tmp_path):
    run(clips, tmp_path / "one")
    outcome = run(clips, tmp_path / "two", device="cpu,cpu")
    assert (outcome.report.done, outcome.report.failed) == (4, {})
    assert all_files(tmp_path / "two") == all_files(tmp_path / "one")


def kill_at_the_first_frame(monkeypatch, how_many: int) -> None:
    """Has so many of the devices' processes killed as soon as one tells of its work."""
    told = RunProgress.frame
    doomed: list = []

    def frame(progress: RunProgress) -> None:
        if not doomed:
            doomed.extend(sorted(multiprocessing.active_children(), key=lambda process: process.pid)[:how_many])
            for process in doomed:
                process.kill()
        told(progress)

    monkeypatch.setattr(RunProgress, "frame", frame)


def test_a_process_that_dies_costs_the_videos_in_its_hands_and_holds_up_nobody(run, clips, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        kill_at_the_first_frame(patched, 1)
        outcome = run(clips, tmp_path / "out", device="cpu,cpu")
    failed = outcome.report.failed
    assert outcome.report.done + len(failed) == 4
    assert outcome.report.done >= 1
    assert all("the process of device cpu was killed by signal 9; run again" in cause for cause in failed.values())
    assert all(cause in outcome.said for cause in failed.values())
    run(clips, tmp_path / "out")
    run(clips, tmp_path / "one")
    assert all_files(tmp_path / "out") == all_files(tmp_path / "one")


def test_when_all_processes_die_every_video_is_accounted_for(run, clips, tmp_path, monkeypatch):
    for number in range(6):
        write_made_clip(tmp_path / "videos" / f"{number}.mp4", size=SIZE, frames=80)
    kill_at_the_first_frame(monkeypatch, 2)
    outcome = run(tmp_path / "videos", tmp_path / "out", device="cpu,cpu")
    assert outcome.report.done + len(outcome.report.failed) == 6
    assert any("not tried" in cause for cause in outcome.report.failed.values())


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
