"""Jobs of the service: from the upload to all of its results."""

import csv
import io
import json
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from rich.console import Console

from pipeline.predict.answers import as_csv, as_dictionary
from pipeline.predict.options import Networks, PredictOptions, scope_of
from pipeline.predict.workflow import predict
from pose_extraction.engines.engine import Engine
from pose_extraction.formats.annotations import read_data_set
from test_support.networks.made_runs import SIZE
from test_support.networks.trained_run import LABEL_NAMES
from test_support.services.running_service import RunningService
from test_support.videos.made_video import write_made_clip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def job(service: RunningService, walkers: Path) -> str:
    """A finished job with windows and attention."""
    name = service.submit(walkers, "&windows=1&explain=true&threshold=0")
    assert service.finished(name)["state"] == "done"
    return name


def test_a_job_passes_through_its_stages(service: RunningService, walkers: Path) -> None:
    name = service.submit(walkers)
    seen = list(service.events(f"/v1/jobs/{name}/events"))
    numbers = [int(number) for number, _, _ in seen]
    assert numbers == sorted(numbers)
    states = [data["state"] for _, kind, data in seen if kind == "state"]
    assert states[-2:] == ["running", "done"] or states == ["done"]
    last = seen[-1][2]
    assert last["name"] == "walkers.mp4" and last["frames_done"] == 60 and last["error"] is None
    assert last["answers"][0]["label"] in [*LABEL_NAMES, "unknown"]
    assert service.get(f"/v1/jobs/{name}") == last
    assert service.get("/v1/jobs?limit=1")["jobs"][0]["id"] == name


@pytest.mark.parametrize("query", ["", "&windows=1&threshold=0.5", "&per_person=true&explain=true"])
def test_results_equal_those_of_the_command(
    service: RunningService,
    walkers: Path,
    trained: tuple[Path, Path],
    networks: tuple[Path, Path],
    tmp_path: Path,
    query: str,
) -> None:
    name = service.submit(walkers, query)
    assert service.finished(name)["state"] == "done"
    scope = scope_of(
        per_person=True if "per_person" in query else None,
        windows=1.0 if "windows" in query else None,
        overlay=None,
        explain="explain" in query,
        threshold=0.5 if "threshold" in query else None,
    )
    expected = list(
        predict(
            [walkers],
            trained[0],
            PredictOptions(scope, 1.0 if "windows" in query else None, figures=tmp_path),
            networks=Networks(*map(str, networks)),
            engine=Engine("cpu", "onnxruntime", "fp32"),
            console=Console(file=io.StringIO()),
        )
    )
    found = service.get(f"/v1/jobs/{name}/result.json")
    assert all(note.startswith(("note: ", "warning: ")) for note in found["notes"])
    assert found["answers"] == json.loads(json.dumps([as_dictionary(answer) for answer in expected]))
    reply = service.ask("GET", f"/v1/jobs/{name}/result.csv")
    assert reply.body.decode() == as_csv(expected)
    assert next(csv.reader(io.StringIO(reply.body.decode())))[0] == "clip"


def test_a_client_that_reconnects_after_the_end_gets_the_end(service: RunningService, walkers: Path) -> None:
    job = service.submit(walkers)
    first, *_ = [number for number, _, _ in service.events(f"/v1/jobs/{job}/events")]
    # Events of other jobs come later.
    service.finished(service.submit(walkers))
    kinds = [(kind, data["state"]) for _, kind, data in service.events(f"/v1/jobs/{job}/events", first)]
    assert kinds == [("state", "done")]


def test_skeletons_are_a_skeleton_file(service: RunningService, job: str, tmp_path: Path) -> None:
    path = tmp_path / "result.pkl"
    path.write_bytes(service.ask("GET", f"/v1/jobs/{job}/result.pkl").body)
    (clip,) = read_data_set(path)["annotations"]
    assert clip["frame_dir"] == "walkers" and clip["keypoint"].shape == (2, 60, 17, 2)
    assert clip["history"][0]["step"] == "estimate" and clip["estimator"] == "tiny_pose"


