"""Read the frames of any video with their times, upright, in bounded memory."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from pose_extraction.errors import VideoError
from pose_extraction.video.image_files import IMAGE_SUFFIXES
from pose_extraction.video.image_folder import ImageFolder
from pose_extraction.video.notes import Note
from pose_extraction.video.opening import explain_unreadable
from pose_extraction.video.stream import Picture, VideoStream

# Still images that FFmpeg's mp4 demuxer can open, too.
STILL_SUFFIXES = IMAGE_SUFFIXES | {".heic", ".heif", ".avif"}


@dataclass(slots=True)
class Frame:
    """A video frame.

    Args:
        index: Number of the frame in the source, counted from 0.
        time: Seconds since the first frame of the stream.
        image: uint8 (H, W, 3) BGR, upright.
    """

    index: int
    time: float
    image: np.ndarray


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Properties of a video, known after its first frame is decoded.

    Args:
        size: (height, width) of the upright frames in square pixels.
        fps: Nominal frames per second; the times of the frames may vary.
        codec: Name of the codec; "images" for a folder of images.
        rotation: Degrees counterclockwise by which the stored frames are rotated to be upright.
        pixel_format: FFmpeg's name of the pixel format.
        claimed_frames: Number of frames in the header, 0 if there is none. Not reliable.
        pixel_aspect: Width of a stored pixel divided by its height; the frames are stretched to square pixels.
    """

    size: tuple[int, int]
    fps: float
    codec: str
    rotation: int
    pixel_format: str
    claimed_frames: int
    pixel_aspect: float = 1.0


