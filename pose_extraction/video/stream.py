"""Decode the frames of a video file with FFmpeg: frame numbers, times, and recovery from damage.

`reader.py` is built on this module. Files are untrusted: see `opening.py`; and no number in a header controls how long
reading takes.
"""

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain, islice
from pathlib import Path

import av
import av.error
import numpy as np
from av.codec.hwaccel import HWAccel

from pose_extraction.errors import VideoError
from pose_extraction.video.clock import FrameClock
from pose_extraction.video.colour import FrameConverter, display_matrix, is_quarter_turn, rotation_of
from pose_extraction.video.completeness import Completeness
from pose_extraction.video.gpu_decoding import GpuFrames, NotOnGpu, accelerator, refuse_unsuitable
from pose_extraction.video.notes import Note
from pose_extraction.video.opening import MAX_PIXELS, choose_stream, open_container, pixel_aspect_of
from pose_extraction.video.rate import rate_of

# Decoding continues after damaged parts, but stops after this many consecutive packets without a frame.
MAX_CONSECUTIVE_ERRORS = 1000
MAX_READ_ERRORS = 16
# More threads are hardly faster, and each one holds a frame that is lost if an error occurs at the end.
MAX_THREADS = 8
# Here, each packet is one frame with its own presentation time, so that frames can be numbered without decoding.
INDEXED_FORMATS = frozenset({"mov", "matroska"})
INDEXED_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "libdav1d"})
UNEVEN_TURN = Note("rotated by an angle between quarter turns; the nearest quarter turn is used")


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
        problems: List to which one note is appended for each problem that does not stop decoding.
        threads: Number of decoder threads; 0 selects it by the number of CPUs.
        fps: Frames per second of a raw stream; None for the rate in its header. Ignored for other files.
        number: Number of the video stream; None for the default one, see `choose_stream`.
        gpu: CUDA device that decodes, where it can, such as "cuda:0"; None for the CPU.

    Raises:
        VideoError: The file cannot be decoded; the message states the reason.
    """

    def __init__(
        self,
        path: Path,
        problems: list[str],
        threads: int = 0,
        *,
        fps: float | None = None,
        number: int | None = None,
        gpu: str | None = None,
    ) -> None:
        self._path = path
        self._problems = problems
        self._number = number
        self._threads = threads or min(os.cpu_count() or 1, MAX_THREADS)
        self._gpu = gpu
        # Time stamp of the key frame at which decoding began; None for the beginning of the file.
        self._sought: int | None = None
        self._clock: FrameClock | None = None
        self._skipped = self._damaged = self._interlaced = 0
        self.last_error = ""
        self.rotation = 0
        self._open()
        self._rate = rate_of(self._container.format.name, self._stream, fps)
        self._is_avi = self._container.format.name == "avi"
        self.pixel_aspect, aspect_notes = pixel_aspect_of(self._stream)
        self._converter = FrameConverter(self.pixel_aspect)
        self._completeness = Completeness(self._path, self._container, self._stream)
        self._problems += [*self._choice, *self._rate.notes, *aspect_notes, *_ignored(self._stream)]
        self.fps = self._rate.fps
        self.codec: str = self._stream.codec_context.codec.canonical_name
        # That of a GPU's frames is known when the first one is decoded.
        self.pixel_format: str = self._stream.codec_context.pix_fmt or "unknown"
        self.claimed_frames: int = self._stream.frames

    def _open(self) -> None:
        if self._gpu is not None:
            try:
                self._open_on_gpu(self._gpu)
            except NotOnGpu as error:
                self._leave_gpu(error)
            except VideoError:
                # If it is not the GPU's fault, the CPU gives the error.
                self._leave_gpu(NotOnGpu(f"{self._gpu} cannot be used; it may have too little free memory"))
        if self._gpu is None:
            self._open_with(None)

    def _open_on_gpu(self, gpu: str) -> None:
        self._open_with(accelerator(gpu))
        try:
            refuse_unsuitable(self._stream)
        except NotOnGpu:
            self._container.close()
            raise

    def _open_with(self, hwaccel: HWAccel | None) -> None:
        self._container = open_container(self._path, hwaccel)
        try:
            self._stream, self._choice = choose_stream(self._container, self._path, self._number)
        except VideoError:
            self._container.close()
            raise
        self._stream.thread_type = "AUTO"
        # The CPU has nothing to do in parallel while a GPU decodes.
        self._stream.codec_context.thread_count = self._threads if hwaccel is None else 1
        self._stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}

    def _leave_gpu(self, reason: NotOnGpu) -> None:
        """Let the CPU decode from now on."""
        self._gpu = None
        self._problems.append(Note(f"decoded by the CPU, not the GPU: {reason}", "decoded by the CPU, not the GPU"))

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
                landing = self._sought = None
                self._reopen()
                frames = self._decoded()
        step = 1 / self.fps
        self._clock = FrameClock(self._stream.time_base or Fraction(1, 1000), step, landing.origin if landing else None)
        self._completeness = Completeness(self._path, self._container, self._stream)
        index = landing.index if landing else 0
        time = None
        for index, frame in enumerate(frames, index):  # noqa: B020
            time = self._time_of(frame, self._clock)
            self._note_frame(frame)
            yield Picture(index, time, partial(self._converter.convert, frame))
        if time is not None:
            self._problems += self._completeness.shortfall(index + 1, time + step)
        self.note_damage()

    @property
    def claimed_seconds(self) -> float | None:
        """Duration according to the header; None if it has none."""
        return self._completeness.promised_seconds()

    def frame_times(self) -> list[float]:
        """Return the times of all frames in seconds, read without decoding; empty if they are not certain."""
        stamps, _ = self._stamps_until(float("inf"))
        base = self._stream.time_base
        self._reopen()
        return [float((stamp - stamps[0]) * base) for stamp in stamps] if base is not None else []

    def _time_of(self, frame: av.VideoFrame, clock: FrameClock) -> float:
        if self._rate.is_counted:
            return clock.tick()
        if not self._is_avi:
            return clock.time(frame.pts)
        # AVI stores no presentation times, and those generated by FFmpeg are in storage order. The last frames, which
        # the decoder returns after the last packet, have none.
        return clock.tick() if frame.dts is None else clock.time(frame.dts)

    def _note_frame(self, frame: av.VideoFrame) -> None:
        """Count what a frame says about itself."""
        self._damaged += frame.is_corrupt
        self._interlaced += frame.interlaced_frame
        matrix = display_matrix(frame)
        self.rotation = rotation_of(matrix)
        if not is_quarter_turn(matrix) and UNEVEN_TURN not in self._problems:
            self._problems.append(UNEVEN_TURN)

    def note_damage(self) -> None:
        """Append the damage found so far to `problems`, once."""
        clock = self._clock
        if self._skipped:
            text = f"{self._skipped} packets could not be decoded and were skipped: {self.last_error}"
            self._problems.append(Note(text, "packets could not be decoded and were skipped"))
        if self._damaged:
            text = "frames are damaged and were repaired by the decoder"
            self._problems.append(Note(f"{self._damaged} {text}", text))
        if self._interlaced:
            text = "interlaced: fast limbs have comb-like edges; deinterlace the video first for better poses"
            self._problems.append(Note(f"{self._interlaced} frames are {text}", text))
        if clock is not None and clock.repaired:
            text = "frames had missing, repeated or decreasing time stamps, which were corrected"
            self._problems.append(Note(f"{clock.repaired} {text}", text))
            clock.repaired = 0
        # In AVI, a gap between time stamps consists of empty chunks: the picture before is shown once more.
        if clock is not None and clock.holes and not self._is_avi:
            first, last = clock.holes[0]
            text = f"no frames from {first:.2f} s to {last:.2f} s ({len(clock.holes)} such gaps)"
            self._problems.append(Note(text, "gaps without frames"))
            clock.holes.clear()
        self._skipped = self._damaged = self._interlaced = 0

    def _packets(self) -> Iterator[av.Packet]:
        """Yield packets up to the end of the file, skipping unreadable parts."""
        for _ in range(MAX_READ_ERRORS):
            try:
                for packet in self._container.demux(self._stream):
                    # The decoder would interpret a packet without data as the end of the stream.
                    if packet.size:
                        self._completeness.count(packet)
                        yield packet
                return
            except av.error.FFmpegError as error:
                self.last_error = error.strerror or str(error)
        text = f"reading stopped after {MAX_READ_ERRORS} errors"
        self._problems.append(Note(f"{text}: {self.last_error}", text))

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Yield the decoded frames in display order; the GPU's only as long as they are certainly those of the CPU."""
        given = 0
        if self._gpu is not None:
            try:
                frames = GpuFrames(self._stream)
                for frame in self._decoded_once():
                    planar = frames.planar(frame)
                    self.pixel_format = planar.format.name
                    yield planar
                    given += 1
            except NotOnGpu as error:
                self._leave_gpu(error)
                self._restart()
            else:
                return
        yield from islice(self._decoded_once(), given, None)

    def _restart(self) -> None:
        """Begin again where decoding began."""
        self._reopen()
        self._completeness = Completeness(self._path, self._container, self._stream)
        self.pixel_format = self._stream.codec_context.pix_fmt or "unknown"
        if self._sought is not None:
            self._container.seek(self._sought, stream=self._stream, backward=True)

    def _decoded_once(self) -> Iterator[av.VideoFrame]:
        consecutive = 0
        for packet in self._packets():
            try:
                frames = self._stream.decode(packet)
            except av.error.FFmpegError as error:
                self._refuse_damage(error)
                self.last_error = error.strerror or str(error)
                self._skipped, consecutive = self._skipped + 1, consecutive + 1
                if consecutive >= MAX_CONSECUTIVE_ERRORS:
                    text = f"decoding stopped after {consecutive} consecutive errors"
                    self._problems.append(Note(f"{text}: {self.last_error}", text))
                    return
                continue
            if frames:
                consecutive = 0
            yield from frames
        try:
            yield from self._stream.decode(None)
        except av.error.FFmpegError as error:
            self._refuse_damage(error)
            self.last_error = error.strerror or str(error)
            self._skipped += 1

    def _refuse_damage(self, error: av.error.FFmpegError) -> None:
        """Leave packets that cannot be decoded to the CPU, which may repair their frames."""
        if self._gpu is not None:
            raise NotOnGpu(f"it is damaged ({error.strerror or error})") from error

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
        self._sought = key
        return SeekResult(origin=stamps[0], stamp=key, index=bisect_left(stamps, key))

    def _stamps_until(self, start: float) -> tuple[list[int], set[int]]:
        """Return the sorted time stamps of all frames up to `start`, and the key frames; empty if not reliable."""
        formats = set(self._container.format.name.split(","))
        if not formats & INDEXED_FORMATS or self.codec not in INDEXED_CODECS or self._stream.time_base is None:
            return [], set()
        stamps: list[int] = []
        keys: set[int] = set()
        for packet in self._packets():
            if packet.pts is None or packet.is_corrupt or packet.is_discard:
                return [], set()
            if not stamps and not packet.is_keyframe:
                return [], set()
            stamps.append(packet.pts)
            if packet.is_keyframe:
                keys.add(packet.pts)
            # Later packets are displayed no earlier than they are decoded. Matroska does not always store when.
            if packet.dts is not None and (packet.dts - stamps[0]) * self._stream.time_base > start:
                break
        # Frames displayed before the first key frame cannot be decoded, and equal time stamps have no unique order.
        certain = bool(stamps) and min(stamps) == stamps[0] and len(set(stamps)) == len(stamps) and not self.last_error
        return (sorted(stamps), keys) if certain else ([], set())

    def _reopen(self) -> None:
        self._container.close()
        self._open()


def _ignored(stream: av.VideoStream) -> list[Note]:
    """Return notes on parts of a stream that are not used."""
    if stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1":
        return [Note("transparency is stored next to the video and is not used; transparent parts show hidden colours")]
    return []
