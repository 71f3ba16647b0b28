"""Load on `skelpipe serve`, on this machine and with bounded duration.

    python benchmarks/serve_load.py [--jobs 200] [--clients 20] [--kill-every 20] [--seconds 15] [--out FILE.json]

Videos: clients upload short rendered clips at the same time, 5 % of them damaged, while a worker is killed every 20
seconds. Afterwards, every acknowledged job must have ended once, good clips with the same result as without load, and
damaged ones with an error. `/livez` is requested every 50 ms meanwhile, and the memory of the service is recorded.

Skeletons: 1, 8 and 32 clients send one clip after the other to `/v1/skeletons:predict`, with shared batches and, for
comparison, with `--batch-size 1`. The networks are tiny for videos; for skeletons, it is the recognizer of the package.
"""

import argparse
import json
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from test_support.networks.tiny_networks import write_tiny_networks
from test_support.networks.trained_run import LABEL_NAMES, made_clip, made_run
from test_support.services.running_service import ENDED, Reply, RunningService
from test_support.videos.made_video import write_made_clip

BROKEN_SHARE = 0.05
LIVEZ_INTERVAL = 0.05
SIZE = (192, 256)


class Watch:
    """Requests `/livez`, records the memory of the service, and kills workers, until the block ends.

    Args:
        service: The service.
        kill_every: Seconds between two kills; 0 for none.
    """

    def __init__(self, service: RunningService, kill_every: float) -> None:
        self._service, self._kill_every = service, kill_every
        self._over = threading.Event()
        self.delays: list[float] = []
        self.memory: list[int] = []
        self.kills = 0
        self._threads = [threading.Thread(target=work) for work in (self._ask, self._kill) if self._wanted(work)]

    def _wanted(self, work: Any) -> bool:
        return work != self._kill or self._kill_every > 0

    def __enter__(self) -> "Watch":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        connection = self._service.connection()
        while not self._over.wait(LIVEZ_INTERVAL):
            began = time.perf_counter()
            connection.request("GET", "/livez")
            assert Reply(connection.getresponse()).status == 200
            self.delays.append(time.perf_counter() - began)
            self.memory.append(resident(self._service.process.pid))
        connection.close()

    def _kill(self) -> None:
        while not self._over.wait(self._kill_every):
            for pid in self._service.workers()[:1]:
                os.kill(pid, signal.SIGKILL)
                self.kills += 1


