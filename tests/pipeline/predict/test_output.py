"""Predictions in the formats of other programs."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from pipeline.predict.answers import Answer
from pipeline.predict.output.frames import FrameRecord
from pipeline.predict.output.table import FORMATS, check_format, texts_of
from pose_extraction.errors import UsageError
from pose_extraction.poses import PoseTrack, VideoPoses

ANSWERS = [
    Answer("a/clip", 3, 0.0, 0.4, "wave", 0.9),
    Answer("a/clip", 7, 0.2, 1.0, "sit & <stand>", 0.51),
    Answer("a/clip", 3, 0.4, 1.0, "jump", 0.75),
    Answer("b", None, 1.5, 3725.25, "unknown", 0.86, best=(("tennis serve", 0.86), ("bowl", 0.1))),
    Answer("c", reason="no person found"),
]


@pytest.fixture
def record() -> FrameRecord:
    """Ten frames of a/clip, every second one of 20 per second; person 3 in all, 7 in the last five."""
    found = FrameRecord()
    index = np.arange(0, 20, 2)
    for part in (slice(0, 4), slice(4, 10)):
        rows = range(*part.indices(10))
        tracks = [_track(3, len(rows), 0), *([_track(7, 5, 1)] if part.start else [])]
        found.poses("a/clip", VideoPoses(index[part], index[part] / 20, (480, 640), tracks))
    return found


def _track(name: int, frames: int, start: int) -> PoseTrack:
    keypoint = np.full((frames, 17, 2), np.nan, np.float32)
    keypoint[:, 0], keypoint[:, 1] = (10, 20), (30, 50)
    box = np.full((frames, 4), np.nan, np.float32)
    box[0] = (0, 1, 40, 60)
    nothing = np.zeros((frames, 17), bool)
    return PoseTrack(name, start, keypoint, nothing.astype(np.float32), box, np.ones(frames, np.float32), nothing)


def texts(name: str, record: FrameRecord, out: str = "out") -> dict[str, str]:
    return {path.as_posix(): text for path, text in texts_of(name, ANSWERS, record.clips, Path(out))}


def test_subtitles(record: FrameRecord) -> None:
    found = texts("webvtt", record)
    assert list(found) == ["out/a/clip.vtt", "out/b.vtt", "out/c.vtt"]
    assert found["out/a/clip.vtt"] == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:00.400\nperson 3: wave 90%\n\n"
        "00:00:00.200 --> 00:00:01.000\nperson 7: sit &amp; &lt;stand&gt; 51%\n\n"
        "00:00:00.400 --> 00:00:01.000\nperson 3: jump 75%\n"
    )
    assert found["out/c.vtt"] == "WEBVTT\n"
    assert (
        texts("srt", record)["out/b.srt"]
        == "1\n00:00:01,500 --> 01:02:05,250\nall persons: unknown (tennis serve 86%?)\n"
    )


def test_elan_reads_tiers_and_times(record: FrameRecord, tmp_path: Path) -> None:
    elan = pytest.importorskip("pympi").Elan
    (tmp_path / "a.eaf").write_text(texts("elan", record)["out/a/clip.eaf"], encoding="utf-8")
    document = elan.Eaf(str(tmp_path / "a.eaf"))
    assert sorted(document.get_tier_names()) == ["person 3", "person 7"]
    assert [one[:3] for one in sorted(document.get_annotation_data_for_tier("person 3"))] == [
        (0, 400, "wave"),
        (400, 1000, "jump"),
    ]
    assert document.get_annotation_data_for_tier("person 7")[0][:3] == (200, 1000, "sit & <stand>")


def test_cvat_has_a_key_frame_and_an_action_for_each_box(record: FrameRecord) -> None:
    root = ElementTree.fromstring(texts("cvat", record)["out/a/clip.xml"])
    assert root.findtext("meta/task/original_size/width") == "640"
    tracks = {track.get("id"): track.findall("box") for track in root.findall("track")}
    assert [(box.get("frame"), box.findtext("attribute")) for box in tracks["3"]] == [
        *((str(frame), "wave") for frame in range(0, 8, 2)),
        *((str(frame), "jump") for frame in range(8, 20, 2)),
    ]
    first, second = tracks["3"][:2]
    assert [first.get(key) for key in ("xtl", "ytl", "xbr", "ybr")] == ["0.00", "1.00", "40.00", "60.00"]
    assert [second.get(key) for key in ("xtl", "ytl", "xbr", "ybr")] == ["10.00", "20.00", "30.00", "50.00"]
    assert {box.get("keyframe") for box in tracks["7"]} == {"1"}
    assert [box.get("frame") for box in tracks["7"]] == ["10", "12", "14", "16", "18"]
    values = root.findtext("meta/task/labels/label/attributes/attribute/values")
    assert values.split("\n") == ["", "jump", "sit & <stand>", "wave"]


def test_boxes_end_where_a_person_leaves(record: FrameRecord) -> None:
    record.clips["a/clip"].boxes[7].pop(14)
    boxes = ElementTree.fromstring(texts("cvat", record)["out/a/clip.xml"]).findall("track")[1].findall("box")
    assert [(box.get("frame"), box.get("outside")) for box in boxes] == [
        ("10", "0"), ("12", "0"), ("14", "1"), ("16", "0"), ("18", "0"),
    ]  # fmt: skip


def test_label_studio_counts_frames_of_the_video_from_1(record: FrameRecord) -> None:
    ((path, text),) = texts("labelstudio", record, "all.json").items()
    first, second, third = json.loads(text)
    assert (path, first["data"]) == ("all.json", {"video": "a/clip", "fps": 20})
    regions = first["predictions"][0]["result"]
    assert [(one["value"]["ranges"][0], one["value"]["timelinelabels"]) for one in regions] == [
        ({"start": 1, "end": 7}, ["wave"]),
        ({"start": 5, "end": 19}, ["sit & <stand>"]),
        ({"start": 9, "end": 19}, ["jump"]),
    ]
    assert regions[0]["meta"] == {"text": ["person 3"]}
    assert all(0 < one["score"] <= 1 for one in regions)
    assert second["predictions"][0]["result"] == third["predictions"][0]["result"] == []


def test_label_studio_gets_no_score_of_a_rejected_action(record: FrameRecord) -> None:
    answers = [ANSWERS[0], replace(ANSWERS[3], clip="a/clip", person=7, start=0.2, end=1.0)]
    ((_, text),) = texts_of("labelstudio", answers, record.clips, Path("all.json"))
    known, unknown = json.loads(text)[0]["predictions"][0]["result"]
    assert known["score"] == 0.9 and unknown["value"]["timelinelabels"] == ["unknown"] and "score" not in unknown


def test_the_table_for_boris(record: FrameRecord) -> None:
    (text,) = texts("boris", record, "all.tsv").values()
    rows = list(csv.DictReader(io.StringIO(text), delimiter="\t"))
    assert [(row["Subject"], row["Behavior"], row["Start (s)"], row["Stop (s)"]) for row in rows] == [
        ("person 3", "wave", "0.000", "0.400"),
        ("person 7", "sit & <stand>", "0.200", "1.000"),
        ("person 3", "jump", "0.400", "1.000"),
        ("all persons", "unknown", "1.500", "3725.250"),
    ]
    assert (rows[0]["FPS"], rows[3]["FPS"], rows[0]["Behavior type"]) == ("20.000", "", "STATE")
    assert [rows[0]["Comment start"], rows[3]["Comment start"]] == [
        "probability 0.9000",
        "probability 0.8600 of tennis serve",
    ]


def test_a_file_for_one_clip_and_a_folder_for_several(record: FrameRecord) -> None:
    assert list(texts("srt", record, "x/all.srt")) == ["x/all/a/clip.srt", "x/all/b.srt", "x/all/c.srt"]
    one = [path for path, _ in texts_of("srt", ANSWERS[:3], record.clips, Path("x/all.srt"))]
    assert one == [Path("x/all.srt")]
    evil = [Answer("../../evil", None, 0, 1, "wave", 1.0), Answer("/evil", None, 0, 1, "wave", 1.0)]
    assert {path.as_posix() for path, _ in texts_of("srt", evil, {}, Path("out"))} == {"out/evil.srt"}


def test_unknown_formats_are_refused() -> None:
    for name in (*FORMATS, "json", "csv", None):
        check_format(name)
    with pytest.raises(UsageError, match=re.escape("--format word: must be one of json, csv, elan,")):
        check_format("word")
