"""Read frames from a camera or a network stream.

If an address serves a recording with a known end, all of its frames are returned. Other sources are live: frames for
which the networks have no time are dropped, so that the results do not lag behind.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from time import monotonic

import av
import av.error
import cv2
import numpy as np

from pose_extraction.errors import VideoError
from pose_extraction.video.addresses import camera_of
from pose_extraction.video.clock import FrameClock
from pose_extraction.video.colour import FrameConverter, display_matrix, rotation_of
from pose_extraction.video.notes import Note
from pose_extraction.video.opening import FORMATS, MAX_PIXELS, choose_stream, pixel_aspect_of
from pose_extraction.video.reader import Frame, VideoInfo
from pose_extraction.video.stream import MAX_CONSECUTIVE_ERRORS

# Formats accepted from an address in addition to video files. Playlists are excluded because they open other addresses.
LIVE_FORMATS = f"{FORMATS},rtsp,sdp,rtp,mpjpeg"
PROTOCOLS = "http,https,tcp,udp,tls,rtsp,rtsps,rtp,srtp"
CAMERA_FORMAT = "video4linux2"
# Seconds after which an unresponsive address or a silent stream is considered ended.
SILENCE = 10.0
# Frames in the queue: one to be taken next, and one to replace it.
WAITING = 2
# Interval in seconds at which a waiting reader checks whether it should stop.
POLL = 0.1


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """A frame with its arrival time.

    Args:
        frame: The frame; its time is that of the stream.
        arrived: Time in seconds of `time.monotonic` at which it was decoded.
    """

    frame: Frame
    arrived: float


class LiveSource:
    """Reads a camera or an address in a background thread. Use it as a context manager.

    Args:
        address: Camera number, /dev/videoN, or an address with http, https, rtsp or rtsps.
        silence: Seconds without data after which the source is considered ended.
        is_unwanted: Called regularly; iteration stops when it returns True.

    Attributes:
        info: Properties of the stream.
        is_recording: Whether the end of the stream is known, so that no frames are dropped.
        dropped: Number of frames dropped so far.
        problems: One sentence for each problem; complete at the end of the stream.

    Raises:
        VideoError: The source does not exist, or provides no frames.
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
        self._container = self._open()
        try:
            self._stream, notes = choose_stream(self._container, address)
        except VideoError:
            self._container.close()
            raise
        self._pixel_aspect, aspect_notes = pixel_aspect_of(self._stream)
        self._converter = FrameConverter(self._pixel_aspect)
        self.problems += [*notes, *aspect_notes]
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
            cause = "; ".join(self.problems) or "it ends before the first frame"
            raise VideoError(f"{address}: provides no frames ({cause}); check the address with a video player")
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
            pixel_aspect=self._pixel_aspect,
        )

    def _open(self) -> "av.container.InputContainer":
        camera = camera_of(self.address)
        options = {"max_pixels": str(MAX_PIXELS)}
        try:
            if camera is not None:
                return av.open(camera, format=CAMERA_FORMAT, options=options, timeout=self._silence)
            options |= {"format_whitelist": LIVE_FORMATS, "protocol_whitelist": PROTOCOLS}
            if self.address.lower().startswith("rtsp"):
                # A lost packet makes a whole frame unusable. TCP avoids packet loss.
                options["rtsp_transport"] = "tcp"
            return av.open(self.address, options=options, timeout=self._silence, metadata_errors="replace")
        except (av.error.FFmpegError, OSError, ValueError) as error:
            text = getattr(error, "strerror", None) or str(error)
            remedy = (
                "check that a camera is connected and that this user may read it"
                if camera is not None
                else "check the address with a video player; playlists (.m3u8) are not supported"
            )
            raise VideoError(f"{self.address}: cannot be opened ({text}); {remedy}") from error

    def __enter__(self) -> "LiveSource":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading and discard the queue."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()
        # The thread of a silent source runs until the source is considered ended, which does no harm.
        self._thread.join(timeout=2 * POLL)

    def __iter__(self) -> Iterator[LiveFrame]:
        """Yield frames in order until the stream ends or `close` is called."""
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
            note = Note(
                f"the frame size changes from {width}x{height} during the stream; such frames were scaled back to it"
            )
            if note not in self.problems:
                self.problems.append(note)
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return LiveFrame(Frame(index, time, np.ascontiguousarray(image)), arrived)

    def _read(self) -> None:
        """Thread function: decode the stream to its end, and append frames to the queue."""
        try:
            self._decode()
        except (av.error.FFmpegError, ValueError, OverflowError, MemoryError) as error:
            self.problems.append(f"the rest of the stream cannot be read ({type(error).__name__}: {error})")
        finally:
            self._container.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _packets(self) -> Iterator[av.Packet | None]:
        """Yield the packets, and None at the end to flush the decoder."""
        try:
            yield from (packet for packet in self._container.demux(self._stream) if packet.size)
        except av.error.FFmpegError as error:
            # Many servers end a stream by closing the connection.
            with self._changed:
                wanted = not self._stopped
            if wanted:
                self.problems.append(f"the source ended or the connection was lost ({error.strerror or error})")
        yield None

    def _decode(self) -> None:
        clock = FrameClock(self._stream.time_base or Fraction(1, 1000), 1 / self._fps)
        index, errors = 0, 0
        for packet in self._packets():
            try:
                frames = self._stream.decode(packet)
            except av.error.InvalidDataError as error:
                # When joining a stream, the first frames often cannot be decoded.
                errors += 1
                if errors >= MAX_CONSECUTIVE_ERRORS:
                    self.problems.append(f"decoding stopped after {errors} consecutive errors ({error.strerror})")
                    return
                continue
            for frame in frames:
                errors = 0
                if not self._put((index, clock.time(frame.pts), monotonic(), frame)):
                    return
                index += 1

    def _put(self, item: tuple[int, float, float, av.VideoFrame]) -> bool:
        """Append a frame to the queue. Return False if reading was stopped."""
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
