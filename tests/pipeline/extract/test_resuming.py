"""Later runs recognise finished videos without reading them, and read them where anything may have changed."""

import json
import os
import shutil
from pathlib import Path

import pytest

from pipeline.extract.results.finished import Finished, FinishedLog
from pipeline.extract.share import Share
from pose_extraction.errors import AnnotationError
from pose_extraction.formats.pickles import read_pickle
from test_support.networks.made_runs import all_files, identities

pytestmark = pytest.mark.slow

YESTERDAY = 1_700_000_000_000_000_000


@pytest.fixture
def videos(clips: Path, tmp_path: Path) -> Path:
    """The four clips; copied long ago, so that they are not being written."""
    folder = shutil.copytree(clips, tmp_path / "videos")
    for path in folder.rglob("*.mp4"):
        os.utime(path, ns=(YESTERDAY, YESTERDAY))
    return folder


def zeroed(path: Path) -> None:
    """Damages a file; its size and time stay the same, so that only reading it shows the damage."""
    status = path.stat()
    path.write_bytes(b"\0" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_finished_videos_and_their_results_are_not_read(run, videos, tmp_path):
    first = Share(shard=(1, 1))
    run(videos, tmp_path / "out", share=first)
    zeroed(min(videos.rglob("*.mp4")))
    for path in (tmp_path / "out").rglob("*.pkl"):
        zeroed(path)
    again = run(videos, tmp_path / "out", share=first)
    assert (again.report.done, again.report.skipped, again.report.failed) == (0, 4, {}), again.output
    # Without a shard, the results are merged, and so read; the next run extracts them again.
    with pytest.raises(AnnotationError, match="none of 4 skeleton files could be read"):
        run(videos, tmp_path / "out")
    assert run(videos, tmp_path / "out").report.done == 3


def test_a_damaged_result_is_found_by_the_merge_and_extracted_by_the_next_run(run, videos, tmp_path):
    run(videos, tmp_path / "out")
    before = all_files(tmp_path / "out")
    damaged = min((tmp_path / "out" / "tiny_pose").rglob("*.pkl"))
    zeroed(damaged)
    assert len(run(videos, tmp_path / "out").report.failed) == 1
    repaired = run(videos, tmp_path / "out")
    assert (repaired.report.done, repaired.report.skipped, repaired.report.failed) == (1, 3, {})
    assert all_files(tmp_path / "out") == before


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"\0"), lambda path: path.unlink()])
def test_a_result_of_other_size_is_extracted_again(run, videos, tmp_path, damage):
    run(videos, tmp_path / "out")
    damage(min((tmp_path / "out" / "tiny_pose").rglob("*.pkl")))
    again = run(videos, tmp_path / "out")
    assert (again.report.done, again.report.skipped, again.report.failed) == (1, 3, {})


def test_a_changed_video_and_changed_settings_are_extracted_again(run, videos, tmp_path):
    run(videos, tmp_path / "out")
    changed, same, *_ = sorted(videos.rglob("*.mp4"))
    changed.write_bytes(changed.read_bytes() + b"\0" * 8)
    os.utime(same)
    again = run(videos, tmp_path / "out")
    assert (again.report.done, again.report.skipped) == (1, 3) and "the video changed" in again.output
    other = run(videos, tmp_path / "out", stride=2)
    assert other.report.done == 4 and "4 of 4 videos again: settings or weights changed" in other.output


def test_without_the_log_results_are_compared_and_noted_again(run, videos, tmp_path):
    run(videos, tmp_path / "out")
    log = tmp_path / "out" / "tiny_pose" / ".finished.jsonl"
    written = sorted(log.read_text().split())
    results = identities(tmp_path / "out")
    log.unlink()
    assert run(videos, tmp_path / "out").report.skipped == 4
    assert sorted(log.read_text().split()) == written
    log.write_text("\0\n[]\n{}\n" + log.read_text()[:-30])
    assert run(videos, tmp_path / "out").report.skipped == 4
    assert identities(tmp_path / "out") == results


def test_new_labels_are_stored_and_what_is_wrong_is_told_in_each_run(run, videos, tmp_path):
    table = videos / "labels.csv"
    lines = ["file,label,start,end", "run/clip 0 ü.mp4,sprint,,", "wave/clip 2 ü.mp4,wave,0,0.5"]
    table.write_text("\n".join([*lines, "wave/clip 2 ü.mp4,late,50,60"]), encoding="utf-8")
    failed = run(videos, tmp_path / "out", labels=str(table)).report.failed
    assert len(failed) == 1 and "no frame from 50 s" in failed["wave/clip 2 ü.mp4"]
    notes = (tmp_path / "out" / "tiny_pose" / "notes.jsonl").read_bytes()
    for _ in range(2):
        again = run(videos, tmp_path / "out", labels=str(table))
        assert (again.report.done, again.report.skipped, again.report.failed) == (0, 4, failed)
        assert (tmp_path / "out" / "tiny_pose" / "notes.jsonl").read_bytes() == notes
    table.write_text(table.read_text(encoding="utf-8").replace("sprint", "dash"), encoding="utf-8")
    assert "updated labels, splits or groups of 1 clip" in run(videos, tmp_path / "out", labels=str(table)).output
    again = run(videos, tmp_path / "out", labels=str(table))
    assert "updated" not in again.output
    names = {clip["label_name"] for clip in read_pickle(again.report.data_set)["annotations"]}
    assert names == {"dash", "wave", None}


def test_shards_share_what_they_know_and_one_run_takes_it_over(run, videos, tmp_path):
    for number in (1, 2):
        run(videos, tmp_path / "out", share=Share(shard=(number, 2)))
    folder = tmp_path / "out" / "tiny_pose"
    assert {path.name for path in folder.glob(".finished*")} == {".finished.1-of-2.jsonl", ".finished.2-of-2.jsonl"}
    for path in videos.rglob("*.mp4"):
        zeroed(path)
    assert run(videos, tmp_path / "out", share=Share(shard=(1, 1))).report.skipped == 4
    assert run(videos, tmp_path / "out").report.skipped == 4
    assert [path.name for path in folder.glob(".finished*")] == [".finished.jsonl"]


def test_the_log_keeps_the_last_line_of_each_video_and_survives_a_kill(tmp_path: Path) -> None:
    log = FinishedLog(tmp_path)
    states = [Finished(str(number), "video", "a-b", "place", "labels", ("note",)) for number in range(5)]
    for state in states:
        log.add("clip", state)
    log.add("gone", states[0])
    log.forget("gone")
    # As after a kill while the last line was written.
    with log.path.open("a") as file:
        file.write('{"file": "other", "resu')
    again = FinishedLog(tmp_path)
    assert again.get("clip") == states[-1] and again.get("gone") is None and again.get("other") is None
    again.add("new", states[1])
    again.close()
    lines = [json.loads(line)["file"] for line in log.path.read_text().splitlines()]
    assert lines == ["clip", "new"]
    assert FinishedLog(tmp_path).get("new") == states[1]
