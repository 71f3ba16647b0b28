"""An actor without Ray: in a process of its own, because it limits the threads of all networks."""

import json
import subprocess
import sys

import pytest

from test_support.networks.made_runs import all_files

pytestmark = pytest.mark.slow

PROGRAM = """
import json, os, pickle, sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from pipeline.extract.cluster.actor import VideoActor

assert not {"torch", "cv2", "onnxruntime"} & set(sys.modules)
videos, out, estimator, detector = sys.argv[1:]
actor = VideoActor(1, node_id="node")
from rich.console import Console

from pipeline.extract.networks import identify_networks
from pipeline.extract.plan import ExtractionPlan, plan_clips
from pipeline.extract.settings import ExtractSettings
from pipeline.inputs.labels import load_labels
from pipeline.inputs.videos import survey
from pose_extraction.engines.devices import cpu_count
from pose_extraction.errors import SkelpipeError

sources = survey([videos]).sources
known = load_labels("auto", sources)
settings = ExtractSettings(estimator=estimator, detector=detector, device="cpu", backend="onnxruntime")
networks = identify_networks(settings, ["cpu"], None, Console(stderr=True))
plan = ExtractionPlan(settings, *networks, Path(out), plan_clips(sources, known), known.origin)
Path(out).mkdir()

def refused(*arguments):
    try:
        actor.open(*arguments)
    except SkelpipeError as error:
        return str(error)

import pipeline.cluster.process as module
module.SHARED_STORAGE_SECONDS = 0.2
marker = Path(out) / ".marker"
other = replace(plan, estimator=replace(plan.estimator, digest="0" * 16))
unseen = refused(plan, None, str(marker))
marker.touch()
errors = [unseen, refused(plan, "/nosuch folder", str(marker)), refused(other, None, str(marker))]
ready = actor.open(replace(plan, clips={}), None, str(marker))
with ThreadPoolExecutor(2) as pool:
    receipts = list(pool.map(lambda one: actor.run(one, one.relative, plan.clips[one.frame_dir]), sources))
marker.unlink()
status = actor.status()
print(json.dumps({
    "errors": errors, "node_id": ready.node_id, "at_once": ready.tasks_at_once, "frames": status.done,
    "cpus": cpu_count(), "quiet": status.quiet, "duration": status.duration,
    "bytes": [len(pickle.dumps(one)) for one in receipts],
    "receipts": [[one.outcome.source.relative, one.outcome.error, one.outcome.frames, one.outcome.digest,
                  one.seconds, one.elapsed, one.peak_memory] for one in receipts],
}))
"""


@pytest.fixture(scope="module")
def outcome(networks, clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("actor")
    videos = folder / "videos"
    videos.symlink_to(clips)
    (folder / "more").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(clips), str(folder / "out"), *map(str, networks)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return folder / "out", json.loads(done.stdout.splitlines()[-1])


def test_an_actor_writes_the_files_of_a_local_run(outcome, run, clips, tmp_path):
    folder, _ = outcome
    run(clips, tmp_path)
    local = {name: content for name, content in all_files(tmp_path / "tiny_pose").items() if name.endswith(".pkl")}
    assert {name: content for name, content in all_files(folder).items() if name.endswith(".pkl")} == local
    assert len(local) == 4


def test_a_receipt_says_where_the_time_went(outcome):
    _, found = outcome
    frames = 0
    for _, error, count, digest, seconds, elapsed, peak in found["receipts"]:
        assert error is None
        assert len(digest) == 64 + 1 + 64
        assert set(seconds) == {"decoding", "networks", "cleaning", "writing"}
        assert all(spent >= 0 for spent in seconds.values()) and seconds["decoding"] > 0
        assert elapsed > 0 and peak > 10 * 2**20
        frames += count
    assert frames == found["frames"] == 20 + 12 + 31 + 9
    assert (found["cpus"], found["at_once"], found["node_id"], found["duration"]) == (1, 2, "node", 0)


def test_a_receipt_is_about_a_kilobyte_whatever_the_length_of_the_video(outcome):
    # Two paths of the video are part of it.
    assert max(outcome[1]["bytes"]) < 1500


def test_a_node_that_would_not_give_the_same_results_is_refused(outcome):
    unseen, no_folder, other_weights = outcome[1]["errors"]
    assert "does not see the output folder" in unseen and "--out" in unseen
    assert "cannot use the folder /nosuch folder" in no_folder
    assert "weights" in other_weights and f"instead of {'0' * 16}" in other_weights
