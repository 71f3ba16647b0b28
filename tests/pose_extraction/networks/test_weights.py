"""Downloads from servers with interruptions, wrong lengths, wrong data, changing files, or which are unreachable."""

import dataclasses
import hashlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pose_extraction.cache import default_cache_dir
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import WeightsError
from pose_extraction.files import part_path
from pose_extraction.networks import download as download_module
from pose_extraction.networks.identity import NetworkOptions, identify
from pose_extraction.networks.model_zoo import ModelEntry, lookup
from pose_extraction.networks.weights import HubFile, cached_path, hub_file, resolve
from test_support.processes.scripted_server import (
    Answer,
    ScriptedServer,
    correct_server,
    cut_after,
    headers,
    send,
    status,
    without_ranges,
)
from test_support.videos.made_video import write_made_clip

CONTENT = random.Random(0).randbytes(700_001)
HALF = len(CONTENT) // 2
Serve = Callable[..., ScriptedServer]


def entry_for(content: bytes) -> ModelEntry:
    digest = hashlib.sha256(content).hexdigest()[:8]
    url = f"https://download.openmmlab.com/some/folder/network-{digest}_20230101.pth"
    return dataclasses.replace(lookup("hrnet"), url=url, digest=digest)


ENTRY = entry_for(CONTENT)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "_PAUSES", (0.0,) * 3)
    # Do not use a proxy between a test and its server.
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(*answers: Answer, content: bytes = CONTENT, head: Answer | None = None) -> ScriptedServer:
            server = stack.enter_context(ScriptedServer(content, *answers, head=head).running())
            monkeypatch.setenv("SKELPIPE_MIRROR", server.url)
            return server

        yield start


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


HUB_ENTRY = lookup("vitpose-base")


@pytest.mark.parametrize("answers", [(), (cut_after(HALF),)], ids=["at once", "interrupted"])
def test_a_file_on_the_hub_is_complete_if_it_has_the_announced_length(
    serve: Serve, tmp_path: Path, answers: tuple[Answer, ...]
) -> None:
    server = serve(*answers)
    path = resolve(HUB_ENTRY, cache_dir=tmp_path)
    assert path.name == "vitpose-base.safetensors"
    assert path.read_bytes() == CONTENT
    assert set(server.paths) == {"/usyd-community/vitpose-base/resolve/main/model.safetensors"}
    requests = len(server.paths)
    assert resolve(HUB_ENTRY, cache_dir=tmp_path) == path
    assert len(server.paths) == requests


def announcing(commit: str, digest: str) -> Answer:
    """Answer a request for the headers as the hub does: with a redirect to where the content is."""
    return status(302, Location="/elsewhere", X_Repo_Commit=commit, X_Linked_ETag=f'"{digest}"')


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_file_on_the_hub_is_that_of_the_announced_commit_and_digest(serve: Serve, tmp_path: Path) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    server = serve(cut_after(HALF), correct_server, head=announcing(COMMIT, digest))
    path = resolve(HUB_ENTRY, cache_dir=tmp_path)
    assert path.read_bytes() == CONTENT
    folder = "/usyd-community/vitpose-base/resolve"
    assert server.heads == [f"{folder}/main/model.safetensors"]
    assert server.paths == [f"{folder}/{COMMIT}/model.safetensors"] * 2
    assert hub_file(HUB_ENTRY, tmp_path) == HubFile("usyd-community/vitpose-base", COMMIT, digest)
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(WeightsError, match=f"expected {digest}"):
        resolve(HUB_ENTRY, cache_dir=tmp_path)


def test_a_file_on_the_hub_with_another_digest_is_refused(serve: Serve, tmp_path: Path) -> None:
    serve(head=announcing(COMMIT, "0" * 64))
    with pytest.raises(WeightsError, match="expected 0000"):
        resolve(HUB_ENTRY, cache_dir=tmp_path)
    assert left_in(tmp_path) == [] and hub_file(HUB_ENTRY, tmp_path) is None


