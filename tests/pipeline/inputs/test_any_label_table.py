"""Any label table is read as it was written, or refused with a message that names file and line."""

import csv
import io
import re
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from pipeline.inputs.label_table import TableRow, read_label_table
from pipeline.inputs.labels import LabelsFromTable
from pipeline.inputs.videos import Source
from pose_extraction.errors import AnnotationError
from test_support.clips.odd_values import NAMES

LABELS = NAMES.map(str.strip).filter(lambda name: name and not (name.isascii() and name.isdigit()))
NUMBERS = st.integers(0, 9999).map(str)
WORDS = st.sampled_from(["walk", "clip 1.mp4", "a/b.avi", "a;b", 'say "hi"', "x,y", "", " ", "1", "007", "train|val"])
TIMES = st.sampled_from(["0", "1", "2.5", "1e3", "-1", "nan", "1_0", "1:30", "-0", "inf", "", "9" * 5000])

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables") / "labels.csv"


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return the rows of a valid table."""
    files = draw(st.lists(st.from_regex(r"[a-z0-9 ,;é]{0,5}[a-zé]\.mp4", fullmatch=True), min_size=1, max_size=4))
    labels = draw(st.sampled_from([LABELS, NUMBERS]))
    splits = st.lists(NAMES.map(str.strip).filter(lambda name: name and "|" not in name), max_size=2, unique=True)
    rows = []
    for file in dict.fromkeys(file.strip() for file in files):
        start = draw(st.none() | st.integers(0, 10**6).map(lambda value: value / 1000))
        length = draw(st.none() | st.integers(1, 10**6).map(lambda value: value / 1000))
        rows.append(
            {
                "file": file,
                "label": draw(st.none() | labels),
                "split": tuple(draw(splits)),
                "group": draw(st.none() | NAMES.map(str.strip).filter(bool)),
                "start": start,
                "end": None if length is None else (start or 0.0) + length,
            }
        )
    return rows


@given(
    rows=tables(),
    delimiter=st.sampled_from(",;\t"),
    mark=st.sampled_from(["", "\ufeff"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_is_written_is_read_back(
    path: Path, rows: list[dict[str, Any]], delimiter: str, mark: str, line_end: str
) -> None:
    text = io.StringIO()
    columns = ["file", "label", "split", "group", "start", "end"]
    writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end)
    writer.writerow(columns)
    for row in rows:
        cells = {**row, "split": "|".join(row["split"])}
        writer.writerow(["" if cells[name] is None else cells[name] for name in columns])
    path.write_bytes((mark + text.getvalue()).encode())
    read = read_label_table(path)
    assert len(read.rows) == len(rows)
    for found, row in zip(read.rows, rows, strict=True):
        assert isinstance(found, TableRow)
        assert found.file == PurePosixPath(row["file"])
        assert (found.label_name, found.splits, found.group) == (row["label"], row["split"], row["group"])
        assert (found.start, found.end) == (row["start"], row["end"])


@st.composite
def odd_tables(draw: st.DrawFn) -> bytes:
    """Return the bytes of something like a table."""
    if draw(st.booleans()):
        cells = st.one_of(WORDS, TIMES, NAMES)
        rows = draw(st.lists(st.lists(cells, min_size=1, max_size=7), max_size=4))
        head = draw(
            st.sampled_from(["file,label", "file,label,split,group,start,end", "File;Label;Start;End", "label"])
        )
        mark = draw(st.sampled_from(",;\t"))
        text = head + "\n" + "\n".join(mark.join(row) for row in rows)
        return text.encode()
    return draw(st.binary(max_size=40) | st.text(max_size=40).map(lambda text: f"file,label\n{text}".encode()))


@given(content=odd_tables())
def test_what_is_wrong_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        table = read_label_table(path)
    except AnnotationError as error:
        event("refused")
        assert str(error).startswith(str(path)) and re.search(r"; | file|UTF-8|such as", str(error)), error
        return
    event("read")
    sources = [
        Source(path.parent / row.file, str(row.file), f"clip{number}", None) for number, row in enumerate(table.rows)
    ]
    labels = LabelsFromTable(table, sources)
    for source in sources:
        ids = [clip.frame_dir for clip in labels.clips_of(source)]
        assert len(set(ids)) == len(ids)
    try:
        LabelsFromTable(table, [])
    except AnnotationError as error:
        assert "there is no file" in str(error)
