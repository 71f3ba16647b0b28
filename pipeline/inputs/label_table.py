"""Label tables: CSV files with the columns file and label. Further columns are optional.

A row labels a whole video, or a part of it from start to end, which becomes a clip of its own. With a track or an
anchor it labels one person of the video: the person with this number, or the one in this box at this time.
"""

import csv
import io
import itertools
import math
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pose_extraction.errors import AnnotationError
from pose_extraction.formats.annotations import ALL_CLIPS, MOST_CLASSES
from pose_extraction.formats.person_labels import Anchor, PersonLabel, is_box, seconds_text

REQUIRED = ("file", "label")
OPTIONAL = ("split", "group", "start", "end", "track", "anchor_time", "anchor_box")


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a table.

    Args:
        line: Line number in the file, counted from 1.
        file: The video, relative to the folder of the table, with "/" between folders.
        label_name: Name of the action, or its number as text; None if the cell is empty.
        splits: Splits that contain the clip; separated by "|" in the file.
        group: Clips of one group must not be on both sides of a split.
        start: Start of the clip in seconds; None for the start of the video.
        end: End of the clip in seconds; None for the end of the video.
        track: Track number of the person that the row labels.
        anchor: Where this person is at one time; decides instead of the track.
    """

    line: int
    file: PurePosixPath
    label_name: str | None
    splits: tuple[str, ...]
    group: str | None
    start: float | None
    end: float | None
    track: int | None = None
    anchor: Anchor | None = None

    @property
    def is_person(self) -> bool:
        """Whether the row labels one person, rather than a clip."""
        return self.track is not None or self.anchor is not None

    @property
    def segment(self) -> str:
        """Suffix of the clip's id: `_12.5_20` for a segment in seconds, empty for a whole video."""
        if self.start is None and self.end is None:
            return ""
        return f"_{seconds_text(self.start or 0.0)}_{'end' if self.end is None else seconds_text(self.end)}"


@dataclass(frozen=True, slots=True)
class LabelTable:
    """A table of labels.

    Args:
        path: Path of the CSV file.
        rows: Its rows, in order.
    """

    path: Path
    rows: tuple[TableRow, ...]

    @property
    def has_splits(self) -> bool:
        return any(row.splits for row in self.rows)

    def splits_of(self, row: TableRow) -> tuple[str, ...]:
        """The splits of a row; `all` if the table has no splits."""
        return row.splits if self.has_splits else (ALL_CLIPS,)

    def person_label(self, row: TableRow) -> PersonLabel:
        """The label of the person that a row names; without splits in the table, those of the clip apply."""
        splits = row.splits if self.has_splits else None
        return PersonLabel(row.label_name, row.track, row.anchor, row.start, row.end, splits, row.group)

    def crossing_groups(self) -> list[str]:
        """Groups with clips in different splits, whose training clips resemble test clips."""
        sides: dict[str, set[tuple[str, ...]]] = {}
        for row in self.rows:
            if row.group is not None and row.splits:
                sides.setdefault(row.group, set()).add(row.splits)
        return sorted(group for group, splits in sides.items() if len(splits) > 1)

    def crossing_persons(self) -> list[str]:
        """Tracks without a group that have labels in different splits, as `track 2 of a.mp4`."""
        sides: dict[str, set[tuple[str, ...]]] = {}
        for row in self.rows:
            if row.group is None and row.splits and row.track is not None:
                sides.setdefault(f"track {row.track} of {row.file}", set()).add(row.splits)
        return sorted(person for person, splits in sides.items() if len(splits) > 1)

    def warnings(self) -> list[str]:
        """What makes results on a test split of this table too good, one sentence per kind."""
        found = ([f"group {group!r}" for group in self.crossing_groups()], self.crossing_persons())
        return [
            f"{self.path}: {_is_or_are(who, noun)} on both sides of a split; test results would be too optimistic"
            for who, noun in zip(found, ("groups", "tracks"), strict=True)
            if who
        ]


