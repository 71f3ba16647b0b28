"""Input that attacks the service. One service for all; after each attack it must still answer."""

import http.client
import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.serve.folders import display_name, input_name
from pipeline.serve.requests import uploads
from pipeline.serve.settings import Pace
from pipeline.serve.worker.recording import Recorder, Reporter, TooLong
from pose_extraction.video.reader import VideoInfo
from test_support.event_loops import run_apart
from test_support.services.running_service import Reply, RunningService
from test_support.videos.bombs import write_claimed_frames, write_large_frames
from test_support.videos.made_video import write_made_clip

pytestmark = pytest.mark.slow

TOKEN = "a token of the tests"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, words: tuple[str | Path, ...]) -> Iterator[RunningService]:
    """A service with a token, a small limit on uploads, and an allowed folder."""
    folder = tmp_path_factory.mktemp("locked")
    (folder / "allowed").mkdir()
    limits = ("--max-upload", "5M", "--max-queue", "3", "--max-frames", "500000")
    more = ("--allow", folder / "allowed", *limits)
    with RunningService(folder / "data", *words, *more, token=TOKEN) as running:
        yield running


@pytest.fixture(autouse=True)
def still_alive(locked: RunningService) -> Iterator[None]:
    yield
    assert locked.get("/livez") == {"status": "ok"}


def of_path(service: RunningService, path: Path | str, **more: object) -> Reply:
    return service.ask("POST", "/v1/jobs", {"path": str(path), **more})


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "..%2f..%2fx.mp4", "/etc/x.mp4", "a%00b.mp4", "%0a%0d.mp4", "."]
)
def test_names_do_not_lead_out_of_the_folder_of_the_job(locked: RunningService, name: str) -> None:
    reply = locked.ask("POST", f"/v1/jobs?name={name}", b"no video")
    assert reply.status == 202
    job = reply.json()["id"]
    found = locked.finished(job)
    assert found["state"] == "failed" and "/" not in found["name"] and found["name"].isprintable()
    assert not list(locked.data.parent.glob("*passwd*"))
    locked.ask("DELETE", f"/v1/jobs/{job}")


def test_stored_names_keep_only_the_suffix_of_a_video() -> None:
    assert input_name(display_name("../x/ü clip.MP4")) == "input.mp4"
    assert input_name(display_name("clip.mp4/../run.sh")) == "input"
    assert len(display_name("x" * 5000 + ".mp4")) == 200 and display_name("\u202e\x00\n") == "video"


@pytest.mark.parametrize("address", ["/v1/jobs/..%2f..%2fjobs.sqlite/video", "/page/..%2fapp.py", "/page/../../app.py"])
def test_addresses_do_not_lead_to_other_files(locked: RunningService, address: str) -> None:
    assert locked.ask("GET", address).status == 404


def test_paths_and_links_out_of_the_allowed_folder_are_refused(locked: RunningService, tmp_path: Path) -> None:
    allowed = locked.data.parent / "allowed"
    outside = write_made_clip(tmp_path / "outside.mp4", frames=5, size=(96, 128))
    (allowed / "link.mp4").symlink_to(outside)
    (allowed / "folder").symlink_to(tmp_path)
    os.mkfifo(allowed / "pipe.mp4")
    for path in (
        outside,
        allowed / "link.mp4",
        allowed / "folder" / "outside.mp4",
        allowed / ".." / "data",
        "/etc/passwd",
    ):
        assert of_path(locked, path).kind == "path"
    assert of_path(locked, "\0").kind == "path"
    assert of_path(locked, "http://example.org/video.mp4").kind == "path"
    assert of_path(locked, allowed / "pipe.mp4").status == 422
    for setting in ("estimator", "detector"):
        network = tmp_path / "network.onnx"
        network.touch()
        assert of_path(locked, allowed, settings={setting: str(network)}).status == 422


