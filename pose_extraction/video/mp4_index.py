"""Number of samples that an mp4 file claims to have, before FFmpeg sets aside memory for each of them.

An mp4 file can name the number of its frames without a table of them: a file of one kilobyte can claim a billion, and
FFmpeg's index would have 35 bytes for each.
"""

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# Boxes that contain boxes.
_CONTAINERS = frozenset(
    (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex", b"edts", b"udta", b"cmov")
)
# Limits of what is looked at: bytes of a compressed header, nested boxes, and boxes in all. FFmpeg reads them, too.
_MOST_HEADER, _DEEPEST, _MOST_BOXES = 64 << 20, 12, 10_000_000
# Optional fields of a whole fragment, and those of each of its samples, as bits of its flags.
_OF_FRAGMENT, _OF_SAMPLES = (0x1, 0x4), (0x100, 0x200, 0x400, 0x800)


def claimed_samples(path: Path) -> float:
    """Return the number of samples of all tracks for which FFmpeg makes an entry in its index; 0 for other files.

    Args:
        path: Regular file; it may be damaged. With too many boxes to look at, the answer is infinite.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        tracks = [_Track()]
        for number, (kind, first, last) in enumerate(_boxes(file, 0, path.stat().st_size)):
            if number > _MOST_BOXES:
                return float("inf")
            if kind == b"trak":
                tracks.append(_Track())
            elif kind == b"cmvd":
                # The header of old QuickTime files may be compressed.
                file.seek(first + 4)
                packed = file.read(min(last - first, _MOST_HEADER))
                try:
                    header = zlib.decompressobj().decompress(packed, _MOST_HEADER)
                except zlib.error:
                    continue
                for inner in _boxes(io.BytesIO(header), 0, len(header)):
                    tracks[-1].add(io.BytesIO(header), *inner)
            else:
                tracks[-1].add(file, kind, first, last)
        return sum(track.indexed for track in tracks)


@dataclass(slots=True)
class _Track:
    """What counts of a track.

    Args:
        samples: Number of its samples.
        is_sound: Whether it has sound.
        has_single_steps: Whether all samples last one tick of its clock.
    """

    samples: int = 0
    is_sound: bool = False
    has_single_steps: bool = False

    @property
    def indexed(self) -> int:
        """Number of entries in the index: uncompressed sound has one per chunk, not one per sample."""
        return 0 if self.is_sound and self.has_single_steps else self.samples

    def add(self, file: BinaryIO, kind: bytes, first: int, last: int) -> None:
        """Look at a box."""
        if kind == b"hdlr":
            self.is_sound = _read(file, first + 8, 4) == b"soun"
        elif kind == b"stts":
            self.has_single_steps = _number(file, first + 4) == 1 == _number(file, first + 12)
        elif kind == b"stsz":
            count = _number(file, first + 8)
            self.samples += count if _number(file, first + 4) else min(count, (last - first) // 4)
        elif kind == b"stz2":
            self.samples += min(_number(file, first + 8), 2 * (last - first))
        elif kind == b"trun":
            self.samples += _in_fragment(file, first, last)


def _boxes(file: BinaryIO, start: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of the content of each box and of those in it, until something else follows."""
    while start + 8 <= end:
        head = _read(file, start, 16)
        size, kind, first = int.from_bytes(head[:4], "big"), head[4:8], start + 8
        if size == 1:
            size, first = int.from_bytes(head[8:16], "big"), start + 16
        # 0: up to the end.
        size = size or end - start
        if size < first - start or not kind.isascii():
            return
        last = min(start + size, end)
        yield kind, first, last
        if kind in _CONTAINERS and depth < _DEEPEST:
            yield from _boxes(file, first, last, depth + 1)
        start += size


def _in_fragment(file: BinaryIO, first: int, last: int) -> int:
    """Return the number of samples of a fragment: those of its table, as far as it reaches, if it has one."""
    flags, count = _number(file, first) & 0xFFFFFF, _number(file, first + 4)
    width = 4 * sum(bool(flags & one) for one in _OF_SAMPLES)
    rest = last - first - 8 - 4 * sum(bool(flags & one) for one in _OF_FRAGMENT)
    return min(count, max(rest, 0) // width) if width else count


def _read(file: BinaryIO, place: int, length: int) -> bytes:
    file.seek(place)
    return file.read(length)


def _number(file: BinaryIO, place: int) -> int:
    return int.from_bytes(_read(file, place, 4), "big")
