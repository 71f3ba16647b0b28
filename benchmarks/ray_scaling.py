"""How the distribution over actors scales, and what the driver costs per video.

The actors of this measurement sleep in place of decoding and networks, so that one machine can run many of them without
competition for its cores. What remains is the cost of Ray and of the driver: handing out videos, receipts, progress.
The driver is the one of `skelpipe extract --engine ray`.

    python benchmarks/ray_scaling.py --actors 1 2 4 8 16 --seconds 0.5 --videos 40
    python benchmarks/ray_scaling.py --driver-cost 2000
"""

import argparse
import os
import resource
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from pipeline.cluster.connection import Demand, connected
from pipeline.cluster.driver import Driver
from pipeline.cluster.messages import Ready, Status
from pipeline.cluster.options import ClusterOptions
from pipeline.cluster.schedule import Task
from pipeline.cluster.workers import Setup
from pipeline.extract.cluster.receipts import STAGES, Receipt
from pipeline.extract.cluster.reports import VideoReports
from pipeline.extract.cluster.summary import Summary
from pipeline.extract.cluster.tasks import tasks_of
from pipeline.extract.plan import ExtractionPlan
from pipeline.extract.results.jobs import Outcome
from pipeline.extract.settings import ExtractSettings
from pipeline.inputs.labels import ClipLabel
from pipeline.inputs.videos import Source
from pose_extraction.engines.engine import Engine
from pose_extraction.networks.identity import NetworkIdentity

# A video of ten seconds.
FRAMES = 300


class SleepingActor:
    """Takes a fixed time for each video, one after the other, as an actor whose networks are the bottleneck."""

    def __init__(self, cpus: int, log_level: int) -> None:
        from threading import Lock

        self._seconds, self._working, self._frames = float(os.environ["SLEEPING_SECONDS"]), Lock(), 0

    def open(self, plan: ExtractionPlan, folder: str | None, marker: str) -> Ready:
        return Ready("this machine", "", 2)

    def run(self, work: Source, name: str, clips: Sequence[ClipLabel]) -> Receipt:
        with self._working:
            sleep(self._seconds)
            self._frames += FRAMES
            outcome = Outcome(work, frames=FRAMES, digest="0" * 129)
            return Receipt(outcome, dict.fromkeys(STAGES, 0.0), self._seconds, self._frames, 0, "this machine")

    def status(self) -> Status:
        return Status(self._frames, 0.0, 0.0)


def plan_of(count: int, folder: Path) -> tuple[ExtractionPlan, list[Task]]:
    """A plan of videos that do not exist, and their tasks."""
    network = NetworkIdentity("sleeping", "estimator", "0", Engine("cpu", "onnxruntime", "fp32"), None, None, 0)
    sources = [
        Source(folder / "videos" / f"{number:07d}.mp4", f"{number:07d}", f"{number:07d}.mp4") for number in range(count)
    ]
    clips = {source.frame_dir: [ClipLabel(source.frame_dir, "walk", (), None)] for source in sources}
    return ExtractionPlan(ExtractSettings(), network, None, folder, clips), tasks_of(sources, dict.fromkeys(sources, 1))


def measure(count: int, actors: int, seconds: float) -> dict[str, float]:
    """Extracts `count` videos.

    Returns:
        "rate", videos per second while all actors work; "driver", processor time of the driver per video in seconds.
    """
    ended: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        plan, tasks = plan_of(count, Path(name))

        def on_video(outcome: Outcome) -> None:
            ended.append(perf_counter())

        def arguments(task: Task) -> tuple[Any, ...]:
            return task.work, task.name, plan.clips[task.work.frame_dir]

        opening = (replace(plan, clips={}), None, "")
        setup = Setup(ClusterOptions(actors=actors), Demand(1, 0, 1 << 20), SleepingActor, opening, arguments)
        driver = Driver(tasks, setup, VideoReports(Summary(), None, on_video, lambda: None, print))
        before = _processor_seconds()
        driver.run()
        spent = _processor_seconds() - before
    assert len(ended) == count
    # While all actors work: after their starts, which take turns on few cores, and before the first has nothing to do.
    first, last = count // 2, max(count // 2 + 1, count - 2 * actors - 1)
    return {"rate": (last - first) / (ended[last] - ended[first]), "driver": spent / count}


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="numbers of actors")
    parser.add_argument("--videos", type=int, default=40, help="videos per actor (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.5, help="seconds per video (default: %(default)s)")
    parser.add_argument("--driver-cost", type=int, metavar="N", help="only the driver: N videos that take no time")
    arguments = parser.parse_args()
    os.environ["SLEEPING_SECONDS"] = str(0.0 if arguments.driver_cost else arguments.seconds)
    import ray

    most = 1 if arguments.driver_cost else max(arguments.actors)
    ray.init(address="local", num_cpus=most, include_dashboard=False, log_to_driver=False, object_store_memory=80 << 20)
    with connected(ClusterOptions()):
        if arguments.driver_cost:
            cost = measure(arguments.driver_cost, 1, 0.0)["driver"]
            print(f"driver: {1000 * cost:.2f} ms of processor time per video, {arguments.driver_cost} videos")
            print(f"extrapolated, not measured: {cost * 1e6 / 3600:.1f} h of processor time for a million videos")
            return
        print("| actors | videos/s | share of linear |\n|---|---|---|")
        for actors in arguments.actors:
            rate = measure(actors * arguments.videos, actors, arguments.seconds)["rate"]
            print(f"| {actors} | {rate:.2f} | {100 * rate * arguments.seconds / actors:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
