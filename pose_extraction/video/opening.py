"""Open a video file safely, choose one of its video streams, and read the shape of its pixels.

Files are untrusted: only demuxers of video files are allowed (no playlists, which open other files and addresses), and
sizes are limited.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import av
import av.error
from av.codec.hwaccel import HWAccel
from av.stream import Disposition

from pose_extraction.errors import VideoError
from pose_extraction.video.mp4_index import claimed_samples
from pose_extraction.video.notes import Note

# Allowed demuxers. The audio formats are included so that audio files can be distinguished from invalid files.
FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,flv,asf,ogg,gif,apng,mxf,nut,dv,rm,wtv,"
    "yuv4mpegpipe,mjpeg,vc1,swf,nsv,gxf,mp3,wav,flac,aac,aiff,amr"
)
# Twice 8K: a damaged header can request more memory than is available.
MAX_PIXELS = 2 * 7680 * 4320
# Pixels that are this much wider than high, or higher than wide, are a damaged header.
MOST_ASPECT = 4.0
# Smaller differences from square are rounding by an encoder, which fits an odd size to a common display size.
ROUNDING = 0.01
# A week at 30 frames per second; FFmpeg's index of so many has 700 MB.
MAX_SAMPLES = 20_000_000
# Pictures in a file that are not its video: covers, and previews of the video.
PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


def open_container(path: Path, hwaccel: HWAccel | None = None) -> "av.container.InputContainer":
    """Open a video file.

    Args:
        path: Regular file.
        hwaccel: Where FFmpeg decodes it; None for the CPU.

    Raises:
        VideoError: It is not a video that can be read.
    """
    if claimed_samples(path) > MAX_SAMPLES:
        raise VideoError(
            f"{path}: its header claims more than {MAX_SAMPLES:,} frames, whose index would fill the memory; copy the "
            "file again, or cut it into shorter videos"
        )
    name = str(path.absolute())
    # FFmpeg requires file names in UTF-8. For other names, pass the open file instead.
    try:
        name.encode()
        source = name
    except UnicodeEncodeError:
        source = path.open("rb")  # type: ignore[assignment]
    try:
        return av.open(
            source,
            options={"format_whitelist": FORMATS, "protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)},
            metadata_errors="replace",
            hwaccel=hwaccel,
        )
    except (av.error.FFmpegError, ValueError) as error:
        raise VideoError(f"{path}: {explain_unreadable(path, error)}") from error


def choose_stream(
    container: "av.container.InputContainer", place: object, number: int | None = None
) -> tuple[av.VideoStream, list[Note]]:
    """Choose the video stream to read: the default one; the largest if none or several are marked as default.

    Args:
        container: Open file or address.
        place: Its name, for messages.
        number: Number of the stream among the video streams, counted from 0, without covers; None to choose.

    Returns:
        The stream, and a note if there are several.

    Raises:
        VideoError: There is no video stream, not the requested one, or no decoder.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & PICTURES]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams if stream.type != "video"})
        covers = ["a cover picture"] if container.streams.video else []
        found = ", ".join([*kinds, *covers]) or "no stream"
        raise VideoError(f"{place}: contains {found}, but no video; remove this file from the input")
    if number is not None:
        return _requested(streams, place, number), []
    usable = [stream for stream in streams if stream.codec_context is not None]
    if not usable:
        raise VideoError(_no_decoder(streams[0], place))
    defaults = [stream for stream in usable if stream.disposition & Disposition.default]
    wanted = defaults if len(defaults) == 1 else usable
    chosen = max(wanted, key=lambda stream: stream.codec_context.width * stream.codec_context.height)
    if len(streams) == 1:
        return chosen, []
    sizes = ", ".join(_size(stream) for stream in streams)
    text = f"{len(streams)} video streams ({sizes}); stream {streams.index(chosen)} is read, --stream selects another"
    return chosen, [Note(text, "several video streams; --stream selects another than the default")]


def _requested(streams: Sequence[av.VideoStream], place: object, number: int) -> av.VideoStream:
    if number >= len(streams):
        only = "one video stream, number 0" if len(streams) == 1 else f"video streams 0 to {len(streams) - 1}"
        raise VideoError(f"{place}: has {only}; there is no stream {number}, choose another with --stream")
    if streams[number].codec_context is None:
        raise VideoError(_no_decoder(streams[number], place))
    return streams[number]


def _size(stream: av.VideoStream) -> str:
    context = stream.codec_context
    return "unknown codec" if context is None else f"{context.width}x{context.height}"


def _no_decoder(stream: av.VideoStream, place: object) -> str:
    # The tag of an unknown codec may be empty, or bytes that are not text.
    tag = "".join(letter for letter in str(getattr(stream, "codec_tag", "")) if letter.isprintable())
    name = f"the video codec {tag}" if tag.strip() else "its video codec"
    return f"{place}: no decoder for {name}; convert it to h264 first"


def pixel_aspect_of(stream: av.VideoStream) -> tuple[float, list[Note]]:
    """Return the width of a stored pixel divided by its height, and a note if the value in the header is not plausible.

    Args:
        stream: The stream; its container precedes its codec.
    """
    ratio = stream.sample_aspect_ratio
    if not ratio:
        return 1.0, []
    aspect = float(ratio)
    if abs(aspect - 1) < ROUNDING:
        return 1.0, []
    stored = stream.codec_context.width * stream.codec_context.height
    if 1 / MOST_ASPECT <= aspect <= MOST_ASPECT and stored * aspect <= MAX_PIXELS:
        return aspect, []
    kind = "pixels of an implausible shape; taken as square"
    return 1.0, [Note(f"pixels of an implausible shape, {ratio.numerator}:{ratio.denominator}; taken as square", kind)]


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
