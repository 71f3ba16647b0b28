"""What the service makes of stored results and corrections; without workers, from files as these write them."""

import csv
import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from pipeline.serve import scene
from pipeline.serve.app import create_app
from pipeline.serve.service import Service
from pose_extraction.formats.annotations import data_set
from pose_extraction.formats.pickle_writing import write_pickle
from test_support.clips.labelled_persons import two_persons
from test_support.services.served import settings_for

# The tracks of the made clip.
FIRST, SECOND = 3, 7


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(settings_for(tmp_path)), base_url="http://127.0.0.1") as running:
        yield running


def add_result(
    client: TestClient, *, source: str | None = None, segments: int = 2, start: float = 0.0, name: str = "a.mp4"
) -> str:
    """Store a finished job with two persons, each with some segments of the class "walk"."""
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    job, folder = service.folders.begin()
    folder = service.folders.accept(job)
    service.store.add(job, name=name, run="everyday", settings={}, source="input.mp4")
    result = folder / "result"
    result.mkdir()
    write_pickle(result / "result.pkl", data_set([two_persons()], {"all": ["two"]}))
    persons = [
        {
            "id": person,
            "windows": [{"start": 0, "end": 1, "probabilities": [0.5, 0.5]}] * segments,
            "segments": [
                {"id": f"{person}-{n}", "start": n, "end": n + 1, "label": "walk", "probability": 0.5 + n / 1e6}
                for n in range(segments)
            ],
        }
        for person in (FIRST, SECOND)
    ]
    for person in (FIRST, SECOND):
        scene.append(scene.poses_file(result, person), np.zeros(1, scene.POSE))
    scene.write_scene(result, {"video": {"start": start}, "persons": persons})
    service.store.claim()
    outcome = {"video": {"plays": True, "kind": "video/mp4", "start": start}}
    service.store.finish(job, "done", outcome=outcome | ({} if source is None else {"source": source}))
    return job


def segment(person: int, label: str | None, **more: Any) -> dict[str, Any]:
    return {"id": f"{person}{label}{more}", "person": person, "start": 0.5, "end": 1.5, "label": label, **more}


def correct(client: TestClient, job: str, *segments: dict[str, Any]) -> None:
    address = f"/v1/jobs/{job}/corrections"
    reply = client.put(address, json={"segments": segments}, headers={"If-Match": "*"})
    assert reply.status_code == 200, reply.text


def exported(client: TestClient) -> list[tuple[str, str]]:
    rows = csv.DictReader(io.StringIO(client.get("/v1/corrections.csv").text))
    return [(row["file"], row["label"]) for row in rows]


def test_a_video_that_was_analysed_twice_is_exported_once(client: TestClient) -> None:
    first, other = add_result(client, source="x", name="a.mp4"), add_result(client, source="y", name="a.mp4")
    again, untouched = add_result(client, source="x", name="copy.mp4"), add_result(client, source="x")
    correct(client, first, segment(FIRST, "wave", source="user"), segment(SECOND, "sit", source="user"))
    correct(client, other, segment(FIRST, "jump", source="user"))
    assert sorted(exported(client)) == [("a.mp4", "jump"), ("a.mp4", "sit"), ("a.mp4", "wave")]
    # The last corrected one counts; one without corrections does not.
    correct(client, again, segment(FIRST, "kick", source="user"))
    correct(client, untouched, segment(FIRST, "walk"))
    assert sorted(exported(client)) == [("a.mp4", "jump"), ("copy.mp4", "kick")]
    # A training uses the same ones.
    used = client.get("/v1/corrections").json()
    assert {(one["job"], one["name"], one["segments"]) for one in used} == {(other, "a.mp4", 1), (again, "copy.mp4", 1)}
    rows = client.get("/v1/corrections.json").json()["rows"]
    assert sorted((row["file"], row["label"]) for row in rows) == sorted(exported(client))


def test_only_segments_that_teach_something_are_counted(client: TestClient) -> None:
    job = add_result(client)
    correct(
        client,
        job,
        segment(FIRST, "walk", reviewed=True),
        segment(FIRST, "wave", source="user"),
        segment(FIRST, "walk", reviewed=True, rejected=True),
        segment(FIRST, None, source="user", reviewed=True),
        segment(FIRST, "unknown", reviewed=True),
        segment(SECOND, "walk"),
    )
    assert client.get(f"/v1/jobs/{job}").json()["reviewed"] == 2
    correct(client, job, segment(FIRST, "walk", reviewed=True, rejected=True))
    assert client.get(f"/v1/jobs/{job}").json()["reviewed"] == 0
    reply = client.post("/v1/trainings", json={"jobs": "all"})
    assert "nothing to learn from" in reply.json()["error"]["message"]


def test_results_with_very_many_segments_can_be_corrected(client: TestClient) -> None:
    job = add_result(client, segments=11_000)
    document = client.get(f"/v1/jobs/{job}/corrections").json()
    assert len(document["segments"]) == 22_000
    document["segments"][0] |= {"label": "wave", "source": "user"}
    correct(client, job, *document["segments"])
    assert client.get(f"/v1/jobs/{job}").json()["reviewed"] == 1


def test_results_with_too_many_segments_are_refused_before_anything_is_corrected(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.serve.routes.corrections.MOST_RESULTS", 3)
    job = add_result(client)
    reply = client.get(f"/v1/jobs/{job}/corrections")
    assert (reply.status_code, reply.json()["error"]["kind"]) == (422, "too_many")
    assert "has 4 segments, but at most 3" in reply.json()["error"]["message"]


def test_skeletons_and_review_need_no_windows(client: TestClient) -> None:
    job = add_result(client, start=0.25)
    result = client.app.state.service.folders.result(job)  # type: ignore[attr-defined]
    frames = np.zeros(4, scene.FRAME)
    frames["time"] = [0, 1, 2, 3]
    scene.append(result / scene.FRAMES_NAME, frames)
    # Windows are almost all of a scene; with a long video, reading it for one number takes seconds.
    for name in (scene.SCENE_NAME, scene.PACKED_NAME):
        (result / name).unlink()
    content = client.get(f"/v1/jobs/{job}/poses?start=1.1&end=2.5").content
    (length,) = struct.unpack_from("<I", content)
    assert json.loads(content[4 : 4 + length])["frames"] == 2
    assert np.frombuffer(content, "<f8", 2, 4 + length).tolist() == [1.25, 2.25]
    assert client.get(f"/v1/jobs/{job}/attention?person=3").json() == {"times": [], "values": []}
    assert [item["segment"] for item in client.get("/v1/review").json()] == ["3-0", "7-0", "3-1", "7-1"]
    assert len(client.get(f"/v1/jobs/{job}/corrections").json()["segments"]) == 4


def test_results_of_earlier_versions_are_still_shown(client: TestClient) -> None:
    job = add_result(client, start=0.25)
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    (service.folders.result(job) / scene.SEGMENTS_NAME).unlink()
    service.store._run("UPDATE jobs SET outcome = '{}'")
    assert scene.start_of(service.folders.result(job), {}) == 0.25
    assert len(client.get("/v1/review").json()) == 4 and client.get(f"/v1/jobs/{job}/poses").status_code == 200
