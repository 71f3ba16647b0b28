"""The database of jobs, and events: what a restart, a cancellation and a second client may not confuse."""

import asyncio
from pathlib import Path

import pytest

from pipeline.serve.catalogue import Catalogue
from pipeline.serve.events import KEPT, Events
from pipeline.serve.folders import Folders
from pipeline.serve.records import Job
from pipeline.serve.store import Conflict, Store
from pose_extraction.errors import UsageError
from test_support.event_loops import run_apart


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "jobs.sqlite")


def add(store: Store, job: str, key: str | None = None) -> Job:
    return store.add(job, name=f"{job}.mp4", run="r", settings={"windows": 2.0}, source="input.mp4", key=key)


def test_jobs_leave_the_queue_in_the_order_of_arrival(store: Store) -> None:
    for name in ("a", "b", "c"):
        add(store, name)
    assert [store.claim().id for _ in range(2)] == ["a", "b"]
    store.requeue("a")
    # A job that returns is not put at the end.
    assert store.claim().id == "a" and store.claim().id == "c" and store.claim() is None
    assert [job.id for job in store.jobs(limit=2)] == ["c", "b"]
    assert [job.id for job in store.jobs(before="b")] == ["a"]


def test_a_job_ends_once(store: Store) -> None:
    add(store, "a")
    assert store.finish("a", "done") is None
    store.claim()
    assert store.finish("a", "done", outcome={"frames": 3}).outcome == {"frames": 3}
    assert store.finish("a", "failed") is None and store.cancel("a") is None and store.died("a", "x") is None
    add(store, "b")
    store.claim()
    assert store.cancel("b").state == "cancelled"
    assert store.finish("b", "done") is None and store.get("b").state == "cancelled"


def test_the_second_death_of_a_worker_is_the_last(store: Store) -> None:
    add(store, "a")
    store.claim()
    assert store.died("a", "by signal SIGKILL").state == "queued"
    store.claim()
    found = store.died("a", "by signal SIGSEGV")
    assert found.state == "quarantined" and "SIGSEGV" in found.error and found.finished is not None
    assert store.claim() is None


def test_a_key_belongs_to_one_job(store: Store) -> None:
    assert add(store, "a", "k").id == "a" and add(store, "b", "k").id == "a" and add(store, "c").id == "c"
    assert store.ids() == {"a", "c"} and store.by_key("k").id == "a"


def test_corrections_are_not_overwritten(store: Store) -> None:
    add(store, "a")
    assert store.correct("a", {"segments": []}, 0, lessons=1) == 1
    assert store.get("a").reviewed == 1
    for version in (0, 2):
        with pytest.raises(Conflict):
            store.correct("a", {}, version)
    assert store.correct("a", {"x": 1}, 1) == 2 and store.correct("a", {"x": 2}, None) == 3
    assert store.corrections("a") == (3, {"x": 2}) and store.get("a").reviewed == 0
    store.claim()
    store.finish("a", "done")
    assert store.remove("a") and store.corrections("a") is None and not store.remove("a")


def test_only_jobs_that_have_ended_expire(store: Store) -> None:
    for name in ("a", "b", "c"):
        add(store, name)
    store.claim()
    finished = store.finish("a", "done").finished
    store.claim()
    assert store.remove_expired(finished) == [] and store.remove_expired(finished + 1) == ["a"]
    assert store.ids() == {"b", "c"} and not store.remove("b") and not store.remove("c")


def test_jobs_with_corrections_do_not_expire(store: Store) -> None:
    for name in ("a", "b", "c"):
        add(store, name)
        store.claim()
        finished = store.finish(name, "done").finished
    store.correct("a", {"segments": [{"label": "wave", "reviewed": True}]}, 0, lessons=1)
    # Rejected segments teach nothing, but are work, too.
    store.correct("b", {"segments": [{"rejected": True}]}, 0)
    assert store.remove_expired(finished + 1) == ["c"]
    assert store.ids() == {"a", "b"} and [job.id for job in store.corrected()] == ["a"]
    assert store.corrections("b") is not None and store.remove("b") and store.corrections("b") is None


def test_a_file_of_another_version_is_refused(tmp_path: Path, store: Store) -> None:
    store._run("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(UsageError, match="another version"):
        Store(tmp_path / "jobs.sqlite")
    other = tmp_path / "other.sqlite"
    other.write_bytes(b"not a database" * 100)
    with pytest.raises(UsageError, match="is not a database of the service"):
        Store(other)


def test_folders_that_belong_to_no_job_are_removed(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    kept, _ = folders.begin()
    folders.accept(kept)
    (folders.job(kept) / "work-1").mkdir()
    for _ in range(2):
        folders.begin()
    lost, _ = folders.begin()
    folders.accept(lost)
    folders.upload().write_bytes(b"x")
    folders.clean({kept})
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert files == {"incoming", "jobs", "uploads", f"jobs/{kept}"}


def test_runs_have_ids_without_paths(tmp_path: Path) -> None:
    weights = tmp_path / "other" / "best.safetensors"
    weights.parent.mkdir()
    weights.touch()
    runs = Catalogue([tmp_path / "a" / "mine", tmp_path / "b" / "mine", weights])
    assert [entry.id for entry in runs.entries()] == ["mine", "mine-2", "other"] and runs.default == "mine"
    assert str(tmp_path) not in str(runs.as_list())
    with pytest.raises(UsageError, match="choose one of mine, mine-2, other"):
        runs.get("nosuch")


def test_events_can_be_resumed() -> None:
    async def run() -> None:
        events = Events()
        for number in range(3):
            events.publish("state", "ab"[number % 2], str(number))
        first = events._kept[0].number
        events.close()
        assert [event.data async for event in events.after(first)] == ["1", "2"]
        assert [event.data async for event in events.after(0, "a")] == ["0", "2"]
        assert events.knows(first) and not events.knows(first - 1) and not events.knows(events.newest + 1)
        for _ in range(KEPT):
            events.publish("progress", "c", "")
        assert not events.knows(first)

    run_apart(run())


def test_events_arrive_while_a_client_waits() -> None:
    async def run() -> list[str]:
        events = Events()

        async def read() -> list[str]:
            return [event.data async for event in events.after(events.newest)]

        reader = asyncio.create_task(read())
        await asyncio.sleep(0)
        for number in range(3):
            events.publish("state", "a", str(number))
            await asyncio.sleep(0)
        events.close()
        return await reader

    assert run_apart(run()) == ["0", "1", "2"]
