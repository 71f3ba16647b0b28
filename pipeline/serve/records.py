"""Jobs and trainings as they are stored, and their states."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

QUEUED, RUNNING, DONE, FAILED, CANCELLED, QUARANTINED = (
    "queued", "running", "done", "failed", "cancelled", "quarantined",
)  # fmt: skip
STATES = (QUEUED, RUNNING, DONE, FAILED, CANCELLED, QUARANTINED)
OPEN = (QUEUED, RUNNING)


@dataclass(frozen=True)
class Job:
    """A job.

    Args:
        number: Position in the order of arrival.
        id: Its id.
        name: Name of the video.
        state: One of `STATES`.
        created: Unix time of its arrival.
        started: Unix time at which a worker began; None before.
        finished: Unix time at which it ended; None before.
        run: Id of the run.
        settings: Values of `JobSettings` that the client has given.
        source: Path of the video, below the job's folder if it is relative.
        size: Size of the upload in bytes; None if the client has named a path.
        deaths: Number of workers that have died with it.
        error: Why there is no result; None otherwise.
        kind: One word for the error.
        outcome: What the worker has reported: the first answers, frames and times; empty before.
        key: Idempotency key of the client.
        request: What the client has sent with this key.
        reviewed: Number of its segments from which a training can learn: a person has confirmed or labelled them.
    """

    number: int
    id: str
    name: str
    state: str
    created: float
    started: float | None
    finished: float | None
    run: str
    settings: dict[str, Any]
    source: str
    size: int | None
    deaths: int
    error: str | None
    kind: str | None
    outcome: dict[str, Any]
    key: str | None
    request: str | None
    reviewed: int


@dataclass(frozen=True)
class Training:
    """A training on corrections.

    Args:
        number: Position in the order of arrival.
        id: Its id.
        state: One of `STATES`.
        created: Unix time of its arrival.
        finished: Unix time of its end; None before.
        base: Id of the run that it starts from.
        jobs: Ids of the jobs whose corrections it uses.
        settings: Settings from the client.
        error: Why it failed; None otherwise.
        run: Id of the new run if it was accepted; None otherwise.
    """

    number: int
    id: str
    state: str
    created: float
    finished: float | None
    base: str
    jobs: list[str]
    settings: dict[str, Any]
    error: str | None
    run: str | None


def iso(seconds: float | None) -> str | None:
    """Return a Unix time in ISO 8601 format and UTC; None for None."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
