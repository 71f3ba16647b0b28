"""What survives when the service, its workers or both are killed, and how it ends when it is asked to."""

import http.client
import os
import select
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from test_support.networks.trained_run import LABEL_NAMES, made_clip, write_data
from test_support.services.running_service import PATIENCE, Reply, RunningService

pytestmark = pytest.mark.slow


def wait_until_gone(pid: int) -> None:
    """Wait until a process has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready, _, _ = select.select([descriptor], [], [], PATIENCE)
        assert ready, f"process {pid} is still running"
    finally:
        os.close(descriptor)


def until(service: RunningService, job: str, **wanted: Any) -> dict[str, Any]:
    """Wait until a job has these values, and return it."""
    for _, _, data in service.events(f"/v1/jobs/{job}/events"):
        if all(data[name] == value for name, value in wanted.items()):
            return data
    raise AssertionError(f"job {job} has ended without {wanted}: {data}")


def states(service: RunningService) -> dict[str, str]:
    return {job["id"]: job["state"] for job in service.get("/v1/jobs")["jobs"]}


@pytest.fixture
def started(tmp_path: Path, words: tuple[str | Path, ...]) -> Iterator[RunningService]:
    with RunningService(tmp_path / "data", *words, "--drain", "60") as service:
        yield service


@contextmanager
def upload_in_progress(service: RunningService, content: bytes, headers: dict[str, str]) -> Iterator[None]:
    """Send 4 MB of an upload, and go on when the service has stored a part of them; the upload must not succeed."""
    connection = service.connection()
    connection.putrequest("POST", "/v1/jobs?name=large.mp4")
    for name, value in (*headers.items(), ("Content-Length", str(len(content)))):
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(content[: 4 << 20])
    incoming = service.data / "incoming"
    while sum(path.stat().st_size for path in incoming.glob("*/input.mp4")) < 2 << 20:
        assert service.get("/livez") == {"status": "ok"}
    yield
    with pytest.raises((OSError, http.client.HTTPException)):
        connection.send(content[4 << 20 :])
        connection.getresponse()
    connection.close()


def test_nothing_is_lost_or_done_twice_when_the_service_is_killed(
    started: RunningService, walkers: Path, long_video: Path
) -> None:
    done = started.submit(walkers)
    started.finished(done)
    before = started.get(f"/v1/jobs/{done}")
    running = started.submit(long_video)
    waiting = [started.submit(walkers, headers={"Idempotency-Key": f"key{n}"}) for n in range(2)]
    until(started, running, stage="extracting")
    (worker,) = started.workers()
    # Bytes after the end of a video do not disturb it.
    content, key = walkers.read_bytes() + bytes(6 << 20), {"Idempotency-Key": "large"}
    with upload_in_progress(started, content, key):
        started.kill()
    wait_until_gone(worker)

    started.start()
    assert set(states(started)) == {done, running, *waiting}
    assert states(started)[running] in ("queued", "running")
    assert list((started.data / "incoming").iterdir()) == []
    assert {states(started)[job] for job in waiting} == {"queued"}
    assert started.get(f"/v1/jobs/{done}") == before
    assert not (started.data / "jobs" / running / "result").exists()
    # The client did not get the answers, and asks again.
    assert [started.submit(walkers, headers={"Idempotency-Key": f"key{n}"}) for n in range(2)] == waiting
    large = [started.ask("POST", "/v1/jobs?name=large.mp4", content, key).json()["id"] for _ in range(2)]
    assert large[0] == large[1] and set(states(started)) == {done, running, *waiting, large[0]}

    # Now the worker at the same moment.
    until(started, running, stage="extracting")
    (worker,) = started.workers()
    os.kill(worker, signal.SIGKILL)
    started.kill()
    wait_until_gone(worker)
    started.start()
    until(started, running, stage="extracting")
    assert started.get(f"/v1/jobs/{running}")["error"] is None
    assert started.ask("DELETE", f"/v1/jobs/{running}").json()["state"] == "cancelled"
    waiting.append(large[0])
    assert [started.finished(job)["state"] for job in waiting] == ["done"] * 3
    assert started.get(f"/v1/jobs/{large[0]}")["size"] == len(content)
    assert len(states(started)) == 5


def many_skeletons(path: Path) -> bytes:
    """A skeleton file that takes seconds to classify."""
    rng = np.random.default_rng(0)
    one = made_clip("clip", LABEL_NAMES[0], rng, frames=16)
    return write_data(path, [one | {"frame_dir": f"clip{n}"} for n in range(6000)], {}).read_bytes()


def kill_worker_while_it_computes(service: RunningService, body: bytes) -> Reply:
    """Kill the worker while it classifies skeletons, and return the answer to them."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(service.ask, "POST", "/v1/skeletons:predict", body)
        while b'skelpipe_skeleton_requests{state="computing"} 1.0' not in service.ask("GET", "/metrics").body:
            assert not waiting.done(), waiting.result().body
        (worker,) = service.workers()
        os.kill(worker, signal.SIGKILL)
        return waiting.result()


