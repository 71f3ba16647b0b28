"""The document of corrections: what is accepted, and what it means for tracks, label rows and review."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.corrections import (
    Corrections,
    Join,
    ReviewItem,
    Segment,
    Swap,
    as_json,
    check_persons,
    corrected,
    initial_corrections,
    items_of,
    label_rows,
    least_certain,
    parse_corrections,
)
from pipeline.corrections.comparison import Comparison, Part
from pipeline.datasets.relabel import relabel
from pipeline.inputs.label_table import table_as_csv
from pose_extraction.errors import AnnotationError
from pose_extraction.formats.annotations import annotation_from, data_set
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.validation import read_data_set
from test_support.clips.labelled_persons import RATE, standing, two_persons
from test_support.doc_pages import page, section, table_names


def segment(person: int, start: float, end: float, label: str | None, **fields: Any) -> dict[str, Any]:
    return {"id": f"s{person}-{start}", "person": person, "start": start, "end": end, "label": label} | fields


def document(*segments: dict[str, Any], identities: tuple[dict[str, Any], ...] = (), **fields: Any) -> Corrections:
    return parse_corrections(json.dumps({"segments": segments, "identities": identities} | fields), place="doc")


def reviewed(*arguments: Any) -> dict[str, Any]:
    return segment(*arguments, reviewed=True)


def test_a_document_is_read_as_it_was_written() -> None:
    edits = ({"kind": "swap", "a": 3, "b": 7, "time": 0.5}, {"kind": "join", "from": 7, "to": 3})
    first = document(
        segment(3, 0, 1.5, "wave", source="user"), segment(7, 0, 1, None), identities=edits, classes=["fall"], version=4
    )
    assert parse_corrections(as_json(first), place="doc") == first
    assert json.loads(as_json(first))["identities"] == list(edits)
    assert first.identities == (Swap(a=3, b=7, time=0.5), Join(source=7, to=3))


def test_the_first_document_has_the_segments_of_the_recognizer_and_teaches_nothing() -> None:
    first = initial_corrections([(3, 0.0, 1.0, "wave"), (7, 0.5, 2.0, None)])
    assert [(one.id, one.person, one.label, one.source) for one in first.segments] == [
        ("1", 3, "wave", "model"),
        ("2", 7, None, "model"),
    ]
    assert first.version == 0 and first.lessons == ()


@pytest.mark.parametrize(
    ("fields", "teaches"),
    [
        ({}, False),
        ({"reviewed": True}, True),
        ({"source": "user"}, True),
        ({"reviewed": True, "rejected": True}, False),
        ({"reviewed": True, "label": None}, False),
        ({"reviewed": True, "label": "unknown"}, False),
    ],
)
def test_only_what_somebody_confirmed_is_taught(fields: dict[str, Any], teaches: bool) -> None:
    one = Segment.model_validate(segment(3, 0, 1, "wave") | fields)
    assert one.teaches is teaches


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "doc: not valid JSON"),
        ("[" * 100_000, "doc: not valid JSON"),
        ("[]", "doc: is a list"),
        ({"colour": 1}, "doc: unknown setting 'colour'"),
        ({"segments": [segment(3, 2, 1, "a")]}, r"segments\.0: end 1 s is not after start 2 s"),
        ({"segments": [segment(-3, 0, 1, "a")]}, r"segments\.0\.person: must be at least 0"),
        ({"segments": [segment(3, 0, 1, "a"), segment(3, 0, 2, "b")]}, "the segment id 's3-0' occurs twice"),
        ({"segments": [segment(3, 0, 1, "a" * 300)]}, r"segments\.0\.label"),
        ({"segments": [segment(3, 0, 1, "a", colour=1)]}, r"segments\.0\.colour"),
        ({"identities": [{"kind": "swap", "a": 3, "b": 3, "time": 1}]}, "a and b are both 3"),
        ({"identities": [{"kind": "join", "from": 3}]}, r"identities\.0.*to' is missing"),
        ({"identities": [{"kind": "merge", "from": 3}]}, r"identities\.0"),
        ({"version": "two"}, "version"),
    ],
)
def test_what_is_wrong_is_named(text: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        parse_corrections(text if isinstance(text, str) else json.dumps(text), place="doc")


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(AnnotationError, match=r"segments\.0\.end"):
        parse_corrections('{"segments": [{"id": "1", "person": 1, "start": 0, "end": NaN, "label": "a"}]}', place="doc")


def test_persons_that_do_not_exist_are_named() -> None:
    join = {"kind": "join", "from": 7, "to": 3}
    with pytest.raises(AnnotationError, match="segment 's9-0': there is no person 9; the persons are then 3, 7"):
        check_persons(document(segment(9, 0, 1, "a")), [3, 7])
    with pytest.raises(AnnotationError, match=r"identities\.1: there is no person 7; the persons are then 3"):
        check_persons(document(identities=(join, {"kind": "swap", "a": 3, "b": 7, "time": 1})), [3, 7])
    check_persons(document(segment(3, 0, 1, "a"), identities=(join,)), [3, 7])


def lefts(clip: dict[str, Any]) -> dict[int, list[float]]:
    """Left edge of each person in each frame; 0 where unseen."""
    edges = clip["keypoint"][:, :, 0, 0]
    return {int(person): edges[row].tolist() for row, person in enumerate(clip["track_id"])}


def test_a_swap_exchanges_two_persons_from_its_time_on() -> None:
    clip = corrected(two_persons(), document(identities=({"kind": "swap", "a": 3, "b": 7, "time": 0.5},)))
    assert lefts(clip) == {3: [100.0] * 5 + [400.0] * 15, 7: [400.0] * 5 + [100.0] * 15}
    assert clip["history"][-1]["step"] == "correct_identities"


def test_times_of_the_document_are_shifted_by_the_offset() -> None:
    edits = document(identities=({"kind": "swap", "a": 3, "b": 7, "time": 0.3},))
    assert lefts(corrected(two_persons(), edits, offset=0.2))[3] == [100.0] * 5 + [400.0] * 15


def broken_track() -> dict[str, Any]:
    """Track 3 is lost after 1 s, and continues as track 9; track 7 is there all the time."""
    clip = annotation_from(
        standing((3, 100.0), (7, 400.0), (9, 110.0)), frame_dir="two", estimator="made", fps=RATE, source="two.mp4"
    )
    clip["keypoint_score"][0, 10:] = clip["keypoint_score"][2, :10] = 0
    clip["keypoint"][0, 10:] = clip["keypoint"][2, :10] = 0
    return clip


def test_joined_tracks_are_one_person() -> None:
    clip = corrected(broken_track(), document(identities=({"kind": "join", "from": 9, "to": 3},)))
    assert lefts(clip) == {3: [100.0] * 10 + [110.0] * 10, 7: [400.0] * 20}
    assert (clip["keypoint_score"] > 0).all() and clip["keypoint"].dtype == np.float32


def test_edits_count_in_their_order() -> None:
    swap, join = {"kind": "swap", "a": 3, "b": 7, "time": 1.5}, {"kind": "join", "from": 9, "to": 3}
    one = lefts(corrected(broken_track(), document(identities=(join, swap))))
    other = lefts(corrected(broken_track(), document(identities=(swap, join))))
    assert one == {3: [100.0] * 10 + [110.0] * 5 + [400.0] * 5, 7: [400.0] * 15 + [110.0] * 5}
    assert other == {3: [100.0] * 10 + [110.0] * 5 + [400.0] * 5, 7: [400.0] * 15 + [0.0] * 5}


def test_two_swaps_at_one_time_change_nothing() -> None:
    swap = {"kind": "swap", "a": 3, "b": 7, "time": 0.5}
    assert lefts(corrected(two_persons(), document(identities=(swap, swap)))) == lefts(two_persons())


def test_rows_name_the_tracks_as_they_were_and_have_anchors() -> None:
    swap = {"kind": "swap", "a": 3, "b": 7, "time": 0.5}
    doc = document(reviewed(3, 0.2, 1.0, "wave"), segment(7, 0, 1, "jump"), identities=(swap,))
    rows = label_rows(two_persons(), doc, file="two.mp4")
    assert [(row.label_name, row.track, row.start, row.end, row.group) for row in rows] == [
        ("wave", 3, 0.2, 0.5, "two.mp4#3"),
        ("wave", 7, 0.5, 1.0, "two.mp4#3"),
    ]
    for row, left in zip(rows, (100, 400), strict=True):
        assert row.anchor is not None and row.start is not None and row.end is not None
        assert row.start <= row.anchor.time < row.end and row.anchor.box[0] == pytest.approx(left - 4)


def test_exported_rows_label_the_same_persons_of_an_extraction_with_other_numbers(tmp_path: Path) -> None:
    doc = document(reviewed(3, 0.0, 1.0, "wave"), reviewed(7, 0.5, 2.0, "jump"))
    (tmp_path / "labels.csv").write_text(table_as_csv(label_rows(two_persons(), doc, file="two.mp4")))
    again = two_persons() | {"track_id": np.array([1, 3])}
    write_pickle(tmp_path / "s.pkl", data_set([again], {"all": ["two"]}))
    assert relabel(tmp_path / "s.pkl", tmp_path / "labels.csv").nobody == []
    stored = read_data_set(tmp_path / "s.pkl")["annotations"][0]["person_labels"]
    assert [(one["label_name"], one["track_id"], one["start"]) for one in stored] == [
        ("wave", 1, 0.0),
        ("jump", 3, 0.5),
    ]


def scene(*segments: tuple[str, float, float | None]) -> dict[str, Any]:
    rows = [
        {"id": name, "start": 0.0, "end": 1.0, "label": "wave", "probability": probability, "unknown_score": unknown}
        for name, probability, unknown in segments
    ]
    return {"persons": [{"id": 3, "segments": rows}]}


def test_the_least_certain_segments_come_first() -> None:
    items = items_of("j1", "a.mp4", scene(("1", 0.9, 0.1), ("2", 0.4, 0.2), ("3", 0.4, 0.8)), None)
    assert [item.segment for item in least_certain(items)] == ["3", "2", "1"]
    assert items[0] == ReviewItem("j1", "a.mp4", 3, "1", 0.0, 1.0, "wave", 0.9, 0.1)


def test_what_somebody_has_looked_at_needs_no_review() -> None:
    shown = scene(("1", 0.9, None), ("2", 0.4, None), ("3", 0.4, None), ("4", 0.4, None))
    doc = document(
        segment(3, 0, 1, "wave") | {"id": "1"},
        reviewed(3, 1, 2, "wave") | {"id": "2"},
        segment(7, 2, 3, "wave", source="user") | {"id": "3"},
    )
    assert [item.segment for item in items_of("j1", "a.mp4", shown, doc)] == ["1"]


def test_every_field_is_documented() -> None:
    text = section(page("file_formats.md"), "Corrections")
    assert table_names(text, "field of corrections") == set(Corrections.model_fields)
    assert table_names(text, "field of a segment") == set(Segment.model_fields)
    nobody = Part((), (), (), ())
    assert table_names(text, "field of a comparison") == set(Comparison(nobody, nobody).as_dictionary())
