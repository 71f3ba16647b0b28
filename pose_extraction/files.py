"""Atomic file writing, file locks and digests."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any, BinaryIO

from pose_extraction.file_locks import lock

# Windows neither renames nor removes open files.
MOVES_OPEN_FILES = os.name != "nt"
# Files that the current context has locked through `held`.
_held: ContextVar[dict[Path, BinaryIO]] = ContextVar("_held")


def exists(path: Path) -> bool:
    """Return whether a path exists; unlike `Path.exists`, False for names that no file can have, such as long ones."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def part_path(path: Path) -> Path:
    """Return the path at which `path` is written until it is complete: a hidden file next to it, with a fixed name.

    Because the name is fixed, a new run overwrites the part file of a killed run, instead of leaving it behind.
    """
    return path.with_name(f".{path.name}.part")


@contextmanager
def locked_part(path: Path) -> Iterator[BinaryIO]:
    """Open `part_path(path)` for reading and writing without truncating it, and lock it.

    Waits while another process holds the lock.
    """
    own = _held.get({}).get(path)
    if own is not None:
        yield own
        return
    part = part_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        # Not "r+b", which does not create files, nor "w+b", which would truncate another process's file.
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
        with os.fdopen(descriptor, "r+b") as file:
            lock(file)
            # The previous owner of the lock may have renamed this file to its destination. Then open a new part file.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), part.stat()):
                    yield file
                    return


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Lock `path` against writing by other processes during a read-modify-write cycle.

    `atomic_write` inside the block does not wait. Without the lock, a process that reads before and writes after
    another process has written would undo the other's changes.
    """
    with locked_part(path) as file:
        token = _held.set({**_held.get({}), path: file})
        try:
            yield
        finally:
            _held.reset(token)
            # If nothing was written, remove the part file. Otherwise, the name may already belong to another process.
            with suppress(FileNotFoundError):
                if not file.closed and os.path.samestat(os.fstat(file.fileno()), part_path(path).stat()):
                    close_where_needed(file)
                    part_path(path).unlink()


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` by rename when the block succeeds, and is removed when it raises.

    The data is flushed to disk before the rename, so that after a power failure either the old or the new file exists.
    """
    with locked_part(path) as file:
        try:
            file.truncate(0)
            yield file
            file.flush()
            os.fsync(file.fileno())
            put_in_place(file, path)
        except BaseException:
            close_where_needed(file)
            part_path(path).unlink(missing_ok=True)
            raise


def put_in_place(file: BinaryIO, path: Path) -> None:
    """Rename the complete part file of `path`, opened by `locked_part`, to `path`."""
    close_where_needed(file)
    part_path(path).replace(path)


def discard(file: BinaryIO, path: Path) -> None:
    """Delete the part file of `path`, opened by `locked_part`."""
    close_where_needed(file)
    part_path(path).unlink(missing_ok=True)


def close_where_needed(file: IO[Any]) -> None:
    """Close a file that is to be renamed or deleted, on systems where that is impossible while it is open."""
    if not MOVES_OPEN_FILES:
        file.close()


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
