"""The web application without workers, in this process."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipeline.serve import server as server_module
from pipeline.serve.app import create_app
from pipeline.serve.settings import GIGABYTE, ServeSettings
from pose_extraction.errors import UsageError
from recognition.packed import EVERYDAY
from test_support.served import served, settings_for

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(settings_for(tmp_path)), base_url="http://127.0.0.1") as running:
        yield running


def test_the_process_that_answers_loads_no_network_library() -> None:
    heavy = ["torch", "cv2", "av", "scipy", "sklearn", "matplotlib", "onnxruntime", "openvino"]
    code = f"import sys, pipeline.serve.server; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_service_without_networks_is_alive_but_not_ready(client: TestClient) -> None:
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 503
    job = client.post("/v1/jobs?name=a.mp4", content=b"video").json()["id"]
    assert client.get(f"/v1/jobs/{job}").json()["state"] == "queued"
    assert client.get(f"/v1/jobs/{job}/result.json").json()["error"]["kind"] == "not_done"
    assert "skelpipe_queue_length 1.0" in client.get("/metrics").text
    (run,) = client.get("/v1/runs").json()
    assert run["id"] == EVERYDAY and run["default"] and run["shipped"]


def test_a_full_disk_is_reported_before_the_upload(tmp_path: Path) -> None:
    app = create_app(settings_for(tmp_path, least_free=1 << 60))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        reply = client.post("/v1/jobs?name=a.mp4", content=b"video")
        assert (reply.status_code, reply.json()["error"]["kind"]) == (507, "disk_full")
        assert "disk space" in client.get("/readyz").json()["status"]


def test_expired_jobs_are_removed_at_the_start_and_waiting_ones_are_not(tmp_path: Path) -> None:
    app = create_app(settings_for(tmp_path))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        ended, waiting = (client.post("/v1/jobs?name=a.mp4", content=b"video").json()["id"] for _ in range(2))
        assert client.delete(f"/v1/jobs/{ended}").json()["state"] == "cancelled"
        app.state.service.store._run("UPDATE jobs SET created = 0, finished = finished - 90000")
    with TestClient(create_app(settings_for(tmp_path, keep_days=1)), base_url="http://127.0.0.1") as client:
        assert [job["id"] for job in client.get("/v1/jobs").json()["jobs"]] == [waiting]
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == [waiting]


def test_a_folder_belongs_to_one_service(tmp_path: Path, client: TestClient) -> None:
    with pytest.raises(UsageError, match="is used by another service"):
        create_app(settings_for(tmp_path))


def test_connections_without_a_request_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.05)
    with served(settings_for(tmp_path)) as (address, _):
        for sent in (b"", b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "):
            with socket.create_connection(address, timeout=60) as client:
                client.sendall(sent)
                assert client.recv(1000) == b""


def test_names_of_other_sites_that_point_to_this_machine_are_refused(client: TestClient) -> None:
    for host in ("localhost", "127.0.0.1:8000", "[::1]:8000"):
        assert client.get("/v1/jobs", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[", ""):
        reply = client.get("/v1/jobs", headers={"Host": host})
        assert (reply.status_code, reply.json()["error"]["kind"]) == (403, "host")
    for name in ("Origin", "Sec-Fetch-Site"):
        value = "http://evil.example" if name == "Origin" else "cross-site"
        assert client.post("/v1/jobs?name=a.mp4", headers={name: value}).status_code == 403


def test_a_link_on_another_site_opens_the_page_and_nothing_else(client: TestClient) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert "<!doctype html>" in client.get("/", headers=link).text.lower()
    for changed in ({"Sec-Fetch-Dest": "iframe"}, {"Sec-Fetch-Mode": "no-cors"}, {"Host": "evil.example"}):
        assert client.get("/", headers=link | changed).status_code == 403
    assert client.get("/v1/jobs", headers=link).status_code == 403
    # A form on another site.
    assert client.post("/v1/jobs?name=a.mp4", headers=link | {"Origin": "http://evil.example"}).status_code == 403


def test_a_deleted_job_is_gone(client: TestClient, tmp_path: Path) -> None:
    job = client.post("/v1/jobs?name=a.mp4", content=b"video").json()["id"]
    assert client.delete(f"/v1/jobs/{job}").json()["state"] == "cancelled"
    assert client.delete(f"/v1/jobs/{job}").status_code == 204
    assert client.get(f"/v1/jobs/{job}").status_code == 404
    assert not list((tmp_path / "jobs").iterdir())


def test_allowed_agpl_networks_are_accepted(tmp_path: Path) -> None:
    with TestClient(create_app(settings_for(tmp_path, allow_agpl=True)), base_url="http://127.0.0.1") as client:
        assert client.post("/v1/jobs?name=a.mp4&estimator=openpifpaf", content=b"x").status_code == 202


def test_limits_have_sensible_defaults(tmp_path: Path) -> None:
    usual = ServeSettings(runs=(), data=tmp_path)
    assert usual.most_upload == 4 * GIGABYTE and usual.token is None and usual.local and not usual.allow_agpl
