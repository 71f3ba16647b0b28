"""Copies of videos at URLs in the cache folder, which belong to the process that uses them."""

import os
import secrets
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from pipeline.inputs.videos import Source
from pose_extraction.cache import default_cache_dir
from pose_extraction.errors import SkelpipeError
from pose_extraction.file_locks import lock
from pose_extraction.remote import fetch

# Number of copies that may wait to be read again, for their overlays.
MOST_KEPT = 4
_LOCK = ".lock"


class Copies:
    """Makes and removes the copies of one process. Close it at the end, which removes all of them.

    A copy exists while its video is decoded. If it is needed again, it is kept, but at most `MOST_KEPT` copies are.
    Before the first copy is made, those of processes that were killed are removed.
    """

    def __init__(self) -> None:
        self._root = default_cache_dir().absolute() / "videos"
        self._folder: Path | None = None
        self._lock: BinaryIO | None = None
        self._count = 0
        self._kept: set[Path] = set()
        self._guard = Lock()

    def place_of(self, source: Source) -> Path:
        """Returns the place of a new copy of a video, or the video itself if it is on this machine.

        Raises:
            SkelpipeError: The cache folder cannot be written to.
        """
        if source.remote is None:
            return source.path
        with self._guard:
            if self._folder is None:
                self._folder = self._opened()
            self._count += 1
            return self._folder / str(self._count) / source.path.name

    def fetch(self, source: Source, path: Path, on_chunk: Callable[[], None]) -> None:
        """Makes a copy, unless it is there, or the video is on this machine.

        Args:
            source: The video.
            path: Its `place_of`.
            on_chunk: Called for each part of the file.

        Raises:
            SkelpipeError: The video cannot be read.
        """
        if source.remote is not None and not path.exists():
            fetch(source.remote.url, path, on_chunk)

    def keep(self, source: Source, path: Path) -> None:
        """Keeps a copy to be read again, or removes it if too many are kept."""
        with self._guard:
            if source.remote is not None and len(self._kept) < MOST_KEPT:
                self._kept.add(path)
                return
        self.remove(source, path)

    def remove(self, source: Source, path: Path) -> None:
        """Removes a copy, if there is one; never the video itself."""
        if source.remote is None:
            return
        with self._guard:
            self._kept.discard(path)
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()

    def close(self) -> None:
        """Removes all copies."""
        if self._folder is None or self._lock is None:
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        _lock_of(self._folder).unlink(missing_ok=True)
        self._lock.close()
        self._folder = self._lock = None

    def _opened(self) -> Path:
        """Makes the folder of this process. Its lock comes first, and ends with the process, however that ends."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            _remove_ownerless(self._root)
            while True:
                folder = self._root / f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
                place = _lock_of(folder)
                file = place.open("ab")
                lock(file)
                # Another process may have taken it for one without owner, just before it was locked.
                if place.exists():
                    break
                file.close()
            folder.mkdir()
        except OSError as error:
            raise SkelpipeError(
                f"{self._root}: cannot write copies of videos ({error.strerror}); set SKELPIPE_CACHE to a folder on "
                "this machine"
            ) from error
        self._lock = file
        return folder


def _lock_of(folder: Path) -> Path:
    # Not with_suffix, because names of hosts contain dots.
    return folder.with_name(f"{folder.name}{_LOCK}")


def _remove_ownerless(root: Path) -> None:
    """Removes the copies of processes that have ended without removing them."""
    for place in root.iterdir():
        if place.suffix == _LOCK:
            # An error means that the owner lives, or that another process removes it now.
            with suppress(OSError), place.open("ab") as file:
                lock(file, wait=False)
                shutil.rmtree(place.with_name(place.name.removesuffix(_LOCK)), ignore_errors=True)
                place.unlink()
        elif not _lock_of(place).exists():
            shutil.rmtree(place, ignore_errors=True)