def resident(pid: int) -> int:
    """Return the memory of a process in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def video_load(folder: Path, words: list[str], jobs: int, clients: int, kill_every: float) -> dict[str, Any]:
    """Send many videos, and return what was measured.

    Args:
        folder: Folder for videos and data.
        words: Options of the service.
        jobs: Number of videos.
        clients: Number of clients.
        kill_every: Seconds between two kills of a worker.
    """
    videos = [write_made_clip(folder / f"clip{n}.mp4", size=SIZE, frames=75, persons=1 + n % 2) for n in range(4)]
    broken = folder / "broken.mp4"
    broken.write_bytes(videos[0].read_bytes()[:3000])
    every = round(1 / BROKEN_SHARE)
    chosen = [broken if n % every == every - 1 else videos[n % len(videos)] for n in range(jobs)]
    with RunningService(folder / "data", *words) as service:
        reference = {}
        for video in videos:
            job = service.submit(video, "&windows=1")
            assert service.finished(job)["state"] == "done"
            reference[video.name] = service.get(f"/v1/jobs/{job}/result.json")["answers"]
        ends: Counter[str] = Counter()
        stream = threading.Thread(target=count_ends, args=(service, ends), daemon=True)
        stream.start()
        began = time.perf_counter()
        with Watch(service, kill_every) as watch, ThreadPoolExecutor(clients) as pool:
            named = list(pool.map(lambda path: service.submit(path, "&windows=1"), chosen))
            uploaded = time.perf_counter() - began
            found = list(pool.map(service.finished, named))
        seconds = time.perf_counter() - began
        states = Counter(job["state"] for job in found)
        wrong = [
            job["id"]
            for job, path in zip(found, chosen, strict=True)
            if job["state"] == "done"
            and service.get(f"/v1/jobs/{job['id']}/result.json")["answers"] != reference[path.name]
        ]
        failed = [job["name"] for job in found if job["state"] == "failed"]
        assert service.terminate() == 0
        stream.join()
    delays = np.array(watch.delays) * 1000
    settled = watch.memory[len(watch.memory) // 5 :]
    memory = {"start": settled[0], "end": settled[-1], "most": max(settled)}
    return {
        "jobs": jobs,
        "clients": clients,
        "states": dict(states),
        "lost": jobs - len(set(named) & set(ends)),
        "ended_twice": sum(count > 1 for count in ends.values()),
        "failed_though_intact": sum(name != broken.name for name in failed),
        "done_though_broken": sum(
            job["state"] == "done" and path is broken for job, path in zip(found, chosen, strict=True)
        ),
        "other_results": len(wrong),
        "kills": watch.kills,
        "seconds": round(seconds, 1),
        "seconds_of_uploads": round(uploaded, 1),
        "livez_ms": {f"p{share}": round(float(np.percentile(delays, share)), 1) for share in (50, 95, 99, 100)},
        "memory_mb": {name: round(one / 1e6, 1) for name, one in memory.items()},
    }


def count_ends(service: RunningService, ends: Counter[str]) -> None:
    """Count how often each job ends, until the service stops."""
    for _, kind, data in service.events("/v1/events"):
        if kind == "state" and data["state"] in ENDED:
            ends[data["id"]] += 1


def cancellations(folder: Path, words: list[str], count: int) -> dict[str, float]:
    """Cancel running jobs; return the seconds until the answer, and until the next job runs.

    Args:
        folder: Folder for the video and the data.
        words: Options of the service.
        count: Number of jobs.
    """
    video = write_made_clip(folder / "long.mp4", size=SIZE, frames=3000, persons=2)
    answered, continued = [], []
    with RunningService(folder / "data", *words) as service:
        running = service.submit(video)
        for _ in range(count):
            following = service.submit(video)
            until(service, running, "stage", "extracting")
            began = time.perf_counter()
            assert service.ask("DELETE", f"/v1/jobs/{running}").status == 200
            answered.append(time.perf_counter() - began)
            until(service, following, "state", "running")
            continued.append(time.perf_counter() - began)
            running = following
    return {"answer": round(max(answered), 3), "next_job_runs": round(max(continued), 3), "jobs": count}


def until(service: RunningService, job: str, name: str, value: str) -> None:
    """Wait until a job has a value."""
    next(data for _, _, data in service.events(f"/v1/jobs/{job}/events") if data[name] == value)


def skeleton_load(folder: Path, words: list[str], clients: tuple[int, ...], seconds: float) -> dict[str, Any]:
    """Send many skeletons, and return requests per second and the mean number that shared a batch.

    Args:
        folder: Folder for the data.
        words: Options of the service.
        clients: Numbers of clients.
        seconds: Duration for each number.
    """
    rng = np.random.default_rng(0)
    clip = made_clip("clip", LABEL_NAMES[0], rng, frames=60)
    plain = {name: clip[name] for name in ("keypoint", "keypoint_score", "img_shape")} | {"fps": 25}
    body = json.dumps({"annotations": [plain]}, default=lambda value: value.tolist()).encode()
    headers = {"Content-Type": "application/json"}
    found: dict[str, Any] = {}
    with RunningService(folder, *words) as service:
        while service.ask("GET", "/readyz").status != 200:
            time.sleep(0.2)
        answers = set()
        for count in clients:
            until = time.perf_counter() + seconds

            def client(_: int, until: float = until) -> list[int]:
                connection, shared = service.connection(), []
                while time.perf_counter() < until:
                    connection.request("POST", "/v1/skeletons:predict", body, headers)
                    reply = Reply(connection.getresponse()).json()
                    assert "answers" in reply, reply
                    answers.add(json.dumps(reply["answers"]))
                    shared.append(reply["shared"])
                connection.close()
                return shared

            began = time.perf_counter()
            with ThreadPoolExecutor(count) as pool:
                shared = [one for part in pool.map(client, range(count)) for one in part]
            elapsed = time.perf_counter() - began
            found[str(count)] = {
                "requests_per_second": round(len(shared) / elapsed, 1),
                "shared": round(float(np.mean(shared)), 1),
            }
        found["different_answers"] = len(answers)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200, help="videos to upload (default: %(default)s)")
    parser.add_argument(
        "--clients", type=int, default=20, help="clients that upload at the same time (default: %(default)s)"
    )
    parser.add_argument(
        "--kill-every",
        type=float,
        default=20.0,
        help="seconds between two kills of a worker, 0 for none (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds", type=float, default=15.0, help="seconds for each number of skeleton clients (default: %(default)s)"
    )
    parser.add_argument(
        "--backend", default="auto", help="engine of the skeleton part, as in skelpipe serve (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, help="also write the measurements to this JSON file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        estimator, detector = write_tiny_networks(folder / "networks")
        run, _ = made_run(folder)
        words = ["--run", str(run), "--estimator", str(estimator), "--detector", str(detector), "--device", "cpu"]
        words += ["--backend", "onnxruntime", "--precision", "fp32"]
        report: dict[str, Any] = {
            "videos": video_load(folder, words, options.jobs, options.clients, options.kill_every)
        }
        print(json.dumps(report["videos"], indent=1), flush=True)
        report["cancellation_seconds"] = cancellations(folder / "cancelled", words, 10)
        print(json.dumps(report["cancellation_seconds"]), flush=True)
        skeletons = ["--run", "everyday", *words[2:6], "--device", "cpu", "--backend", options.backend]
        counts = (1, 8, 32)
        report["skeletons"] = {
            "shared": skeleton_load(folder / "shared", skeletons, counts, options.seconds),
            "alone": skeleton_load(folder / "alone", [*skeletons, "--batch-size", "1"], counts, options.seconds),
        }
        print(json.dumps(report["skeletons"], indent=1), flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
