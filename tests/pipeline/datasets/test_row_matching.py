"""Which lines of a label table belong to which clips."""

from pathlib import Path, PurePosixPath

import pytest

from pipeline.datasets.row_matching import match_rows
from pipeline.inputs.label_table import LabelTable, TableRow
from pose_extraction.errors import AnnotationError


def matched(files: list[str], clips: dict[str, str | None]) -> dict[str, str]:
    """Return the file of the line of each clip, which has a source or None."""
    rows = [TableRow(line, PurePosixPath(file), "wave", (), None, None, None) for line, file in enumerate(files, 2)]
    annotations = [{"frame_dir": name, "source": source} for name, source in clips.items()]
    return {clip: str(row.file) for clip, row in match_rows(annotations, LabelTable(Path("t.csv"), (*rows,))).items()}


@pytest.mark.parametrize(
    ("file", "clip", "source"),
    [
        ("a.avi", "a", None),
        ("videos/a.avi", "a", None),
        ("a.avi", "clip1", "videos/a.avi"),
        ("a", "clip1", "a.avi"),
        ("a.avi", "clip1", "a"),
        ("rec.1.mp4", "rec.1", None),
        ("S001C001P001R001A001_rgb.avi", "S001C001P001R001A001", None),
    ],
)
def test_lines_find_clips_by_id_and_source_with_or_without_suffix(file: str, clip: str, source: str | None) -> None:
    assert matched([file], {clip: source}) == {clip: file}


@pytest.mark.parametrize(
    ("file", "clip", "source"),
    [("a.avi", "clip1", "a.mp4"), ("x/a.avi", "y/a", None), ("rec.07", "rec", None), ("a.avi", "b", None)],
)
def test_lines_of_other_videos_do_not_match(file: str, clip: str, source: str | None) -> None:
    """The suffix matters if both have one, and a part without letters is none."""
    assert matched([file], {clip: source}) == {}


def test_the_identical_path_wins_and_a_tie_is_an_error() -> None:
    clips = {"one": "a.avi", "two": "a.mp4"}
    assert matched(["a.avi", "a.mp4"], clips) == {"one": "a.avi", "two": "a.mp4"}
    with pytest.raises(AnnotationError, match="lines 2, 3 match clip 'one' equally well"):
        matched(["a.avi", "a.mp4"], {"one": "a"})
