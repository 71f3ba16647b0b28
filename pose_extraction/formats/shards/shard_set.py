"""A data set in shards: what is known of all clips in memory, their joints on demand."""

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError, counted
from pose_extraction.files import sha256_of
from pose_extraction.formats.label_numbers import UNLABELLED
from pose_extraction.formats.shards.arrow import arrow
from pose_extraction.formats.shards.clip_labels import ClipLabels, as_clip_labels, read_labels
from pose_extraction.formats.shards.manifest import CLIPS, INDEX, Shard, read_manifest
from pose_extraction.formats.shards.pages import PAGE, PageReader
from pose_extraction.formats.shards.plain import from_text
from pose_extraction.formats.shards.rows import PAGED, REPEATED, Row, annotation_of, list_values, rows_in
from pose_extraction.formats.shards.writer import index_of

log = logging.getLogger(__name__)

# Types of the columns whose values are read one clip at a time.
_TYPES: dict[str, np.dtype] = {
    "keypoint": np.dtype(np.float32),
    "keypoint_score": np.dtype(np.float32),
    "time": np.dtype(np.float64),
}


class ShardSet:
    """A data set in shards. Clips are sorted by id, as in a merged skeleton file.

    Args:
        path: Folder of the data set.
        verify: Whether to compare the digests of all shards, which reads them completely. Otherwise only their sizes
            are compared; damage within a shard is found when the damaged clip is read.

    Attributes:
        path: The folder.
        manifest: Its manifest.
        damaged: One sentence for each shard that cannot be used; the set contains the clips of the others.
        names: Ids of the clips.
        labels: int64 (N,), class of each clip; -1 for unlabelled clips.
        label_name: Name of the action of each clip; None for unlabelled clips.
        groups: Group of each clip; None for a clip without a group.
        person_labels: JSON text of the labels of persons of each clip; None for none.
        shapes: int64 (N, 4), persons, frames, joints and coordinates of each clip.
        shard_of: int32 (N,), number of the shard of each clip in `shards`.
        shards: The shards that can be used.

    Raises:
        AnnotationError: The manifest or the table of labels cannot be read, or two shards contain the same clip.
        UsageError: pyarrow is not installed.
    """

    def __init__(self, path: Path, *, verify: bool = False) -> None:
        pa = arrow()
        self.path = path
        self.manifest = read_manifest(path)
        self.damaged: list[str] = []
        self.shards: list[Shard] = []
        tables = []
        for shard in self.manifest.shards:
            try:
                tables.append(_opened(path, shard, verify=verify))
            except AnnotationError as error:
                self.damaged.append(f"{error}; its {counted(shard.clips, 'clip is', 'clips are')} left out")
                continue
            self.shards.append(shard)
        if not tables:
            reason = f"; the first: {self.damaged[0]}" if self.damaged else ": merge some clips into it"
            raise AnnotationError(f"{path}: contains no usable shard{reason}")
        self._index = pa.concat_tables(tables).unify_dictionaries()
        counts = [len(table) for table in tables]
        self._first_row = np.concatenate([[0], np.cumsum(counts)])
        # Row of each clip, over all shards.
        self._row = pa.compute.sort_indices(self._index["frame_dir"]).to_numpy().astype(np.int64)
        self.shard_of = np.repeat(np.arange(len(counts), dtype=np.int32), counts)[self._row]
        ids = self.column("frame_dir")
        self.names: list[str] = ids.to_pylist()
        self._refuse_duplicates()
        self._labels = self._current_labels(ids)
        self.labels = self._labels["label"].to_numpy().astype(np.int64)
        self.label_name: list[str | None] = self._labels["label_name"].to_pylist()
        self.groups: list[str | None] = self._labels["group"].to_pylist()
        self.person_labels: list[str | None] = self._labels["person_labels"].to_pylist()
        self.shapes = list_values(self.column("keypoint_shape"))[0].reshape(-1, 4).astype(np.int64)
        self._pages = {name: self._page_table(name) for name in PAGED}
        self._types = {name: self._dtypes(f"{name}_dtype") for name in ("keypoint", "keypoint_score")}
        self._reader = PageReader([path / CLIPS / shard.name for shard in self.shards])
        self._group: tuple[tuple[int, int], list[Row]] | None = None
        self._group_starts: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.names)

    def column(self, name: str) -> Any:
        """Return a column of the index in the order of the clips, as an Arrow array."""
        return self._index[name].take(arrow().array(self._row)).combine_chunks()

    def without_arrays(self) -> dict[str, Any]:
        """Return the data set as from a skeleton file, but in each clip only its id, source and labels."""
        columns = zip(self.names, self.column("source").to_pylist(), self.label_name, strict=True)
        clips: list[dict[str, Any]] = []
        for index, (name, source, label_name) in enumerate(columns):
            clip = {"frame_dir": name, "source": source, "label": int(self.labels[index]), "label_name": label_name}
            clips.append(clip | self._given(index))
        return {"split": self._named_splits(), "annotations": clips, "label_names": list(self.manifest.label_names)}

    def _given(self, index: int) -> dict[str, Any]:
        """Return the group and the labels of persons of a clip, if it has them."""
        persons = self.person_labels[index]
        given = {"group": self.groups[index], "person_labels": None if persons is None else from_text(persons)}
        return {name: value for name, value in given.items() if value is not None}

    def _named_splits(self) -> dict[str, list[str]]:
        return {name: [self.names[index] for index in indices] for name, indices in self.splits.items()}

    def number(self, name: str) -> np.ndarray:
        """Return a column of numbers of the index in the order of the clips, float64 (N,); NaN for absent ones."""
        column = self.column(name)
        return arrow().compute.fill_null(column, np.nan).to_numpy(zero_copy_only=False)

    def values(self, name: str) -> list[Any]:
        """Return the different values of a column of the index, in no order; None for absent ones."""
        return arrow().compute.unique(self._index[name]).to_pylist()

    @property
    def sizes(self) -> np.ndarray:
        """Height and width of the frames of each clip, int64 (N, 2); zero for clips without them."""
        values, offsets, _ = list_values(self.column("img_shape"))
        sizes = np.zeros((len(self), 2), np.int64)
        sized = np.flatnonzero(np.diff(offsets) == 2)
        sizes[sized] = values[offsets[sized, None] + np.arange(2)]
        return sizes

    def has_type(self, name: str) -> np.ndarray:
        """Return bool (N,): whether `keypoint` or `keypoint_score` of each clip can be read on its own."""
        return ~self.column(f"{name}_dtype").indices.is_null().to_numpy(zero_copy_only=False)

    def has_field(self, name: str) -> np.ndarray:
        """Return bool (N,): whether the annotation of each clip has a field."""
        return self._of_repeated("fields", lambda text: name in json.loads(text))

    def _of_repeated(self, name: str, function: Any) -> np.ndarray:
        """Return bool (N,), a function of the values of a column with few different ones; False for absent ones."""
        encoded = self.column(name)
        results = np.array([bool(function(text)) for text in encoded.dictionary.to_pylist()] + [False])
        codes: np.ndarray = encoded.indices.fill_null(len(results) - 1).to_numpy(zero_copy_only=False)
        return results[codes]

    @property
    def splits(self) -> dict[str, np.ndarray]:
        """Indices of the clips of each split, int64 in ascending order, by name of the split in ascending order."""
        pa = arrow()
        column = self._labels["splits"].combine_chunks()
        clips = pa.compute.list_parent_indices(column).to_numpy()
        encoded = column.flatten().dictionary_encode()
        codes = encoded.indices.to_numpy()
        names = encoded.dictionary.to_pylist()
        places = {name: clips[codes == number].astype(np.int64) for number, name in enumerate(names)}
        places |= {name: np.zeros(0, np.int64) for name in self.manifest.empty_splits if name not in places}
        return dict(sorted(places.items()))

    def clip_labels(self) -> dict[str, ClipLabels]:
        """Return the current labels, groups and splits by clip."""
        return as_clip_labels(self._labels)

    def joints(self, index: int, *, exact: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
        """Read joints (M, T, V, D) and scores (M, T, V) of a clip; None if it has no scores.

        Args:
            index: Number of the clip.
            exact: Whether joints have the type that they have in a skeleton file, although those in float64 have the
                precision of float32; otherwise float32, which is faster. Scores always have their type, because a
                comparison with a threshold depends on it.

        Raises:
            AnnotationError: The shard is damaged.
        """
        shape = tuple(self.shapes[index].tolist())
        keypoint = self._values("keypoint", index, exact=exact).reshape(shape)
        score_type = self._types["keypoint_score"][index]
        score = None if score_type is None else self._values("keypoint_score", index).reshape(shape[:3])
        return keypoint, score

    def time(self, index: int) -> np.ndarray:
        """Read the stored times of the frames of a clip, float64; empty if there are none."""
        return self._reader.read(int(self.shard_of[index]), self._pages["time"][index], _TYPES["time"])

    def _values(self, name: str, index: int, *, exact: bool = True) -> np.ndarray:
        values = self._reader.read(int(self.shard_of[index]), self._pages[name][index], _TYPES[name])
        return values.astype(self._types[name][index], copy=False) if exact else values

    def annotation(self, index: int) -> dict[str, Any]:
        """Read a whole clip, as in a skeleton file.

        Raises:
            AnnotationError: The shard is damaged.
        """
        shard = int(self.shard_of[index])
        row = int(self._row[index] - self._first_row[shard])
        first = self._first_of_groups(shard)
        group = int(np.searchsorted(first, row, "right")) - 1
        if self._group is None or self._group[0] != (shard, group):
            self._group = (shard, group), self._rows_of(shard, group)
        return self._annotation(self._group[1][row - first[group]], index)

    def annotations(self) -> Iterator[dict[str, Any]]:
        """Read all clips, in the order of the shards. Memory does not depend on their number.

        Damaged parts of shards are logged, and the others are used.
        """
        index_of_row = np.empty(len(self), np.int64)
        index_of_row[self._row] = np.arange(len(self))
        for shard in range(len(self.shards)):
            row = int(self._first_row[shard])
            for group, count in enumerate(np.diff(self._first_of_groups(shard)).tolist()):
                try:
                    rows = self._rows_of(shard, group)
                except AnnotationError as error:
                    log.warning("%s; %d clips are left out", error, count)
                    rows = []
                for place, own in enumerate(rows):
                    yield self._annotation(own, int(index_of_row[row + place]))
                row += count

    def names_in(self, shard: int) -> list[str]:
        """Return the ids of the clips of a shard, by its number in `shards`."""
        first, last = self._first_row[shard : shard + 2].tolist()
        names: list[str] = self._index["frame_dir"][first:last].to_pylist()
        return names

    def rows(self, shard: int) -> Iterator[Row]:
        """Read the rows of a shard, for writing them to another one.

        Args:
            shard: Number of the shard in `shards`.
        """
        for group in range(len(self._first_of_groups(shard)) - 1):
            yield from self._rows_of(shard, group)

    def data_set(self) -> dict[str, Any]:
        """Read everything, as from one skeleton file."""
        clips = sorted(self.annotations(), key=lambda annotation: annotation["frame_dir"])
        # A damaged part of a shard is missing.
        read = {clip["frame_dir"] for clip in clips}
        split = {name: [clip for clip in ids if clip in read] for name, ids in self._named_splits().items()}
        names = list(self.manifest.label_names)
        return {"split": split, "annotations": clips, "label_names": names, **self.manifest.extra}

    def content_digest(self) -> bytes:
        """Return a digest of the content of all clips without labels, independent of their distribution to shards."""
        return hashlib.sha256(b"".join(self.column("digest").to_pylist())).digest()

    def _annotation(self, row: Row, index: int) -> dict[str, Any]:
        labels = {"label": int(self.labels[index]), "label_name": self.label_name[index]}
        try:
            return annotation_of(row, {"group": None, "person_labels": None} | labels | self._given(index))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._damage(int(self.shard_of[index]), error) from error

    def _parquet(self, shard: int) -> Any:
        path = self.path / CLIPS / self.shards[shard].name
        return arrow().parquet.ParquetFile(path, page_checksum_verification=True)

    def _first_of_groups(self, shard: int) -> np.ndarray:
        """Return the first row of each row group of a shard, and its number of rows."""
        if shard not in self._group_starts:
            try:
                with self._parquet(shard) as file:
                    sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
            except (OSError, arrow().ArrowException) as error:
                raise self._damage(shard, error) from error
            self._group_starts[shard] = np.concatenate([[0], np.cumsum(sizes)])
        return self._group_starts[shard]

    def _damage(self, shard: int, error: Exception) -> AnnotationError:
        return AnnotationError(
            f"{self.path / CLIPS / self.shards[shard].name}: damaged ({str(error)[:120]!r}); restore the "
            "file from a copy, or merge its clips again"
        )

    def _rows_of(self, shard: int, group: int) -> list[Row]:
        try:
            with self._parquet(shard) as file:
                return list(rows_in(file.read_row_group(group)))
        except (OSError, KeyError, arrow().ArrowException) as error:
            raise self._damage(shard, error) from error

    def _refuse_duplicates(self) -> None:
        ids = np.array(self.names, object)
        twice = np.flatnonzero(ids[1:] == ids[:-1])
        if len(twice):
            raise AnnotationError(f"{self.path}: clip {ids[twice[0]]!r} is in two shards; merge the clips again")

    def _current_labels(self, ids: Any) -> Any:
        """Return the table of labels in the order of the clips. What it lacks is taken from the shards."""
        pa = arrow()
        table = read_labels(self.path)
        places = pa.compute.index_in(ids, table["frame_dir"].combine_chunks())
        missing = np.flatnonzero(places.is_null().to_numpy(zero_copy_only=False))
        if len(missing):
            numbers = {name: number for number, name in enumerate(self.manifest.label_names)}
            own = self._index.take(pa.array(self._row[missing]))
            label_name = own["label_name"].cast(pa.string())
            columns = [
                own["frame_dir"],
                pa.array([numbers.get(name, UNLABELLED) for name in label_name.to_pylist()], pa.int64()),
                label_name,
                own["group"].cast(pa.string()),
                own["splits"],
                own["person_labels"],
            ]
            table = pa.concat_tables([table, pa.table(columns, names=table.column_names)])
            places = pa.compute.index_in(ids, table["frame_dir"].combine_chunks())
        return table.take(places)

    def _page_table(self, name: str) -> np.ndarray:
        column = self._index[f"{name}_page"].combine_chunks()
        _, data = column.buffers()
        first = column.offset
        return np.frombuffer(data, PAGE)[first : first + len(column)][self._row]

    def _dtypes(self, name: str) -> list[np.dtype | None]:
        encoded = self.column(name)
        types = [np.dtype(text) for text in encoded.dictionary.to_pylist()]
        codes = encoded.indices.fill_null(len(types)).to_pylist()
        known = [*types, None]
        return [known[code] for code in codes]


def open_shards(path: Path) -> ShardSet:
    """Open a data set in shards, and log which shards are damaged; see `ShardSet`."""
    shards = ShardSet(path)
    for sentence in shards.damaged:
        log.warning("%s", sentence)
    return shards


def _opened(folder: Path, shard: Shard, *, verify: bool) -> Any:
    """Return the index of a shard as an Arrow table.

    Raises:
        AnnotationError: The shard is missing or damaged; the message names the file and the reason.
    """
    pa, path = arrow(), folder / CLIPS / shard.name
    try:
        size = path.stat().st_size
        if size != shard.bytes:
            raise AnnotationError(f"{path}: has {size} bytes instead of {shard.bytes}; restore the file from a copy")
        if verify and sha256_of(path) != shard.sha256:
            raise AnnotationError(f"{path}: damaged, its digest differs; restore the file from a copy")
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror}); restore the file from a copy") from error
    try:
        table = pa.parquet.read_table(
            folder / INDEX / shard.name,
            read_dictionary=list(REPEATED),
            partitioning=None,
            page_checksum_verification=True,
        )
        if len(table) == shard.clips:
            return table
        reason = f"{counted(len(table), 'row')} instead of {shard.clips}"
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
    log.warning("%s: created again, because it cannot be used (%s)", folder / INDEX / shard.name, reason)
    try:
        table = index_of(path)
    except (OSError, pa.ArrowException, ValueError, IndexError) as error:
        raise AnnotationError(
            f"{path}: damaged ({str(error).splitlines()[0]:.120}); restore the file from a copy"
        ) from error
    repeated = [name for name in REPEATED if name in table.column_names]
    for name in repeated:
        table = table.set_column(table.column_names.index(name), name, table[name].dictionary_encode())
    return table
