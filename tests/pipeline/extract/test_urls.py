"""`extract` from and to URLs: any storage of fsspec, here memory, `file://` and a local HTTP server."""

import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.extract.mirror import Mirror, mirror_of
from pipeline.extract.share import Share
from pipeline.inputs.copies import MOST_KEPT, Copies
from pipeline.inputs.videos import Source
from pose_extraction.cache import default_cache_dir
from pose_extraction.errors import BackendError, SkelpipeError, UsageError
from pose_extraction.file_locks import lock
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.remote import CHUNK, RemoteFile, exists, fetch, list_files, remove, store
from pose_extraction.video.reader import VideoReader
from test_support.networks.made_runs import SIZE, all_files
from test_support.videos.made_video import write_made_clip

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
pytestmark = [pytest.mark.slow]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKELPIPE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture
def bucket(memory: Any, clips: Path) -> str:
    """The four clips in memory."""
    memory.put(str(clips), "/bucket/videos", recursive=True)
    return "memory://bucket/videos"


def skeletons(path: Path) -> dict[str, Any]:
    """The clips of a data set by id."""
    return {clip["frame_dir"]: clip for clip in read_pickle(path)["annotations"]}


def assert_same(ours: Path, theirs: Path) -> None:
    """Both have the same clips, but of different places."""
    mine, others = skeletons(ours), skeletons(theirs)
    assert mine.keys() == others.keys() and mine
    for name, clip in mine.items():
        for key, value in clip.items():
            assert (
                np.array_equal(value, others[name][key])
                if isinstance(value, np.ndarray)
                else (value == others[name][key])
            ), (name, key)


def times_of(memory: Any) -> dict[str, Any]:
    return {name: info["created"] for name, info in memory.find("/bucket/out", detail=True).items()}


def test_a_bucket_gives_the_skeletons_of_a_folder_and_is_resumed(run, bucket, memory, clips, tmp_path):
    first = run(bucket, "memory://bucket/out")
    assert (first.report.done, first.report.failed) == (4, {}), first.output
    assert first.report.url == "memory://bucket/out/tiny_pose.pkl"
    local = run(clips, tmp_path / "local")
    assert_same(first.report.data_set, local.report.data_set)
    found = {name.removeprefix("/bucket/out/") for name in memory.find("/bucket/out")}
    expected = set(all_files(tmp_path / "local"))
    assert found == expected
    memory.get("/bucket/out/tiny_pose.pkl", str(tmp_path / "copy.pkl"))
    assert_same(tmp_path / "copy.pkl", local.report.data_set)
    # Nothing is left of the videos.
    assert not [path for path in (default_cache_dir() / "videos").rglob("*") if path.is_file()]
    before = times_of(memory)
    again = run(bucket, "memory://bucket/out")
    assert (again.report.done, again.report.skipped) == (0, 4)
    results = [name for name in before if "/tiny_pose/" in name and name.endswith(".pkl")]
    assert len(results) == 4 and all(times_of(memory)[name] == before[name] for name in results)
    # What is at the URL counts, not what an earlier run has left on this machine.
    lost = results[0]
    memory.rm(lost)
    repaired = run(bucket, "memory://bucket/out")
    assert (repaired.report.done, repaired.report.skipped) == (1, 3) and memory.exists(lost)


def test_what_this_machine_has_stored_is_not_fetched_again_and_what_others_have_stored_is(memory, tmp_path):
    ours, theirs = mirror_of("memory://bucket/out", None), Mirror("memory://bucket/out", tmp_path)
    path = ours.folder / "net" / "a.pkl"
    path.parent.mkdir()
    path.write_bytes(b"first")
    ours.push(path)
    before = path.stat()
    ours.pull("net")
    ours.pull("net")
    # A fetched file is a new one.
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    noted = {found.name for found in ours.folder.iterdir()}
    ours.here().push(path)
    assert {found.name for found in ours.folder.iterdir()} == noted, "nodes of a cluster keep no results, so no notes"
    other = tmp_path / "net" / "a.pkl"
    other.parent.mkdir()
    other.write_bytes(b"other")
    theirs.push(other)
    ours.pull("net")
    assert path.read_bytes() == b"other"
    theirs.push(other)
    memory.pipe("/bucket/out/net/a.pkl", b"third")
    theirs.pull("net")
    assert other.read_bytes() == b"third"


def copies() -> list[Path]:
    # Not with rglob, which fails if a thread of the run removes a folder at the same time.
    found = [Path(folder) / name for folder, _, names in os.walk(default_cache_dir() / "videos") for name in names]
    return [path for path in found if path.suffix == ".mp4" and path.is_file()]


