"""`summary.json`, its page, and the measurements for Prometheus."""

import json
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cluster.schedule import Task
from pipeline.extract.cluster.metrics import served_metrics
from pipeline.extract.cluster.receipts import Receipt
from pipeline.extract.cluster.reports import VideoReports
from pipeline.extract.cluster.summary import SLOWEST, Summary, summary_path, write_summary
from pipeline.extract.results.jobs import Outcome
from pipeline.inputs.videos import Source
from pose_extraction.errors import UsageError


def receipt(name: str, *, node: str = "n1", elapsed: float = 1.0, frames: int = 10) -> Receipt:
    outcome = Outcome(Source(Path(name), name, name), frames=frames, digest="ab-cd")
    seconds = {"decoding": 1.0, "networks": 2.0, "cleaning": 0.5, "writing": 0.25}
    return Receipt(outcome, seconds, elapsed, frames, 2**30, node)


def test_busy_and_idle_time_of_nodes_and_stages_add_up():
    summary = Summary()
    for node in ("n1", "n1", "n2"):
        summary.actor_ready(node)
    summary.video_ended(receipt("a"))
    summary.video_ended(receipt("b"))
    summary.video_ended(receipt("c", node="n2", frames=5))
    summary.actor_ended("n1", 10.0, 4.0)
    summary.actor_ended("n1", 10.0, 6.0)
    content = summary.as_dict(complete=True)
    first = content["nodes"][0]
    assert (first["node"], first["actors"], first["videos"], first["frames"]) == ("n1", 2, 2, 20)
    assert (first["wall_seconds"], first["busy_seconds"], first["idle_seconds"]) == (20.0, 10.0, 10.0)
    assert first["stages"]["networks"] == {"busy_seconds": 4.0, "idle_seconds": 16.0}
    assert first["peak_memory_bytes"] == 2**30
    assert (content["videos"], content["frames"]) == (3, 25)


def test_only_the_slowest_videos_are_listed_slowest_first():
    summary = Summary()
    for number in range(SLOWEST + 10):
        summary.video_ended(receipt(f"v{number}", elapsed=float(number)))
    slowest = summary.as_dict(complete=True)["slowest"]
    assert [facts["file"] for facts in slowest] == [f"v{number}" for number in range(SLOWEST + 9, 9, -1)]


def test_the_page_escapes_names_and_says_what_failed(tmp_path):
    summary = Summary()
    summary.actor_ready("n1")
    summary.video_ended(receipt("<b>\udcff.mp4"))
    summary.retried("killed")
    summary.failed("hung")
    summary.actor_ended("n1", 3.0, 2.0)
    path = summary_path(tmp_path, None)
    write_summary(path, summary.as_dict(complete=False))
    content = json.loads(path.read_text())
    assert (content["failures"], content["retries"], content["complete"]) == ({"hung": 1}, {"killed": 1}, False)
    page = path.with_suffix(".html").read_text()
    assert "&lt;b&gt;" in page and "<b>\\udcff" not in page
    assert "hung" in page and "interrupted; the same command continues it" in page


def test_a_video_whose_pieces_two_actors_have_joined_counts_once():
    summary, outcomes = Summary(), []
    reports = VideoReports(summary, None, outcomes.append, lambda: None, print)
    joined = receipt("a")
    task = Task(joined.outcome.source, "a", 1)
    for is_part in (False, True, False):
        reports.finished(task, replace(joined, outcome=replace(joined.outcome, is_part=is_part)))
    content = summary.as_dict(complete=True)
    assert (content["videos"], content["frames"]) == (1, 30)
    assert [outcome.is_part for outcome in outcomes] == [False, True, True]


def test_each_shard_has_its_own_summary(tmp_path):
    assert summary_path(tmp_path, (2, 8)).name == "summary.2-of-8.json"


def test_prometheus_reads_the_measurements_during_the_run(unused_port):
    with served_metrics(unused_port) as metrics:
        metrics.video_ended(receipt("a"))
        metrics.failed("hung")
        metrics.frames(10)
        metrics.state(waiting=3, running=2, actors=1)
        with (
            pytest.raises(UsageError, match=f"--metrics-port {unused_port}: cannot be opened"),
            served_metrics(unused_port),
        ):
            pass
        with urllib.request.urlopen(f"http://127.0.0.1:{unused_port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
    assert 'skelpipe_videos_total{outcome="extracted"} 1.0' in lines
    assert 'skelpipe_videos_total{outcome="hung"} 1.0' in lines
    assert "skelpipe_frames_total 10.0" in lines
    assert 'skelpipe_stage_seconds_total{node="n1",stage="networks"} 2.0' in lines
    assert {"skelpipe_waiting_videos 3.0", "skelpipe_running_videos 2.0", "skelpipe_actors 1.0"} <= set(lines)
    with served_metrics(None) as metrics:
        assert metrics is None


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