def test_a_video_that_kills_workers_is_quarantined_but_not_because_of_skeletons(
    started: RunningService, walkers: Path, long_video: Path, tmp_path: Path
) -> None:
    body = many_skeletons(tmp_path / "many.pkl")
    job, other = started.submit(long_video), started.submit(walkers)
    until(started, job, stage="extracting")
    reply = kill_worker_while_it_computes(started, body)
    assert (reply.status, reply.kind) == (500, "worker_died") and "SIGKILL" in reply.json()["error"]["message"]
    until(started, job, state="queued")
    until(started, job, stage="extracting")
    # Either may have been the cause, so the video runs alone: another death is its own.
    reply = started.ask("POST", "/v1/skeletons:predict", body[:100])
    assert (reply.status, reply.kind) == (503, "not_ready") and "alone" in reply.json()["error"]["message"]
    for death in (1, 2):
        (worker,) = started.workers()
        os.kill(worker, signal.SIGKILL)
        wait_until_gone(worker)
        if death == 1:
            until(started, job, state="queued")
            until(started, job, stage="extracting")
    found = started.finished(job)
    assert found["state"] == "quarantined" and "SIGKILL" in found["error"]["message"]
    # Others continue, and skeletons are served again.
    assert started.finished(other)["state"] == "done"
    assert b'skelpipe_errors_total{kind="quarantined"} 1.0' in started.ask("GET", "/metrics").body
    while (reply := started.ask("POST", "/v1/skeletons:predict", b"no skeletons")).status == 503:
        pass
    assert reply.status == 422


def test_sigterm_ends_in_order(started: RunningService, walkers: Path, long_video: Path) -> None:
    running, waiting = started.submit(long_video), started.submit(walkers)
    until(started, running, stage="extracting")
    stream = started.events("/v1/events")
    next(stream)
    started.process.send_signal(signal.SIGTERM)
    while started.ask("GET", "/readyz").status == 200:
        pass
    reply = started.ask("POST", "/v1/jobs?name=a.mp4", b"video")
    assert (reply.status, reply.kind) == (503, "draining") and int(reply.headers["retry-after"]) > 0
    reply = started.ask("POST", "/v1/skeletons:predict", b"skeletons")
    assert (reply.status, reply.kind) == (503, "draining") and int(reply.headers["retry-after"]) > 0
    # The running job is waited for, the waiting one stays in the queue.
    started.ask("DELETE", f"/v1/jobs/{running}")
    assert [kind for _, kind, _ in stream][-1] == "end"
    assert started.process.wait(PATIENCE) == 0

    started.start()
    assert started.finished(waiting)["state"] == "done"
    running = started.submit(long_video)
    until(started, running, stage="extracting")
    started.process.send_signal(signal.SIGTERM)
    while started.ask("GET", "/readyz").status == 200:
        pass
    # The second signal does not wait for the job.
    started.process.send_signal(signal.SIGTERM)
    assert started.process.wait(PATIENCE) == 0
    assert not list((started.data / "jobs" / running).glob("result"))
    started.start()
    assert states(started)[running] in ("queued", "running")


def test_videos_of_the_command_line_become_jobs_once(
    tmp_path: Path, words: tuple[str | Path, ...], walkers: Path
) -> None:
    with RunningService(tmp_path / "data", walkers, *words) as service:
        (job,) = service.get("/v1/jobs")["jobs"]
        assert job["name"] == walkers.name and job["settings"] == {"windows": 3.0}
        assert service.finished(job["id"])["state"] == "done"
        service.kill()
        service.start()
        assert [one["id"] for one in service.get("/v1/jobs")["jobs"]] == [job["id"]]
