"""Write videos that browsers can play: h264 in mp4, or VP9 if FFmpeg was built without an h264 encoder."""

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import av.error
import numpy as np

from pose_extraction.errors import VideoError
from pose_extraction.files import atomic_write, part_path
from pose_extraction.video.colour import MATRIX_BT709, RANGE_FULL, RANGE_LIMITED

# Fine enough for any frame rate, and common in mp4 files.
TIME_BASE = Fraction(1, 90000)
# Encoders in order of preference, with settings that are faster than decoding the source.
ENCODERS = {
    "libx264": {"preset": "veryfast", "crf": "23"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "33", "b": "0", "row-mt": "1"},
}


def encoder_name() -> str:
    """Return the first available encoder of `ENCODERS`.

    Raises:
        VideoError: The FFmpeg build has none of them.
    """
    for name in ENCODERS:
        if name in av.codecs_available:
            return name
    raise VideoError(f"cannot write videos: PyAV has none of {', '.join(ENCODERS)}; install the official PyAV wheel")


class VideoWriter:
    """Writes frames to an mp4 file. Use it as a context manager: the file is created only if the block succeeds.

    Args:
        path: Output file; its folder is created.
        fps: Nominal frames per second; the times of the frames may vary.
        size: (height, width) of the frames in pixels. Odd sizes are padded to even ones, as encoders require.

    Raises:
        VideoError: There is no encoder, the size or rate is not supported, or the disk is full.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        if not (0 < fps <= 1000) or min(size) < 1:
            raise VideoError(
                f"{path}: cannot write {size[1]}x{size[0]} at {fps} frames per second; both must be above 0"
            )
        self.path = path
        self.fps = fps
        self.size = size
        self._last = -1
        self._stack = ExitStack()

    def __enter__(self) -> "VideoWriter":
        with ExitStack() as stack:
            stack.enter_context(atomic_write(self.path))
            # Open by name: `faststart`, which moves the index to the front so that browsers can start playing during
            # the download, opens the file a second time.
            part = str(part_path(self.path).absolute())
            self._container = av.open(part, "w", format="mp4", options={"movflags": "+faststart"})
            stack.callback(self._finish)
            self._stream = self._add_stream()
            self._stack = stack.pop_all()
        return self

    def _add_stream(self) -> av.VideoStream:
        name = encoder_name()
        rate = Fraction(self.fps).limit_denominator(1001)
        stream = self._container.add_stream(name, rate=rate, options=dict(ENCODERS[name]))
        height, width = self.size
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = TIME_BASE
        # Explicit tags, because players otherwise guess by the size.
        context.colorspace, context.color_range = MATRIX_BT709, RANGE_LIMITED
        context.color_primaries = context.color_trc = MATRIX_BT709
        return stream

    def write(self, image: np.ndarray, time: float | None = None) -> None:
        """Append a frame.

        Args:
            image: uint8 (H, W, 3) BGR with the size of the video.
            time: Seconds since the first frame; None for one nominal step after the last frame.

        Raises:
            VideoError: The image has another size or type, or it cannot be encoded or written.
        """
        if image.shape != (*self.size, 3) or image.dtype != np.uint8:
            raise VideoError(f"{self.path}: got a frame {image.dtype} {image.shape}, expected uint8 {(*self.size, 3)}")
        height, width = self.size
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(
            format="yuv420p",
            src_color_range=RANGE_FULL,
            dst_color_range=RANGE_LIMITED,
            dst_colorspace=MATRIX_BT709,
            threads=1,
        )
        if time is None:
            stamp = 0 if self._last < 0 else self._last + round(1 / self.fps / TIME_BASE)
        else:
            stamp = max(round(time / TIME_BASE), 0)
        # The muxer fails for frames with the same time stamp.
        self._last = frame.pts = max(stamp, self._last + 1)
        frame.time_base = TIME_BASE
        self._encode(frame)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except av.error.FFmpegError as error:
            raise self._refused(error) from error

    def _finish(self) -> None:
        try:
            self._container.close()
        except av.error.FFmpegError as error:
            raise self._refused(error) from error

    def _refused(self, error: av.error.FFmpegError) -> VideoError:
        return VideoError(f"{self.path}: cannot write the video ({error.strerror}); is the disk full?")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._stack as stack:
            if kind is None:
                if self._last < 0:
                    raise VideoError(f"{self.path}: no frames were written")
                self._encode(None)
            else:
                # Passes the exception to `atomic_write`, which removes the incomplete file.
                stack.__exit__(kind, error, traceback)
