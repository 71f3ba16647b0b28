"""One clip as one row: which column holds which field, and the way back, without any loss.

A column has one type for all clips, so that every reader of Parquet understands it: joints are lists of float32, for
example, whatever their precision in the annotation. A field that its columns alone do not give back exactly (an unusual
type, float64 that float32 cannot hold) and every field without a column is stored in `extra` as well.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.formats.clip_times import times_of
from pose_extraction.formats.shards.arrow import arrow
from pose_extraction.formats.shards.plain import from_text, to_text

Row = dict[str, Any]

# Columns by their type in Parquet. Flat lists hold arrays in C order; the shape is that of `keypoint_shape`.
TEXT = (
    "frame_dir", "label_name", "group", "person_labels", "estimator", "source", "keypoint_dtype",
    "keypoint_score_dtype", "history", "quality", "estimate", "fields", "extra",
)  # fmt: skip
TEXT_LISTS = ("splits", "problems")
LISTS = {
    "img_shape": "int32",
    "original_shape": "int32",
    "keypoint_shape": "int32",
    "keypoint": "float32",
    "keypoint_score": "float32",
    "imputed": "bool",
    "track_id": "int64",
    "frame_index": "int64",
    "time": "float64",
}
NUMBERS = {"total_frames": "int64", "fps": "float64", "seconds": "float64", "is_finite": "bool", "has_person": "bool"}
DIGEST = "digest"
DIGEST_BYTES = 16
# Fields that can be changed later without rewriting joints. `label` is a number that depends on all clips of the set,
# so it is stored in the table of labels only.
LABEL_COLUMNS = ("label_name", "group", "splits", "person_labels")
LABEL_FIELDS = ("label", "label_name", "group", "person_labels")
# Few different values: Parquet stores each once.
REPEATED = ("label_name", "group", "estimator", "keypoint_dtype", "keypoint_score_dtype", "estimate", "fields")
# Columns of arrays that are read for one clip at a time.
PAGED = ("keypoint", "keypoint_score", "time")


@dataclass(frozen=True)
class _Field:
    """How a field of an annotation is stored.

    Args:
        pack: Values of its columns for a value and its annotation; empty if the columns cannot hold it.
        restore: The value for a row with these columns.
    """

    pack: Callable[[Any, Mapping[str, Any]], Row]
    restore: Callable[[Row], Any]


def _text_field(name: str) -> _Field:
    return _Field(lambda value, _: {name: value} if _is_text(value) else {}, lambda row: row[name])


def _json_field(name: str) -> _Field:
    return _Field(lambda value, _: {name: to_text(value, name)}, lambda row: from_text(row[name]))


def _size_field(name: str) -> _Field:
    return _Field(
        lambda value, _: {name: np.array(value, np.int32)} if _is_size(value) else {},
        lambda row: tuple(row[name].tolist()),
    )


def _array_field(name: str, dtype: str) -> _Field:
    """A one-dimensional array."""

    def pack(value: Any, _: Mapping[str, Any]) -> Row:
        return {name: value} if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == dtype else {}

    return _Field(pack, lambda row: row[name])


def _joint_field(name: str) -> _Field:
    """Joints or their scores, of any precision, as float32."""

    def pack(value: Any, annotation: Mapping[str, Any]) -> Row:
        shape = np.shape(annotation["keypoint"])
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub" or len(shape) != 4:
            return {}
        if value.shape != (shape if name == "keypoint" else shape[:3]):
            return {}
        # Large float64 becomes infinite in float32; `extra` then holds the exact values.
        with np.errstate(over="ignore"):
            columns = {f"{name}_dtype": value.dtype.str, name: value.astype(np.float32).ravel()}
        return columns | ({"keypoint_shape": np.array(shape, np.int32)} if name == "keypoint" else {})

    def restore(row: Row) -> np.ndarray:
        shape = tuple(row["keypoint_shape"].tolist())
        with np.errstate(over="ignore", invalid="ignore"):
            values = row[name].astype(row[f"{name}_dtype"])
        return values.reshape(shape if name == "keypoint" else shape[:3])

    return _Field(pack, restore)


def _imputed(value: Any, annotation: Mapping[str, Any]) -> Row:
    fits = isinstance(value, np.ndarray) and value.dtype == bool
    return {"imputed": value.ravel()} if fits and value.shape == np.shape(annotation["keypoint"])[:3] else {}


_FIELDS: dict[str, _Field] = {
    "total_frames": _Field(
        lambda value, _: {"total_frames": value} if isinstance(value, int) and abs(value) < 2**63 else {},
        lambda row: row["total_frames"],
    ),
    "img_shape": _size_field("img_shape"),
    "original_shape": _size_field("original_shape"),
    "keypoint": _joint_field("keypoint"),
    "keypoint_score": _joint_field("keypoint_score"),
    "imputed": _Field(_imputed, lambda row: row["imputed"].reshape(tuple(row["keypoint_shape"][:3].tolist()))),
    "track_id": _array_field("track_id", "int64"),
    "frame_index": _array_field("frame_index", "int64"),
    "time": _array_field("time", "float64"),
    "fps": _Field(
        lambda value, _: {"fps": float(value)} if isinstance(value, int | float) else {}, lambda row: row["fps"]
    ),
    "estimator": _text_field("estimator"),
    "source": _text_field("source"),
    "history": _json_field("history"),
    "quality": _json_field("quality"),
    "problems": _Field(
        lambda value, _: {"problems": value} if isinstance(value, list) and all(map(_is_text, value)) else {},
        lambda row: list(row["problems"]),
    ),
}


def row_of(annotation: Mapping[str, Any], splits: Sequence[str], place: str) -> Row:
    """Return the row of a clip: values by column, with flat arrays for lists of numbers.

    Args:
        annotation: The clip, with `frame_dir` and `keypoint` as a validated skeleton file has them.
        splits: Names of the splits that contain it.
        place: File and clip, for messages.

    Raises:
        AnnotationError: A field contains something other than arrays and plain data, or an id or a name is not Unicode
            text.
    """
    for key in annotation:
        if type(key) is not str:
            raise AnnotationError(f"{place}: the key {key!r:.80} must be text; rename or remove it")
    row: Row = dict.fromkeys((*TEXT, *TEXT_LISTS, *LISTS, *NUMBERS))
    extra: dict[str, Any] = {}
    row |= _labels(annotation, splits, place, extra)
    for name, value in annotation.items():
        if name in ("frame_dir", *LABEL_FIELDS):
            continue
        columns = _FIELDS[name].pack(value, annotation) if name in _FIELDS else {}
        row |= columns
        if not columns or not _is_same(_FIELDS[name].restore(row), value):
            extra[name] = value
    row["fields"] = json.dumps(list(annotation))
    row["extra"] = to_text(extra, place) if extra else None
    row |= _summary(annotation)
    row[DIGEST] = _digest(row)
    return row


def annotation_of(row: Row, labels: Mapping[str, Any]) -> dict[str, Any]:
    """Return the clip of a row.

    Args:
        row: Result of `row_of`, or a row of `rows_in`.
        labels: Current `label`, `label_name`, `group` and `person_labels`, from the table of labels.

    Raises:
        ValueError: The row is damaged.
    """
    extra = from_text(row["extra"]) if row["extra"] is not None else {}
    annotation: dict[str, Any] = {}
    for name in json.loads(row["fields"]):
        if name == "frame_dir":
            annotation[name] = row[name]
        elif name == "group":
            exact = extra.get(name)
            annotation[name] = exact if exact is not None and str(exact) == labels[name] else labels[name]
        elif name in LABEL_FIELDS:
            annotation[name] = labels[name]
        else:
            annotation[name] = extra[name] if name in extra else _FIELDS[name].restore(row)
    for name in LABEL_FIELDS[1:]:
        # Given later, by `skelpipe label`.
        if name not in annotation and labels[name] is not None:
            annotation[name] = labels[name]
    return annotation


def _labels(annotation: Mapping[str, Any], splits: Sequence[str], place: str, extra: dict[str, Any]) -> Row:
    group = annotation.get("group")
    if isinstance(group, int):
        extra["group"], group = group, str(group)
    persons = annotation.get("person_labels")
    named = {
        "frame_dir": annotation["frame_dir"],
        "label_name": annotation.get("label_name"),
        "group": group,
        "splits": sorted(splits),
    }
    for name, value in named.items():
        texts = value if isinstance(value, list) else [] if value is None else [value]
        if not all(map(_is_text, texts)):
            raise AnnotationError(f"{place}: {name} {value!r:.80} must be Unicode text; rename it")
    return named | {"person_labels": None if persons is None else to_text(persons, f"{place}: person_labels")}


def _summary(annotation: Mapping[str, Any]) -> Row:
    """Return the columns from which a reader decides whether it can use a clip, without reading its joints."""
    keypoint, score = annotation["keypoint"], annotation.get("keypoint_score")
    arrays = [array for array in (keypoint, score) if isinstance(array, np.ndarray) and array.dtype.kind in "fiub"]
    seen = keypoint if score is None else np.asarray(score) > 0
    frames = keypoint.shape[1]
    time = times_of(annotation, frames) if frames else None
    history = annotation.get("history")
    first = history[0] if isinstance(history, list) and history else None
    is_estimate = isinstance(first, Mapping) and first.get("step") == "estimate"
    return {
        "is_finite": all(bool(np.isfinite(array).all()) for array in arrays),
        "has_person": bool(np.any(seen)),
        "seconds": None if time is None else float(time[-1] - time[0]),
        "estimate": to_text(first, "history") if is_estimate else None,
    }


def _digest(row: Row) -> bytes:
    """Return a digest of everything but the labels."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    own = [name for name in json.loads(row["fields"]) if name not in LABEL_FIELDS]
    for name, value in (row | {"fields": own}).items():
        if name in LABEL_COLUMNS:
            continue
        digest.update(f"\0{name}\0".encode())
        if isinstance(value, np.ndarray):
            digest.update(value.dtype.str.encode())
            digest.update(np.ascontiguousarray(value).data)
        else:
            digest.update(repr(value).encode())
    return digest.digest()


