"""Named pipes in place of videos: their readers wait, so that a test can act while a video is in progress."""

import os
import select
import signal
from contextlib import suppress
from pathlib import Path


class GatedVideo:
    """A named pipe that looks like a video; a process that reads it waits until the test acts.

    Args:
        path: Where it is created.
    """

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._writing: int | None = None

    def reader(self) -> int:
        """Waits until a process reads the pipe, and returns its id. It waits until `release`."""
        # Blocks until a process opens it for reading. The earlier end is closed only then: without any, a reader would
        # see the end of the file.
        writing = os.open(self.path, os.O_WRONLY)
        self.release()
        self._writing = writing
        readers = [int(process.name) for process in Path("/proc").iterdir() if process.name.isdigit()]
        return next(process for process in readers if process != os.getpid() and self._is_open_in(process))

    def release(self) -> None:
        """Lets the reader go on: it sees the end of the file."""
        if self._writing is not None:
            os.close(self._writing)
            self._writing = None

    def become(self, video: Path) -> None:
        """Moves a real video to the place of the pipe; the reader of the pipe still waits."""
        video.replace(self.path)

    def _is_open_in(self, process: int) -> bool:
        try:
            return any(one.readlink() == self.path for one in Path(f"/proc/{process}/fd").iterdir())
        except OSError:
            # It has ended, or belongs to another test.
            return False


def wait_for_end(process: int, timeout: float = 60.0) -> None:
    """Waits until a process that is not a child has ended.

    Args:
        process: Its id.
        timeout: Seconds.

    Raises:
        TimeoutError: It has not ended.
    """
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        if not select.select([handle], [], [], timeout)[0]:
            raise TimeoutError(f"process {process} still runs after {timeout} s")
    finally:
        os.close(handle)


def kill(process: int) -> None:
    """Kills a process, and waits until it has ended."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    wait_for_end(process)


def parent_of(process: int) -> int:
    """Returns the id of the parent of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])
