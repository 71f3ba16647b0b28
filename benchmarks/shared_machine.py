"""Training, extraction and tests, alone and next to busy processes, with idle threads that sleep or that spin.

    python benchmarks/shared_machine.py
    python benchmarks/shared_machine.py --rounds 1 --epochs 1 --frames 50 --busy 0 1 --only training

"asleep" are the settings of `pose_extraction.engines.threads`, which the command uses by default; "spinning" are the
defaults of the libraries. The variants alternate. The table shows medians of the wall time, including the start of
Python. The fair share of a process with one thread per core is its share of all threads: n / (n + k) on n cores next to
k busy processes. "share" is the speed, relative to the faster of the two variants alone, divided by the fair share.
Run it on a machine without other load: the script refuses to start next to busy processes.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter

from pose_extraction.engines.devices import cpu_count
from pose_extraction.engines.threads import SLEEPING
from test_support.clips.made_motions import write_motions
from test_support.videos.made_video import write_made_clip

ROOT = Path(__file__).resolve().parents[1]
TESTS = "tests/recognition/maskclr"
# The libraries' defaults, written out, because the command and the tests replace variables that are not set.
SPINNING = {"OMP_WAIT_POLICY": "ACTIVE", "KMP_BLOCKTIME": "200", "GOMP_SPINCOUNT": "300000"}
VARIANTS = {"asleep": SLEEPING, "spinning": SPINNING}
# Load average above which results would not be those of a quiet machine.
QUIET = 0.5


def commands(folder: Path, *, epochs: int, frames: int) -> dict[str, list[str]]:
    """Returns the measured commands; creates their input files.

    Args:
        folder: Folder for data and results.
        epochs: Epochs of each phase of the training.
        frames: Length of the video.
    """
    write_motions(folder / "motions.pkl", clips=96)
    write_made_clip(folder / "clip.mp4", size=(480, 640), frames=frames, persons=3)
    skelpipe = [sys.executable, "-m", "pipeline.cli"]
    phases = [f"training.phase1_epochs={epochs}", f"training.phase2_epochs={epochs}", "training.warmup_epochs=0"]
    return {
        "training": [*skelpipe, "train", "small", *phases, "--data", "motions.pkl", "--out", "run", "--device", "cpu"],
        "extraction": [
            *(*skelpipe, "extract", "clip.mp4", "--estimator", "hrnet-tiny", "--detector", "rtmdet-nano-rendered"),
            *("--out", "skeletons", "--device", "cpu", "--detect-every", "1"),
        ],
        "tests": [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(ROOT / TESTS)],
    }


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keeps one core busy with each of `count` processes."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def seconds_of(command: Sequence[str], folder: Path, variables: dict[str, str]) -> float:
    """Runs a command and returns its wall time.

    Args:
        command: The command.
        folder: Working directory; results of earlier runs in it are deleted.
        variables: Environment variables.

    Raises:
        SystemExit: The command fails; its output is printed.
    """
    for name in ("run", "skeletons"):
        shutil.rmtree(folder / name, ignore_errors=True)
    started = perf_counter()
    done = subprocess.run(
        command,
        cwd=ROOT if "pytest" in command else folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seconds = perf_counter() - started
    if done.returncode:
        sys.exit(f"{done.stdout}\n{' '.join(command)} failed with exit status {done.returncode}")
    return seconds


def measure(command: Sequence[str], folder: Path, busy: Sequence[int], rounds: int) -> dict[tuple[str, int], float]:
    """Returns the median wall time by variant and number of busy processes.

    Args:
        command: The command.
        folder: Working directory.
        busy: Numbers of busy processes.
        rounds: Runs of each combination.
    """
    found: dict[tuple[str, int], list[float]] = {}
    for number in range(rounds):
        for count in busy:
            # Every other round in reverse, so that neither variant always comes first.
            for name in list(VARIANTS)[:: 1 if number % 2 == 0 else -1]:
                with busy_processes(count):
                    found.setdefault((name, count), []).append(seconds_of(command, folder, VARIANTS[name]))
    return {key: median(seconds) for key, seconds in found.items()}


def print_rows(task: str, seconds: dict[tuple[str, int], float], busy: Sequence[int]) -> None:
    """Prints one row for each number of busy processes.

    Args:
        task: Name of the command.
        seconds: Result of `measure`.
        busy: Numbers of busy processes, beginning with 0.
    """
    alone = min(seconds[name, 0] for name in VARIANTS)
    cores = cpu_count()
    for count in busy:
        fair = cores / (cores + count)
        asleep, spinning = seconds["asleep", count], seconds["spinning", count]
        shares = [f"{alone / value / fair:.2f}" for value in (asleep, spinning)]
        row = [task, str(count), f"{asleep:.1f}", f"{spinning:.1f}", f"{asleep / spinning:.2f}", *shares]
        print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each combination (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of each training phase (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=300, help="frames of the video (default: %(default)s)")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="busy processes (default: 0 1 2)")
    parser.add_argument("--only", choices=("training", "extraction", "tests"), help="only one of the commands")
    parser.add_argument("--anyway", action="store_true", help="run even if the machine has other load")
    arguments = parser.parse_args()
    if os.getloadavg()[0] > QUIET and not arguments.anyway:
        sys.exit(f"the load average is {os.getloadavg()[0]:.1f}; wait until the machine is quiet, or add --anyway")
    busy = sorted({0, *arguments.busy})
    print("| | busy processes | asleep, s | spinning, s | ratio | share asleep | share spinning |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for task, command in commands(folder, epochs=arguments.epochs, frames=arguments.frames).items():
            if arguments.only in (None, task):
                print_rows(task, measure(command, folder, busy, arguments.rounds), busy)


if __name__ == "__main__":
    main()