def read_label_table(path: Path) -> LabelTable:
    """Reads a table of labels: UTF-8 (a byte order mark is allowed), separated by comma, semicolon or tab.

    Args:
        path: Path of the CSV file.

    Raises:
        AnnotationError: The table cannot be read, or a row is invalid; the message names line, value and remedy.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise AnnotationError(
            f"{path}: cannot read the file ({error.strerror}); check its name and permissions"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise AnnotationError(f"{path}, line {line}: not UTF-8 text; save the table as 'CSV UTF-8'") from error
    if "\0" in text:
        raise AnnotationError(f"{path}: not UTF-8 text (it may be UTF-16 or binary); save the table as 'CSV UTF-8'")
    rows = tuple(_rows(path, text))
    if not rows:
        raise AnnotationError(
            f"{path}: the table is empty; it needs a header {','.join(REQUIRED)} and one line per clip"
        )
    _refuse_repeats(path, rows)
    _refuse_mixed_labels(path, rows)
    return LabelTable(path, rows)


def rows_as_json(rows: Iterable[TableRow]) -> list[dict[str, Any]]:
    """Return the rows as plain data: the columns of a table, with null for empty cells."""
    return [
        {
            "file": str(row.file),
            "label": row.label_name,
            "split": "|".join(row.splits) or None,
            "group": row.group,
            "start": row.start,
            "end": row.end,
            "track": row.track,
            "anchor_time": None if row.anchor is None else row.anchor.time,
            "anchor_box": None if row.anchor is None else list(row.anchor.box),
        }
        for row in rows
    ]


def table_as_csv(rows: Iterable[TableRow]) -> str:
    """Return the rows as the text of a table, which `read_label_table` reads as the same rows."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*REQUIRED, *OPTIONAL))
    for values in rows_as_json(rows):
        box = values["anchor_box"]
        values["anchor_box"] = None if box is None else " ".join(str(number) for number in box)
        writer.writerow(["" if value is None else value for value in values.values()])
    return text.getvalue()


