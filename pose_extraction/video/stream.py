"""Decode the frames of a video file with FFmpeg: safe opening, frame numbers, times, and recovery from damage.

`reader.py` is built on this module. Files are untrusted: only demuxers of video files are allowed (no playlists, which
open other files and addresses), sizes are limited, and no number in a header controls how long reading takes.
"""

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path

import av
import av.error
import numpy as np
from av.stream import Disposition

from pose_extraction.errors import VideoError
from pose_extraction.video.clock import FrameClock
from pose_extraction.video.colour import FrameConverter, display_matrix, rotation_of

# Allowed demuxers. The audio formats are included so that audio files can be distinguished from invalid files.
FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,flv,asf,ogg,gif,apng,mxf,nut,dv,rm,wtv,"
    "yuv4mpegpipe,mjpeg,vc1,swf,nsv,gxf,mp3,wav,flac,aac,aiff,amr"
)
# Twice 8K: a damaged header can request more memory than is available.
MAX_PIXELS = 2 * 7680 * 4320
# Decoding continues after damaged parts, but stops after this many consecutive packets without a frame.
MAX_CONSECUTIVE_ERRORS = 1000
MAX_READ_ERRORS = 16
# More threads are hardly faster, and each one holds a frame that is lost if an error occurs at the end.
MAX_THREADS = 8
# Here, each packet is one frame with its own presentation time, so that frames can be numbered without decoding.
INDEXED_FORMATS = frozenset({"mov", "matroska"})
INDEXED_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "libdav1d"})
# Tolerated difference between the length in the header and the actual length, due to rounding and audio.
MISSING_TAIL = 0.5
MISSING_SHARE = 0.02


@dataclass(slots=True)
class Picture:
    """A frame whose conversion is deferred: `image()` returns uint8 (H, W, 3) BGR, upright."""

    index: int
    time: float
    image: Callable[[], np.ndarray]


@dataclass(frozen=True, slots=True)
class SeekResult:
    """Result of a seek: time stamp of the first frame of the stream; time stamp and number of the next frame."""

    origin: int
    stamp: int
    index: int


