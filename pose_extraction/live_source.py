"""Frames of a camera or of a stream from the network, as they come: the newest ones when the networks are slow.

A recording behind an address has an end that is known beforehand and waits to be read; all of its frames are handed on.
Anything else runs on by itself, and frames for which there is no time are left out, so that answers do not fall behind.
"""

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from time import monotonic

import av
import av.error
import cv2
import numpy as np

from pose_extraction.errors import VideoError
from pose_extraction.video import Frame, VideoInfo
from pose_extraction.video_clock import FrameClock
from pose_extraction.video_colour import FrameConverter, display_matrix, rotation_of
from pose_extraction.video_stream import FORMATS, MAX_CONSECUTIVE_ERRORS, MAX_PIXELS

ADDRESS = re.compile(r"(rtsps?|https?)://\S+", re.IGNORECASE)
# What an address may lead to, besides video files: not playlists, which open further addresses.
LIVE_FORMATS = f"{FORMATS},rtsp,sdp,rtp,mpjpeg"
PROTOCOLS = "http,https,tcp,udp,tls,rtsp,rtsps,rtp,srtp"
CAMERA_FORMAT = "video4linux2"
# Seconds after which an address that does not answer, or a stream that falls silent, counts as ended.
SILENCE = 10.0
# Frames that wait for the networks: one that is taken next, and one to take its place.
WAITING = 2
# Seconds after which a waiting reader looks whether it is still wanted.
POLL = 0.1


def is_live(given: str) -> bool:
    """Whether a word names a camera (its number, or its device) or an address, and no file."""
    return bool(ADDRESS.fullmatch(given)) or (_camera_of(given) is not None and not Path(given).is_file())


def _camera_of(given: str) -> str | None:
    if given.isascii() and given.isdecimal():
        return f"/dev/video{int(given)}"
    return given if re.fullmatch(r"/dev/video\d+", given) else None


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """A frame, and when it came.

    Args:
        frame: The frame; its time is the stream's own.
        arrived: Seconds of `time.monotonic` at which it had been decoded.
    """

    frame: Frame
    arrived: float