def _rows(path: Path, text: str) -> Iterator[TableRow]:
    first_line = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = next((mark for mark in ",;\t" if mark in first_line), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    try:
        for cells in reader:
            values = [cell.strip() for cell in cells]
            if not any(values):
                continue
            if not columns:
                columns = _columns(path, reader.line_num, values)
            else:
                yield _row(f"{path}, line {reader.line_num}", reader.line_num, columns, values)
    except csv.Error as error:
        raise AnnotationError(f"{path}, line {reader.line_num}: not valid CSV ({error}); check the quotes") from error


def _columns(path: Path, line: int, values: list[str]) -> list[str]:
    columns = [value.lower() for value in values]
    known = (*REQUIRED, *OPTIONAL)
    for name in REQUIRED:
        if name not in columns:
            raise AnnotationError(
                f"{path}, line {line}: no column {name!r} among {', '.join(values)}; the first line must name the "
                f"columns: {', '.join(REQUIRED)} and, optionally, {', '.join(OPTIONAL)}"
            )
    for name in known:
        if columns.count(name) > 1:
            raise AnnotationError(f"{path}, line {line}: column {name!r} occurs twice; rename or delete one")
    return columns


def _row(place: str, line: int, columns: list[str], values: list[str]) -> TableRow:
    if len(values) > len(columns):
        raise AnnotationError(
            f"{place}: {len(values)} values for {len(columns)} columns; quote values that contain the separator"
        )
    cell = dict.fromkeys(OPTIONAL, "") | dict(zip(columns, values + [""] * (len(columns) - len(values)), strict=True))
    file = PurePosixPath(cell["file"].replace("\\", "/"))
    if file.name in ("", ".."):
        raise AnnotationError(f"{place}: no file given; give a video relative to the folder of the table")
    start, end = _time(place, "start", cell["start"]), _time(place, "end", cell["end"])
    if end is not None and end <= (start or 0.0):
        raise AnnotationError(
            f"{place}: end {cell['end']} is not after start {cell['start'] or 0}; times are in seconds"
        )
    return TableRow(
        line,
        file,
        _label(place, cell["label"]),
        tuple(dict.fromkeys(name.strip() for name in cell["split"].split("|") if name.strip())),
        cell["group"] or None,
        start,
        end,
        _track(place, cell["track"]),
        _anchor(place, cell["anchor_time"], cell["anchor_box"]),
    )


def _track(place: str, value: str) -> int | None:
    if not value:
        return None
    if not _is_number(value):
        raise AnnotationError(f"{place}: track {value!r} is not a track number, such as 2")
    return int(value)


def _anchor(place: str, time: str, box: str) -> Anchor | None:
    if not time and not box:
        return None
    seconds = _time(place, "anchor_time", time)
    if seconds is None or not box:
        missing = "anchor_time" if seconds is None else "anchor_box"
        raise AnnotationError(f"{place}: {missing} is empty; an anchor needs a time and the box of the person then")
    try:
        numbers = [float(number) for number in re.split(r"[\s,;]+", box)]
    except ValueError:
        numbers = []
    if not is_box(numbers):
        raise AnnotationError(
            f"{place}: anchor_box {box!r} is not a box; give x, y, width and height in pixels, such as '120 80 60 150'"
        )
    return Anchor(seconds, (numbers[0], numbers[1], numbers[2], numbers[3]))


def _label(place: str, value: str) -> str | None:
    if not _is_number(value):
        return value or None
    # Not by its value alone: Python refuses to convert very long numbers.
    if len(value.lstrip("0")) > len(str(MOST_CLASSES)) or int(value) >= MOST_CLASSES:
        raise AnnotationError(f"{place}: label {value} is too large; number the classes from 0, below {MOST_CLASSES}")
    return value.lstrip("0") or "0"


def _time(place: str, column: str, value: str) -> float | None:
    if not value:
        return None
    try:
        # Python reads 1_000 as a number.
        seconds = float(value.replace("_", "?"))
    except ValueError:
        raise AnnotationError(f"{place}: {column} {value!r:.80} is not a number of seconds, such as 12.5") from None
    if not math.isfinite(seconds) or seconds < 0:
        raise AnnotationError(
            f"{place}: {column} {value!r:.80} is not a valid time; give seconds from the start of the video"
        )
    # Not -0.
    return abs(seconds)


def _refuse_repeats(path: Path, rows: tuple[TableRow, ...]) -> None:
    first: dict[tuple[object, ...], int] = {}
    for row in rows:
        # The same file under two names: a/../b and b, or an accent as a part of its letter and on its own.
        file = posixpath.normpath(unicodedata.normalize("NFC", str(row.file)))
        line = first.setdefault((file, row.segment, row.track, row.anchor), row.line)
        if line != row.line:
            what = f"the segment {row.segment[1:].replace('_', ' to ')} of {row.file}" if row.segment else str(row.file)
            raise AnnotationError(
                f"{path}, line {row.line}: {what} is already on line {line}; delete one, or give both start and end"
            )
    _refuse_overlaps(path, rows)


def _refuse_overlaps(path: Path, rows: tuple[TableRow, ...]) -> None:
    """Refuses two labels of one track at one time; those of anchors are known only once their persons are found."""
    of_track: dict[tuple[PurePosixPath, int], list[tuple[float, float, int]]] = {}
    for row in rows:
        if row.track is not None and row.anchor is None:
            span = (row.start or 0.0, math.inf if row.end is None else row.end, row.line)
            of_track.setdefault((row.file, row.track), []).append(span)
    for (file, track), spans in of_track.items():
        spans.sort()
        for (_, end, line), (start, _, other) in itertools.pairwise(spans):
            if start < end:
                raise AnnotationError(
                    f"{path}, line {max(line, other)}: track {track} of {file} has a label at {start:g} s on line "
                    f"{min(line, other)} already; change start or end of one"
                )


def _refuse_mixed_labels(path: Path, rows: tuple[TableRow, ...]) -> None:
    """Refuses tables with numbers and names as labels: numbering the names could produce a number already in use."""
    labelled = [row for row in rows if row.label_name is not None]
    numbers = [row for row in labelled if _is_number(row.label_name)]
    if not numbers or len(numbers) == len(labelled):
        return
    name = next(row for row in labelled if row not in numbers)
    raise AnnotationError(
        f"{path}: labels mix numbers and names (line {numbers[0].line}: {numbers[0].label_name}, line "
        f"{name.line}: {name.label_name}); use one or the other"
    )


def _is_or_are(who: list[str], noun: str) -> str:
    return f"{who[0]} is" if len(who) == 1 else f"{len(who)} {noun} (the first: {who[0]}) are"


def _is_number(label: str | None) -> bool:
    return label is not None and label.isascii() and label.isdigit()
