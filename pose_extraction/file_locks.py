"""Locks on open files, on POSIX systems and on Windows."""

import time
from typing import IO, Any

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

# Place of the byte that is locked on Windows, where locked bytes cannot be read: beyond the end of most files, and the
# last that its C library accepts.
_FAR = (1 << 31) - 2
_PAUSE = 0.05


def lock(file: IO[Any], *, wait: bool = True) -> None:
    """Lock an open file for this process, until it is closed.

    Args:
        file: The file.
        wait: Whether to wait while another process holds the lock.

    Raises:
        BlockingIOError: Another process holds the lock, and `wait` is False.
    """
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return
    import msvcrt

    while True:
        place = file.tell()
        file.seek(_FAR)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            return
        except OSError as error:
            if not wait:
                raise BlockingIOError("another process holds the lock") from error
        finally:
            file.seek(place)
        time.sleep(_PAUSE)
