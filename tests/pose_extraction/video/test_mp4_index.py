"""Numbers of frames that mp4 files claim, and the refusal of those whose index would fill the memory."""

import resource
import struct
import zlib
from pathlib import Path

import pytest

from pose_extraction.errors import VideoError
from pose_extraction.video.mp4_index import claimed_samples
from pose_extraction.video.opening import open_container
from test_support.videos.bombs import write_claimed_frames
from test_support.videos.made_video import write_made_clip

BILLION = 1_000_000_000


def box(kind: bytes, *content: bytes) -> bytes:
    joined = b"".join(content)
    return struct.pack(">I", 8 + len(joined)) + kind + joined


def numbers(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def track(handler: bytes, duration: int, size: int, count: int) -> bytes:
    tables = box(b"stbl", box(b"stts", numbers(0, 1, count, duration)), box(b"stsz", numbers(0, size, count)))
    return box(b"trak", box(b"mdia", box(b"hdlr", numbers(0, 0), handler), box(b"minf", tables)))


@pytest.mark.parametrize("options", [{}, {"movflags": "frag_keyframe+empty_moov"}])
def test_the_frames_of_an_honest_file_are_counted(tmp_path: Path, options: dict[str, str]) -> None:
    import av

    source = write_made_clip(tmp_path / "plain.mp4", frames=60, size=(96, 128))
    path = tmp_path / "again.mp4"
    with av.open(str(source)) as before, av.open(str(path), "w", options=options) as after:
        stream = after.add_stream_from_template(before.streams.video[0])
        for packet in before.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                after.mux(packet)
    assert claimed_samples(path) == 60


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (box(b"moov", track(b"vide", 1, 100, BILLION)), BILLION),
        (box(b"moov", track(b"vide", 1, 100, 5), track(b"soun", 1024, 0, 0)), 5),
        # Uncompressed sound: an hour has 170 million samples, and an index of its chunks.
        (box(b"moov", track(b"vide", 1, 100, 5), track(b"soun", 1, 4, 170_000_000)), 5),
        (box(b"moov", track(b"soun", 2, 4, BILLION)), BILLION),
        # A table that ends with the file.
        (box(b"moov", track(b"vide", 1, 0, BILLION)), 3),
        (box(b"moof", box(b"traf", box(b"trun", numbers(0, BILLION)))), BILLION),
        (box(b"moof", box(b"traf", box(b"trun", numbers(0x201, BILLION, 8, 1, 2, 3)))), 3),
        (box(b"moov", box(b"cmov", box(b"cmvd", numbers(0), zlib.compress(track(b"vide", 1, 9, BILLION))))), BILLION),
        # Sizes in 64 bits, and up to the end of the file.
        (numbers(1) + b"moov" + struct.pack(">Q", 16 + len(track(b"vide", 1, 9, 7))) + track(b"vide", 1, 9, 7), 7),
        (numbers(0) + b"moov" + track(b"vide", 1, 9, 7), 7),
        (b"\x1aE\xdf\xa3 no mp4 at all", 0),
        (numbers(4) + b"moov" * 100, 0),
        (b"", 0),
    ],
)
def test_what_a_header_claims_is_counted(tmp_path: Path, content: bytes, expected: int) -> None:
    path = tmp_path / "made.mp4"
    path.write_bytes(content)
    assert claimed_samples(path) == expected


def test_a_header_that_claims_millions_of_frames_is_refused_before_memory_is_used(tmp_path: Path) -> None:
    path = write_claimed_frames(tmp_path / "bomb.mp4", 50_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(VideoError, match=r"bomb\.mp4: its header claims more than 20,000,000 frames.*cut it"):
        open_container(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    with open_container(write_claimed_frames(tmp_path / "long.mp4", 100_000)) as container:
        assert container.streams.video[0].frames == 100_000
