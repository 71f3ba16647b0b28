"""Limits of the service: a full disk, slow uploads, full queues, and the names under which a proxy offers it."""

import http.client
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipeline.serve.app import create_app
from pipeline.serve.settings import Pace
from test_support.services.served import served, settings_for

MEGABYTE = 1 << 20
HEAD = "POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder], check=False).returncode
    ):
        pytest.skip("a file system can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for name in ("incoming", "jobs", "uploads") for path in (folder / name).iterdir())


def test_a_disk_that_fills_up_during_an_upload_is_reported_and_nothing_is_left(small_disk: Path) -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    chunks = [bytes(MEGABYTE)] * 16
    with served(settings_for(small_disk / "data")) as ((host, port), service):
        for address, body, headers in (
            ("/v1/jobs?name=a.mp4", chunks, {}),
            ("/v1/jobs", [form, *chunks, b"\r\n--x--\r\n"], {"Content-Type": "multipart/form-data; boundary=x"}),
            ("/v1/skeletons:predict", chunks, {}),
        ):
            connection = http.client.HTTPConnection(host, port, timeout=60)
            # In chunks, so that the service does not know the size beforehand.
            connection.request("POST", address, iter(body), headers, encode_chunked=True)
            reply = connection.getresponse()
            error = json.loads(reply.read())["error"]
            assert (reply.status, error["kind"]) == (507, "disk_full"), error
            assert "No space left" in error["message"]
            connection.close()
            assert files_in(small_disk / "data") == [] and service.store.ids() == set()
            assert service.folders.free() > 5 * MEGABYTE


def test_a_disk_that_is_full_when_a_job_is_recorded_is_reported_and_nothing_is_left(small_disk: Path) -> None:
    with TestClient(create_app(settings_for(small_disk / "data")), base_url="http://127.0.0.1") as client:
        # The last free block takes the upload, but not the database.
        with (small_disk / "rest").open("wb", buffering=0) as file:
            while file.write(bytes(4096)) == 4096 and service_free(small_disk) > 8192:
                pass
        reply = client.post("/v1/jobs?name=a.mp4", content=b"video")
        assert (reply.status_code, reply.json()["error"]["kind"]) == (507, "disk_full")
        assert files_in(small_disk / "data") == []
        (small_disk / "rest").unlink()
        assert client.get("/v1/jobs").json()["jobs"] == []
        assert client.post("/v1/jobs?name=a.mp4", content=b"video").status_code == 202


def service_free(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def test_an_upload_that_drips_is_ended(tmp_path: Path) -> None:
    pace = Pace(least_rate=10_000, window=0.2, idle=30)
    with served(settings_for(tmp_path / "data", pace=pace)) as (address, _):
        for path in ("/v1/jobs?name=a.mp4", "/v1/skeletons:predict"):
            with socket.create_connection(address, timeout=60) as client:
                client.sendall(HEAD.format(path).encode())
                # Each byte comes long before the service would end an idle upload.
                client.settimeout(0.02)
                answer = b""
                while not answer:
                    try:
                        client.sendall(b"1\r\nx\r\n")
                        answer = client.recv(65536)
                    except TimeoutError:
                        pass
                client.settimeout(60)
                while more := client.recv(65536):
                    answer += more
            assert answer.startswith(b"HTTP/1.1 408") and b"10,000 per second are required" in answer
        assert files_in(tmp_path / "data") == []


def test_an_upload_at_a_good_pace_with_a_pause_is_accepted(tmp_path: Path) -> None:
    pace = Pace(least_rate=1000, window=1, idle=30)
    with served(settings_for(tmp_path / "data", pace=pace)) as (address, service):
        with socket.create_connection(address, timeout=60) as client:
            client.sendall(HEAD.format("/v1/jobs?name=a.mp4").encode())
            # More than one window, each with many parts, so that a process that waits for its turn is no pause.
            for _ in range(12):
                client.sendall(b"1000\r\n" + bytes(4096) + b"\r\n")
                client.settimeout(0.1)
                with pytest.raises(TimeoutError):
                    client.recv(1)
            client.settimeout(60)
            client.sendall(b"0\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 202")
        (job,) = service.store.jobs()
        assert job.size == 12 * 4096


def test_bodies_that_are_too_large_get_advice_that_fits(tmp_path: Path) -> None:
    with TestClient(create_app(settings_for(tmp_path, most_upload=5)), base_url="http://127.0.0.1") as client:
        for address, size in (("/v1/jobs?name=a.mp4", 6), ("/v1/skeletons:predict", (64 << 20) + 1)):
            reply = client.post(address, headers={"Content-Length": str(size)})
            assert (reply.status_code, reply.json()["error"]["kind"]) == (413, "too_large")
            assert f"larger than {size - 1:,} bytes; send less" in reply.json()["error"]["message"]


def test_requests_for_skeletons_beyond_the_limit_are_told_to_come_back(tmp_path: Path) -> None:
    with served(settings_for(tmp_path / "data", most_requests=2)) as ((host, port), _):
        waiting = []
        for _ in range(2):
            waiting.append(socket.create_connection((host, port), timeout=60))
            waiting[-1].sendall(HEAD.format("/v1/skeletons:predict").encode() + b"1\r\nx\r\n")
        reply = None
        while reply is None or reply.status != 429:
            # The two that wait have no answer yet, but the service may not have read their first bytes.
            connection = http.client.HTTPConnection(host, port, timeout=60)
            connection.request("POST", "/v1/skeletons:predict", b"x")
            reply = connection.getresponse()
            error = json.loads(reply.read())["error"]
            connection.close()
        assert error["kind"] == "queue_full" and int(reply.headers["Retry-After"]) > 0
        for one in waiting:
            one.close()


def test_a_proxy_may_offer_the_service_under_a_name(tmp_path: Path) -> None:
    app = create_app(settings_for(tmp_path, hosts=("Skelpipe.example.org",)))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        own = {"Host": "skelpipe.example.org", "Origin": "https://skelpipe.example.org"}
        assert client.get("/v1/jobs", headers=own).status_code == 200
        # A proxy that does not pass on the name.
        assert client.get("/v1/jobs", headers={"Origin": "https://skelpipe.example.org"}).status_code == 200
        for headers, kind in (
            ({"Host": "other.example.org"}, "host"),
            ({"Host": "skelpipe.example.org", "Origin": "https://other.example.org"}, "origin"),
            ({**own, "Sec-Fetch-Site": "cross-site"}, "origin"),
        ):
            reply = client.get("/v1/jobs", headers=headers)
            assert (reply.status_code, reply.json()["error"]["kind"]) == (403, kind)
            assert "--allow-host" in reply.json()["error"]["message"]


@pytest.mark.parametrize("pinned", [False, True])
def test_the_run_accepted_last_is_the_default_unless_another_is_given(tmp_path: Path, pinned: bool) -> None:
    training = "0123456789abcdef"
    app = create_app(settings_for(tmp_path))
    with TestClient(app, base_url="http://127.0.0.1"):
        app.state.service.store.set_fact("runs", {training: "mine"})
        app.state.service.store.set_fact("default_run", "mine")
    app = create_app(settings_for(tmp_path, pinned=pinned))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert {run["id"]: run["default"] for run in client.get("/v1/runs").json()} == {
            "everyday": pinned,
            "mine": not pinned,
        }
        first, second = ("everyday", "mine") if pinned else ("mine", "everyday")
        assert app.state.service.catalogue.summary() == f"{first} (default), {second}"
