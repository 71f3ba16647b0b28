"""Small video files that claim, or unpack to, far more than they have."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 30


def _picture(size: tuple[int, int]) -> bytes:
    """A black picture, (width, height), as PNG: a few hundred bytes per megapixel."""
    context = av.CodecContext.create("png", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height = size
    context.pix_fmt, context.time_base = "gray", Fraction(1, RATE)
    frame = av.VideoFrame.from_ndarray(np.zeros(size[::-1], np.uint8), format="gray")
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def write_large_frames(path: Path, size: tuple[int, int], *, claimed: tuple[int, int] | None = None) -> Path:
    """Write three frames of (width, height) `size` in a video whose header claims another size."""
    data = _picture(size)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=RATE)
        stream.width, stream.height = claimed or size
        stream.pix_fmt = "gray"
        for number in range(3):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, RATE)
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            container.mux(packet)
    return path


def write_claimed_frames(path: Path, frames: int) -> Path:
    """Write a video of three frames whose header claims other ones, in a kilobyte."""
    content = bytearray(write_large_frames(path, (96, 64)).read_bytes())
    # Times in one run, sizes that are all the same, and all frames in one piece: the tables need no more entries.
    for kind, place in ((b"stts", 12), (b"stsz", 12), (b"stsc", 16)):
        struct.pack_into(">I", content, content.index(kind) + place, frames)
    path.write_bytes(content)
    return path
