"""Jobs, corrections and small facts in a SQLite database. No other module knows the database.

A change of state is one statement with a condition on the previous state, so that no job is done twice, and a cancelled
job stays cancelled.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.serve.records import CANCELLED, DONE, OPEN, QUARANTINED, QUEUED, RUNNING, STATES, Job, Training
from pose_extraction.errors import UsageError

VERSION = 1
# Deaths of a worker after which a job is not tried again.
MOST_DEATHS = 2

_TABLES = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, state TEXT NOT NULL,
    created REAL NOT NULL, started REAL, finished REAL, run TEXT NOT NULL, settings TEXT NOT NULL, source TEXT NOT NULL,
    size INTEGER, deaths INTEGER NOT NULL DEFAULT 0, error TEXT, kind TEXT, outcome TEXT, key TEXT UNIQUE, request TEXT
);
CREATE INDEX jobs_by_state ON jobs (state, number);
CREATE TABLE corrections (
    job TEXT PRIMARY KEY, version INTEGER NOT NULL, document TEXT NOT NULL, reviewed INTEGER NOT NULL
);
CREATE TABLE trainings (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, state TEXT NOT NULL, created REAL NOT NULL,
    finished REAL, base TEXT NOT NULL, jobs TEXT NOT NULL, settings TEXT NOT NULL, error TEXT, run TEXT
);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


# All columns of a job, and the number of its segments from which a training can learn.
_ALL = "*, (SELECT reviewed FROM corrections WHERE corrections.job = jobs.id) AS reviewed"


class Conflict(Exception):
    """A document has another version than the client has read."""


class Store:
    """The database. Its methods may be called from any thread.

    Args:
        path: The file; created if it does not exist.

    Raises:
        UsageError: The file belongs to another version of the service, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            # A job that was acknowledged survives a power failure.
            self._db.execute("PRAGMA synchronous = FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
            elif version != VERSION:
                raise UsageError(
                    f"{path}: was written by another version of skelpipe; use that version, or another --data folder"
                )
        except sqlite3.DatabaseError as error:
            raise UsageError(
                f"{path}: is not a database of the service ({error}); use another --data folder"
            ) from error

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    def _run(self, statement: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(statement, values).fetchall()

    def add(
        self,
        job: str,
        *,
        name: str,
        run: str,
        settings: Mapping[str, Any],
        source: str,
        size: int | None = None,
        key: str | None = None,
        request: str | None = None,
    ) -> Job:
        """Add a job to the queue.

        Returns:
            The job; an earlier one with the same key if there is one.
        """
        values = (job, name, QUEUED, time.time(), run, json.dumps(dict(settings)), source, size, key, request)
        self._run(
            "INSERT INTO jobs (id, name, state, created, run, settings, source, size, key, request) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
            values,
        )
        found = self.get(job) or (self.by_key(key) if key is not None else None)
        assert found is not None
        return found

    def get(self, job: str) -> Job | None:
        """Return a job; None if it does not exist."""
        return _one(self._run(f"SELECT {_ALL} FROM jobs WHERE id = ?", (job,)))

    def by_key(self, key: str) -> Job | None:
        """Return the job with an idempotency key."""
        return _one(self._run(f"SELECT {_ALL} FROM jobs WHERE key = ?", (key,)))

    def jobs(self, *, state: str | None = None, limit: int = 100, before: str | None = None) -> list[Job]:
        """Return jobs, the newest first.

        Args:
            state: Only jobs in this state.
            limit: Largest number of jobs.
            before: Only jobs that arrived before this one.
        """
        conditions, values = ["1"], []
        if state is not None:
            conditions.append("state = ?")
            values.append(state)
        if before is not None:
            conditions.append("number < (SELECT number FROM jobs WHERE id = ?)")
            values.append(before)
        where = " AND ".join(conditions)
        rows = self._run(f"SELECT {_ALL} FROM jobs WHERE {where} ORDER BY number DESC LIMIT ?", (*values, limit))
        return [_job(row) for row in rows]

    def ids(self, state: str | None = None) -> set[str]:
        """Return the ids of all jobs, or of those in a state."""
        return {row["id"] for row in self._run("SELECT id FROM jobs WHERE state = COALESCE(?, state)", (state,))}

    def counts(self) -> dict[str, int]:
        """Return the number of jobs in each state."""
        found = {row["state"]: row["n"] for row in self._run("SELECT state, COUNT(*) AS n FROM jobs GROUP BY state")}
        return {state: found.get(state, 0) for state in STATES}

    def claim(self) -> Job | None:
        """Take the oldest job out of the queue: it is running from now on; None if no job waits."""
        return _one(
            self._run(
                f"UPDATE jobs SET state = '{RUNNING}', started = ? WHERE number = "
                f"(SELECT MIN(number) FROM jobs WHERE state = '{QUEUED}') RETURNING {_ALL}",
                (time.time(),),
            )
        )

    def finish(
        self,
        job: str,
        state: str,
        *,
        error: str | None = None,
        kind: str | None = None,
        outcome: Mapping[str, Any] = {},
    ) -> Job | None:
        """End a running job.

        Returns:
            The job; None if it was not running, for example because it has been cancelled.
        """
        return _one(
            self._run(
                f"UPDATE jobs SET state = ?, finished = ?, error = ?, kind = ?, outcome = ? "
                f"WHERE id = ? AND state = '{RUNNING}' RETURNING {_ALL}",
                (state, time.time(), error, kind, json.dumps(dict(outcome)), job),
            )
        )

    def died(self, job: str, reason: str) -> Job | None:
        """Record that a worker died with a job: it is queued again, or quarantined if that was not the first time.

        Args:
            job: The job.
            reason: How the worker ended.

        Returns:
            The job; None if it was not running.
        """
        return _one(
            self._run(
                "UPDATE jobs SET deaths = deaths + 1, started = NULL, "
                f"state = CASE WHEN deaths + 1 >= {MOST_DEATHS} THEN '{QUARANTINED}' ELSE '{QUEUED}' END, "
                f"error = CASE WHEN deaths + 1 >= {MOST_DEATHS} THEN ? END, "
                f"kind = CASE WHEN deaths + 1 >= {MOST_DEATHS} THEN 'quarantined' END, "
                f"finished = CASE WHEN deaths + 1 >= {MOST_DEATHS} THEN ? END "
                f"WHERE id = ? AND state = '{RUNNING}' RETURNING {_ALL}",
                (
                    f"{MOST_DEATHS} workers died with this video, the last one {reason}; check the video, then submit "
                    "it again",
                    time.time(),
                    job,
                ),
            )
        )

    def requeue(self, job: str) -> Job | None:
        """Return a running job to the queue; None if it was not running."""
        return _one(
            self._run(
                f"UPDATE jobs SET state = '{QUEUED}', started = NULL WHERE id = ? AND state = '{RUNNING}' "
                f"RETURNING {_ALL}",
                (job,),
            )
        )

    def running(self) -> list[Job]:
        """Return the running jobs."""
        return [_job(row) for row in self._run(f"SELECT {_ALL} FROM jobs WHERE state = '{RUNNING}'")]

    def cancel(self, job: str) -> Job | None:
        """Cancel a job that is waiting or running; None if it is neither."""
        return _one(
            self._run(
                f"UPDATE jobs SET state = '{CANCELLED}', finished = ?, kind = 'cancelled', "
                "error = 'cancelled by a client; submit the video again' "
                f"WHERE id = ? AND state IN ('{QUEUED}', '{RUNNING}') RETURNING {_ALL}",
                (time.time(), job),
            )
        )

    def remove(self, job: str) -> bool:
        """Remove a job that has ended, with its corrections; return whether it existed."""
        removed = self._run(
            f"DELETE FROM jobs WHERE id = ? AND state NOT IN ('{QUEUED}', '{RUNNING}') RETURNING id", (job,)
        )
        if removed:
            self._run("DELETE FROM corrections WHERE job = ?", (job,))
        return bool(removed)

    def remove_expired(self, before: float) -> list[str]:
        """Remove the jobs without corrections that ended before a Unix time; return their ids."""
        # One statement: a correction that arrives meanwhile keeps its job.
        removed = self._run(
            "DELETE FROM jobs WHERE finished < ? AND id NOT IN (SELECT job FROM corrections) RETURNING id", (before,)
        )
        return [row["id"] for row in removed]

    def corrections(self, job: str) -> tuple[int, dict[str, Any]] | None:
        """Return version and content of the corrections of a job; None if there are none."""
        rows = self._run("SELECT version, document FROM corrections WHERE job = ?", (job,))
        return (rows[0]["version"], json.loads(rows[0]["document"])) if rows else None

    def correct(self, job: str, document: Mapping[str, Any], version: int | None, *, lessons: int = 0) -> int:
        """Store the corrections of a job.

        Args:
            job: The job.
            document: The corrections.
            version: Version that the client has read, 0 for none; None to replace any version.
            lessons: Number of its segments from which a training can learn.

        Returns:
            The new version.

        Raises:
            Conflict: They have been changed since.
        """
        text = json.dumps(dict(document))
        if version == 0:
            rows = self._run(
                "INSERT INTO corrections VALUES (?, 1, ?, ?) ON CONFLICT DO NOTHING RETURNING version",
                (job, text, lessons),
            )
        else:
            rows = self._run(
                "UPDATE corrections SET version = version + 1, document = ?, reviewed = ? "
                "WHERE job = ? AND version = COALESCE(?, version) RETURNING version",
                (text, lessons, job, version),
            )
            if not rows and version is None:
                return self.correct(job, document, 0, lessons=lessons)
        if not rows:
            raise Conflict
        return int(rows[0]["version"])

    def corrected(self) -> list[Job]:
        """Return the finished jobs with corrections from which a training can learn, in the order of arrival."""
        return [
            _job(row)
            for row in self._run(f"SELECT {_ALL} FROM jobs WHERE state = '{DONE}' AND reviewed > 0 ORDER BY number")
        ]

    def add_training(self, training: str, base: str, jobs: Sequence[str], settings: Mapping[str, Any]) -> Training:
        """Add a training to the queue."""
        values = (training, QUEUED, time.time(), base, json.dumps(list(jobs)), json.dumps(dict(settings)))
        (row,) = self._run(
            "INSERT INTO trainings (id, state, created, base, jobs, settings) VALUES (?, ?, ?, ?, ?, ?) RETURNING *",
            values,
        )
        return _training(row)

    def trainings(self) -> list[Training]:
        """Return all trainings, the newest first."""
        return [_training(row) for row in self._run("SELECT * FROM trainings ORDER BY number DESC")]

    def training(self, training: str) -> Training | None:
        """Return a training; None if it does not exist."""
        rows = self._run("SELECT * FROM trainings WHERE id = ?", (training,))
        return _training(rows[0]) if rows else None

    def set_training(
        self, training: str, state: str, *, error: str | None = None, only: Sequence[str] = OPEN
    ) -> Training | None:
        """Change the state of a training that is in one of the states `only`; None if it is in none of them."""
        places = ", ".join("?" * len(only))
        finished = None if state in OPEN else time.time()
        rows = self._run(
            f"UPDATE trainings SET state = ?, error = ?, finished = ? WHERE id = ? AND state IN ({places}) RETURNING *",
            (state, error, finished, training, *only),
        )
        return _training(rows[0]) if rows else None

    def accept_training(self, training: str, run: str) -> Training | None:
        """Record that a finished training has become a run; None if it is not finished."""
        rows = self._run(f"UPDATE trainings SET run = ? WHERE id = ? AND state = '{DONE}' RETURNING *", (run, training))
        return _training(rows[0]) if rows else None

    def remove_training(self, training: str) -> None:
        """Remove a training."""
        self._run("DELETE FROM trainings WHERE id = ?", (training,))

    def fact(self, name: str) -> Any:
        """Return a stored fact; None if there is none of this name."""
        rows = self._run("SELECT value FROM facts WHERE name = ?", (name,))
        return json.loads(rows[0]["value"]) if rows else None

    def set_fact(self, name: str, value: Any) -> None:
        """Store a fact: anything that JSON can hold."""
        self._run("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))


def _one(rows: Sequence[sqlite3.Row]) -> Job | None:
    return _job(rows[0]) if rows else None


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    values["settings"] = json.loads(values["settings"])
    values["outcome"] = json.loads(values["outcome"] or "{}")
    values["reviewed"] = values["reviewed"] or 0
    return Job(**values)


def _training(row: sqlite3.Row) -> Training:
    values = dict(row)
    values["jobs"], values["settings"] = json.loads(values["jobs"]), json.loads(values["settings"])
    return Training(**values)
