"""Draw an overlay in a thread while the poses are still being computed."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from pipeline.predict.prefetch import BoundedQueue
from pose_extraction.drawing.overlay import Stretch, write_stretches
from pose_extraction.errors import SkelpipeError

# Stretches that may wait to be drawn; `Drawing.add` blocks beyond that.
STRETCHES_AHEAD = 8


class _Abandoned(Exception):
    """Stops the drawing before the end of the video."""


class Drawing:
    """Overlay of a video: reads it a second time, behind the networks, and draws the results on each frame.

    Args:
        source: The video, or folder of images.
        path: File to write.
    """

    def __init__(self, source: Path, path: Path) -> None:
        self.path = path
        self._source = source
        self._queue: BoundedQueue[Stretch] = BoundedQueue(STRETCHES_AHEAD)
        self._abandoned = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="draw")
        self._done: Future[None] = self._pool.submit(self._draw)

    def add(self, stretch: Stretch) -> None:
        """Queue the next stretch."""
        self._queue.put(stretch)

    def end(self) -> None:
        """Mark the end of the stretches."""
        self._queue.end()

    def result(self) -> str | None:
        """Wait for the file; return None, or an error message if it could not be written."""
        try:
            self._done.result()
        except (SkelpipeError, OSError) as error:
            text = str(error)
            return text if text.startswith(str(self.path)) else f"{self.path}: cannot be written ({text})"
        finally:
            self._pool.shutdown(wait=True)
        return None

    def abandon(self) -> None:
        """Stop the drawing at the next frame and discard the file."""
        self._abandoned = True
        self._queue.end()
        self._pool.shutdown(wait=True)

    def _draw(self) -> None:
        try:
            write_stretches(self._source, self._stretches(), self.path, on_frame=self._check)
        finally:
            self._queue.leave()

    def _stretches(self) -> Iterator[Stretch]:
        for stretch in self._queue:
            self._check()
            yield stretch

    def _check(self) -> None:
        if self._abandoned:
            raise _Abandoned
