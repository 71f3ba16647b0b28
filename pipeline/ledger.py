"""What is done already, and what failed: nothing is done twice, and no failure is forgotten."""

import hashlib
import json
import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pipeline.inputs import Source
from pose_extraction.errors import AnnotationError
from pose_extraction.files import atomic_write
from pose_extraction.pickles import read_pickle

# Files up to this size are hashed whole, larger ones in samples spread over their length.
WHOLE_BELOW = 32 << 20
SAMPLES, SAMPLE_BYTES = 64, 1 << 18

log = logging.getLogger(__name__)


def source_digest(path: Path) -> str:
    """A digest that changes when a video does: of its size and its bytes, or of samples of them when it is large.

    A folder of images is described by the names, sizes and times of its files.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(path.iterdir()):
            status = file.stat()
            digest.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        return digest.hexdigest()
    size = path.stat().st_size
    digest.update(str(size).encode())
    with path.open("rb") as content:
        if size <= WHOLE_BELOW:
            digest.update(content.read())
        else:
            for sample in range(SAMPLES):
                content.seek((size - SAMPLE_BYTES) * sample // (SAMPLES - 1))
                digest.update(content.read(SAMPLE_BYTES))
    return digest.hexdigest()


def clip_digest(source: Source, facts: Mapping[str, Any]) -> str:
    """One digest of a video and of everything that decides its poses: settings, networks, weights, segments."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(f"{source_digest(source.path)}\n{text}".encode()).hexdigest()


def stored_clip(path: Path) -> dict[str, Any] | None:
    """The result of an earlier run, or None when there is none that can be read."""
    if not path.exists():
        return None
    try:
        data = read_pickle(path)
    except AnnotationError as error:
        log.warning("%s; the clip is extracted again", error)
        return None
    return data if isinstance(data, dict) else None


class ErrorLog:
    """`errors.jsonl`: one line for every video that failed, until it succeeds.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._errors: dict[str, str] = {}

    def add(self, file: str, cause: str) -> None:
        """Appends a line at once, so that it survives a kill."""
        self._errors[file] = cause
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as lines:
            lines.write(_line(file, cause))
            lines.flush()
            os.fsync(lines.fileno())

    def settle(self, tried: Collection[str]) -> None:
        """Rewrites the file: failures of this run, and earlier ones of videos that this run did not try."""
        kept = {file: cause for file, cause in self._read().items() if file not in tried} | self._errors
        if not kept:
            self.path.unlink(missing_ok=True)
            return
        with atomic_write(self.path) as file:
            file.write("".join(_line(name, kept[name]) for name in sorted(kept)).encode())

    def _read(self) -> dict[str, str]:
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}
        errors = {}
        for line in lines:
            try:
                entry = json.loads(line)
                errors[entry["file"]] = entry["cause"]
            except (ValueError, KeyError, TypeError):
                # The one line that a kill can leave half-written: its video is tried again anyway.
                log.warning("%s: left out a damaged line", self.path)
        return errors


def _line(file: str, cause: str) -> str:
    return json.dumps({"file": file, "cause": cause}, ensure_ascii=False) + "\n"
