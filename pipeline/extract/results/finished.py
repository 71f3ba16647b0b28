"""What earlier runs found out about finished videos, so that a run need not read them again: `.finished.jsonl`.

Only the skeleton files say what is done. A line of this file repeats what the comparison of one of them with its video
gave, and counts while sizes and modification times of both, settings, weights and labels are the same. Lines may be
missing, damaged or outdated: such videos are compared again.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time_ns
from typing import IO, Any

from pipeline.extract.ledger import source_digest
from pipeline.extract.plan import ExtractionPlan, nobody_labelled, notes_of
from pipeline.inputs.videos import Source
from pose_extraction.file_locks import lock
from pose_extraction.files import atomic_write, close_where_needed

# Nanoseconds for which a video must not have changed. A later change could have the same time on coarse clocks.
SETTLED = 2 * 10**9
_NAME = ".finished"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finished:
    """A result that is up to date, and what is reported about it in each run.

    Args:
        result: `file_state` of the skeleton file.
        video: `video_state`; empty if there was none.
        digest: See `ExtractionPlan.digest_of`.
        place: See `Source.place`.
        labels: Digest of the labels with which the result was compared; see `labels_digest`.
        notes: See `notes_of`.
        missing: Ids of the clips that have no frames.
        mistaken: Whether a label of a person matches no person.
    """

    result: str
    video: str
    digest: str
    place: str
    labels: str
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    mistaken: bool = False

    @property
    def is_lasting(self) -> bool:
        """Whether a later run can recognise it. A mistake in labels is reported in words that depend on the result."""
        return bool(self.video and self.digest) and not self.mistaken

    def holds(self, plan: ExtractionPlan, source: Source) -> bool:
        """Returns whether video, result, settings, weights and labels are still the same; reads none of the files."""
        try:
            return (
                self.place == source.place
                and self.labels == labels_digest(plan, source)
                and self.digest.partition("-")[2] == plan.settings_digest(source)
                and self.result == file_state(plan.file_of(source))
                and self.video == video_state(source)
            )
        except OSError:
            return False


def finished_of(
    plan: ExtractionPlan, source: Source, content: Mapping[str, Any], *, result: str, video: str | None
) -> Finished:
    """Returns what is known of a result that is up to date.

    Args:
        plan: See `ExtractionPlan`.
        source: The video.
        content: Content of the skeleton file.
        result: `file_state` of the skeleton file with this content.
        video: `video_state` from before the video was read.
    """
    stored = {clip.get("frame_dir") for clip in content["annotations"]}
    return Finished(
        result,
        video or "",
        content.get("digest") or "",
        source.place,
        labels_digest(plan, source),
        tuple(notes_of(content)),
        tuple(clip.frame_dir for clip in plan.clips[source.frame_dir] if clip.frame_dir not in stored),
        any(map(nobody_labelled, content["annotations"])),
    )


def file_state(path: Path) -> str:
    """Returns size and modification time of a file.

    Raises:
        OSError: There is none.
    """
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}"


def video_state(source: Source) -> str | None:
    """Returns what changes with the content of a video, without reading it; None if it may be changing now.

    Raises:
        OSError: There is no such video.
    """
    if source.remote is not None:
        return source.remote.key
    if source.path.is_dir():
        return source_digest(source.path)
    changed = source.path.stat().st_mtime_ns
    return file_state(source.path) if abs(time_ns() - changed) > SETTLED else None


def labels_digest(plan: ExtractionPlan, source: Source) -> str:
    """Returns a digest of the labels that a run gives to the clips of a video."""
    clips = [asdict(clip) for clip in plan.clips[source.frame_dir]]
    text = json.dumps([plan.labels_from, clips], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]


class FinishedLog:
    """The file with a line for each finished video; each line is added at once, so that it survives a kill.

    Args:
        folder: Folder of the skeleton files.
        shard: (I, N) if several runs share the folder; each then writes a file of its own, and reads all.
    """

    def __init__(self, folder: Path, shard: tuple[int, int] | None = None) -> None:
        self.path = folder / (f"{_NAME}.jsonl" if shard is None else f"{_NAME}.{shard[0]}-of-{shard[1]}.jsonl")
        # Its own last, whose lines replace those of others.
        others = [path for path in sorted(folder.glob(f"{_NAME}*.jsonl")) if path != self.path]
        self._others = others if shard is None else []
        # Bytes of each file when it was read.
        self._sizes: dict[Path, int] = {}
        # As text: a million parsed lines would take gigabytes.
        self._lines: dict[str, str] = {}
        self._count = 0
        self._file: IO[str] | None = None
        self._works = True
        for path in [*others, self.path]:
            self._read(path)

    def get(self, name: str) -> Finished | None:
        """Returns what is known of a video; None if nothing is.

        Args:
            name: Its `frame_dir`.
        """
        line = self._lines.get(name)
        if line is None:
            return None
        try:
            fields: dict[str, Any] = json.loads(line)
            del fields["file"]
            values: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in fields.items()}
            return Finished(**values)
        except TypeError:
            # Written by another version.
            return None

    def add(self, name: str, finished: Finished) -> None:
        """Notes that a video is finished, if that can be recognised later."""
        if not finished.is_lasting:
            self.forget(name)
            return
        fields = {key: value for key, value in asdict(finished).items() if value}
        self._lines[name] = json.dumps({"file": name, **fields})
        self._append(self._lines[name])

    def forget(self, name: str) -> None:
        """Notes that the result of a video has to be read again."""
        if self._lines.pop(name, None) is not None:
            self._append(json.dumps({"file": name}))

    def clear(self) -> None:
        """Forgets all videos."""
        for name in list(self._lines):
            self.forget(name)

    def close(self) -> None:
        """Closes the file; rewrites it if most of its lines are outdated, and then replaces those of idle shards."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if not self._works or not (self._others or self._count > 2 * len(self._lines)):
            return
        try:
            with atomic_write(self.path) as file:
                for line in self._lines.values():
                    file.write(f"{line}\n".encode())
            self._others = [path for path in self._others if not self._was_removed(path)]
            self._count = len(self._lines)
        except OSError as error:
            self._give_up(error)

    def _was_removed(self, path: Path) -> bool:
        """Removes the file of a shard, unless the shard is working or has added lines; returns whether it is gone."""
        try:
            with path.open("r+b") as file:
                lock(file, wait=False)
                if os.fstat(file.fileno()).st_size != self._sizes.get(path):
                    return False
                close_where_needed(file)
                path.unlink()
        except FileNotFoundError:
            return True
        except BlockingIOError:
            return False
        return True

    def _append(self, line: str) -> None:
        if not self._works:
            return
        try:
            if self._file is None:
                self._file = self.path.open("a", encoding="utf-8")
                # Tells runs without shards that this one is working. Another run of the same shard does no harm.
                with suppress(BlockingIOError):
                    lock(self._file, wait=False)
                # A kill may have left the last line incomplete.
                self._file.write("\n")
            self._file.write(f"{line}\n")
            self._file.flush()
            self._count += 1
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        # The next run reads the skeleton files instead.
        self._works = False
        log.warning("%s: cannot write the file (%s)", self.path, error.strerror)

    def _read(self, path: Path) -> None:
        try:
            with path.open(encoding="utf-8", errors="replace") as lines:
                self._sizes[path] = os.fstat(lines.fileno()).st_size
                for line in lines:
                    self._take(line.rstrip("\n"), path)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("%s: cannot read the file (%s)", path, error.strerror)

    def _take(self, line: str, path: Path) -> None:
        if not line:
            return
        self._count += 1
        try:
            fields = json.loads(line)
            name = str(fields["file"])
            known = len(fields) > 1
        except (ValueError, KeyError, TypeError):
            log.info("%s: skipped a damaged line", path)
            return
        if known:
            self._lines[name] = line
        else:
            self._lines.pop(name, None)
