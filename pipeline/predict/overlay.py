"""Overlays that are drawn in a thread while the poses are still being computed: of a video, and of a stream."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from pose_extraction.drawing.overlay import Stretch, draw_row, write_stretches
from pose_extraction.errors import SkelpipeError
from pose_extraction.queues import BoundedQueue
from pose_extraction.video.reader import VideoInfo
from pose_extraction.video.writer import VideoWriter

# Stretches that may wait to be drawn; `Drawing.add` blocks beyond that.
STRETCHES_AHEAD = 8
# Images of a stream that may wait to be drawn.
FRAMES_AHEAD = 4


class _Abandoned(Exception):
    """Stops the drawing before the end of the video."""


class Drawing:
    """Overlay of a video: reads it a second time, behind the networks, and draws the results on each frame.

    Args:
        source: The video, or folder of images.
        path: File to write.
        fps: Frames per second of a raw stream or a folder of images; see `VideoReader`.
        stream: Number of the video stream; None for the default one.
    """

    def __init__(self, source: Path, path: Path, *, fps: float | None = None, stream: int | None = None) -> None:
        self.path = path
        self._source = source
        self._fps, self._stream = fps, stream
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
            write_stretches(
                self._source, self._stretches(), self.path, fps=self._fps, stream=self._stream, on_frame=self._check
            )
        finally:
            self._queue.leave()

    def _stretches(self) -> Iterator[Stretch]:
        for stretch in self._queue:
            self._check()
            yield stretch

    def _check(self) -> None:
        if self._abandoned:
            raise _Abandoned


class LiveDrawing:
    """Overlay of a stream: draws each frame with its image; the file appears only if the block ends without an error.

    Args:
        path: File to write.
        info: Frame rate and size of the stream.
    """

    def __init__(self, path: Path, info: VideoInfo) -> None:
        self._path, self._info = path, info
        self._queue: BoundedQueue[tuple[np.ndarray, float, Stretch]] = BoundedQueue(FRAMES_AHEAD)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="draw")
        self._failed = False
        self._done: Future[None]

    def __enter__(self) -> "LiveDrawing":
        self._done = self._pool.submit(self._draw)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After an error the overlay is incomplete, so it is discarded.
        self._failed = kind is not None
        self._queue.end()
        self._pool.shutdown(wait=True)

    def add(self, image: np.ndarray, time: float, stretch: Stretch) -> None:
        """Queue the next frame; waits while the queue is full.

        Args:
            image: uint8 (H, W, 3) BGR.
            time: Seconds of the stream.
            stretch: What is drawn on the frame.
        """
        self._queue.put((image, time, stretch))

    def finish(self) -> None:
        """Wait for the file; raise any error that occurred while writing it."""
        self._queue.end()
        self._done.result()

    def _draw(self) -> None:
        try:
            with VideoWriter(self._path, self._info.fps, self._info.size) as writer:
                first: float | None = None
                for image, time, stretch in self._queue:
                    first = time if first is None else first
                    writer.write(draw_row(image, stretch, int(stretch.video.frame_index[0])), time - first)
                if self._failed:
                    raise _Incomplete
        finally:
            self._queue.leave()


class _Incomplete(Exception):
    """Discards the unfinished file."""
