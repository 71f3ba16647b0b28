"""Labels of single persons: which track they mean, and the clips that are cut from them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pose_extraction.errors import AnnotationError
from pose_extraction.formats.annotations import annotation_from, data_set, merge_files
from pose_extraction.formats.person_clips import with_person_clips
from pose_extraction.formats.person_labels import Anchor, PersonLabel, painted, person_labels_of, stored_form
from pose_extraction.formats.persons import find_person, set_person_labels
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.validation import read_data_set
from test_support.clips.labelled_persons import standing, two_persons

FILE = Path("made.pkl")


def test_the_anchor_decides_and_not_the_track_number() -> None:
    clip = two_persons()
    assert find_person(clip, PersonLabel("wave", track=7)).row == 1
    assert find_person(clip, PersonLabel("wave", track=7, anchor=Anchor(1.0, (90, 90, 70, 220)))).row == 0
    assert "tracks 3, 7" in find_person(clip, PersonLabel("wave", track=1)).reason


def test_an_anchor_that_is_drawn_by_hand_matches_and_one_beside_the_person_does_not() -> None:
    clip = two_persons()
    # The joints of the first person span 100 to 140 and 100 to 300 pixels.
    assert find_person(clip, PersonLabel("a", anchor=Anchor(0.52, (80, 70, 80, 260)))).row == 0
    far = find_person(clip, PersonLabel("a", anchor=Anchor(0.52, (200, 90, 60, 220))))
    assert far.row is None and "best IoU of a person is 0.00" in far.reason
    assert "no frame within 0.5 s" in find_person(clip, PersonLabel("a", anchor=Anchor(9.0, (90, 90, 70, 220)))).reason


def test_a_person_who_is_unseen_at_the_time_of_the_anchor_is_found_nearby() -> None:
    clip = two_persons()
    clip["keypoint_score"][0, 8:12] = 0
    assert find_person(clip, PersonLabel("a", anchor=Anchor(1.0, (90, 90, 70, 220)))).row == 0


def test_a_label_without_frames_matches_nobody() -> None:
    clip = two_persons()
    clip["keypoint_score"][1, 10:] = 0
    assert find_person(clip, PersonLabel("a", track=7, start=0.5, end=2.0)).row == 1
    assert "not seen in the span 1-2 s" in find_person(clip, PersonLabel("a", track=7, start=1.0, end=2.0)).reason


def test_a_track_number_gets_an_anchor_that_finds_the_person_under_another_number() -> None:
    clip = two_persons()
    set_person_labels(clip, [PersonLabel("wave", track=7, start=0.2, end=1.0)])
    (label,) = person_labels_of(clip, "clip")
    assert label.track_id == 7 and label.anchor is not None
    again = two_persons()
    again["track_id"] = np.array([7, 2])
    again["keypoint"] = again["keypoint"][:, :] + np.float32(1.5)
    set_person_labels(again, [label])
    assert again["person_labels"][0]["track_id"] == 2


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 9), st.integers(1, 5), st.sampled_from(["a", "b", None])),
        max_size=8,
    )
)
def test_of_labels_that_overlap_the_later_one_counts(strokes: list[tuple[int, int, int, str | None]]) -> None:
    """Compared with a plain timeline of one cell per second."""
    plain: dict[tuple[int, int], str | None] = {}
    labels: list[PersonLabel] = []
    for person, start, length, name in strokes:
        plain |= {(person, second): name for second in range(start, start + length)}
        new = PersonLabel(name, start=float(start), end=float(start + length), track_id=person)
        labels = painted(labels, new)
    cells = [
        ((label.track_id, second), label.label_name)
        for label in labels
        for second in range(int(label.span[0]), int(label.span[1]))
    ]
    assert len(cells) == len(dict(cells)) and dict(cells) == plain


def test_an_open_label_is_cut_on_both_sides() -> None:
    whole = PersonLabel("a", track_id=1)
    spans = [
        (one.label_name, one.start, one.end)
        for one in painted([whole], PersonLabel("b", None, None, 2, 3, None, None, 1))
    ]
    assert spans == [("a", None, 2), ("a", 3, None), ("b", 2, 3)]


def labelled(*labels: PersonLabel, **fields: Any) -> dict[str, Any]:
    clip = two_persons(**fields)
    set_person_labels(clip, labels)
    return data_set([clip], {"all": ["two"]})


def test_each_labelled_person_becomes_a_clip_and_the_others_do_not() -> None:
    data = labelled(PersonLabel("wave", track=7, start=0.5, end=1.0), PersonLabel("jump", track=7, start=1.0))
    cut, notes = with_person_clips(data, FILE)
    assert notes == [] and cut["split"] == {"all": ["two#7@0.5-1", "two#7@1-end"]}
    first, second = cut["annotations"]
    assert (first["label_name"], second["label_name"]) == ("wave", "jump")
    whole = data["annotations"][0]
    np.testing.assert_array_equal(first["keypoint"], whole["keypoint"][1:, 5:10])
    np.testing.assert_array_equal(first["time"], whole["time"][5:10])
    assert first["total_frames"] == 5 and second["total_frames"] == 10
    # One person is one group, so that they are on one side of a split.
    assert first["group"] == second["group"] == "two.mp4#7"


def test_a_clip_with_a_label_of_its_own_is_kept() -> None:
    clip = two_persons(label_name="fight")
    set_person_labels(clip, [PersonLabel("punch", track=3, splits=("train",), group="anna")])
    cut, _ = with_person_clips(data_set([clip], {"all": ["two"]}), FILE)
    assert [(one["frame_dir"], one["label_name"], one["group"]) for one in cut["annotations"]] == [
        ("two", "fight", None),
        ("two#3", "punch", "anna"),
    ]
    assert cut["split"] == {"all": ["two"], "train": ["two#3"]} and cut["label_names"] == ["fight", "punch"]


def test_labels_that_match_nobody_are_counted_and_not_trained_on() -> None:
    data = labelled(PersonLabel("wave", track=1), PersonLabel("wave", track=3), PersonLabel(None, track=7))
    cut, notes = with_person_clips(data, FILE)
    assert [clip["frame_dir"] for clip in cut["annotations"]] == ["two#3"]
    assert len(notes) == 1 and "label 'wave' of track 1 matches no person" in notes[0]


def test_a_label_without_any_match_leaves_the_clip() -> None:
    cut, _ = with_person_clips(labelled(PersonLabel("wave", track=1)), FILE)
    assert [clip["frame_dir"] for clip in cut["annotations"]] == ["two"]


def test_a_label_that_matches_nobody_makes_no_class(tmp_path: Path) -> None:
    data = labelled(PersonLabel("jump", track=3), PersonLabel("wave", track=1))
    assert data["label_names"] == ["jump"]
    cut, notes = with_person_clips(data, FILE)
    assert [clip["label_name"] for clip in cut["annotations"]] == ["jump"] and len(notes) == 1
    write_pickle(tmp_path / "a.pkl", data)
    other = two_persons(frame_dir="b", source="b.mp4")
    for track, classes in ((1, ["jump"]), (7, ["jump", "wave"])):
        set_person_labels(other, [PersonLabel("wave", track=track)])
        write_pickle(tmp_path / "b.pkl", data_set([other], {"all": ["b"]}))
        merged = merge_files([tmp_path / "a.pkl", tmp_path / "b.pkl"])
        # The label itself stays, in case that another extraction finds its person.
        assert (
            merged["label_names"] == classes
            and len(next(one for one in merged["annotations"] if one["frame_dir"] == "two")["person_labels"]) == 2
        )


def test_a_file_without_labels_of_persons_stays_as_it_is() -> None:
    data = data_set([two_persons()], {"all": ["two"]})
    assert with_person_clips(data, FILE) == (data, [])


def test_merging_keeps_the_labels_and_their_classes(tmp_path: Path) -> None:
    write_pickle(tmp_path / "a.pkl", labelled(PersonLabel("wave", track=3)))
    other = annotation_from(
        standing((1, 50.0)), frame_dir="b", estimator="x", fps=10, source="b.mp4", label_name="jump"
    )
    write_pickle(tmp_path / "b.pkl", data_set([other], {"all": ["b"]}))
    merged = merge_files([tmp_path / "a.pkl", tmp_path / "b.pkl"])
    assert merged["label_names"] == ["jump", "wave"]
    assert merged["annotations"][1]["person_labels"][0]["label_name"] == "wave"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"track": "2"}, "track is '2', must be an integer"),
        ({"start": float("nan")}, "start is nan, must be seconds"),
        ({"anchor_time": None}, "anchor_time and anchor_box belong together"),
        ({"anchor_time": 1.0, "anchor_box": (1, 2, 0, 4)}, r"anchor_box is \(1, 2, 0, 4\)"),
        ({"colour": "red"}, "unknown entry 'colour'"),
    ],
)
def test_malformed_labels_are_refused(tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    data = labelled(PersonLabel("wave", track=3))
    data["annotations"][0]["person_labels"][0].update(entry)
    write_pickle(tmp_path / "a.pkl", data)
    with pytest.raises(AnnotationError, match=rf"clip 'two': person_labels\[0\]: .*{message}|{message}"):
        read_data_set(tmp_path / "a.pkl")


def test_a_stored_label_is_read_as_it_was() -> None:
    labels = [
        PersonLabel("wave", 3, Anchor(1.5, (1.0, 2.0, 3.5, 4.0)), 0.5, None, ("train", "fold1"), "anna", 3),
        PersonLabel(None, None, Anchor(0.0, (1.0, 2.0, 3.0, 4.0)), None, 2.0, (), None, None),
    ]
    assert person_labels_of({"person_labels": stored_form(labels)}, "clip") == labels
