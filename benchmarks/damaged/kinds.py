"""Kinds of damage to the bytes of a file."""

import random
from collections.abc import Callable

# Changes the bytes of a file, given those of another one.
Damage = Callable[[bytes, bytes, random.Random], bytes]
# Bytes at both ends of a file in which containers store their tables.
HEADER = 2048


def truncated(share: float) -> Damage:
    """Keep only the first part."""
    return lambda data, other, rng: data[: int(len(data) * share)]


def bits_flipped(count: int) -> Damage:
    """Flip single bits at random positions."""

    def damage(data: bytes, other: bytes, rng: random.Random) -> bytes:
        copy = bytearray(data)
        for _ in range(count):
            copy[rng.randrange(len(copy))] ^= 1 << rng.randrange(8)
        return bytes(copy)

    return damage


def header_cut(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Remove the first bytes, up to 4 KiB or half of the file."""
    return data[rng.randrange(16, max(17, min(2 * HEADER, len(data) // 2))) :]


def header_flipped(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Flip ten bits in the first and last 2 KiB."""
    copy, most = bytearray(data), min(HEADER, len(data))
    for _ in range(10):
        place = rng.randrange(-most, most)
        copy[place] ^= 1 << rng.randrange(8)
    return bytes(copy)


def spliced(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Overwrite the middle with a part of another clip."""
    length = len(data) // 5
    start = rng.randrange(len(data) // 4, len(data) // 2)
    return data[:start] + other[:length].ljust(length, b"\0") + data[start + length :]


def zeroed(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Overwrite a tenth with zeros, like a failed disk block."""
    length = len(data) // 10
    start = rng.randrange(len(data) - length)
    return data[:start] + bytes(length) + data[start + length :]


def piece_missing(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Remove a tenth, like a lost part of a transmission."""
    length = len(data) // 10
    start = rng.randrange(len(data) - length)
    return data[:start] + data[start + length :]


KINDS: dict[str, Damage] = {
    "truncated to 10 %": truncated(0.1),
    "truncated to 50 %": truncated(0.5),
    "truncated to 95 %": truncated(0.95),
    "5 bits flipped": bits_flipped(5),
    "50 bits flipped": bits_flipped(50),
    "500 bits flipped": bits_flipped(500),
    "header cut": header_cut,
    "header and tail flipped": header_flipped,
    "spliced": spliced,
    "a tenth zeroed": zeroed,
    "a tenth missing": piece_missing,
}
