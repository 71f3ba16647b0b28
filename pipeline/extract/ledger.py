"""Records of finished and failed videos, so that later runs skip finished videos and report failures."""

import hashlib
import json
import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pipeline.inputs.videos import Source
from pose_extraction.errors import AnnotationError
from pose_extraction.files import atomic_write, held
from pose_extraction.formats.validation import read_data_set

# Files up to this size (bytes) are hashed completely, larger ones at samples spread over their length.
WHOLE_BELOW = 32 << 20
SAMPLES, SAMPLE_BYTES = 64, 1 << 18

log = logging.getLogger(__name__)


def source_digest(path: Path) -> str:
    """Digest of a video: of its size and its bytes, or of samples of its bytes if it is large.

    For a folder of images, the digest covers names, sizes and modification times of its files.

    Raises:
        OSError: The video cannot be read.
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


def what_changed(stored: str | None, current: str) -> str | None:
    """Describes the difference between two digests of `ExtractionPlan.digest_of`; None if they are equal."""
    if stored == current:
        return None
    video, _, _ = (stored or "").partition("-")
    return "settings or weights changed" if video == current.partition("-")[0] else "the video changed"


def other_source(data: Mapping[str, Any], source: Source, current: str) -> str | None:
    """Path of the video of a stored result, if it exists and differs from `source`; else None.

    Args:
        data: The stored result.
        source: The video whose result would replace it.
        current: `ExtractionPlan.digest_of` of `source`.
    """
    place = data.get("place")
    video = current.partition("-")[0]
    if not isinstance(place, str) or place == source.place or (data.get("digest") or "").partition("-")[0] == video:
        return None
    try:
        return place if source_digest(Path(place)) != video else None
    except OSError:
        # The video was moved or deleted, or is on another machine, so it may be the same one.
        return None


def stored_clip(path: Path) -> dict[str, Any] | None:
    """Result of an earlier run; None if there is no readable one."""
    if not path.exists():
        return None
    try:
        return read_data_set(path)
    except AnnotationError as error:
        log.warning("%s; extracting the clip again", error)
        return None


class _VideoLog:
    """A file with one line for each video to which it applies.

    Args:
        folder: Folder of the file.
        shard: (I, N) if several runs share the folder; each shard then has its own file.
    """

    name: str
    field: str

    def __init__(self, folder: Path, shard: tuple[int, int] | None = None) -> None:
        self.path = folder / (f"{self.name}.jsonl" if shard is None else f"{self.name}.{shard[0]}-of-{shard[1]}.jsonl")
        # A run without shards settles entries of shards, too; these files belong to runs that may still be working.
        self._of_shards = sorted(folder.glob(f"{self.name}.*-of-*.jsonl")) if shard is None else []
        self._entries: dict[str, Any] = {}

    def add(self, file: str, entry: Any) -> None:
        """Appends a line immediately, so that it survives a kill.

        Args:
            file: Name of the video.
            entry: What is stored for it.
        """
        self._entries[file] = entry
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with held(self.path), self.path.open("a", encoding="utf-8") as lines:
            lines.write(_line(file, self.field, entry))
            lines.flush()
            os.fsync(lines.fileno())

    def keep(self, file: str, entry: Any) -> None:
        """Takes an entry that `settle` writes."""
        self._entries[file] = entry

    def settle(self, tried: Collection[str], below: Path | None = None) -> None:
        """Rewrites the file with the entries of this run, and earlier ones of files that this run did not process.

        A run without shards also removes the entries of files that it processed from the logs of shards.

        Args:
            tried: Names of the processed files, as in the log.
            below: Folder in which every file was processed.
        """
        self._rewrite(self.path, tried, below, self._entries)
        for path in self._of_shards:
            self._rewrite(path, tried, below, {})

    def _rewrite(self, path: Path, tried: Collection[str], below: Path | None, added: dict[str, Any]) -> None:
        """Removes entries of processed files from a log, and adds others; removes a log without entries."""
        with held(path):
            kept = {
                file: entry
                for file, entry in _read(path, self.field).items()
                if file not in tried and not (below is not None and Path(file).is_relative_to(below))
            } | added
            if kept:
                with atomic_write(path) as file:
                    file.write("".join(_line(name, self.field, kept[name]) for name in sorted(kept)).encode())
            else:
                path.unlink(missing_ok=True)


class ErrorLog(_VideoLog):
    """`errors.jsonl`: the cause for each failed video, until it succeeds."""

    name, field = "errors", "cause"


class NoteLog(_VideoLog):
    """`notes.jsonl`: the list of notes on each extracted video that has any."""

    name, field = "notes", "notes"


def _read(path: Path, field: str) -> dict[str, Any]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return {}
    entries = {}
    for line in filter(None, lines):
        try:
            entry = json.loads(line)
            entries[entry["file"]] = entry[field]
        except (ValueError, KeyError, TypeError):
            # A kill can leave the last line incomplete; its video is processed again anyway.
            log.warning("%s: skipped a damaged line", path)
    return entries


def _line(file: str, field: str, entry: Any) -> str:
    # Names that are not UTF-8 contain surrogates, which cannot be encoded; write them as escapes.
    text = json.dumps({"file": file, field: entry}, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode() + "\n"
