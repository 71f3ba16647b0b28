"""One line for each kind of note, however many videos it applies to."""

import json
import pickle
from pathlib import Path

from pipeline.reporting.notes import NoteSummary
from pose_extraction.video.notes import Note, kind_of


def test_notes_of_one_kind_are_one_line_with_a_count() -> None:
    summary = NoteSummary()
    for number in range(524):
        summary.add(f"{number}.avi", [Note(f"{number} frames are damaged", "frames are damaged")])
    summary.add("7.avi", ["something else"])
    assert summary.lines(Path("out/notes.jsonl")) == [
        "note: 524 videos: frames are damaged (0.avi, 1.avi, 2.avi, ...); details in out/notes.jsonl",
        "note: 7.avi: something else",
    ]
    lines = [json.loads(line) for line in summary.as_json_lines().splitlines()]
    assert len(lines) == 524
    assert lines[7] == {"file": "7.avi", "notes": ["7 frames are damaged", "something else"]}


def test_repeated_notes_on_one_video_are_one_line() -> None:
    summary = NoteSummary()
    summary.add("images", [Note(f"{number}.png: broken", "images that cannot be read") for number in range(3)])
    assert summary.lines() == ["note: images: images that cannot be read (3 times, first: 0.png: broken)"]


def test_a_note_is_text_and_keeps_its_kind_between_processes() -> None:
    note = Note("2 of 3", "some of them")
    again = pickle.loads(pickle.dumps(note))
    assert (again, kind_of(again), type(str(again))) == ("2 of 3", "some of them", str)
    assert kind_of("plain") == "plain"
