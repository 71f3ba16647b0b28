"""Files that appear whole or not at all, and digests that say what a file is."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO

# What this thread holds through `held`.
_held: ContextVar[dict[Path, BinaryIO]] = ContextVar("_held")


def part_path(path: Path) -> Path:
    """Where `path` is written before it is whole: beside it, hidden, the same name every time.

    A fixed name means that a run after a kill overwrites what the killed one left, instead of leaving litter.
    """
    return path.with_name(f".{path.name}.part")


@contextmanager
def locked_part(path: Path) -> Iterator[BinaryIO]:
    """Opens `part_path(path)` for reading and writing, kept as it was found, waiting while another process holds it."""
    own = _held.get({}).get(path)
    if own is not None:
        yield own
        return
    part = part_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        # Not "r+b", which cannot create, nor "w+b", which would empty a file that another process is writing.
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # The one that held the lock may have renamed this very file into place: then it is no longer ours to write.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), part.stat()):
                    yield file
                    return


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keeps others from writing `path` while what goes into it is gathered; `atomic_write` within it does not wait.

    Without it, one who read before another wrote, and writes after, would undo what the other did.
    """
    with locked_part(path) as file:
        token = _held.set({**_held.get({}), path: file})
        try:
            yield
        finally:
            _held.reset(token)
            # Nothing was written: no litter. Once it was, the name may be another's already.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), part_path(path).stat()):
                    part_path(path).unlink()


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that takes the place of `path` by rename when the block ends well, and vanishes when it does not.

    The data are flushed to the disk before the rename, so that a power cut leaves the old file or the new one.
    """
    with locked_part(path) as file:
        try:
            file.truncate(0)
            yield file
            file.flush()
            os.fsync(file.fileno())
            part_path(path).replace(path)
        except BaseException:
            part_path(path).unlink(missing_ok=True)
            raise


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
