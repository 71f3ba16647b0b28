"""Video files with unusual metadata: raw streams, edit lists, empty chunks, several streams and covers."""

import struct
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

from test_support.videos.made_video import made_frame

SIZE = (96, 128)


def encode(
    path: Path,
    codec: str = "libx264",
    *,
    frames: Sequence[int] = range(12),
    rate: int = 25,
    pixel_format: str = "yuv420p",
    size: tuple[int, int] = SIZE,
    options: Mapping[str, str] | None = None,
    setup: Callable[[av.VideoStream], object] = lambda stream: None,
    draw: Callable[[int], av.VideoFrame] | None = None,
    container_format: str | None = None,
) -> Path:
    """Encode the frames of a walking figure, or others.

    Args:
        path: Output file.
        codec: FFmpeg's name of the encoder.
        frames: Numbers of the frames to encode; their times are these numbers divided by `rate`.
        rate: Frames per second.
        pixel_format: FFmpeg's name of the pixel format.
        size: (height, width) in pixels.
        options: Options of the encoder.
        setup: Called with the new stream.
        draw: Returns frame number i in the pixel format; None for the figure.
        container_format: FFmpeg's name of the format; None for that of the suffix.
    """
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
        stream.height, stream.width = size
        stream.pix_fmt = pixel_format
        setup(stream)
        for number in frames:
            image = av.VideoFrame.from_ndarray(made_frame(number / rate, size), format="bgr24")
            frame = image.reformat(format=pixel_format) if draw is None else draw(number)
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def trim_front(source: Path, path: Path, seconds: float) -> Path:
    """Copy a video without encoding it again, so that an edit list hides its first seconds."""
    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        stream = read.streams.video[0]
        copy = written.add_stream_from_template(stream)
        for packet in read.demux(stream):
            if packet.dts is None or packet.pts is None:
                continue
            shift = round(seconds / packet.time_base)
            packet.pts -= shift
            packet.dts -= shift
            packet.stream = copy
            written.mux(packet)
    return path


def without_packets(source: Path, path: Path, count: int) -> Path:
    """Copy a video without encoding it again, and without its first packets."""
    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        stream = read.streams.video[0]
        copy = written.add_stream_from_template(stream)
        for number, packet in enumerate(read.demux(stream)):
            if number >= count and packet.size:
                packet.stream = copy
                written.mux(packet)
    return path


def repeated(source: Path, path: Path, times: int) -> Path:
    """Copy a video several times one after the other, without encoding it again: a long video within milliseconds."""
    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        stream = read.streams.video[0]
        assert stream.duration is not None
        copy = written.add_stream_from_template(stream)
        for number in range(times):
            read.seek(0)
            for packet in read.demux(stream):
                if packet.dts is not None and packet.pts is not None:
                    packet.pts += number * stream.duration
                    packet.dts += number * stream.duration
                    packet.stream = copy
                    written.mux(packet)
    return path


def trim_end(source: Path, path: Path, share: float) -> Path:
    """Copy an mp4 file with an edit list that ends after a share of its duration."""
    data = bytearray(source.read_bytes())
    # Version and flags, number of edits, duration of the first edit.
    place = data.index(b"elst") + 12
    (duration,) = struct.unpack_from(">I", data, place)
    struct.pack_into(">I", data, place, round(duration * share))
    path.write_bytes(data)
    return path


def add_empty_chunks(source: Path, path: Path, count: int) -> Path:
    """Copy an AVI file with empty chunks, which show the frame before once more, after its last frame."""
    data = bytearray(source.read_bytes())
    index = data.rindex(b"idx1")
    (size,) = struct.unpack_from("<I", data, index + 4)
    entries = bytes(data[index + 8 : index + 8 + size])
    chunks = struct.pack("<4sI", b"00dc", 0) * count
    more = b"".join(struct.pack("<4sIII", b"00dc", 0, index + 8 * number, 0) for number in range(count))
    movie = data.rindex(b"LIST", 0, data.index(b"movi"))
    data[index : index + 8 + size] = chunks + struct.pack("<4sI", b"idx1", size + len(more)) + entries + more
    struct.pack_into("<I", data, movie + 4, struct.unpack_from("<I", data, movie + 4)[0] + len(chunks))
    header = data.index(b"avih") + 8 + 16
    stream = data.index(b"strh") + 8 + 32
    for place in (header, stream):
        struct.pack_into("<I", data, place, struct.unpack_from("<I", data, place)[0] + count)
    struct.pack_into("<I", data, 4, len(data) - 8)
    path.write_bytes(data)
    return path


def grey(value: int, size: tuple[int, int], pixel_format: str = "yuv420p") -> av.VideoFrame:
    """Return a frame of one shade of grey, from 0 to 255."""
    image = np.full((*size, 3), value, np.uint8)
    return av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=pixel_format)


def write_streams(path: Path, sizes: Sequence[tuple[int, int]], default: int | None) -> Path:
    """Write a file with several video streams; stream k is of the grey 50 + 100 k.

    Args:
        path: Output file.
        sizes: (height, width) of each stream.
        default: Number of the stream marked as default; None to mark all of them.
    """
    with av.open(str(path), "w") as container:
        streams = []
        for number, (height, width) in enumerate(sizes):
            stream = container.add_stream("libx264", rate=25)
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            stream.disposition = Disposition.default if default in (None, number) else Disposition(0)
            streams.append(stream)
        for index in range(5):
            for number, (stream, size) in enumerate(zip(streams, sizes, strict=True)):
                frame = grey(50 + 100 * number, size)
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def write_with_cover(path: Path, *, has_video: bool) -> Path:
    """Write an mp4 file with a large cover picture, and a video or sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25) if has_video else None
        sound = None if has_video else container.add_stream("aac", rate=48000)
        if video is not None:
            video.height, video.width, video.pix_fmt = *SIZE, "yuv420p"
        cover = container.add_stream("png", rate=1)
        cover.height, cover.width, cover.pix_fmt = 400, 400, "rgb24"
        cover.disposition = Disposition.attached_pic
        container.mux(cover.encode(grey(200, (400, 400), "rgb24")))
        for index in range(5):
            if video is not None:
                frame = grey(50, SIZE)
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(video.encode(frame))
            if sound is not None:
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                silence.sample_rate = 48000
                container.mux(sound.encode(silence))
        for stream in (video, sound):
            if stream is not None:
                container.mux(stream.encode(None))
    return path
