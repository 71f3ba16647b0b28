"""Videos decoded in threads of their own, ahead of the networks, in bounded memory."""

import logging
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av.error
import cv2

from pose_extraction.errors import VideoError
from pose_extraction.video import Frame, VideoInfo, VideoReader

log = logging.getLogger(__name__)

# Frames that wait for the networks. A 1080p frame has 6 MB, so this is the larger part of a run's memory.
FRAMES_AHEAD = 16
# What a damaged video can bring forth besides `VideoError`: sizes and times out of range, frames beyond all memory.
READ_ERRORS = (VideoError, OSError, ValueError, OverflowError, MemoryError, av.error.FFmpegError, cv2.error)


@dataclass(eq=False)
class VideoJob:
    """One video to read, and what became known of it while it was read.

    Args:
        source: File, or folder of images.
        start: Seconds from the stream's first frame, or None for the beginning.
        end: Seconds from the stream's first frame, or None for the end.
        stride: Every N-th frame is read.
        payload: Whatever the caller wants to find again.
        info: Set when the first frame is decoded.
        problems: What is missing from the video, one sentence each; complete at its end.
        error: Why nothing could be read; None if something was.
    """

    source: Path
    start: float | None = None
    end: float | None = None
    stride: int = 1
    payload: Any = None
    info: VideoInfo | None = None
    problems: list[str] = field(default_factory=list)
    error: str | None = None


def decode_ahead(
    jobs: Iterable[VideoJob], *, workers: int = 1, frames_ahead: int = FRAMES_AHEAD
) -> Iterator[tuple[VideoJob, Frame | None]]:
    """Reads videos, `workers` of them at a time.

    Args:
        jobs: Taken one by one, as a worker is free.
        workers: Threads; each reads one video from beginning to end.
        frames_ahead: Frames that may wait to be taken.

    Yields:
        (job, frame) in order within a job, and (job, None) at its end, also when nothing of it could be read.
    """
    waiting: queue.Queue[tuple[VideoJob | None, Frame | BaseException | None]] = queue.Queue(frames_ahead)
    stop = threading.Event()
    supply = iter(jobs)
    supply_lock = threading.Lock()

    def put(job: VideoJob | None, item: Frame | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                waiting.put((job, item), timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            while not stop.is_set():
                with supply_lock:
                    job = next(supply, None)
                if job is None:
                    break
                if not _read(job, put):
                    return
            put(None, None)
        except BaseException as error:  # noqa: BLE001  (handed to the consumer, which raises it)
            put(None, error)

    threads = [threading.Thread(target=work, name=f"decoder-{number}", daemon=True) for number in range(workers)]
    for thread in threads:
        thread.start()
    running = workers
    try:
        while running:
            job, item = waiting.get()
            if job is not None:
                assert not isinstance(item, BaseException)
                yield job, item
            elif isinstance(item, BaseException):
                raise item
            else:
                running -= 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _read(job: VideoJob, put: Any) -> bool:
    """Reads one video to its end; False when the consumer has gone."""
    try:
        with VideoReader(job.source, start=job.start, end=job.end, stride=job.stride) as reader:
            job.info = reader.info
            job.problems = reader.problems
            for frame in reader:
                if not put(job, frame):
                    return False
    except Exception as error:
        # Whatever a damaged video brings forth costs that video alone, never the run.
        text = str(error) if isinstance(error, VideoError) else f"{job.source}: {type(error).__name__}: {error}"
        if not isinstance(error, READ_ERRORS):
            text += "; please report this as a bug"
            log.warning("%s", job.source, exc_info=True)
        # Frames already handed on stay; only a video that gave none has failed.
        if job.info is None:
            job.error = text
        else:
            job.problems.append(text)
    return bool(put(job, None))
