"""Corrections in the service, and a training on them that replaces the run."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from test_support.networks.trained_run import LABEL_NAMES
from test_support.services.running_service import Reply, RunningService

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, words: tuple[str | Path, ...]) -> Iterator[RunningService]:
    with RunningService(tmp_path_factory.mktemp("corrected") / "data", *words) as running:
        yield running


@pytest.fixture(scope="module")
def job(own: RunningService, walkers: Path) -> str:
    name = own.submit(walkers, "&windows=1&threshold=0")
    assert own.finished(name)["state"] == "done"
    return name


def put(service: RunningService, job: str, document: dict, version: str) -> Reply:
    headers = {"If-Match": version, "Content-Type": "application/json"}
    return service.ask("PUT", f"/v1/jobs/{job}/corrections", json.dumps(document).encode(), headers)


def test_corrections_begin_with_the_predictions(own: RunningService, job: str) -> None:
    reply = own.ask("GET", f"/v1/jobs/{job}/corrections")
    document = reply.json()
    scene = own.get(f"/v1/jobs/{job}/scene.json")
    assert reply.headers["etag"] == '"0"' and document["version"] == 0
    expected = [(one["id"], person["id"], one["label"]) for person in scene["persons"] for one in person["segments"]]
    assert [(one["id"], one["person"], one["label"]) for one in document["segments"]] == expected
    assert all(one["source"] == "model" and not one["reviewed"] for one in document["segments"])


def test_wrong_corrections_are_refused(own: RunningService, job: str) -> None:
    document = own.get(f"/v1/jobs/{job}/corrections")
    for changes, message in (
        ({"segments": [document["segments"][0] | {"person": 99}]}, "there is no person 99"),
        ({"segments": [document["segments"][0] | {"end": -1}]}, "not after start"),
        ({"nosuch": 1}, "unknown setting 'nosuch'"),
        ({"identities": [{"kind": "swap", "a": 0, "b": 0, "time": 1}]}, "two different persons"),
    ):
        reply = put(own, job, document | changes, "*")
        assert reply.status == 422 and message in reply.json()["error"]["message"], reply.body
    assert put(own, job, document, "x").status == 400
    assert own.ask("PUT", f"/v1/jobs/{job}/corrections", document).status == 428


def test_a_corrected_run_replaces_the_first_one(own: RunningService, job: str) -> None:
    document = own.get(f"/v1/jobs/{job}/corrections")
    before = own.get("/v1/review")
    assert {item["segment"] for item in before} == {one["id"] for one in document["segments"]}
    probabilities = [item["probability"] for item in before]
    assert probabilities == sorted(probabilities)

    # Each person gets one label for the whole time.
    document["segments"] = [
        {"id": f"own-{person}", "person": person, "start": 0, "end": 2.4, "label": label, "source": "user"}
        for person, label in ((0, LABEL_NAMES[1]), (1, "new action"))
    ]
    document["classes"] = ["new action"]
    assert put(own, job, document, '"0"').json() == {"version": 1}
    assert put(own, job, document, '"0"').kind == "conflict"
    assert own.get(f"/v1/jobs/{job}/corrections")["segments"][1]["label"] == "new action"
    assert own.get("/v1/review") == []
    rows = list(csv.DictReader(io.StringIO(own.ask("GET", "/v1/corrections.csv").body.decode())))
    assert {row["file"] for row in rows} == {"walkers.mp4"} and len(rows) == 2
    assert [row["label"] for row in own.get("/v1/corrections.json")["rows"]] == [row["label"] for row in rows]

    settings = {"training.phase1_epochs": 1, "training.phase2_epochs": 1}
    reply = own.ask("POST", "/v1/trainings", {"jobs": [job], "settings": settings})
    assert reply.status == 202, reply.body
    training = reply.json()["id"]
    states = []
    for _, kind, data in own.events("/v1/events"):
        if kind == "training" and data["id"] == training:
            states.append(data["state"])
        if states and states[-1] not in ("queued", "running"):
            break
    found = own.get(f"/v1/trainings/{training}")
    assert states[-1] == "done", found["error"]
    assert found["epochs_done"] == found["epochs_total"] == 2 and found["comparison"] is not None
    assert own.get("/v1/trainings")[0]["id"] == training

    accepted = own.ask("POST", f"/v1/trainings/{training}/accept").json()
    assert accepted["accepted"] and accepted["run"] == "made-2" and accepted["base_run"] == "made"
    assert {run["id"]: run["default"] for run in own.get("/v1/runs")} == {"made": False, "made-2": True}
    assert own.ask("DELETE", f"/v1/trainings/{training}").kind == "in_use"
    own.kill()
    own.start()
    # The run that the command line names is the default again, and the accepted one can be chosen.
    assert {run["id"]: run["default"] for run in own.get("/v1/runs")} == {"made": True, "made-2": False}
    assert "runs: made (default), made-2" in own.log
    again = own.ask("POST", "/v1/jobs?name=a.mp4&windows=1&run=made-2", b"no video").json()["id"]
    assert own.get(f"/v1/jobs/{again}")["run"] == "made-2"


def test_a_training_without_lessons_is_refused(own: RunningService, job: str) -> None:
    for body, message in (
        ({"jobs": []}, "nothing to learn from"),
        ({"jobs": "some"}, "the body must be"),
        ({"jobs": ["0123456789abcdef"]}, "does not exist"),
        ({"jobs": [job], "run": "nosuch"}, "is not a run of this service"),
        ({"jobs": [job], "settings": {"data.file": "/etc/passwd"}}, "cannot be set"),
        ({"jobs": [job], "more": 1}, "the body must be"),
    ):
        reply = own.ask("POST", "/v1/trainings", body)
        assert reply.status in (404, 422) and message in reply.json()["error"]["message"], reply.body
