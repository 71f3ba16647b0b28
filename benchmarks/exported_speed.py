"""Time of stage two per clip: the run in torch, and the same run exported, alternating in one process.

    skelpipe export-model runs/mine --out mine
    python benchmarks/exported_speed.py runs/mine mine --clips 40 --rounds 5

Prints the median over the rounds of the milliseconds per clip, one clip at a time and in batches, and the median of the
ratios to torch. Clips are random walks of one person with two seconds at 25 frames per second.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pose_extraction.engines.engine import Engine
from recognition.data.clip import Clip, clip_from_arrays
from recognition.inference.exported import ExportedPredictor
from recognition.inference.exported_run import load_exported
from recognition.inference.predictor import Predictor
from recognition.runs import load_run

BATCHES = (1, 16)
Subject = TypeVar("Subject", bound=str)


def made_clips(count: int, joints: int, dimensions: int, *, frames: int = 50, rate: float = 25.0) -> list[Clip]:
    """Return clips of one person with random movement."""
    rng = np.random.default_rng(0)
    clips = []
    for _ in range(count):
        keypoint = rng.uniform(100, 400, (1, 1, joints, dimensions)) + rng.normal(
            0, 3, (1, frames, joints, dimensions)
        ).cumsum(axis=1)
        size = (480, 640) if dimensions == 2 else None
        clips.append(clip_from_arrays(keypoint, size=size, time=np.arange(frames) / rate))
    return clips


def seconds_of(run: Callable[[Any], object], items: Any, batch: int) -> float:
    """Return the processor seconds per item of a function that takes a part of a sequence or an array."""
    began = time.process_time()
    for first in range(0, len(items), batch):
        run(items[first : first + batch])
    return (time.process_time() - began) / len(items)


def alternating(
    subjects: Mapping[Subject, Callable[[Any], object]], items: Any, batch: int, rounds: int
) -> dict[Subject, list[float]]:
    """Return `seconds_of` for each subject and round; the subjects take turns."""
    times: dict[Subject, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, run in subjects.items():
            times[name].append(seconds_of(run, items, batch))
    return times


def median_ratio(times: Sequence[float], reference: Sequence[float]) -> float:
    """Return the median over the rounds of the ratios of two subjects."""
    return statistics.median(own / other for own, other in zip(times, reference, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run that was exported: a run directory or a name")
    parser.add_argument("folders", nargs="+", type=Path, help="exported folders to compare with it")
    parser.add_argument("--clips", type=int, default=40, help="clips of a round (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="timed rounds, after one to warm up (default: %(default)s)"
    )
    options = parser.parse_args()
    reference = Predictor(load_run(options.run), Engine("cpu", "torch", "fp32", max(BATCHES)))
    layout, dimensions = reference.format.layout, reference.format.dimensions
    clips = made_clips(options.clips, layout.num_joints, dimensions)
    subjects: dict[str, Callable[[list[Clip]], object]] = {"torch": reference.classify}
    for folder in options.folders:
        engine = Engine("cpu", batch_size=max(BATCHES))
        found = ExportedPredictor(load_exported(folder), engine, layout=layout, dimensions=dimensions)
        subjects[f"{folder.name} ({found.trained.format})"] = found.classify
    for batch in BATCHES:
        # A first round warms up.
        alternating(subjects, clips, batch, 1)
        times = alternating(subjects, clips, batch, options.rounds)
        for name, spent in times.items():
            print(
                f"batch {batch:2d}  {name:30s} {statistics.median(spent) * 1e3:7.2f} ms per clip, "
                f"{median_ratio(spent, times['torch']):.2f} of torch"
            )


if __name__ == "__main__":
    main()
