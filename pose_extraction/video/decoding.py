"""Decode videos in background threads, with bounded memory."""

import logging
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import av.error
import cv2

from pose_extraction.errors import SkelpipeError
from pose_extraction.queues import BoundedQueue
from pose_extraction.video.reader import Frame, VideoInfo, VideoReader

log = logging.getLogger(__name__)

# Decoded frames in the queue. A 1080p frame has 6 MB, so the queue dominates the memory of a run.
FRAMES_AHEAD = 16
# Exceptions that damaged videos cause besides `SkelpipeError`: invalid sizes and times, or frames too large for memory.
READ_ERRORS = (SkelpipeError, OSError, ValueError, OverflowError, MemoryError, av.error.FFmpegError, cv2.error)


@dataclass(eq=False)
class VideoJob:
    """A video to decode, and the information collected while decoding. Subclasses add what their users need.

    Args:
        path: Video file, or folder of images.
        start: Seconds from the first frame of the stream; None for the beginning.
        end: Seconds from the first frame of the stream; None for the end.
        stride: Every `stride`-th frame is decoded.
        fps: Frames per second of a folder of images or a raw stream; see `VideoReader`.
        stream: Number of the video stream; None for the default one.
        gpu: CUDA device that decodes; None for the CPU. See `VideoReader`.
        info: Properties of the video, set when the first frame is decoded.
        problems: Notes on what is missing from the video and what was assumed; complete at the end of the video.
        error: Why nothing could be decoded; None on success.
        seconds: Seconds spent opening and decoding, without waiting for the consumer; complete at the end of the video.
    """

    path: Path
    start: float | None = None
    end: float | None = None
    stride: int = 1
    fps: float | None = None
    stream: int | None = None
    gpu: str | None = None
    info: VideoInfo | None = None
    problems: list[str] = field(default_factory=list)
    error: str | None = None
    seconds: float = 0.0

    def prepare(self) -> None:
        """Called before the video is read, in the thread that decodes it.

        Raises:
            SkelpipeError: The video cannot be read.
        """

    def release(self) -> None:
        """Called in the same thread when the video has been read to its end."""


Job = TypeVar("Job", bound=VideoJob)


def decode_ahead(
    jobs: Iterable[Job], *, workers: int = 1, frames_ahead: int = FRAMES_AHEAD
) -> Iterator[tuple[Job, Frame | None]]:
    """Decode `workers` videos concurrently.

    Args:
        jobs: Videos, consumed lazily whenever a worker becomes free.
        workers: Number of threads, each of which decodes one video from beginning to end.
        frames_ahead: Maximum number of frames in the queue.

    Yields:
        (job, frame) in order within each job, and (job, None) at its end, even if nothing could be decoded.
    """
    waiting: BoundedQueue[tuple[Job, Frame | None]] = BoundedQueue(frames_ahead, producers=workers)
    supply = iter(jobs)
    supply_lock = threading.Lock()

    def work() -> None:
        try:
            while not waiting.left:
                with supply_lock:
                    job = next(supply, None)
                if job is None or not _read(job, waiting):
                    break
            waiting.end()
        except BaseException as error:  # noqa: BLE001  (passed to the consumer, which raises it)
            waiting.end(error)

    threads = [threading.Thread(target=work, name=f"decoder-{number}", daemon=True) for number in range(workers)]
    for thread in threads:
        thread.start()
    try:
        yield from waiting
    finally:
        waiting.leave()
        for thread in threads:
            thread.join()


def _read(job: Job, waiting: BoundedQueue[tuple[Job, Frame | None]]) -> bool:
    """Decode one video to its end. Return False if the consumer has stopped."""
    started = perf_counter()
    try:
        job.prepare()
        reading = VideoReader(
            job.path,
            start=job.start,
            end=job.end,
            stride=job.stride,
            fps=job.fps,
            stream=job.stream,
            gpu=job.gpu,
        )
        with reading as reader:
            job.info = reader.info
            job.problems = reader.problems
            for frame in reader:
                job.seconds += perf_counter() - started
                if not waiting.put((job, frame)):
                    return False
                started = perf_counter()
    except Exception as error:
        # A damaged video must never stop the run, whatever it raises.
        text = str(error) if isinstance(error, SkelpipeError) else f"{job.path}: {type(error).__name__}: {error}"
        if not isinstance(error, READ_ERRORS):
            text += "; please report this as a bug"
            log.warning("%s", job.path, exc_info=True)
        # Frames already yielded are kept. Only a video without any frame has failed.
        if job.info is None:
            job.error = text
        else:
            job.problems.append(text)
    job.release()
    return waiting.put((job, None))
