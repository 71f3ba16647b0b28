"""Write shards: clips in rows, rows in groups, and an index next to each shard."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.files import atomic_write
from pose_extraction.formats.shards.arrow import arrow
from pose_extraction.formats.shards.manifest import CLIPS, INDEX, SUFFIX, Shard
from pose_extraction.formats.shards.pages import locate
from pose_extraction.formats.shards.rows import (
    LISTS,
    PAGED,
    REPEATED,
    TEXT,
    Row,
    list_values,
    row_of,
    schema,
    table_of,
)

SHARD_BYTES = 256 << 20
# Uncompressed size of the arrays in a row group. It bounds the memory for writing, and for reading rows in order.
GROUP_BYTES = 4 << 20
# About the size of a page before compression: a clip of average length fills one.
PAGE_BYTES = 8 << 10
# Values after which the writer checks whether a page is full; it then ends the page after the current clip.
PAGE_CHECK = 256
COMPRESSION_LEVEL = 3
PART = ".part"
# Columns of the index: all but the arrays and long texts.
INDEX_COLUMNS = (
    "frame_dir", "label_name", "group", "splits", "person_labels", "img_shape", "keypoint_shape", "keypoint_dtype",
    "keypoint_score_dtype", "fps", "seconds", "estimator", "source", "estimate", "fields", "is_finite", "has_person",
    "digest",
)  # fmt: skip


class ShardWriter:
    """Writes clips to new shards in the folder of a data set. The caller then names the shards in the manifest.

    Args:
        folder: Folder of the data set.
        shard_bytes: Size at which a shard is complete.
        group_bytes: Uncompressed size of a row group.
    """

    def __init__(self, folder: Path, *, shard_bytes: int = SHARD_BYTES, group_bytes: int = GROUP_BYTES) -> None:
        self.shards: list[Shard] = []
        self._folder = folder
        self._shard_bytes, self._group_bytes = shard_bytes, group_bytes
        self._rows: list[Row] = []
        self._waiting = 0
        self._lengths: dict[str, list[np.ndarray]] = {name: [] for name in PAGED}
        self._file: Any = None
        self._writer: Any = None
        (folder / CLIPS).mkdir(parents=True, exist_ok=True)
        (folder / INDEX).mkdir(exist_ok=True)

    def add(self, annotation: Mapping[str, Any], splits: Sequence[str], place: str) -> None:
        """Add a clip; see `row_of`.

        Raises:
            AnnotationError: The clip contains something that a shard cannot hold.
        """
        self.add_row(row_of(annotation, splits, place))

    def add_row(self, row: Row) -> None:
        """Add a row of `row_of` or `rows_in`."""
        self._rows.append(row)
        self._waiting += sum(row[name].nbytes for name in LISTS if row[name] is not None)
        self._waiting += sum(len(row[name]) for name in TEXT if row[name] is not None)
        if self._waiting >= self._group_bytes:
            self._write_group()

    def close(self) -> list[Shard]:
        """Complete the last shard, and return all shards that were written."""
        if self._rows:
            self._write_group()
        if self._writer is not None:
            self._complete()
        return self.shards

    def _write_group(self) -> None:
        if self._writer is None:
            self._open()
        self._writer.write_table(table_of(self._rows), row_group_size=len(self._rows))
        for name, lengths in self._lengths.items():
            lengths.append(np.array([0 if row[name] is None else len(row[name]) for row in self._rows]))
        self._rows.clear()
        self._waiting = 0
        if self._file.tell() >= self._shard_bytes:
            self._complete()

    def _open(self) -> None:
        self._file = (self._folder / CLIPS / PART).open("wb")
        self._writer = arrow().parquet.ParquetWriter(
            self._file,
            schema(),
            compression="zstd",
            compression_level=COMPRESSION_LEVEL,
            use_dictionary=list(REPEATED),
            # Bytes of equal significance together: floats compress to about two thirds.
            column_encoding={f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in PAGED},
            write_statistics=False,
            data_page_size=PAGE_BYTES,
            write_batch_size=PAGE_CHECK,
            # Pages end with a clip, and damage is found.
            write_page_index=True,
            write_page_checksum=True,
        )

    def _complete(self) -> None:
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._writer = self._file = None
        part = self._folder / CLIPS / PART
        with part.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        name = f"{digest[:16]}{SUFFIX}"
        index = index_of(part, {name: np.concatenate(lengths) for name, lengths in self._lengths.items()})
        self._lengths = {name: [] for name in PAGED}
        with atomic_write(self._folder / INDEX / name) as file:
            arrow().parquet.write_table(index, file, compression="zstd", write_page_checksum=True)
        self.shards.append(Shard(name, len(index), part.stat().st_size, digest))
        part.replace(self._folder / CLIPS / name)


def index_of(path: Path, lengths: Mapping[str, np.ndarray] | None = None) -> Any:
    """Return the index of a shard as an Arrow table: columns without arrays, and where the arrays are.

    Args:
        path: The shard.
        lengths: int (N,), number of values of each clip in each column of `PAGED`; None reads them.

    Raises:
        AnnotationError: The shard was not written by this module, or is damaged.
    """
    pa = arrow()
    with pa.parquet.ParquetFile(path) as file:
        table = file.read(list(INDEX_COLUMNS))
        for name in PAGED:
            found = locate(path, file.metadata, name, _lengths(file, name) if lengths is None else lengths[name])
            pages = pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(found.dtype.itemsize), len(found), [None, pa.py_buffer(found.tobytes())]
            )
            table = table.append_column(f"{name}_page", pages)
    return table


def _lengths(file: Any, name: str) -> np.ndarray:
    groups = (file.read_row_group(group, [name])[name] for group in range(file.num_row_groups))
    return np.concatenate([np.diff(list_values(column)[1]) for column in groups])
