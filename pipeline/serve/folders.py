"""Files of jobs: one folder for each job, which is created whole, and removed whole.

DATA/incoming/ID/       an upload that has not been acknowledged yet
DATA/jobs/ID/input.*    the uploaded video; nothing if the job names a path
DATA/jobs/ID/work-*/    an attempt that is running, or was killed
DATA/jobs/ID/result/    the files of a finished job; it appears by rename
DATA/uploads/           skeleton files of synchronous requests
"""

import json
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pipeline.inputs.videos import VIDEO_SUFFIXES

ID = re.compile(r"[0-9a-f]{16}")
OUTCOME_NAME = "job.json"
# Longest displayed name of a video.
MOST_NAME, LONGEST_SUFFIX = 200, 10


class Folders:
    """The folders of a service.

    Args:
        data: Folder of the service; created if it does not exist.
    """

    def __init__(self, data: Path) -> None:
        self.data = data.absolute()
        self._incoming, self._jobs, self._uploads = (self.data / name for name in ("incoming", "jobs", "uploads"))
        for folder in (self._incoming, self._jobs, self._uploads):
            folder.mkdir(parents=True, exist_ok=True)

    def job(self, job: str) -> Path:
        """Return the folder of a job."""
        assert ID.fullmatch(job)
        return self._jobs / job

    def result(self, job: str) -> Path:
        """Return the folder with the results of a job; it exists only if they are complete."""
        return self.job(job) / "result"

    def outcome(self, job: str) -> dict[str, Any] | None:
        """Return the outcome that the worker has stored with the results; None if they are not complete."""
        try:
            found = json.loads((self.result(job) / OUTCOME_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def begin(self) -> tuple[str, Path]:
        """Create the id and the folder of a new job."""
        job = secrets.token_hex(8)
        folder = self._incoming / job
        folder.mkdir()
        return job, folder

    def accept(self, job: str) -> Path:
        """Move the folder of a new job to its final place, so that it survives a power failure; return it."""
        folder = self.job(job)
        (self._incoming / job).rename(folder)
        for parent in (folder, self._jobs, self._incoming):
            _sync(parent)
        return folder

    def refuse(self, job: str) -> None:
        """Remove the folder of a job that was not accepted."""
        shutil.rmtree(self._incoming / job, ignore_errors=True)
        self.remove(job)

    def remove(self, job: str) -> None:
        """Remove all files of a job. A crash in between leaves a hidden folder, which `clean` removes."""
        gone = self._incoming / f".{job}-{secrets.token_hex(4)}"
        try:
            self.job(job).rename(gone)
        except FileNotFoundError:
            return
        shutil.rmtree(gone, ignore_errors=True)

    def clean(self, known: Collection[str]) -> None:
        """Remove what a killed service has left: uploads without acknowledgement, and folders of no job.

        Args:
            known: Ids of all jobs.
        """
        for folder in (self._incoming, self._uploads):
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in self._jobs.iterdir():
            if path.name not in known:
                self.remove(path.name) if ID.fullmatch(path.name) else None
            else:
                for work in path.glob("work-*"):
                    shutil.rmtree(work, ignore_errors=True)

    def upload(self) -> Path:
        """Return the path of a new file for a synchronous request."""
        return self._uploads / f"{secrets.token_hex(8)}.pkl"

    def free(self) -> int:
        """Return the free disk space in bytes."""
        return shutil.disk_usage(self.data).free


def display_name(name: str) -> str:
    """Return the last part of the name of an uploaded file, without control characters.

    Args:
        name: The name from the client, which may contain anything.
    """
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(one for one in last if unicodedata.category(one)[0] != "C").strip()
    suffix = Path(kept).suffix if len(Path(kept).suffix) < LONGEST_SUFFIX else ""
    return kept.removesuffix(suffix)[: MOST_NAME - len(suffix)] + suffix or "video"


def input_name(name: str) -> str:
    """Return the name under which an uploaded file is stored: only its suffix is that of the client.

    Args:
        name: Name from `display_name`.
    """
    suffix = Path(name).suffix.lower()
    return f"input{suffix}" if suffix in VIDEO_SUFFIXES else "input"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