def test_results_record_the_commit_of_weights_from_the_hub(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKELPIPE_CACHE", str(tmp_path))
    serve(head=announcing(COMMIT, hashlib.sha256(CONTENT).hexdigest()))
    options = NetworkOptions(Engine("cpu", "torch", "fp32"))
    identity = identify("estimator", "vitpose-base", options=options)
    assert identity.record() == {**identity.facts(), "revision": COMMIT}
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(CONTENT)
    own = identify("estimator", "vitpose-base", checkpoint=str(copy), options=options)
    assert own.record() == own.facts() == identity.facts()
    listed = {one["name"]: one["revision"] for one in json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)}
    assert {name: revision for name, revision in listed.items() if revision} == {"vitpose-base": COMMIT}


def archive_of(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"folder/{name.replace('_', '.')}", data)
    return content.getvalue()


def test_a_network_in_an_archive_is_unpacked_once(serve: Serve, tmp_path: Path) -> None:
    content = archive_of(detail_json=b"{}", end2end_onnx=CONTENT)
    server = serve(content=content)
    path = resolve(lookup("rtmpose"), cache_dir=tmp_path)
    assert path.read_bytes() == CONTENT
    assert left_in(tmp_path) == ["rtmpose-m.onnx"]
    assert resolve(lookup("rtmpose"), cache_dir=tmp_path) == path
    assert len(server.paths) == 1 and server.paths[0].endswith("_20230504.zip")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive_of(detail_json=b"{}"), "contains 0 ONNX files"),
        (archive_of(a_onnx=b"1", b_onnx=b"2"), "contains 2 ONNX files"),
        (CONTENT, "not a readable archive"),
    ],
    ids=["none", "two", "no archive"],
)
def test_an_archive_without_one_network_is_refused(serve: Serve, tmp_path: Path, content: bytes, message: str) -> None:
    serve(content=content)
    with pytest.raises(WeightsError, match=message):
        resolve(lookup("yolox-tiny"), cache_dir=tmp_path)
    assert "yolox-tiny.onnx" not in left_in(tmp_path)


def test_without_the_package_of_the_hub_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match=r"vitpose-base is on a hub of models.*'\.\[hub\]'"):
        resolve(HUB_ENTRY, cache_dir=tmp_path)
    assert left_in(tmp_path) == []


def test_a_file_is_downloaded_once_with_progress_and_then_cached(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    seen: list[tuple[int, int | None]] = []
    path = resolve(ENTRY, cache_dir=tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert server.paths == [f"/some/folder/{ENTRY.filename}"]
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT))
    assert left_in(tmp_path) == [ENTRY.filename]
    monkeypatch.setenv("SKELPIPE_MIRROR", "https://nobody.invalid")
    assert resolve(ENTRY, cache_dir=tmp_path) == path


def test_interrupted_downloads_are_resumed(serve: Serve, tmp_path: Path) -> None:
    server = serve(cut_after(HALF), cut_after(1000), correct_server)
    assert resolve(ENTRY, cache_dir=tmp_path).read_bytes() == CONTENT
    assert server.offsets == [0, HALF, HALF + 1000]


def test_interruptions_are_retried_as_long_as_there_is_progress(serve: Serve, tmp_path: Path) -> None:
    server = serve(*[cut_after(60_000)] * 11, correct_server)
    assert resolve(ENTRY, cache_dir=tmp_path).read_bytes() == CONTENT
    assert len(server.offsets) == 12


def test_downloads_restart_if_the_server_does_not_support_ranges(serve: Serve, tmp_path: Path) -> None:
    serve(cut_after(HALF), without_ranges)
    assert resolve(ENTRY, cache_dir=tmp_path).read_bytes() == CONTENT


def test_a_file_that_changed_between_two_requests_is_restarted(serve: Serve, tmp_path: Path) -> None:
    older = bytes(len(CONTENT))

    def first_the_older(handler: Any, content: bytes, offset: int) -> None:
        send(handler, older, 0, HALF)

    server = serve(first_the_older, correct_server)
    assert resolve(ENTRY, cache_dir=tmp_path).read_bytes() == CONTENT
    assert server.offsets == [0, HALF]  # The second request detects by the entity tag that the file has changed.