def test_a_scene_has_persons_windows_and_segments(service: RunningService, job: str) -> None:
    scene = service.get(f"/v1/jobs/{job}/scene.json")
    assert (scene["video"]["width"], scene["video"]["height"], scene["video"]["start"]) == (SIZE[1], SIZE[0], 0)
    assert scene["classes"] == LABEL_NAMES and len(scene["joints"]) == 17 and scene["attention"]
    assert [person["id"] for person in scene["persons"]] == [0, 1]
    answers = service.get(f"/v1/jobs/{job}/result.json")["answers"]
    for person in scene["persons"]:
        own = [answer for answer in answers if answer["person"] == person["id"]]
        assert [segment["label"] for segment in person["segments"]] == [answer["label"] for answer in own]
        for window in person["windows"]:
            assert sum(window["probabilities"]) == pytest.approx(1, abs=1e-3)
        assert person["windows"][0]["start"] == person["segments"][0]["start"]
    attention = service.get(f"/v1/jobs/{job}/attention?person=0")
    assert np.mean(attention["values"], axis=1) == pytest.approx(np.ones(len(attention["times"])), abs=2e-3)


def unpack(content: bytes) -> tuple[np.ndarray, dict[int, tuple[np.ndarray, np.ndarray]]]:
    """Times of the frames, and times and (T, 17, 3) of each person, as `docs/serving.md` describes the format."""
    (length,) = struct.unpack_from("<I", content)
    header = json.loads(content[4 : 4 + length])
    place = 4 + length
    assert place % 8 == 0
    frames = np.frombuffer(content, "<f8", header["frames"], place)
    place += frames.nbytes
    persons = {}
    for person in header["persons"]:
        times = np.frombuffer(content, "<f8", person["frames"], place)
        place += times.nbytes
        joints = np.frombuffer(content, "<f4", person["frames"] * 17 * 3, place).reshape(-1, 17, 3)
        place += -(-joints.nbytes // 8) * 8
        persons[person["id"]] = times, joints
    assert place == len(content)
    return frames, persons


def test_poses_are_those_of_the_skeleton_file_in_pieces(service: RunningService, job: str, tmp_path: Path) -> None:
    path = tmp_path / "result.pkl"
    path.write_bytes(service.ask("GET", f"/v1/jobs/{job}/result.pkl").body)
    (clip,) = read_data_set(path)["annotations"]
    frames, persons = unpack(service.ask("GET", f"/v1/jobs/{job}/poses").body)
    assert frames.tolist() == clip["time"].tolist()
    for row, track in enumerate(clip["track_id"].tolist()):
        times, joints = persons[track]
        assert times.tolist() == clip["time"].tolist()
        seen = np.isfinite(joints[..., 0])
        assert (joints[seen][:, :2] == clip["keypoint"][row][seen]).all()
        assert (seen == (clip["keypoint_score"][row] > 0)).all()
    some, _ = unpack(service.ask("GET", f"/v1/jobs/{job}/poses?start=0.5&end=1").body)
    assert some.tolist() == [time for time in frames.tolist() if 0.5 <= time < 1]


def test_the_video_is_sent_in_ranges(service: RunningService, job: str, walkers: Path) -> None:
    whole = service.ask("GET", f"/v1/jobs/{job}/video")
    assert whole.body == walkers.read_bytes() and whole.headers["content-type"] == "video/mp4"
    part = service.ask("GET", f"/v1/jobs/{job}/video", Range="bytes=100-199")
    assert part.status == 206 and part.body == walkers.read_bytes()[100:200]


def test_browsers_get_a_copy_of_what_they_cannot_play(service: RunningService, tmp_path: Path) -> None:
    source = write_made_clip(tmp_path / "old.avi", size=SIZE, frames=20, codec="mpeg4", fps=10.0)
    name = service.submit(source, "&overlay=true")
    assert service.finished(name)["state"] == "done"
    for address in ("video", "overlay.mp4"):
        content = io.BytesIO(service.ask("GET", f"/v1/jobs/{name}/{address}").body)
        with av.open(content) as container:
            frames = list(container.decode(video=0))
            assert container.streams.video[0].codec_context.name == "h264" and len(frames) == 20
            assert [frame.time for frame in frames] == pytest.approx(np.arange(20) / 10, abs=1e-3)
