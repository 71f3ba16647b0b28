"""The web application without workers, in this process."""

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipeline.serve import server as server_module
from pipeline.serve.app import create_app
from pipeline.serve.settings import GIGABYTE, ServeSettings
from pose_extraction.errors import UsageError
from recognition.packed import EVERYDAY
from test_support.services.served import served, settings_for

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
        ended, corrected, waiting = (
            client.post("/v1/jobs?name=a.mp4", content=b"video").json()["id"] for _ in range(3)
        )
        store = app.state.service.store
        for job in (ended, corrected):
            store.claim()
            store.finish(job, "done")
        store.correct(corrected, {"segments": []}, 0)
        store._run("UPDATE jobs SET created = 0, finished = finished - 90000")
    with TestClient(create_app(settings_for(tmp_path, keep_days=1)), base_url="http://127.0.0.1") as client:
        assert [job["id"] for job in client.get("/v1/jobs").json()["jobs"]] == [waiting, corrected]
    assert {path.name for path in (tmp_path / "jobs").iterdir()} == {waiting, corrected}


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


def test_malformed_requests_are_answered_in_the_format_of_errors(tmp_path: Path) -> None:
    with served(settings_for(tmp_path)) as (address, _):
        chunked = b"POST /v1/jobs?name=a.mp4 HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
        long = b"GET /livez HTTP/1.1\r\nX: " + bytes(70_000).replace(b"\0", b"x")
        for sent in (b"nonsense\r\n\r\n", b"GET /livez HTTP/1.1\r\nno header\r\n\r\n", chunked, long):
            with socket.create_connection(address, timeout=60) as client:
                client.sendall(sent)
                reply = http.client.HTTPResponse(client)
                reply.begin()
                assert (reply.status, json.loads(reply.read())["error"]["kind"]) == (400, "http")
                assert reply.headers["Connection"] == "close"


def test_connections_beyond_the_limit_are_told_to_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MOST_CONNECTIONS", 2)

    def ask(connection: http.client.HTTPConnection) -> tuple[int, str | None, dict[str, Any]]:
        connection.request("GET", "/livez")
        reply = connection.getresponse()
        return reply.status, reply.headers["Retry-After"], json.loads(reply.read())

    with served(settings_for(tmp_path)) as ((host, port), _):
        open_ones = [http.client.HTTPConnection(host, port, timeout=60) for _ in range(2)]
        assert [ask(one)[0] for one in open_ones] == [200, 200]
        refused = http.client.HTTPConnection(host, port, timeout=60)
        status, later, content = ask(refused)
        assert (status, content["error"]["kind"]) == (503, "connections") and int(later or 0) > 0
        # It was closed, so that the next request is within the limit as soon as the service knows.
        open_ones[0].close()
        while ask(http.client.HTTPConnection(host, port, timeout=60))[0] != 200:
            pass
        open_ones[1].close()


def test_wrong_ranges_and_faults_are_answered_in_the_format_of_errors(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = client.post("/v1/jobs?name=a.mp4", content=b"video").json()["id"]
    service = client.app.state.service  # type: ignore[attr-defined]
    service.store.claim()
    result = service.folders.result(job)
    result.mkdir()
    (result / "result.csv").write_bytes(b"0123456789")
    service.store.finish(job, "done")
    address = f"/v1/jobs/{job}/result.csv"
    assert client.get(address, headers={"Range": "bytes=2-4"}).content == b"234"
    for value, status, kind in (
        ("bytes=20-30", 416, "range"),
        ("bytes=4-2", 400, "header"),
        ("lines=1", 400, "header"),
    ):
        reply = client.get(address, headers={"Range": value})
        assert (reply.status_code, reply.json()["error"]["kind"]) == (status, kind)
        assert reply.json()["error"]["message"] and reply.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get(address, headers={"Range": "bytes=20-30"}).headers["Content-Range"] == "bytes */10"

    monkeypatch.setattr(service.folders, "free", lambda: 1 / 0)
    with TestClient(client.app, base_url="http://127.0.0.1", raise_server_exceptions=False) as other:
        reply = other.get("/readyz")
        assert (reply.status_code, reply.json()["error"]["kind"]) == (500, "internal")


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