@pytest.mark.parametrize(("overlay", "most"), [(False, 1), (True, 1 + MOST_KEPT + 1)])
def test_there_are_never_more_copies_than_videos_in_progress(run, memory, tmp_path, monkeypatch, overlay, most):
    clip = write_made_clip(tmp_path / "clip.mp4", size=SIZE, frames=4, persons=1)
    for number in range(12):
        memory.pipe_file(f"/bucket/videos/{number}.mp4", clip.read_bytes())
    found: list[int] = []
    opened = VideoReader.__enter__

    def counting(reader: VideoReader) -> VideoReader:
        found.append(len(copies()))
        return opened(reader)

    monkeypatch.setattr(VideoReader, "__enter__", counting)
    outcome = run("memory://bucket/videos", tmp_path / "out", overlay=overlay)
    assert (outcome.report.done, outcome.report.failed) == (12, {}), outcome.output
    assert 1 <= max(found) <= most and not copies()
    assert len(list((tmp_path / "out").rglob("*.mp4"))) == 12 * overlay


def test_copies_of_killed_runs_are_removed_and_those_of_living_ones_stay(run, bucket, tmp_path):
    cache = default_cache_dir() / "videos"
    for owner in ("killed", "living", "0123456789abcdef"):
        (cache / owner).mkdir(parents=True)
        (cache / owner / "video.mp4").touch()
    (cache / "killed.lock").touch()
    with (cache / "living.lock").open("ab") as file:
        lock(file)
        run(bucket, tmp_path / "out")
        assert {path.name for path in cache.iterdir()} == {"living", "living.lock"}
    run(bucket, tmp_path / "again")
    assert not list(cache.iterdir())


def test_processes_of_a_host_with_dots_in_its_name_have_copies_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("SKELPIPE_CACHE", str(tmp_path))
    monkeypatch.setattr("pipeline.inputs.copies.socket.gethostname", lambda: "node1.cluster.example")
    source = Source(Path("a.mp4"), "a", "a.mp4", remote=RemoteFile("memory://a.mp4", "a.mp4", 1, "1"))
    first, second = Copies(), Copies()
    own, other = first.place_of(source), second.place_of(source)
    assert own.parent.parent.is_dir() and other.parent.parent.is_dir() and own != other
    for copies in (first, second):
        copies.close()
    assert list((tmp_path / "videos").iterdir()) == []


def test_copying_counts_as_progress(tmp_path, memory):
    memory.pipe_file("/bucket/large.bin", bytes(3 * CHUNK + 1))
    chunks: list[None] = []
    fetch("memory://bucket/large.bin", tmp_path / "copy", lambda: chunks.append(None))
    assert len(chunks) == 4 and (tmp_path / "copy").stat().st_size == 3 * CHUNK + 1
    chunks.clear()
    store(tmp_path / "copy", "memory://bucket/back.bin", lambda: chunks.append(None))
    assert chunks and memory.size("/bucket/back.bin") == 3 * CHUNK + 1


def test_a_changed_video_is_extracted_again(run, bucket, memory):
    run(bucket, "memory://bucket/out")
    names = sorted(memory.find("/bucket/videos"))
    memory.pipe_file(names[0], memory.cat_file(names[-1]))
    again = run(bucket, "memory://bucket/out")
    assert (again.report.done, again.report.skipped) == (1, 3), again.output


def test_shards_write_to_one_folder_and_overlays_stay_there(run, clips, tmp_path):
    out = f"file://{tmp_path / 'out'}"
    for number in (1, 2):
        outcome = run(f"file://{clips}", out, share=Share(shard=(number, 2)), overlay=True)
        assert (outcome.report.done, outcome.report.failed) == (2, {}), outcome.output
    outcome = run(f"file://{clips}", out, overlay=True)
    assert (outcome.report.done, outcome.report.skipped) == (0, 4), outcome.output
    stored = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sum(name.endswith(".mp4") for name in stored) == 4
    assert not [name for name in stored if name.startswith(".")]
    assert not list((default_cache_dir() / "results").rglob("*.mp4"))
    assert_same(tmp_path / "out" / "tiny_pose.pkl", run(clips, tmp_path / "local").report.data_set)