@pytest.mark.parametrize("size", [(9000, 4000), (15360, 8640)])
def test_frames_of_hostile_sizes_are_refused_before_they_are_decoded(
    locked: RunningService, tmp_path: Path, size: tuple[int, int]
) -> None:
    """An empty picture of this size has a few kilobytes; decoded, a second of such a video would fill the memory."""
    path = write_large_frames(tmp_path / "bomb.mp4", size)
    reply = locked.ask("POST", "/v1/jobs?name=bomb.mp4", path.read_bytes())
    found = locked.finished(reply.json()["id"])
    assert found["state"] == "failed" and found["error"]["kind"] == "video", found


def most_memory(pid: int) -> int:
    """Largest resident size of a process so far, in MB."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) >> 10


def test_files_that_unpack_to_far_more_are_refused_before_memory_or_disk_fill(
    locked: RunningService, walkers: Path, tmp_path: Path
) -> None:
    locked.finished(locked.submit(walkers))
    (worker,) = locked.workers()
    before = most_memory(worker)
    for path, reason in (
        (write_claimed_frames(tmp_path / "million.mp4", 1_000_000), "claims 1,000,000 frames, but at most 500,000"),
        (write_claimed_frames(tmp_path / "more.mp4", 100_000_000), "claims more than 20,000,000 frames"),
        (write_large_frames(tmp_path / "16k.mp4", (16_000, 16_000), claimed=(96, 64)), "frame could be decoded"),
    ):
        assert path.stat().st_size < 1 << 20
        found = locked.finished(locked.submit(path))
        assert (found["state"], found["error"]["kind"]) == ("failed", "video")
        assert path.name in found["error"]["message"] and reason in found["error"]["message"]
        files = [one for one in (locked.data / "jobs" / found["id"]).rglob("*") if one.is_file()]
        assert [one.name for one in files] == ["input.mp4"]
    assert locked.workers() == [worker]
    assert most_memory(worker) - before < 200


def test_videos_of_endless_length_are_refused(tmp_path: Path) -> None:
    reporter = Reporter("job", lambda _: None, lambda: False)
    info = VideoInfo((96, 128), 30.0, "h264", 0, "yuv420p", 0)
    with closing(Recorder(tmp_path, reporter, stride=1, most_frames=2)) as recorder:
        recorder.frame(info)
        recorder.frame(info)
        with pytest.raises(TooLong, match="more than 2 frames"):
            recorder.frame(info)


def test_other_files_are_refused(locked: RunningService) -> None:
    assert locked.ask("POST", "/v1/jobs?name=clip.pkl", b"x").kind == "kind"
    assert locked.ask("POST", "/v1/jobs?name=clip.mp4", b"").kind == "empty"
    playlist = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"
    found = locked.finished(locked.ask("POST", "/v1/jobs?name=list.mp4", playlist).json()["id"])
    assert found["state"] == "failed" and "a text file" in found["error"]["message"]


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b'{"path": "\xff"}', b'{"path": 3}', b"[]", b'{"path": "x", "more": 1}', b"{", b'"x"']
)
def test_other_json_is_refused(locked: RunningService, body: bytes) -> None:
    reply = locked.ask("POST", "/v1/jobs", body, {"Content-Type": "application/json"})
    assert reply.status in (400, 422) and reply.kind in ("json", "usage")


@pytest.mark.parametrize(
    "query, message",
    [
        ("windows=nan", "windows"),
        ("windows=-1", "--windows -1.0: must be a number of seconds above 0"),
        ("window=3", "did you mean 'windows'?"),
        ("threshold=2", "--threshold 2"),
        ("run=../x", "is not a run of this service"),
        ("estimator=openpifpaf", "--allow-agpl"),
        ("estimator=nosuch", "unknown estimator 'nosuch'"),
        ("stream=-1", "streams are counted from 0"),
    ],
)
def test_wrong_settings_are_refused_before_the_upload(locked: RunningService, query: str, message: str) -> None:
    reply = locked.ask("POST", f"/v1/jobs?name=clip.mp4&{query}", b"video")
    assert reply.status == 422 and message in reply.json()["error"]["message"]


def test_an_unknown_run_is_refused_and_leaves_no_upload(locked: RunningService) -> None:
    before = {path.name for path in (locked.data / "jobs").iterdir()}
    reply = locked.ask("POST", "/v1/jobs?name=clip.mp4&run=nosuch", b"video")
    assert reply.status == 422 and "nosuch" in reply.json()["error"]["message"]
    assert {path.name for path in (locked.data / "jobs").iterdir()} == before


def test_an_upload_that_is_too_large_is_refused_before_its_body(locked: RunningService) -> None:
    connection = locked.connection()
    connection.putrequest("POST", "/v1/jobs?name=a.mp4")
    for name, value in (("Authorization", f"Bearer {TOKEN}"), ("Content-Length", str(1 << 40))):
        connection.putheader(name, value)
    connection.endheaders()
    # Not a byte of the body has been sent.
    reply = Reply(connection.getresponse())
    connection.close()
    assert (reply.status, reply.kind) == (413, "too_large")


def test_an_upload_without_a_size_ends_at_the_limit(locked: RunningService) -> None:
    connection = locked.connection()
    headers = {"Authorization": f"Bearer {TOKEN}", "Transfer-Encoding": "chunked"}
    try:
        connection.request(
            "POST", "/v1/jobs?name=a.mp4", (bytes(65536) for _ in range(100)), headers, encode_chunked=True
        )
        reply = Reply(connection.getresponse())
        assert (reply.status, reply.kind) == (413, "too_large")
    except (BrokenPipeError, ConnectionResetError):
        # The service has closed the connection in the middle of the upload.
        pass
    finally:
        connection.close()
    assert not list((locked.data / "incoming").iterdir())


def test_forms_with_several_files_or_damage_are_refused(locked: RunningService) -> None:
    part = 'Content-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\nvideo\r\n'
    two = f"--x\r\n{part}--x\r\n{part}--x--\r\n".encode()
    for body, kind in ((two, "form"), (b"--x\r\nno form", "form"), (b"--x--\r\n", "form")):
        reply = locked.ask("POST", "/v1/jobs", body, {"Content-Type": "multipart/form-data; boundary=x"})
        assert (reply.status, reply.kind) == (400, kind)
    assert locked.ask("POST", "/v1/jobs", b"x", {"Content-Type": "multipart/form-data"}).kind == "form"
    assert not list((locked.data / "incoming").iterdir())


def test_a_form_is_an_upload(locked: RunningService) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="windows"\r\n\r\n2\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="../a clip.mp4"\r\n'
        b"Content-Type: video/mp4\r\n\r\nno video\r\n--x--\r\n"
    )
    reply = locked.ask("POST", "/v1/jobs", body, {"Content-Type": "multipart/form-data; boundary=x"})
    found = locked.finished(reply.json()["id"])
    assert (found["name"], found["settings"], found["size"]) == ("a clip.mp4", {"windows": 2.0}, 8)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer \xff\xfe"},
        {"Cookie": "skelpipe=" + TOKEN},
        {"Cookie": 'skelpipe="\\377'},
        {"Authorization": ""},
    ],
)
def test_wrong_tokens_are_refused(locked: RunningService, headers: dict[str, str]) -> None:
    headers.setdefault("Authorization", "")
    reply = locked.ask("GET", "/v1/jobs", headers=headers)
    assert (reply.status, reply.kind) == (401, "token") and TOKEN.encode() not in reply.body


def test_the_token_in_the_address_becomes_a_cookie(locked: RunningService) -> None:
    query = f"/?token={TOKEN.replace(' ', '%20')}"
    reply = locked.ask("GET", query, Authorization="")
    cookie = reply.headers["set-cookie"]
    assert reply.status == 303 and reply.headers["location"] == "/"
    assert "httponly" in cookie.lower() and "samesite=strict" in cookie.lower() and TOKEN not in cookie
    named = cookie.partition(";")[0]
    assert locked.ask("GET", "/v1/jobs", Authorization="", Cookie=named).status == 200
    assert locked.ask("GET", "/?token=wrong", Authorization="").status == 200
    assert "set-cookie" not in locked.ask("GET", "/?token=wrong", Authorization="").headers


def test_pages_of_other_sites_cannot_use_the_service(locked: RunningService) -> None:
    assert locked.ask("GET", "/v1/jobs", Origin=f"http://127.0.0.1:{locked.port}").status == 200
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        reply = locked.ask("POST", "/v1/jobs?name=a.mp4", b"x", headers)
        assert (reply.status, reply.kind) == (403, "origin")
    policy = locked.ask("GET", "/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v1/jobs HTTP/9.9\r\n\r\n",
        b"NONSENSE\r\n\r\n",
    ],
)
def test_malformed_requests_end_the_connection(locked: RunningService, head: bytes) -> None:
    with socket.create_connection((locked.host, locked.port), timeout=30) as opened:
        try:
            opened.sendall(head)
            opened.shutdown(socket.SHUT_WR)
            answer = opened.recv(1000)
        except OSError:
            # The service has already closed the connection.
            answer = b""
    assert answer[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 401", b"HTTP/1.1 404", b"HTTP/1.1 431")


def test_uploads_that_stop_are_ended() -> None:
    import asyncio

    from starlette.requests import Request

    async def receive() -> dict:
        if sent:
            await asyncio.Event().wait()
        sent.append(b"x")
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def read() -> None:
        async for _ in uploads.chunks(Request({"type": "http", "headers": []}, receive), 100, Pace(idle=0.01)):
            pass

    sent: list[bytes] = []
    with pytest.raises(uploads.ServiceError) as caught:
        run_apart(read())
    assert (caught.value.status, caught.value.kind) == (408, "slow")


def test_last_event_ids_may_be_anything(locked: RunningService) -> None:
    job = locked.ask("POST", "/v1/jobs?name=a.mp4", b"no video").json()["id"]
    for last in ("", "x", "-1", "9" * 30, "1e5", "\xb2"):
        *_, (_, _, data) = locked.events(f"/v1/jobs/{job}/events", last)
        assert data["state"] == "failed"


def test_a_full_queue_refuses_with_a_time_to_retry(locked: RunningService, walkers: Path, long_video: Path) -> None:
    content = long_video.read_bytes()
    jobs = []
    for _ in range(6):
        reply = locked.ask("POST", "/v1/jobs?name=long.mp4", content)
        if reply.status != 202:
            break
        jobs.append(reply.json()["id"])
    assert (reply.status, reply.kind) == (429, "queue_full") and int(reply.headers["retry-after"]) > 0
    for job in jobs:
        assert locked.ask("DELETE", f"/v1/jobs/{job}").json()["state"] == "cancelled"
    assert locked.finished(locked.submit(walkers))["state"] == "done"


def test_keys_of_requests_are_checked(locked: RunningService) -> None:
    one = locked.ask("POST", "/v1/jobs?name=a.mp4", b"no video", {"Idempotency-Key": "k"})
    again = locked.ask("POST", "/v1/jobs?name=a.mp4", b"no video", {"Idempotency-Key": "k"})
    assert one.json() == again.json() and again.status == 202
    other = locked.ask("POST", "/v1/jobs?name=a.mp4&windows=2", b"no video", {"Idempotency-Key": "k"})
    assert (other.status, other.kind) == (422, "idempotency")
    for key in ("a b", "x" * 300, "\x7f"):
        assert locked.ask("POST", "/v1/jobs?name=a.mp4", b"x", {"Idempotency-Key": key}).status in (400, 422)


def test_errors_have_one_format(locked: RunningService) -> None:
    for method, address, status in (
        ("GET", "/nosuch", 404),
        ("PATCH", "/v1/jobs", 405),
        ("GET", "/v1/jobs?limit=x", 422),
        ("GET", "/v1/jobs?state=nosuch", 422),
        ("GET", "/v1/jobs/0123456789abcdef", 404),
        ("GET", "/v1/jobs/x/result.json", 404),
    ):
        reply = locked.ask(method, address)
        assert reply.status == status and set(reply.json()["error"]) == {"kind", "message"}
    assert isinstance(json.loads(locked.ask("GET", "/openapi.json").body), dict)
    assert b"https://" not in locked.ask("GET", "/docs").body
    assert http.client.responses[422]
