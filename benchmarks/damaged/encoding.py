"""Short clips of every codec that FFmpeg can encode on this machine, spread over its containers."""

from collections.abc import Iterator
from pathlib import Path

import av
from av.codec import Codec, codecs_available

from test_support.videos.made_container import encode

# Suffix of each container, and FFmpeg's name of the format. The last ones are streams without a container.
CONTAINERS = {
    ".mp4": "mp4",
    ".mkv": "matroska",
    ".avi": "avi",
    ".mov": "mov",
    ".webm": "webm",
    ".ts": "mpegts",
    ".wmv": "asf",
    ".mpg": "mpeg",
    ".flv": "flv",
    ".ogv": "ogg",
    ".mxf": "mxf",
    ".3gp": "3gp",
    ".nut": "nut",
    ".rm": "rm",
    ".ivf": "ivf",
    ".gif": "gif",
    ".h264": "h264",
    ".hevc": "hevc",
    ".m4v": "m4v",
    ".mjpeg": "mjpeg",
    ".obu": "obu",
    ".y4m": "yuv4mpegpipe",
}
# Encoders of special hardware, and those that do not encode.
NOT_HERE = (
    "_nvenc",
    "_qsv",
    "_amf",
    "_v4l2m2m",
    "_vaapi",
    "_vulkan",
    "_mf",
    "_videotoolbox",
    "vnull",
    "wrapped_avframe",
)
# (height, width): some codecs know only a few sizes.
SIZES = ((72, 96), (144, 176), (576, 720), (1080, 1920))
PIXEL_FORMATS = ("yuv420p", "yuv422p", "yuvj420p", "rgb24", "bgr24", "bgra", "gray")
CLIPS_PER_CODEC = 2
TOLERANT = (".nut", ".mov", ".avi")
FRAMES, RATE = 12, 25


def software_encoders() -> list[str]:
    """Return the names of FFmpeg's video encoders that need no special hardware, each once."""
    names = set()
    for name in codecs_available:
        try:
            codec = Codec(name, "w")
        except ValueError:
            continue
        if codec.type == "video" and not codec.name.endswith(NOT_HERE):
            names.add(codec.name)
    return sorted(names)


def write_clips(name: str, number: int, folder: Path) -> Iterator[Path]:
    """Encode a clip in up to `CLIPS_PER_CODEC` containers that accept the codec.

    Args:
        name: Name of the encoder.
        number: Its number, which decides where the search for a container starts, so that all containers are used.
        folder: Output folder.

    Yields:
        The files; none for a codec that cannot be decoded.
    """
    # The containers that accept most codecs show which size the codec accepts.
    trials = [folder / f"{name}_trial{suffix}" for suffix in TOLERANT]
    size = next((size for size in SIZES if any(_encoded(trial, name, size) for trial in trials)), None)
    for trial in trials:
        trial.unlink(missing_ok=True)
    if size is None:
        return
    suffixes = list(CONTAINERS)
    first = number * 3 % len(suffixes)
    written = 0
    for suffix in suffixes[first:] + suffixes[:first]:
        path = folder / f"{name}{suffix}"
        if written < CLIPS_PER_CODEC and _encoded(path, name, size):
            written += 1
            yield path


def _encoded(path: Path, name: str, size: tuple[int, int]) -> bool:
    """Return whether the codec can be encoded in this container and size, and decoded again."""
    known = [pixel_format.name for pixel_format in Codec(name, "w").video_formats or []]
    chosen = next((one for one in PIXEL_FORMATS if one in known), known[0] if known else "yuv420p")
    try:
        encode(
            path,
            name,
            frames=range(FRAMES),
            rate=RATE,
            pixel_format=chosen,
            size=size,
            options={"strict": "experimental"},
            container_format=CONTAINERS[path.suffix],
        )
        # Some containers store what they do not know as data.
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            decoded = bool(stream.codec_context) and sum(1 for _ in container.decode(stream)) > 1
    except (av.FFmpegError, IndexError, NotImplementedError, OSError, TypeError, ValueError):
        decoded = False
    if not decoded:
        path.unlink(missing_ok=True)
    return decoded