def test_what_fails_names_the_url_and_the_others_continue(run, bucket, memory, monkeypatch):
    memory.pipe_file("/bucket/videos/run/broken.mp4", b"\0" * 500)
    put = type(memory).put_file

    def full(self: Any, local: str, remote: str, **options: Any) -> None:
        if "clip 0" in remote:
            raise PermissionError("no space in the bucket")
        put(self, local, remote, **options)

    monkeypatch.setattr(type(memory), "put_file", full)
    outcome = run(bucket, "memory://bucket/out")
    assert outcome.report.done == 3
    assert "memory://bucket/videos/run/broken.mp4" in outcome.report.failed["run/broken.mp4"].replace("///", "//")
    [reason] = [reason for name, reason in outcome.report.failed.items() if "clip 0" in name]
    assert "no space in the bucket" in reason and "memory://bucket/out" in reason
    monkeypatch.undo()
    monkeypatch.setenv("SKELPIPE_CACHE", str(default_cache_dir()))
    assert b"broken.mp4" in memory.cat_file("/bucket/out/tiny_pose/errors.jsonl")
    again = run(bucket, "memory://bucket/out")
    assert (again.report.done, again.report.skipped) == (1, 3), again.output


def test_a_folder_that_cannot_be_written_to_is_reported_before_the_work(run, bucket, memory, monkeypatch):
    def refused(*arguments: Any, **options: Any) -> None:
        raise PermissionError("read only")

    monkeypatch.setattr(type(memory), "put_file", refused)
    with pytest.raises(SkelpipeError, match=r"memory://bucket/out/\.writable: cannot be written \(read only\)"):
        run(bucket, "memory://bucket/out")
    assert not [path for path in (default_cache_dir() / "videos").rglob("*") if path.is_file()]


def test_names_that_no_file_can_have_are_reported(run, bucket, memory, tmp_path):
    name = "/bucket/videos/x/../../../evil.mp4"
    source = memory.store[min(memory.find("/bucket/videos"))]
    memory.store[name] = type(source)(memory, name, source.getvalue())
    outcome = run(bucket, tmp_path / "out")
    assert outcome.report.done == 4
    assert any("evil.mp4" in place and "its name" in reason for place, reason in outcome.report.failed.items())


def test_a_video_is_read_over_http(run, clips, tmp_path):
    handler = partial(SimpleHTTPRequestHandler, directory=str(clips / "run"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    name = min(path.name for path in (clips / "run").iterdir())
    try:
        pytest.importorskip("aiohttp", reason="aiohttp is not installed")
        outcome = run(f"http://127.0.0.1:{server.server_port}/{name}", tmp_path / "out")
    finally:
        server.shutdown()
        server.server_close()
    assert (outcome.report.done, outcome.report.failed) == (1, {}), outcome.output
    assert list(skeletons(outcome.report.data_set)) == [name.removesuffix(".mp4")]


def test_labels_of_a_table_belong_to_videos_at_a_url(run, bucket, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("file,label\nrun/clip 0 ü.mp4,sprint\n", encoding="utf-8")
    outcome = run(bucket, tmp_path / "out", labels=str(table))
    data = read_pickle(outcome.report.data_set)
    labels = {clip["frame_dir"]: clip["label_name"] for clip in data["annotations"]}
    assert labels["run/clip 0 ü"] == "sprint" and set(labels.values()) == {"sprint", None}


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("s3://bucket/videos", BackendError, "s3://bucket/videos: .*pip install s3fs"),
        ("gs://bucket/videos", BackendError, "gs://bucket/videos: .*pip install gcsfs"),
        ("nosuch://bucket", UsageError, "nosuch://bucket: is not a URL that fsspec supports"),
        ("memory://empty/folder", UsageError, "memory://empty/folder: no such file or folder"),
    ],
)
def test_what_cannot_be_opened_is_reported_with_the_remedy(run, tmp_path, monkeypatch, url, error, message):
    for package in ("s3fs", "gcsfs"):
        monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(error, match=message):
        run(url, tmp_path / "out")


def test_pieces_of_a_video_at_a_url_are_refused_with_the_way_out(run, bucket, clips, tmp_path):
    for videos, out in ((bucket, tmp_path / "out"), (clips, "memory://bucket/out")):
        with pytest.raises(UsageError, match="--chunk 5: works on files and folders, not at URLs; copy long videos to"):
            run(videos, out, chunk=5.0)


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "mine").write_bytes(b"new")
    url = f"file://{tmp_path}/folder/it"
    store(tmp_path / "mine", url)
    assert [one.relative for one in list_files(f"file://{tmp_path}/folder")] == ["it"]
    (tmp_path / "mine").write_bytes(b"newer")
    system = fsspec.filesystem("file")
    monkeypatch.setattr(type(system), "mv", broken)
    with pytest.raises(SkelpipeError, match=f"{url}: cannot be written .no connection."):
        store(tmp_path / "mine", url)
    assert (tmp_path / "folder" / "it").read_bytes() == b"new"
    monkeypatch.undo()
    fetch(url, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"new"
    remove(url)
    remove(url)
    assert not exists(url)


def broken(*arguments: Any, **options: Any) -> None:
    raise ConnectionError("no connection")
