"""The frame rate of a stream, and whether its time stamps can be used.

Raw streams have no container, and so no time stamps. FFmpeg then reports 25 frames per second, whatever the stream
itself says.
"""

from dataclasses import dataclass, field

import av

from pose_extraction.video.notes import Note

# Formats of raw streams.
RAW_FORMATS = frozenset({"h264", "hevc", "m4v", "mpegvideo", "mjpeg", "vc1", "av1", "obu"})
# In these, each picture has a duration, from which FFmpeg derives valid time stamps.
STAMPED_RAW_FORMATS = frozenset({"m4v", "mpegvideo"})
# Pictures of these have a fixed rate in the header, and the time stamps that FFmpeg derives skip one.
COUNTED_CODECS = frozenset({"mpeg1video"})
# Frames per second that are assumed if a stream names no rate.
ASSUMED_RATE = 25.0
LEAST_RATE, MOST_RATE = 0.01, 1000.0
# An average above this many times the rate that fits the first time stamps is that of a clock in a header.
CLOCK = 1.5


@dataclass(frozen=True, slots=True)
class Rate:
    """Frame rate of a stream.

    Args:
        fps: Nominal frames per second.
        is_counted: Whether the frames are at equal intervals of 1 / `fps`, because the stream has no time stamps.
        notes: What was assumed.
    """

    fps: float
    is_counted: bool = False
    notes: list[Note] = field(default_factory=list)


def rate_of(formats: str, stream: av.VideoStream, requested: float | None) -> Rate:
    """Return the frame rate of a stream.

    Args:
        formats: FFmpeg's names of the container format, separated by commas.
        stream: The stream.
        requested: Frames per second to use for a raw stream; ignored for others. None for that of the stream.
    """
    is_raw = not RAW_FORMATS.isdisjoint(formats.split(","))
    if not is_raw:
        return Rate(_nominal(stream) or ASSUMED_RATE)
    if requested is not None:
        return Rate(requested, is_counted=True)
    # Only the header of the stream itself counts: the other rates are FFmpeg's default if the stream names none.
    own = _first_plausible(stream.codec_context.framerate)
    raw = "a raw stream without time stamps"
    if own is None:
        text = f"{raw} and frame rate; {ASSUMED_RATE:g} frames/s are assumed, --fps sets another rate"
        return Rate(ASSUMED_RATE, is_counted=True, notes=[Note(text)])
    if stream.codec_context.name in COUNTED_CODECS:
        return Rate(own, is_counted=True)
    if not STAMPED_RAW_FORMATS.isdisjoint(formats.split(",")):
        return Rate(own)
    text, kind = (
        f"{raw}; read at {rate} of its header, --fps sets another rate"
        for rate in (f"the {own:g} frames/s", "the frame rate")
    )
    return Rate(own, is_counted=True, notes=[Note(text, kind)])


def _nominal(stream: av.VideoStream) -> float | None:
    """Return the frame rate of a stream with time stamps; None if there is none."""
    average, guessed, own = map(
        _first_plausible, (stream.average_rate, stream.guessed_rate, stream.codec_context.framerate)
    )
    if average is None:
        # FFmpeg may guess the rate of fields, which is twice that of frames.
        return min((rate for rate in (guessed, own) if rate is not None), default=None)
    return guessed if guessed is not None and average > CLOCK * guessed else average


def _first_plausible(*rates: object) -> float | None:
    return next((float(rate) for rate in rates if rate and LEAST_RATE <= float(rate) <= MOST_RATE), None)  # type: ignore[arg-type]