def test_a_rest_with_another_length_or_offset_is_refused(serve: Serve, tmp_path: Path) -> None:
    def longer(handler: Any, content: bytes, offset: int) -> None:
        span = f"bytes {offset}-{len(content)}/{len(content) + 1}"
        headers(handler, 206, Content_Length=len(content) + 1 - offset, Content_Range=span)
        handler.wfile.write(content[offset:] + b"x")

    def elsewhere(handler: Any, content: bytes, offset: int) -> None:
        headers(handler, 206, Content_Length=10, Content_Range=f"bytes 0-9/{len(content)}")
        handler.wfile.write(content[:10])

    for odd in (longer, elsewhere):
        server = serve(cut_after(HALF), odd, correct_server)
        assert resolve(ENTRY, cache_dir=tmp_path / odd.__name__).read_bytes() == CONTENT
        assert server.offsets == [0, HALF, 0]


def test_wrong_bytes_from_an_earlier_run_are_discarded(serve: Serve, tmp_path: Path) -> None:
    server = serve(cut_after(HALF), status(404), correct_server)
    with pytest.raises(WeightsError):
        resolve(ENTRY, cache_dir=tmp_path)
    part_path(cached_path(ENTRY, tmp_path)).write_bytes(bytes(HALF))
    assert resolve(ENTRY, cache_dir=tmp_path).read_bytes() == CONTENT
    assert server.offsets == [0, HALF, HALF, 0]  # The digest is wrong, so the whole file is downloaded again.


def test_a_part_file_of_another_address_is_not_resumed(serve: Serve, tmp_path: Path) -> None:
    serve(cut_after(HALF), status(404))
    with pytest.raises(WeightsError):
        resolve(ENTRY, cache_dir=tmp_path)
    server = serve(correct_server)
    assert resolve(ENTRY, cache_dir=tmp_path).read_bytes() == CONTENT
    assert server.offsets == [0]


def test_a_part_file_longer_than_the_file_is_discarded(serve: Serve, tmp_path: Path) -> None:
    server = serve(cut_after(HALF), status(416), correct_server)
    assert resolve(ENTRY, cache_dir=tmp_path).read_bytes() == CONTENT
    assert server.offsets == [0, HALF, 0]


def test_wrong_data_is_deleted_and_the_error_names_url_and_digests(serve: Serve, tmp_path: Path) -> None:
    wrong = b"an error page, served with status 200"
    server = serve(content=wrong)
    with pytest.raises(WeightsError) as error:
        resolve(ENTRY, cache_dir=tmp_path)
    for part in (f"{server.url}/some/folder/", hashlib.sha256(wrong).hexdigest()[:8], ENTRY.digest):
        assert part in str(error.value)
    assert left_in(tmp_path) == []


def test_too_small_or_missing_lengths_are_detected(serve: Serve, tmp_path: Path) -> None:
    def too_small(handler: Any, content: bytes, offset: int) -> None:
        headers(handler, 200, Content_Length=HALF)
        handler.wfile.write(content)

    def cut_without_length(handler: Any, content: bytes, offset: int) -> None:
        headers(handler, 200)
        handler.wfile.write(content[:HALF])

    for answer in (too_small, cut_without_length):
        serve(answer)
        with pytest.raises(WeightsError, match="SHA-256"):
            resolve(ENTRY, cache_dir=tmp_path)
        assert left_in(tmp_path) == []


def test_too_large_lengths_stop_after_a_few_attempts(serve: Serve, tmp_path: Path) -> None:
    def too_large(handler: Any, content: bytes, offset: int) -> None:
        headers(handler, 200, Content_Length=len(content) + 100)
        handler.wfile.write(content)

    server = serve(too_large)
    with pytest.raises(WeightsError, match=f"ended after {len(CONTENT)} of {len(CONTENT) + 100} bytes"):
        resolve(ENTRY, cache_dir=tmp_path)
    assert len(server.offsets) < 10


def test_failing_requests_are_retried_a_few_times(serve: Serve, tmp_path: Path) -> None:
    server = serve(status(503), status(429), correct_server)
    assert resolve(ENTRY, cache_dir=tmp_path / "a").read_bytes() == CONTENT
    server = serve(status(500))
    with pytest.raises(WeightsError, match="answered 500"):
        resolve(ENTRY, cache_dir=tmp_path / "b")
    assert 1 < len(server.offsets) < 10


def test_missing_files_are_not_requested_again(serve: Serve, tmp_path: Path) -> None:
    server = serve(status(404))
    with pytest.raises(WeightsError, match="answered 404"):
        resolve(ENTRY, cache_dir=tmp_path)
    assert len(server.offsets) == 1


