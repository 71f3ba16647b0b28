"""What survives when the service, its workers or both are killed, and how it ends when it is asked to."""

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from test_support.running_service import PATIENCE, RunningService

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


def test_nothing_is_lost_or_done_twice_when_the_service_is_killed(
    started: RunningService, walkers: Path, long_video: Path
) -> None:
    done = started.submit(walkers)
    started.finished(done)
    before = started.get(f"/v1/jobs/{done}")
    running = started.submit(long_video)
    waiting = [started.submit(walkers, headers={"Idempotency-Key": f"key{n}"}) for n in range(3)]
    until(started, running, stage="extracting")
    (worker,) = started.workers()
    started.kill()
    wait_until_gone(worker)
    # What a killed upload leaves.
    left = started.data / "incoming" / "0123456789abcdef"
    left.mkdir()
    (left / "input.mp4").write_bytes(b"half of a video")

    started.start()
    assert states(started)[running] in ("queued", "running")
    assert not left.exists()
    assert {states(started)[job] for job in waiting} == {"queued"}
    assert started.get(f"/v1/jobs/{done}") == before
    assert not (started.data / "jobs" / running / "result").exists()
    # The client did not get the answer, and asks again.
    assert [started.submit(walkers, headers={"Idempotency-Key": f"key{n}"}) for n in range(3)] == waiting
    until(started, running, stage="extracting")
    assert started.ask("DELETE", f"/v1/jobs/{running}").json()["state"] == "cancelled"
    assert [started.finished(job)["state"] for job in waiting] == ["done"] * 3
    assert len(states(started)) == 5


def test_a_clip_that_kills_workers_is_quarantined_and_others_continue(
    started: RunningService, walkers: Path, long_video: Path
) -> None:
    deadly, other = started.submit(long_video), started.submit(walkers)
    for death in (1, 2):
        until(started, deadly, stage="extracting")
        (worker,) = started.workers()
        os.kill(worker, signal.SIGKILL)
        wait_until_gone(worker)
        if death == 1:
            until(started, deadly, state="queued")
    found = started.finished(deadly)
    assert found["state"] == "quarantined" and "SIGKILL" in found["error"]["message"]
    assert started.finished(other)["state"] == "done"
    assert b'skelpipe_errors_total{kind="quarantined"} 1.0' in started.ask("GET", "/metrics").body


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
