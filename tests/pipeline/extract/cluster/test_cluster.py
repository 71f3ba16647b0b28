"""Extraction on a small Ray cluster on this machine, whose actors, nodes and driver die.

One cluster serves all tests: starting nodes and actors takes most of the time.
"""

import json
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import skelpipe
from pipeline.cluster.options import ClusterOptions
from pipeline.extract.cluster.receipts import Receipt
from pose_extraction.formats.pickles import read_pickle
from test_support.networks.made_runs import SIZE, all_files, identities
from test_support.services.ray_cluster import STORE, add_node, small_cluster
from test_support.videos.gated_video import GatedVideo, kill, parent_of, wait_for_end
from test_support.videos.made_video import write_made_clip

# Importing it takes seconds, also where these tests are only collected.
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
pytestmark = [needs_ray, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with small_cluster() as made:
        yield made


@pytest.fixture
def options(cluster) -> ClusterOptions:
    return ClusterOptions(address=cluster.address, stall_seconds=60)


@pytest.fixture
def videos(clips, tmp_path) -> Path:
    """The four clips, in a folder of their own."""
    folder = tmp_path / "videos"
    shutil.copytree(clips, folder)
    return folder


@pytest.fixture
def late(tmp_path) -> Callable[[str], Path]:
    """Returns a function that makes a clip which a test moves into place during a run."""

    def make(name: str) -> Path:
        return write_made_clip(tmp_path / "late" / name, size=SIZE, frames=15, persons=1)

    return make


def acting(act: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def results(folder: Path) -> dict[str, bytes]:
    """All files but the summaries."""
    return {name: content for name, content in all_files(folder).items() if "summary." not in name}


def test_pieces_of_a_video_go_to_different_actors(run, options, clips, tmp_path):
    outcome = run(clips, tmp_path / "out", cluster=options, chunk=0.4)
    assert (outcome.report.done, outcome.report.failed) == (4, {}), outcome.output
    run(clips, tmp_path / "local")
    assert results(tmp_path / "out") == results(tmp_path / "local")
    summary = json.loads((tmp_path / "out" / "tiny_pose" / "summary.json").read_text())
    assert (summary["videos"], summary["failed"], summary["retries"]) == (4, 0, {})
    # Each frame counts in one piece, and the first frame of the next piece as well.
    assert summary["frames"] > 20 + 12 + 31 + 9


@pytest.fixture
def port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def measured(port: int) -> dict[str, float]:
    """The measurements that Prometheus would read now."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_killed_actors_and_lost_nodes_change_nothing(run, cluster, videos, late, tmp_path, port):
    first, second = GatedVideo(videos / "run" / "first.mp4"), GatedVideo(videos / "wave" / "second.mp4")
    clips = late("first.mp4"), late("second.mp4")
    found: list[dict[str, float]] = []

    def act() -> None:
        # The real video first, because another actor begins as soon as this one is dead.
        reader = first.reader()
        first.become(clips[0])
        kill(reader)
        raylet = parent_of(second.reader())
        # Videos are in progress.
        found.append(measured(port))
        second.become(clips[1])
        lost = next(node for node in cluster.worker_nodes if node.all_processes["raylet"][0].process.pid == raylet)
        cluster.remove_node(lost, allow_graceful=False)

    thread = acting(act)
    options = ClusterOptions(address=cluster.address, stall_seconds=60, metrics_port=port)
    outcome = run(videos, tmp_path / "out", cluster=options)
    thread.join(60)
    assert {"skelpipe_frames_total", "skelpipe_waiting_videos", "skelpipe_actors"} <= found[0].keys()
    with pytest.raises(urllib.error.URLError):
        measured(port)
    add_node(cluster)
    assert (outcome.report.done, outcome.report.failed) == (6, {}), outcome.output
    run(videos, tmp_path / "local")
    assert results(tmp_path / "out") == results(tmp_path / "local")
    summary = json.loads((tmp_path / "out" / "tiny_pose" / "summary.json").read_text())
    assert (summary["complete"], summary["videos"], summary["failed"]) == (True, 6, 0)
    assert summary["retries"].get("killed", 0) >= 1
    assert summary["frames"] == 20 + 12 + 31 + 9 + 15 + 15
    [node] = summary["nodes"]
    assert node["actors"] >= 3
    assert 0 < node["busy_seconds"] <= node["wall_seconds"]


def test_a_video_that_kills_or_hangs_actors_is_given_up_and_the_others_continue(run, cluster, videos, tmp_path):
    deadly, hanging = GatedVideo(videos / "run" / "deadly.mp4"), GatedVideo(videos / "wave" / "hanging.mp4")
    (videos / "wave" / "broken.mp4").write_bytes(b"\0" * 500)

    def act() -> None:
        while True:
            kill(deadly.reader())

    acting(act)
    outcome = run(videos, tmp_path / "out", cluster=ClusterOptions(address=cluster.address, stall_seconds=8))
    failed = outcome.report.failed
    assert outcome.report.done == 4, outcome.output
    assert set(failed) == {"run/deadly.mp4", "wave/hanging.mp4", "wave/broken.mp4"}
    assert "ended its actor" in failed["run/deadly.mp4"] and "given up after 3 attempts" in failed["run/deadly.mp4"]
    assert "made no progress for 8 s" in failed["wave/hanging.mp4"]
    for gate in (deadly, hanging):
        gate.path.unlink()
    run(videos, tmp_path / "local")
    logged = {
        json.loads(line)["file"]: json.loads(line)["cause"]
        for line in (tmp_path / "out" / "tiny_pose" / "errors.jsonl").read_text().splitlines()
    }
    assert logged == failed
    skeletons = {name: content for name, content in results(tmp_path / "out").items() if name.endswith(".pkl")}
    assert skeletons == {
        name: content for name, content in results(tmp_path / "local").items() if name.endswith(".pkl")
    }
    summary = json.loads((tmp_path / "out" / "tiny_pose" / "summary.json").read_text())
    assert summary["failures"] == {"error": 1, "hung": 1, "killed": 1}
    assert "hung" in (tmp_path / "out" / "tiny_pose" / "summary.html").read_text()


def test_a_call_that_the_network_lost_is_repeated_and_is_not_the_fault_of_its_video(
    run, options, clips, tmp_path, monkeypatch
):
    import ray

    get, lost = ray.get, []

    def losing(reference):
        answer = get(reference)
        if isinstance(answer, Receipt) and not lost:
            lost.append(answer)
            raise ray.exceptions.ActorUnavailableError("connection reset", None)
        return answer

    monkeypatch.setattr(ray, "get", losing)
    outcome = run(clips, tmp_path / "out", cluster=options)
    assert lost and "cannot be reached; its work is repeated elsewhere" in outcome.output
    assert (outcome.report.done, outcome.report.failed) == (4, {}), outcome.output
    summary = json.loads((tmp_path / "out" / "tiny_pose" / "summary.json").read_text())
    assert (summary["failures"], summary["retries"]) == ({}, {})


def test_a_full_object_store_and_videos_at_urls_change_nothing(
    run, cluster, networks, clips, tmp_path, monkeypatch, port
):
    """Neither frames nor poses pass through the store."""
    import numpy as np
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    monkeypatch.setenv("SKELPIPE_CACHE", str(tmp_path / "cache"))
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        block = STORE // 8
        fill = ray.remote(num_cpus=1)(lambda: np.zeros(block, np.uint8))
        places = [NodeAffinitySchedulingStrategy(node.node_id, soft=False) for node in cluster.worker_nodes]
        held = [fill.options(scheduling_strategy=place).remote() for place in places for _ in range(10)]
        held += [ray.put(np.zeros(block, np.uint8)) for _ in range(10)]
        ray.wait(held, num_returns=len(held), fetch_local=False)
        report = skelpipe.extract(
            f"file://{clips}",
            f"file://{tmp_path / 'out'}",
            engine="ray",
            address=cluster.address,
            **dict(zip(("estimator", "detector"), map(str, networks), strict=True)),
            device="cpu",
            backend="onnxruntime",
            metrics_port=port,
        )
    finally:
        ray.shutdown()
    assert (report.done, report.failed) == (4, {})
    local = run(clips, tmp_path / "local")
    ours, theirs = read_pickle(tmp_path / "out" / "tiny_pose.pkl"), read_pickle(local.report.data_set)
    assert [clip["frame_dir"] for clip in ours["annotations"]] == [clip["frame_dir"] for clip in theirs["annotations"]]
    for one, other in zip(ours["annotations"], theirs["annotations"], strict=True):
        assert one["keypoint"].tobytes() == other["keypoint"].tobytes()
    stored = {path.name for path in (tmp_path / "out" / "tiny_pose").iterdir() if path.is_file()}
    assert stored == {"notes.jsonl", "summary.json", "summary.html"}
    # The nodes use their own cache folder, and leave nothing there.
    assert not (tmp_path / "cache" / "videos").exists()
    assert (cluster.cache / "videos").is_dir()
    left = [path for folder in ("videos", "results") for path in (cluster.cache / folder).rglob("*")]
    assert not [path for path in left if path.is_file()]


def begun(address: str, networks: tuple[Path, Path], videos: Path, out: Path) -> subprocess.Popen[bytes]:
    """Starts the command with a single actor, which takes the smallest video last."""
    estimator, detector = networks
    command = [
        *(sys.executable, "-m", "skelpipe", "extract", videos, "--out", out, "--device", "cpu"),
        *("--estimator", estimator, "--detector", detector, "--backend", "onnxruntime"),
        *("--engine", "ray", "--address", address, "--actors", "1"),
    ]
    return subprocess.Popen([str(word) for word in command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def assert_only_the_rest_is_repeated(run, options: ClusterOptions, videos: Path, tmp_path: Path) -> None:
    left = identities(tmp_path / "out")
    outcome = run(videos, tmp_path / "out", cluster=options)
    assert outcome.report.failed == {}
    assert (outcome.report.done, outcome.report.skipped) == (5 - len(left), len(left))
    assert len(left) >= 2
    assert {name: identity for name, identity in identities(tmp_path / "out").items() if name in left} == left
    run(videos, tmp_path / "local")
    assert results(tmp_path / "out") == results(tmp_path / "local")


def test_after_the_driver_was_killed_only_what_was_in_progress_is_repeated(
    run, cluster, options, networks, videos, late, tmp_path
):
    gate = GatedVideo(videos / "run" / "gate.mp4")
    with begun(cluster.address, networks, videos, tmp_path / "out") as driver:
        # The others are finished or in progress.
        actor = gate.reader()
        gate.become(late("gate.mp4"))
        driver.kill()
        driver.communicate()
    # Ray ends the actors of a driver that is gone.
    wait_for_end(actor)
    assert_only_the_rest_is_repeated(run, options, videos, tmp_path)


def test_after_everything_was_killed_only_what_was_in_progress_is_repeated(
    run, cluster, networks, videos, late, tmp_path
):
    """The last test: the cluster of the others is gone then."""
    gate = GatedVideo(videos / "run" / "gate.mp4")
    with begun(cluster.address, networks, videos, tmp_path / "out") as driver:
        actor = gate.reader()
        gate.become(late("gate.mp4"))
        for node in [*cluster.worker_nodes, cluster.head_node]:
            node.kill_all_processes(check_alive=False, allow_graceful=False)
        driver.kill()
        driver.communicate()
    kill(actor)
    with small_cluster() as another:
        options = ClusterOptions(address=another.address, stall_seconds=60)
        assert_only_the_rest_is_repeated(run, options, videos, tmp_path)
