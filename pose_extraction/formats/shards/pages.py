"""Where the values of one clip are in a Parquet file, so that a clip is read without the rest of its row group.

A column of a row group is a sequence of pages, which are compressed one by one. Shards have small pages that start with
a clip. This module finds the pages once, when a shard is written. A shuffled epoch then reads one page for each clip,
of a few kilobytes; with the row group around it, it would read and decompress hundreds of clips for each one.

The parts of the format that are used here: https://parquet.apache.org/docs/file-format/ (page header in Thrift's
compact protocol, checksum, encoding BYTE_STREAM_SPLIT).
"""

import os
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.formats.shards.arrow import arrow

# One entry for each clip: byte position, compressed and uncompressed length and checksum of the page that contains its
# values; the number of values in the page, those before the clip's, and the clip's own.
_LONG, _SHORT = "<i8", "<i4"
PAGE = np.dtype(
    {
        "names": ["offset", "size", "raw", "crc", "count", "skip", "n"],
        "formats": [_LONG, _SHORT, _SHORT, "<u4", _SHORT, _SHORT, _SHORT],
    }
)
# Open files; each uses only a file handle.
OPEN_FILES = 64
_DATA_PAGE, _BYTE_STREAM_SPLIT = 0, 9


def locate(path: Path, metadata: Any, name: str, lengths: np.ndarray) -> np.ndarray:
    """Find the pages of a column of lists of numbers.

    Args:
        path: The Parquet file.
        metadata: Its `pyarrow.parquet.FileMetaData`.
        name: The column.
        lengths: int (N,), number of values of each clip.

    Returns:
        `PAGE` (N,).

    Raises:
        AnnotationError: The file is damaged, or its pages do not start with a clip.
    """
    column = [metadata.schema.column(number).path.split(".")[0] for number in range(len(metadata.schema))].index(name)
    found = np.zeros(len(lengths), PAGE)
    found["n"] = lengths
    first = 0
    with path.open("rb") as file:
        for group in range(metadata.num_row_groups):
            chunk = metadata.row_group(group).column(column)
            last = first + metadata.row_group(group).num_rows
            if chunk.has_dictionary_page or chunk.compression != "ZSTD":
                raise AnnotationError(f"{path}: column {name!r} was not written by skelpipe; merge the data set again")
            file.seek(chunk.data_page_offset)
            _locate_in_chunk(file.read(chunk.total_compressed_size), chunk.data_page_offset, found[first:last], path)
            first = last
    return found


def _locate_in_chunk(data: bytes, start: int, found: np.ndarray, path: Path) -> None:
    """Fill in the entries of the clips of one row group, in place."""
    # A page counts an empty or absent list as one value.
    ends = np.cumsum(np.maximum(found["n"], 1, dtype=np.int64))
    position, clip, read = 0, 0, 0
    while clip < len(found):
        header, body = _struct(data, position)
        if header.get(1) != _DATA_PAGE or header.get(5, {}).get(2) != _BYTE_STREAM_SPLIT or 4 not in header:
            raise AnnotationError(f"{path}: pages of another kind than skelpipe writes; merge the data set again")
        raw, size, crc = header[2], header[3], header[4]
        read += header[5][1]
        last = int(np.searchsorted(ends, read, "right"))
        if last == clip or ends[last - 1] != read:
            raise AnnotationError(f"{path}: a page ends within a clip; merge the data set again")
        own = found["n"][clip:last]
        part = found[clip:last]
        part["offset"], part["size"], part["raw"], part["crc"] = start + body, size, raw, crc & 0xFFFFFFFF
        part["count"] = own.sum()
        part["skip"] = np.cumsum(own) - own
        position, clip = body + size, last


def _struct(data: bytes, position: int) -> tuple[dict[int, Any], int]:
    """Read a structure in Thrift's compact protocol; return its fields by number, and the position after it."""
    fields: dict[int, Any] = {}
    number = 0
    while True:
        lead = data[position]
        position += 1
        if lead == 0:
            return fields, position
        kind = lead & 15
        if lead >> 4:
            number += lead >> 4
        else:
            number, position = _integer(data, position)
        if kind in (1, 2):
            fields[number] = kind == 1
        elif kind in (4, 5, 6):
            fields[number], position = _integer(data, position)
        elif kind == 8:
            length, position = _varint(data, position)
            fields[number] = data[position : position + length]
            position += length
        elif kind == 12:
            fields[number], position = _struct(data, position)
        else:
            raise ValueError(f"type {kind} in the header of a page")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7


def _integer(data: bytes, position: int) -> tuple[int, int]:
    value, position = _varint(data, position)
    return (value >> 1) ^ -(value & 1), position


class PageReader:
    """Reads the values of single clips from Parquet files.

    Args:
        files: The files, by number.
    """

    def __init__(self, files: list[Path]) -> None:
        self._files = files
        self._open: OrderedDict[int, int] = OrderedDict()
        self._codec = arrow().Codec("zstd")

    def read(self, file: int, page: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Return the values of one clip.

        Args:
            file: Number of the file.
            page: Entry of `PAGE`.
            dtype: Type of the column's values.

        Returns:
            The values, (n,).

        Raises:
            AnnotationError: The file cannot be read, or the page is damaged.
        """
        offset, size, raw, crc, count, skip, length = page.tolist()
        if not length:
            return np.zeros(0, dtype)
        path = self._files[file]
        try:
            data = os.pread(self._descriptor(file), size, offset)
        except OSError as error:
            raise AnnotationError(f"{path}: cannot be read ({error.strerror}); check the file") from error
        if zlib.crc32(data) != crc:
            raise AnnotationError(
                f"{path}: damaged at byte {offset}; restore the file from a copy, or continue without its clips "
                "(--skip-bad)"
            )
        values = self._codec.decompress(data, raw)
        width = dtype.itemsize
        # Values are at the end of a page, after the levels that mark where lists begin. Byte k of all values comes
        # before byte k + 1 of all values.
        tail = np.frombuffer(values, np.uint8)[raw - count * width :].reshape(width, count)
        joined = np.empty((length, width), np.uint8)
        # Faster than to copy the transpose.
        for byte in range(width):
            joined[:, byte] = tail[byte, skip : skip + length]
        return joined.view(dtype)[:, 0]

    def _descriptor(self, file: int) -> int:
        if file in self._open:
            self._open.move_to_end(file)
            return self._open[file]
        self._open[file] = os.open(self._files[file], os.O_RDONLY)
        if len(self._open) > OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        return self._open[file]

    def close(self) -> None:
        """Close all files; they are opened again when they are needed."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __getstate__(self) -> dict[str, Any]:
        # Another process opens its own files.
        return {"_files": self._files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_files"])  # type: ignore[misc]

    def __del__(self) -> None:
        self.close()