@pytest.mark.parametrize("is_installed", [True, False])
def test_a_failed_download_points_to_blazepose(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_installed: bool
) -> None:
    if is_installed:
        (tmp_path / "openvino.py").touch()
        monkeypatch.syspath_prepend(str(tmp_path))
    else:
        # As if it were not installed.
        monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setenv("SKELPIPE_CACHE", str(tmp_path / "cache"))
    serve(status(404))
    with pytest.raises(WeightsError) as refusal:
        identify("estimator", "hrnet", options=NetworkOptions(Engine("cpu", "torch")))
    wanted = "" if is_installed else ", after pip install '.[blazepose]' in the checkout of skelpipe"
    assert str(refusal.value).endswith(f". Without this file: --checkpoint FILE, or --estimator blazepose{wanted}")


RUN = ("--run", "everyday", "--device", "cpu")


@pytest.mark.parametrize(
    ("words", "end"),
    [
        (("models", "--download", "hrnet"), ""),
        (("models", "--download", "rtmdet"), ""),
        (("export-model", "hrnet"), " --weights FILE"),
        (("predict", "VIDEO", "--estimator", "hrnet", *RUN), " --checkpoint FILE, or --estimator blazepose"),
        (("predict", "VIDEO", "--estimator", "rtmpose", *RUN), " --estimator FILE.onnx, or --estimator blazepose"),
        (
            ("predict", "VIDEO", "--estimator", "hrnet-tiny", "--detector", "rtmdet", *RUN),
            " --detector-checkpoint FILE, or --detector blazepose",
        ),
        (
            ("extract", "VIDEO", "--estimator", "hrnet-tiny", "--detector", "yolox", "--device", "cpu"),
            " --detector FILE.onnx, or --detector blazepose",
        ),
    ],
)
def test_a_failed_download_names_only_options_of_the_command(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], end: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SKELPIPE_CACHE", str(tmp_path / "cache"))
    write_made_clip(tmp_path / "clip.mp4", frames=9, persons=1)
    serve(status(404))
    result = CliRunner().invoke(app, [word.replace("VIDEO", "clip.mp4") for word in words])
    output = " ".join(result.output.split())
    assert result.exit_code == 1 and "answered 404" in output, output
    _, _, hint = output.partition(". Without this file:")
    # Without OpenVINO, the command that installs it follows.
    assert hint.startswith(end) and (end or not hint)
    assert set(re.findall(r"--[a-z-]+", output.partition("answered 404")[2])) == set(re.findall(r"--[a-z-]+", end))


def test_redirects_to_plain_http_elsewhere_are_refused(serve: Serve, tmp_path: Path) -> None:
    other = serve()
    server = serve(status(302, Location=f"{other.url}/moved.pth"))
    assert resolve(ENTRY, cache_dir=tmp_path).read_bytes() == CONTENT
    assert other.paths == ["/moved.pth"]
    serve(status(302, Location="http://download.openmmlab.com/x.pth"))
    with pytest.raises(WeightsError, match=r"redirects to http://.*, which is not HTTPS"):
        resolve(ENTRY, cache_dir=tmp_path / "b")
    assert len(server.offsets) == 1


def test_the_error_without_network_names_file_address_and_destination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(CONTENT).running() as gone:
        monkeypatch.setenv("SKELPIPE_MIRROR", gone.url)
    with pytest.raises(WeightsError) as error:
        resolve(ENTRY, cache_dir=tmp_path)
    for part in (ENTRY.filename, f"{gone.url}/some/folder/{ENTRY.filename}", str(cached_path(ENTRY, tmp_path))):
        assert part in str(error.value)
    cached_path(ENTRY, tmp_path).write_bytes(CONTENT)  # The remedy in the message.
    assert resolve(ENTRY, cache_dir=tmp_path).read_bytes() == CONTENT


def test_a_mirror_with_plain_http_elsewhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKELPIPE_MIRROR", "http://mirror.example.org/models")
    with pytest.raises(WeightsError, match="HTTPS only"):
        resolve(ENTRY, cache_dir=tmp_path)