def _is_text(value: Any) -> bool:
    """Return whether a value is text that UTF-8 can encode: names of files may contain other bytes."""
    return type(value) is str and (value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value))


def _is_size(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(type(side) is int and 0 <= side < 2**31 for side in value)


def _is_same(first: Any, second: Any) -> bool:
    """Return whether two values are equal in type and content, also in NaN and the sign of zero."""
    if type(first) is not type(second):
        return False
    if isinstance(first, np.ndarray):
        return (
            first.dtype == second.dtype
            and first.dtype.byteorder == second.dtype.byteorder
            and first.shape == second.shape
            and first.tobytes() == second.tobytes()
        )
    if isinstance(first, dict):
        return list(first) == list(second) and all(_is_same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_is_same, first, second))
    if isinstance(first, float):
        return repr(first) == repr(second)
    return bool(first == second)


def schema() -> Any:
    """Return the Arrow schema of a shard."""
    pa = arrow()
    kinds = {"int32": pa.int32(), "int64": pa.int64(), "float32": pa.float32(), "float64": pa.float64()}
    kinds["bool"] = pa.bool_()
    columns = {name: pa.string() for name in TEXT}
    columns |= {name: pa.list_(pa.string()) for name in TEXT_LISTS}
    columns |= {name: pa.list_(kinds[kind]) for name, kind in LISTS.items()}
    columns |= {name: kinds[kind] for name, kind in NUMBERS.items()}
    columns[DIGEST] = pa.binary(DIGEST_BYTES)
    return pa.schema(
        [pa.field(name, kind, nullable=name not in ("frame_dir", DIGEST)) for name, kind in columns.items()]
    )


