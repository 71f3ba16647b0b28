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
from pose_extraction.files import atomic_write, held
from pose_extraction.validation import read_data_set

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
    """A digest of a video, "-", and one of everything else that decides its poses: settings, weights, segments.

    Raises:
        OSError: The video cannot be read.
    """
    text = json.dumps(facts, sort_keys=True, default=str)
    return f"{source_digest(source.path)}-{hashlib.sha256(text.encode()).hexdigest()}"


def what_changed(stored: str | None, current: str) -> str | None:
    """What of `clip_digest` is not as it was, in words; None when all of it is."""
    if stored == current:
        return None
    video, _, _ = (stored or "").partition("-")
    return "settings or weights changed" if video == current.partition("-")[0] else "the video changed"


def other_source(data: Mapping[str, Any], source: Source, current: str) -> str | None:
    """Where the video of a stored result is, if that is another than `source`: elsewhere, there, and not the same.

    Args:
        data: The stored result.
        source: The video that would take its place.
        current: `clip_digest` of `source`.
    """
    place = data.get("place")
    video = current.partition("-")[0]
    if not isinstance(place, str) or place == source.place or (data.get("digest") or "").partition("-")[0] == video:
        return None
    try:
        return place if source_digest(Path(place)) != video else None
    except OSError:
        # It was moved or deleted, or lies on another machine: nothing says that it is another.
        return None


def stored_clip(path: Path) -> dict[str, Any] | None:
    """The result of an earlier run, or None when there is none that can be read."""
    if not path.exists():
        return None
    try:
        return read_data_set(path)
    except AnnotationError as error:
        log.warning("%s; the clip is extracted again", error)
        return None


class ErrorLog:
    """`errors.jsonl`: one line for every video that failed, until it succeeds.

    Args:
        folder: Where it lies.
        shard: (I, N) for a run that shares the folder with others, which then have files of their own.
    """

    def __init__(self, folder: Path, shard: tuple[int, int] | None = None) -> None:
        self.path = folder / ("errors.jsonl" if shard is None else f"errors.{shard[0]}-of-{shard[1]}.jsonl")
        # A run over everything takes over what the shards left.
        self._older = sorted(folder.glob("errors.*-of-*.jsonl")) if shard is None else []
        self._errors: dict[str, str] = {}

    def add(self, file: str, cause: str) -> None:
        """Appends a line at once, so that it survives a kill."""
        self._errors[file] = cause
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with held(self.path), self.path.open("a", encoding="utf-8") as lines:
            lines.write(_line(file, cause))
            lines.flush()
            os.fsync(lines.fileno())

    def settle(self, tried: Collection[str], below: Path | None = None) -> None:
        """Rewrites the file: failures of this run, and earlier ones of files that this run did not try.

        Args:
            tried: The files, as they are named in the log.
            below: A folder of which every file was tried.
        """
        with held(self.path):
            self._settle(tried, below)
        for path in self._older:
            path.unlink(missing_ok=True)

    def _settle(self, tried: Collection[str], below: Path | None) -> None:
        earlier: dict[str, str] = {}
        for path in (*self._older, self.path):
            earlier |= _read(path)
        kept = {
            file: cause
            for file, cause in earlier.items()
            if file not in tried and not (below is not None and Path(file).is_relative_to(below))
        } | self._errors
        if kept:
            with atomic_write(self.path) as file:
                file.write("".join(_line(name, kept[name]) for name in sorted(kept)).encode())
        else:
            self.path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return {}
    errors = {}
    for line in filter(None, lines):
        try:
            entry = json.loads(line)
            errors[entry["file"]] = entry["cause"]
        except (ValueError, KeyError, TypeError):
            # The one line that a kill can leave half-written: its video is tried again anyway.
            log.warning("%s: left out a damaged line", path)
    return errors


def _line(file: str, cause: str) -> str:
    # Names that are not UTF-8 have stray halves of characters in them, which cannot be written; they are spelled out.
    text = json.dumps({"file": file, "cause": cause}, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode() + "\n"