def test_cached_files_must_have_a_known_digest(tmp_path: Path) -> None:
    path = cached_path(ENTRY, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"tampered")
    with pytest.raises(WeightsError, match="delete the file"):
        resolve(ENTRY, cache_dir=tmp_path)
    known = dataclasses.replace(ENTRY, other_digests=(hashlib.sha256(b"tampered").hexdigest(),))
    assert resolve(known, cache_dir=tmp_path) == path


def test_user_checkpoints_are_not_verified(tmp_path: Path) -> None:
    own = tmp_path / "own weights.pth"
    with pytest.raises(WeightsError, match="does not exist"):
        resolve(ENTRY, checkpoint=own)
    own.write_bytes(b"anything")
    assert resolve(ENTRY, checkpoint=own) == own


def test_the_error_names_a_cache_that_is_not_writable(serve: Serve, tmp_path: Path) -> None:
    serve()
    in_the_way = tmp_path / "checkpoints"
    in_the_way.write_bytes(b"")
    with pytest.raises(WeightsError, match=r"cannot be read or written.*SKELPIPE_CACHE"):
        resolve(ENTRY, cache_dir=tmp_path)


def test_the_cache_folder_depends_on_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKELPIPE_CACHE", str(tmp_path / "own"))
    assert default_cache_dir() == tmp_path / "own"
    monkeypatch.delenv("SKELPIPE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_dir() == tmp_path / "xdg" / "skelpipe"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache" / "skelpipe"


CHILD = """
import dataclasses, sys
from pathlib import Path
from pose_extraction.networks.model_zoo import lookup
from pose_extraction.networks.weights import resolve
url, digest, cache = sys.argv[1:]
entry = dataclasses.replace(lookup("hrnet"), url=url, digest=digest)
print("ready", flush=True)
sys.stdin.readline()
print(resolve(entry, cache_dir=Path(cache), progress=lambda done, total: print(done, flush=True)), flush=True)
"""


def start_child(server: ScriptedServer, cache: Path) -> subprocess.Popen:
    environment = os.environ | {"SKELPIPE_MIRROR": server.url}
    command = [sys.executable, "-c", CHILD, ENTRY.url, ENTRY.digest, str(cache)]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, bufsize=1
    )
    assert child.stdout.readline() == "ready\n"
    return child


def test_a_download_is_resumed_after_a_kill(serve: Serve, tmp_path: Path) -> None:
    killed = threading.Event()

    def half_then_wait(handler: Any, content: bytes, offset: int) -> None:
        send(handler, content, offset, HALF)
        handler.wfile.flush()
        killed.wait(60)

    server = serve(half_then_wait, correct_server)
    with start_child(server, tmp_path) as child:
        child.stdin.write("\n")
        # Each line is the number of bytes that the child process has on disk.
        while int(child.stdout.readline()) < HALF:
            pass
        os.kill(child.pid, signal.SIGKILL)
        killed.set()
    assert child.returncode == -signal.SIGKILL
    assert not cached_path(ENTRY, tmp_path).exists()
    assert resolve(ENTRY, cache_dir=tmp_path).read_bytes() == CONTENT
    assert server.offsets == [0, HALF]
    assert left_in(tmp_path) == [ENTRY.filename]


def test_a_complete_part_file_is_used_without_network(serve: Serve, tmp_path: Path) -> None:
    server = serve(status(404))
    part = part_path(cached_path(ENTRY, tmp_path))
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    assert resolve(ENTRY, cache_dir=tmp_path).read_bytes() == CONTENT
    assert server.offsets == []
    assert left_in(tmp_path) == [ENTRY.filename]


def test_concurrent_processes_download_once(serve: Serve, tmp_path: Path) -> None:
    both_told = threading.Event()

    def when_both_are_waiting(handler: Any, content: bytes, offset: int) -> None:
        both_told.wait(60)
        correct_server(handler, content, offset)

    server = serve(when_both_are_waiting)
    with start_child(server, tmp_path) as first, start_child(server, tmp_path) as second:
        for child in (first, second):
            child.stdin.write("\n")
        both_told.set()
        answers = [child.stdout.read().splitlines()[-1] for child in (first, second)]
    assert answers == [str(cached_path(ENTRY, tmp_path))] * 2
    assert server.offsets == [0]
    assert left_in(tmp_path) == [ENTRY.filename]