class VideoStream:
    """The main video stream of a file.

    Args:
        path: Regular file.
        problems: List to which one sentence is appended for each problem that does not stop decoding.
        threads: Number of decoder threads; 0 selects it by the number of CPUs.

    Raises:
        VideoError: The file cannot be decoded; the message states the reason.
    """

    def __init__(self, path: Path, problems: list[str], threads: int = 0) -> None:
        self._path = path
        self._problems = problems
        self._threads = threads or min(os.cpu_count() or 1, MAX_THREADS)
        self._converter = FrameConverter()
        self._clock: FrameClock | None = None
        self._skipped = self._damaged = 0
        self.last_error = ""
        self.rotation = 0
        self._open()
        rate = next((rate for rate in (self._stream.average_rate, self._stream.guessed_rate) if rate), None)
        self.fps = float(rate) if rate and 0.01 <= rate <= 1000 else 25.0
        self.codec: str = self._stream.codec_context.codec.canonical_name
        self.pixel_format: str = self._stream.codec_context.pix_fmt or "unknown"
        self.claimed_frames: int = self._stream.frames

    def _open(self) -> None:
        name = str(self._path.absolute())
        # FFmpeg requires file names in UTF-8. For other names, pass the open file instead.
        try:
            name.encode()
            source = name
        except UnicodeEncodeError:
            source = self._path.open("rb")  # type: ignore[assignment]
        try:
            self._container = av.open(
                source,
                options={"format_whitelist": FORMATS, "protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)},
                metadata_errors="replace",
            )
        except (av.error.FFmpegError, ValueError) as error:
            raise VideoError(f"{self._path}: {explain_unreadable(self._path, error)}") from error
        try:
            self._stream = self._choose_stream()
        except VideoError:
            self._container.close()
            raise
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.thread_count = self._threads
        self._stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}

    def _choose_stream(self) -> av.VideoStream:
        streams = [s for s in self._container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            kinds = ", ".join(sorted({stream.type for stream in self._container.streams})) or "no stream"
            raise VideoError(f"{self._path}: contains {kinds}, but no video; remove this file from the input")
        usable = [stream for stream in streams if stream.codec_context is not None]
        if not usable:
            tag = next((stream.codec_tag for stream in streams if hasattr(stream, "codec_tag")), "")
            raise VideoError(f"{self._path}: no decoder for the video codec {tag}; convert it to h264 first".strip())
        return max(usable, key=lambda stream: stream.codec_context.width * stream.codec_context.height)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def pictures(self, start: float) -> Iterator[Picture]:
        """Yield frames in display order, starting at or before the last key frame before `start`, in seconds.

        Frames are numbered from the first one of the stream. Seeking is used only if the frame number is certain.
        """
        landing = self._jump(start) if start > 0 else None
        frames = self._decoded()
        if landing is not None:
            first = next(frames, None)
            if first is not None and first.pts == landing.stamp:
                frames = chain([first], frames)
            else:
                landing = None
                self._reopen()
                frames = self._decoded()
        step = 1 / self.fps
        self._clock = FrameClock(self._stream.time_base or Fraction(1, 1000), step, landing.origin if landing else None)
        index = landing.index if landing else 0
        by_decode_order = self._container.format.name == "avi"
        time = None
        for index, frame in enumerate(frames, index):  # noqa: B020
            if not by_decode_order:
                time = self._clock.time(frame.pts)
            elif frame.dts is not None:
                # AVI stores no presentation times, and those generated by FFmpeg are in storage order.
                time = self._clock.time(frame.dts)
            else:
                # The last frames, which the decoder returns after the last packet.
                time = self._clock.tick()
            self._damaged += frame.is_corrupt
            self.rotation = rotation_of(display_matrix(frame))
            yield Picture(index, time, partial(self._converter.convert, frame))
        if time is not None:
            self._note_shortfall(index + 1, time + step)
        self.note_damage()

    def _note_shortfall(self, frames: int, seconds: float) -> None:
        promised = self._promised_seconds()
        if promised is not None and promised - seconds > max(MISSING_TAIL, promised * MISSING_SHARE):
            text = f"the header specifies {promised:.1f} s, but the file ends at {seconds:.1f} s, after {frames} frames"
        elif self.claimed_frames - frames > max(1, self.claimed_frames * MISSING_SHARE):
            text = f"the header specifies {self.claimed_frames} frames, but only {frames} can be read"
        else:
            return
        self._problems.append(f"{text}: the file is truncated or damaged")

    def note_damage(self) -> None:
        """Append the damage found so far to `problems`, once."""
        if self._skipped:
            self._problems.append(f"{self._skipped} packets could not be decoded and were skipped: {self.last_error}")
        if self._damaged:
            self._problems.append(f"{self._damaged} frames are damaged and were repaired by the decoder")
        if self._clock is not None and self._clock.repaired:
            count = self._clock.repaired
            self._problems.append(
                f"{count} frames had missing, repeated or decreasing time stamps, which were corrected"
            )
            self._clock.repaired = 0
        if self._clock is not None and self._clock.holes:
            first, last = self._clock.holes[0]
            count = len(self._clock.holes)
            self._problems.append(f"no frames from {first:.2f} s to {last:.2f} s ({count} such gaps)")
            self._clock.holes.clear()
        self._skipped = self._damaged = 0

    def _promised_seconds(self) -> float | None:
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base)
        # The duration of a container applies to its longest stream, which is often the audio.
        if self._container.duration is not None and len(self._container.streams) == 1:
            return self._container.duration / av.time_base
        return None

    def _packets(self) -> Iterator[av.Packet]:
        """Yield packets up to the end of the file, skipping unreadable parts."""
        for _ in range(MAX_READ_ERRORS):
            try:
                # The decoder would interpret a packet without data as the end of the stream.
                yield from (packet for packet in self._container.demux(self._stream) if packet.size)
                return
            except av.error.FFmpegError as error:
                self.last_error = error.strerror or str(error)
        self._problems.append(f"reading stopped after {MAX_READ_ERRORS} errors: {self.last_error}")

    def _decoded(self) -> Iterator[av.VideoFrame]:
        consecutive = 0
        for packet in self._packets():
            try:
                frames = self._stream.decode(packet)
            except av.error.FFmpegError as error:
                self.last_error = error.strerror or str(error)
                self._skipped, consecutive = self._skipped + 1, consecutive + 1
                if consecutive >= MAX_CONSECUTIVE_ERRORS:
                    self._problems.append(f"decoding stopped after {consecutive} consecutive errors: {self.last_error}")
                    return
                continue
            if frames:
                consecutive = 0
            yield from frames
        try:
            yield from self._stream.decode(None)
        except av.error.FFmpegError as error:
            self.last_error = error.strerror or str(error)
            self._skipped += 1

    def _jump(self, start: float) -> SeekResult | None:
        """Seek to the key frame before `start` if its frame number is certain; otherwise rewind and return None.

        The packets before `start` are read, which is fast, but not decoded.
        """
        stamps, keys = self._stamps_until(start)
        self._reopen()
        if not stamps or self._stream.time_base is None:
            return None
        target = stamps[0] + int(start / self._stream.time_base)
        key = max((key for key in keys if key <= target), default=stamps[0])
        if key == stamps[0]:
            return None
        try:
            self._container.seek(key, stream=self._stream, backward=True)
        except av.error.FFmpegError as error:
            self.last_error = error.strerror or str(error)
            self._reopen()
            return None
        return SeekResult(origin=stamps[0], stamp=key, index=bisect_left(stamps, key))

    def _stamps_until(self, start: float) -> tuple[list[int], set[int]]:
        """Return the sorted time stamps of all frames up to `start`, and the key frames; empty if not reliable."""
        formats = set(self._container.format.name.split(","))
        if not formats & INDEXED_FORMATS or self.codec not in INDEXED_CODECS or self._stream.time_base is None:
            return [], set()
        stamps: list[int] = []
        keys: set[int] = set()
        for packet in self._packets():
            if packet.pts is None or packet.dts is None or packet.is_corrupt or packet.is_discard:
                return [], set()
            if not stamps and not packet.is_keyframe:
                return [], set()
            stamps.append(packet.pts)
            if packet.is_keyframe:
                keys.add(packet.pts)
            # Later packets are displayed no earlier than they are decoded.
            if (packet.dts - stamps[0]) * self._stream.time_base > start:
                break
        # Frames displayed before the first key frame cannot be decoded, and equal time stamps have no unique order.
        certain = bool(stamps) and min(stamps) == stamps[0] and len(set(stamps)) == len(stamps) and not self.last_error
        return (sorted(stamps), keys) if certain else ([], set())

    def _reopen(self) -> None:
        self._container.close()
        self._open()


def explain_unreadable(path: Path, error: Exception) -> str:
    """Return one sentence on why a file cannot be opened as a video, and how to fix it.

    Args:
        path: The file.
        error: Exception raised when opening it.
    """
    if isinstance(error, PermissionError | av.error.PermissionError):
        return "no permission to read this file; change its permissions or owner"
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        return "the file is empty (0 bytes); copy it again from its source"
    text = getattr(error, "strerror", None) or str(error)
    # The last character may be incomplete.
    with suppress(UnicodeDecodeError):
        if b"\0" not in head and head[:-4].decode():
            return "a text file, not a video; remove it from the input"
    if head[4:8] in (b"ftyp", b"mdat", b"free", b"wide"):
        return (
            f"the mp4 index is missing or damaged ({text}): recording or copying was interrupted; copy the file again"
        )
    return f"not a supported video ({text}); if other programs can play it, convert it to h264 in mp4"