def table_of(rows: Sequence[Row]) -> Any:
    """Return rows as an Arrow table."""
    pa = arrow()
    kinds = schema()
    arrays = []
    for column in kinds:
        values = [row[column.name] for row in rows]
        if column.name not in LISTS:
            arrays.append(pa.array(values, column.type))
            continue
        absent = np.array([value is None for value in values])
        parts = [value for value in values if value is not None]
        offsets = np.zeros(len(values) + 1, np.int32)
        offsets[1:] = np.cumsum([0 if value is None else len(value) for value in values])
        flat = np.concatenate(parts) if parts else np.zeros(0, LISTS[column.name])
        arrays.append(
            pa.ListArray.from_arrays(
                pa.array(offsets), pa.array(flat, column.type.value_type), type=column.type, mask=pa.array(absent)
            )
        )
    return pa.Table.from_arrays(arrays, schema=kinds)


def rows_in(table: Any) -> Iterator[Row]:
    """Yield the rows of an Arrow table with the columns of `schema`, in the form of `row_of`."""
    names = [name for name in table.column_names if name not in LISTS]
    plain = table.select(names).to_pydict()
    lists = {name: list_values(table[name]) for name in LISTS}
    for position in range(len(table)):
        row = {name: plain[name][position] for name in names}
        for name, (values, offsets, absent) in lists.items():
            part = values[offsets[position] : offsets[position + 1]]
            # A copy, so that a clip does not keep the whole table in memory.
            row[name] = None if absent[position] else part.copy()
        yield row


def list_values(column: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the values of a column of lists, one after the other.

    Args:
        column: Arrow array of N lists of numbers, chunked or not.

    Returns:
        Values (K,), offsets int64 (N + 1,) of the lists in them, and bool (N,), True for an absent list.
    """
    pa = arrow()
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    lengths = pa.compute.fill_null(pa.compute.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return array.flatten().to_numpy(zero_copy_only=False), offsets, array.is_null().to_numpy(zero_copy_only=False)