class VideoReader:
    """Iterates once over the frames of a video file or a folder of images. Use it as a context manager.

    The memory does not depend on the length. Damaged parts are skipped. They and what was assumed are reported in
    `problems`, which is complete when the iteration ends.

    Args:
        source: Video file, or folder of images in the natural order of their names.
        start: Seconds from the first frame of the stream; earlier frames are skipped.
        end: Seconds from the first frame of the stream; frames at or after it are skipped.
        stride: Every `stride`-th frame is returned, counted from the first one at or after `start`.
        fps: Frames per second of a folder of images or a raw stream; ignored for files with time stamps. None: 30 for
            images, and the rate in its header for a raw stream.
        stream: Number of the video stream, counted from 0, without covers; None for the default one.
        threads: Number of decoder threads; 0 selects it by the number of CPUs.
        gpu: CUDA device that decodes a file, such as "cuda:0", where it gives the same frames; a note in `problems`
            says where it does not, and the CPU decodes. None: the CPU.

    Raises:
        VideoError: The source provides no frames. The message names the file, the cause and the remedy.
        ValueError: `stride`, `fps`, `stream`, `start` or `end` is out of range.
    """

    def __init__(
        self,
        source: Path,
        *,
        start: float | None = None,
        end: float | None = None,
        stride: int = 1,
        fps: float | None = None,
        stream: int | None = None,
        threads: int = 0,
        gpu: str | None = None,
    ) -> None:
        if (
            stride < 1
            or (fps is not None and fps <= 0)
            or (start or 0) < 0
            or (end is not None and end <= (start or 0))
        ):
            raise ValueError(
                f"stride {stride}, fps {fps}, start {start}, end {end}: stride and fps must be above 0, and start < end"
            )
        if stream is not None and stream < 0:
            raise ValueError(f"stream {stream}: streams are counted from 0")
        self.source = Path(source)
        self.problems: list[str] = []
        self._start = start or 0.0
        self._end = end
        self._stride = stride
        self._stream = self._open(fps, stream, threads, gpu)
        try:
            self._pictures, first = self._peek()
            image = first.image()
        except BaseException:
            self._stream.close()
            raise
        self.info = VideoInfo(
            size=(image.shape[0], image.shape[1]),
            fps=self._stream.fps,
            codec=self._stream.codec,
            rotation=self._stream.rotation,
            pixel_format=self._stream.pixel_format,
            claimed_frames=self._stream.claimed_frames,
            pixel_aspect=self._stream.pixel_aspect,
        )

    def _open(self, fps: float | None, stream: int | None, threads: int, gpu: str | None) -> VideoStream | ImageFolder:
        try:
            mode = self.source.stat().st_mode
        except OSError as error:
            raise VideoError(f"{self.source}: {error.strerror}; check the path and its permissions") from error
        if stat.S_ISDIR(mode):
            return ImageFolder(self.source, fps, self.problems)
        if not stat.S_ISREG(mode):
            # Opening a pipe without a writer would block forever.
            raise VideoError(f"{self.source}: a pipe or device, not a file; save the video to a file first")
        if self.source.suffix.lower() == ".webp":
            # FFmpeg cannot decode the frames of animations in this format.
            raise VideoError(f"{self.source}: WebP images and animations are not videos; convert an animation to mp4")
        if self.source.suffix.lower() in STILL_SUFFIXES:
            raise VideoError(f"{self.source}: a still image, not a video; use a folder of images instead")
        try:
            with self.source.open("rb"):
                pass
        except OSError as error:
            raise VideoError(f"{self.source}: {explain_unreadable(self.source, error)}") from error
        return VideoStream(self.source, self.problems, threads, fps=fps, number=stream, gpu=gpu)

    def _peek(self) -> tuple[Iterator[Picture], Picture]:
        """Decode up to the first requested frame, so that a source without frames fails immediately."""
        pictures = self._stream.pictures(self._start)
        last = None
        for last in pictures:
            if last.time >= self._start:
                return chain([last], pictures), last
        if last is not None:
            raise VideoError(f"{self.source}: start {self._start} s is after the last frame at {last.time:.2f} s")
        cause = self._stream.last_error or "it ends before the first frame"
        if self.problems:
            cause = "; ".join(self.problems)
        raise VideoError(
            f"{self.source}: no {self._stream.codec} frame could be decoded ({cause}); copy the file again"
        )

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and the decoder, and end the iteration."""
        self._stream.note_damage()
        self._pictures = iter(())
        self._stream.close()

    def __iter__(self) -> Iterator[Frame]:
        origin: int | None = None
        for picture in self._pictures:
            if self._end is not None and picture.time >= self._end:
                self._stream.note_damage()
                return
            origin = picture.index if origin is None else origin
            if (picture.index - origin) % self._stride == 0:
                yield Frame(picture.index, picture.time, self._at_first_size(picture))

    def _at_first_size(self, picture: Picture) -> np.ndarray:
        """Return the image at the size of the first frame, so that all coordinates have the same reference frame."""
        image = picture.image()
        height, width = self.info.size
        if image.shape[:2] == (height, width):
            return image
        text = f"the frame size changes from {width}x{height} during the video; such frames were scaled back to it"
        note = Note(text, "the frame size changes during the video; such frames were scaled back to the first one")
        if note not in self.problems:
            self.problems.append(note)
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def claimed_seconds(source: Path, *, stream: int | None = None) -> float | None:
    """Return the duration of a video file according to its header, which need not be true; None if it has none.

    Args:
        source: Video file, or folder of images, which has no header.
        stream: Number of the video stream; None for the default one.

    Raises:
        VideoError: The file cannot be read.
    """
    if source.is_dir():
        return None
    opened = VideoStream(source, [], 1, number=stream)
    try:
        return opened.claimed_seconds
    finally:
        opened.close()


def frame_times(source: Path, *, fps: float | None = None, stream: int | None = None) -> list[float]:
    """Return the times in seconds at which `VideoReader` returns the frames of a video, without decoding it.

    Args:
        source: Video file, or folder of images.
        fps: Frames per second of a folder of images; see `VideoReader`.
        stream: Number of the video stream; None for the default one.

    Returns:
        One time per frame; empty for containers and codecs in which frames cannot be numbered without decoding.

    Raises:
        VideoError: The file or folder cannot be read.
    """
    if source.is_dir():
        return ImageFolder(source, fps, []).frame_times()
    opened = VideoStream(source, [], 1, number=stream)
    try:
        return opened.frame_times()
    finally:
        opened.close()