class LiveSource:
    """Reads a camera or an address in a thread of its own; a context manager.

    Args:
        address: Number of a camera, /dev/videoN, or an address of http, https, rtsp or rtsps.
        silence: Seconds after which a source that sends nothing has ended.
        is_unwanted: Asked now and then; the frames end when it says so.

    Attributes:
        info: What is known of the stream.
        is_recording: Whether its end is known beforehand, so that no frame is left out.
        dropped: Frames that were left out so far.
        problems: What went wrong, one sentence each; complete at the end.

    Raises:
        VideoError: There is no such source, or it gives no frame.
    """

    def __init__(
        self, address: str, *, silence: float = SILENCE, is_unwanted: Callable[[], bool] = lambda: False
    ) -> None:
        self.address = address
        self.dropped = 0
        self.problems: list[str] = []
        self._silence = silence
        self._is_unwanted = is_unwanted
        self._waiting: deque[tuple[int, float, float, av.VideoFrame]] = deque()
        self._changed = threading.Condition()
        self._ended = self._stopped = False
        self._converter = FrameConverter()
        self._container = self._open()
        try:
            self._stream = self._container.streams.video[0]
        except IndexError as error:
            self._container.close()
            raise VideoError(f"{address}: sends no video; give the address of the video stream itself") from error
        self._stream.thread_type = "SLICE"
        self._stream.codec_context.options = {"max_pixels": str(MAX_PIXELS), "flags": "low_delay"}
        rate = self._stream.average_rate or self._stream.guessed_rate
        self._fps = float(rate) if rate and 0.01 <= rate <= 240 else 25.0
        self.is_recording = self._container.duration is not None and self._container.duration > 0
        self._thread = threading.Thread(target=self._read, name="live", daemon=True)
        self._thread.start()
        first = self._take()
        if first is None:
            self.close()
            cause = "; ".join(self.problems) or "it ends before its first picture"
            raise VideoError(f"{address}: gives no picture ({cause}); check the address with a player")
        self._first: LiveFrame | None = None
        self._size: tuple[int, int] | None = None
        self._first = self._converted(first)
        self.info = VideoInfo(
            size=(self._first.frame.image.shape[0], self._first.frame.image.shape[1]),
            fps=self._fps,
            codec=self._stream.codec_context.codec.canonical_name,
            rotation=rotation_of(display_matrix(first[3])),
            pixel_format=self._stream.codec_context.pix_fmt or "unknown",
            claimed_frames=0,
        )

    def _open(self) -> "av.container.InputContainer":
        camera = _camera_of(self.address)
        options = {"max_pixels": str(MAX_PIXELS)}
        try:
            if camera is not None:
                return av.open(camera, format=CAMERA_FORMAT, options=options, timeout=self._silence)
            options |= {"format_whitelist": LIVE_FORMATS, "protocol_whitelist": PROTOCOLS}
            if self.address.lower().startswith("rtsp"):
                # Packets of a picture that get lost on the way make it unusable; over TCP none does.
                options["rtsp_transport"] = "tcp"
            return av.open(self.address, options=options, timeout=self._silence, metadata_errors="replace")
        except (av.error.FFmpegError, OSError, ValueError) as error:
            text = getattr(error, "strerror", None) or str(error)
            remedy = (
                "is a camera attached there, and may this user read it?"
                if camera is not None
                else "check the address with a player; playlists (.m3u8) are not followed, give the stream itself"
            )
            raise VideoError(f"{self.address}: cannot be opened ({text}); {remedy}") from error

    def __enter__(self) -> "LiveSource":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the reading; frames that wait are gone."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()
        # A source that is silent keeps its thread until it counts as ended; it is nobody's loss by then.
        self._thread.join(timeout=2 * POLL)

    def __iter__(self) -> Iterator[LiveFrame]:
        """Frames in order, until the stream ends or `close` is called."""
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        while (taken := self._take()) is not None:
            yield self._converted(taken)

    def _take(self) -> tuple[int, float, float, av.VideoFrame] | None:
        with self._changed:
            while not self._waiting or self._is_unwanted():
                if self._ended or self._stopped or self._is_unwanted():
                    return None
                self._changed.wait(POLL)
            taken = self._waiting.popleft()
            self._changed.notify_all()
            return taken

    def _converted(self, taken: tuple[int, float, float, av.VideoFrame]) -> LiveFrame:
        index, time, arrived, frame = taken
        image = self._converter.convert(frame)
        if self._size is None:
            self._size = (image.shape[0], image.shape[1])
        elif image.shape[:2] != self._size:
            height, width = self._size
            note = f"the frame size changes from {width}x{height} in mid-stream; such frames were scaled back to it"
            if note not in self.problems:
                self.problems.append(note)
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return LiveFrame(Frame(index, time, np.ascontiguousarray(image)), arrived)

    def _read(self) -> None:
        """The thread: decodes to the end, and puts frames where they wait."""
        try:
            self._decode()
        except (av.error.FFmpegError, ValueError, OverflowError, MemoryError) as error:
            self.problems.append(f"the stream cannot be read on ({type(error).__name__}: {error})")
        finally:
            self._container.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _packets(self) -> Iterator[av.Packet | None]:
        """Packets, and None at the end, at which the decoder hands out what it holds back."""
        try:
            yield from (packet for packet in self._container.demux(self._stream) if packet.size)
        except av.error.FFmpegError as error:
            # Many servers end a stream like that: by closing the connection without a word.
            with self._changed:
                wanted = not self._stopped
            if wanted:
                self.problems.append(f"the source ended or broke off ({error.strerror or error})")
        yield None

    def _decode(self) -> None:
        clock = FrameClock(self._stream.time_base or Fraction(1, 1000), 1 / self._fps)
        index, errors = 0, 0
        for packet in self._packets():
            try:
                frames = self._stream.decode(packet)
            except av.error.InvalidDataError as error:
                # The first pictures of a stream that was joined midway often cannot be decoded.
                errors += 1
                if errors >= MAX_CONSECUTIVE_ERRORS:
                    self.problems.append(f"decoding stopped after {errors} errors in a row ({error.strerror})")
                    return
                continue
            for frame in frames:
                errors = 0
                if not self._put((index, clock.time(frame.pts), monotonic(), frame)):
                    return
                index += 1

    def _put(self, item: tuple[int, float, float, av.VideoFrame]) -> bool:
        """Adds a frame; False when nobody wants any more."""
        with self._changed:
            if self.is_recording:
                while len(self._waiting) >= WAITING and not self._stopped:
                    self._changed.wait(POLL)
            elif len(self._waiting) >= WAITING:
                self._waiting.popleft()
                self.dropped += 1
            if self._stopped:
                return False
            self._waiting.append(item)
            self._changed.notify_all()
            return True
