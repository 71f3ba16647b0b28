"""Runs `extract` in forked children that die by SIGKILL at chosen events, and prints one line of JSON for each.

It is a separate process, because it must not have started any network thread before it forks: `python kill_driver.py
VIDEOS ESTIMATOR DETECTOR FOLDER SEED COUNT`. An event is ("before" | "after", name, n): the n-th call of a function.
"""

import io
import json
import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What a run imports only when it needs it is imported here once, before the forks, instead of in every child.
import matplotlib.font_manager  # noqa: F401
import onnx.external_data_helper
import onnx.numpy_helper  # noqa: F401
import onnxruntime  # noqa: F401
from rich.console import Console

import pipeline.extract.data_set
import pipeline.extract.device
import pipeline.extract.networks
import pipeline.extract.plan
import pipeline.extract.processes
from pipeline.extract.settings import ExtractSettings
from pipeline.extract.workflow import extract
from pose_extraction.drawing import overlay
from pose_extraction.formats import pickle_writing, validation
from pose_extraction.video import reader as video

Event = tuple[str, str]
# The watched functions: called for every frame, every drawn frame, every array within a file, every file that is moved
# into place, and every merged clip.
WATCHED: dict[str, Any] = {
    "_at_first_size": video.VideoReader,
    "draw_poses": overlay,
    "reducer_override": pickle_writing._PortablePickler,
    "fsync": os,
    "replace": os,
    "validated_clip": validation,
}
DECODING = [("before", "_at_first_size")]
PLACING = [("before", "fsync"), ("after", "fsync"), ("before", "replace"), ("after", "replace")]
WRITING = [("before", "draw_poses"), ("before", "reducer_override"), *PLACING]
MERGING = [("before", "validated_clip"), ("before", "reducer_override"), *PLACING]


def watch(on_event: Callable[[Event], None]) -> None:
    """Calls `on_event` before and after each of the watched functions."""

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            on_event(("before", name))
            result = function(*arguments, **options)
            on_event(("after", name))
            return result

        return wrapper

    for name, place in WATCHED.items():
        setattr(place, name, watched(name, getattr(place, name)))


def run(videos: Path, networks: tuple[str, str], out: Path) -> str:
    """A complete run in this process; returns its console output."""
    output = io.StringIO()
    settings = ExtractSettings(
        estimator=networks[0], detector=networks[1], device="cpu", backend="onnxruntime", overlay=True
    )
    extract([videos], out, settings=settings, console=Console(file=output, width=400))
    return output.getvalue()


def in_child(work: Callable[[], str]) -> tuple[int, str]:
    """Runs `work` in a forked child; returns its exit status, or minus its signal, and its result."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        status = 1
        try:
            os.write(writing, work().encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        output = pipe.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), output


def count_events(work: Callable[[], Any]) -> str:
    """Number of events of each kind before merging and after its start, as JSON."""
    counts: dict[str, Counter[Event]] = {"before": Counter(), "merging": Counter()}
    stage = "before"
    merge = pipeline.extract.data_set.merge

    def merging(*arguments: Any) -> Any:
        nonlocal stage
        stage = "merging"
        return merge(*arguments)

    setattr(pipeline.extract.data_set, "merge", merging)  # noqa: B010 (mypy refuses the plain assignment)
    watch(lambda event: counts[stage].update([event]))
    work()
    return json.dumps({stage: [[*event, n] for event, n in counted.items()] for stage, counted in counts.items()})


def killed_at(event: Event, n: int, work: Callable[[], str]) -> Callable[[], str]:
    def run_until_killed() -> str:
        counts: Counter[Event] = Counter()
        lock = threading.Lock()

        def on_event(happened: Event) -> None:
            with lock:
                counts[happened] += 1
                if happened == event and counts[event] == n:
                    os.kill(os.getpid(), signal.SIGKILL)

        watch(on_event)
        return work()

    return run_until_killed


def main() -> None:
    videos, estimator, detector, folder, seed, count = sys.argv[1:]
    out = Path(folder)

    def work(name: str) -> Callable[[], str]:
        return lambda: run(Path(videos), (estimator, detector), out / name)

    status, counted = in_child(lambda: count_events(work("counted")))
    assert status == 0
    counts = {stage: {(kind, name): n for kind, name, n in events} for stage, events in json.loads(counted).items()}
    chance = random.Random(int(seed))
    for number in range(int(count)):
        stage, events = (("decoding", DECODING), ("writing", WRITING), ("merging", MERGING))[number % 3]
        event = chance.choice(events)
        before = counts["before"].get(event, 0)
        n = before + chance.randint(1, counts["merging"][event]) if stage == "merging" else chance.randint(1, before)
        name = f"{number:02d}"
        killed, _ = in_child(killed_at(event, n, work(name)))
        left = {
            path.relative_to(out / name).as_posix(): [path.stat().st_ino, path.stat().st_mtime_ns]
            for path in (out / name).rglob("*")
            if path.is_file()
        }
        resumed, output = in_child(work(name))
        line = {"name": name, "stage": stage, "event": [*event, n], "killed": killed, "resumed": resumed}
        print(json.dumps(line | {"left": left, "output": output}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
