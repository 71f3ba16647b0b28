"""Failures of a video affect only that video and are reported; interrupted runs leave no incomplete files."""

import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pipeline import cli, read_skeletons
from pipeline.datasets.merging import merge
from pipeline.datasets.relabel import relabel
from pipeline.datasets.statistics import statistics_of
from pipeline.extract import ledger
from pipeline.extract.ledger import ErrorLog
from pipeline.extract.results.finished import Finished, FinishedLog
from pipeline.extract.workflow import Share
from pose_extraction.errors import AnnotationError
from test_support.networks.made_runs import SIZE, all_files, identities
from test_support.videos.made_video import made_frame, write_made_clip

PRELUDE = """
import os, signal, sys, threading
from pipeline import cli
from pipeline.reporting import progress
from pose_extraction.drawing import overlay
from pose_extraction.video import reader as video

def at(place, name, n, act):
    function, calls = getattr(place, name), []
    def counting(*arguments, **options):
        calls.append(1)
        if len(calls) == n:
            act()
        return function(*arguments, **options)
    setattr(place, name, counting)
    return calls
"""


def command(networks: tuple[Path, Path], out: Path, *arguments: object) -> list[str]:
    given = ["--estimator", networks[0], "--detector", networks[1], "--device", "cpu", "--backend", "onnxruntime"]
    return ["extract", "--out", *map(str, (out, *given, *arguments))]


def call_cli(arguments: list[str], prelude: str = "from pipeline import cli", **options) -> subprocess.CompletedProcess:
    """Runs the command in a separate process, after lines of Python."""
    program = f"{prelude}\nif __name__ == '__main__':\n    cli.main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"COLUMNS": "400"},
        **options,
    )


NOBODY = 65534


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts = 44100, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def odd_videos(tmp_path_factory) -> Path:
    """A folder with one valid clip and one unusual file of each kind."""
    folder = tmp_path_factory.mktemp("odd")
    good = write_made_clip(folder / "good.mp4", size=SIZE, frames=20).read_bytes()
    write_made_clip(folder / "two frames.mp4", size=SIZE, frames=2)
    write_made_clip(folder / "one pixel.mkv", size=(1, 1), frames=5, codec="ffv1", pixel_format="yuv444p")
    whole = write_made_clip(folder / "cut short.mkv", size=SIZE, frames=40).read_bytes()
    (folder / "cut short.mkv").write_bytes(whole[: len(whole) // 2])
    (folder / "without index.mp4").write_bytes(good[: len(good) // 2])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.avi").write_text("not a video\n" * 50)
    (folder / "unknown codec.mp4").write_bytes(good.replace(b"avc1", b"xyz1"))
    (folder / "noise.webm").write_bytes(np.random.default_rng(0).bytes(5000))
    write_sound(folder / "sound.mp4")
    (folder / "picture.mp4").write_bytes(cv2.imencode(".png", made_frame(0, SIZE))[1].tobytes())
    (folder / os.fsdecode(b"not utf8 \xff.mp4")).write_bytes(good)
    (folder / os.fsdecode(b"neither \xff.mp4")).write_bytes(b"")
    (folder / "一.mp4").write_bytes(good)
    for place in ("left", "right"):
        (folder / place).mkdir()
        (folder / place / "same.mp4").write_bytes(good)
    return folder


def test_each_unusual_file_gives_a_result_or_an_error_and_the_others_continue(
    networks, odd_videos, tmp_path, monkeypatch, capfd
):
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(sys, "argv", ["skelpipe", *command(networks, tmp_path, odd_videos)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    printed = capfd.readouterr().err
    assert "Traceback" not in printed
    output = printed.splitlines()
    lines = [json.loads(line) for line in (tmp_path / "tiny_pose" / "errors.jsonl").read_text().splitlines()]
    causes = {line["file"]: line["cause"] for line in lines}
    assert sorted(causes) == [
        "empty.mp4",
        "neither \\xff.mp4",
        "noise.webm",
        "picture.mp4",
        "sound.mp4",
        "text.avi",
        "unknown codec.mp4",
        "without index.mp4",
    ]
    for file, cause in causes.items():
        stem = file.split(" ")[0]
        assert stem in cause
        assert sum(line.startswith("failed: ") and stem in line for line in output) == 1, file
    for file, word in {
        "empty.mp4": "0 bytes",
        "sound.mp4": "no video",
        "text.avi": "text",
        "unknown codec.mp4": "codec",
    }.items():
        assert word in causes[file]
    data = read_skeletons(tmp_path / "tiny_pose.pkl")
    problems = {clip["frame_dir"]: clip["problems"] for clip in data["annotations"]}
    assert set(problems) == {
        "good",
        "two frames",
        "one pixel",
        "cut short",
        "not utf8 \\xff",
        "一",
        "left/same",
        "right/same",
    }
    assert "truncated" in problems["cut short"][0]
    assert any("cut short.mkv" in line and "truncated" in line for line in output)
    assert problems["good"] == problems["一"] == []
    assert "8 extracted, 0 already done, 8 failed" in printed


def test_a_repaired_video_leaves_the_error_log_and_an_unprocessed_one_stays(run, odd_videos, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("empty.mp4", "text.avi", "good.mp4"):
        shutil.copy(odd_videos / name, videos)
    errors = tmp_path / "out" / "tiny_pose" / "errors.jsonl"
    run(videos, tmp_path / "out")
    assert [json.loads(line)["file"] for line in errors.read_text().splitlines()] == ["empty.mp4", "text.avi"]
    shutil.copy(odd_videos / "good.mp4", videos / "empty.mp4")
    run(videos, tmp_path / "out", share=Share(limit=1))
    assert [json.loads(line)["file"] for line in errors.read_text().splitlines()] == ["text.avi"]
    (videos / "text.avi").unlink()
    shutil.copy(odd_videos / "good.mp4", videos / "text.avi")
    run(videos, tmp_path / "out")
    assert not errors.exists()


@pytest.mark.parametrize("alone", [False, True])
def test_a_video_that_became_invalid_loses_its_old_result(run, tmp_path, alone):
    videos, out = tmp_path / "videos", tmp_path / "out"
    broken = write_made_clip(videos / "a.mp4", size=SIZE, frames=9)
    if not alone:
        write_made_clip(videos / "b.mp4", size=SIZE, frames=9)
    run(videos, out, overlay=True)
    whole = broken.read_bytes()
    broken.write_bytes(b"")
    again = run(videos, out, overlay=True)
    assert "removed the outdated skeletons of an earlier run" in again.report.failed["a.mp4"]
    assert not [name for name in all_files(out) if Path(name).stem == "a"]
    if alone:
        assert again.report.data_set is None and not (out / "tiny_pose.pkl").exists()
    else:
        assert [clip["frame_dir"] for clip in read_skeletons(out / "tiny_pose.pkl")["annotations"]] == ["b"]
    broken.write_bytes(whole)
    assert run(videos, out, overlay=True).report.done == 1


def test_a_video_without_usable_frames_reports_the_damage(run, odd_videos, tmp_path):
    video = shutil.copy(odd_videos / "cut short.mkv", tmp_path / "v.mkv")
    (tmp_path / "t.csv").write_text("file,label,start,end\nv.mkv,a,0.01,0.03\nv.mkv,b,1.4,1.5\n")
    cause = run(video, tmp_path / "out", labels=str(tmp_path / "t.csv")).report.failed["v.mkv"]
    assert "truncated" in cause and "no frame from 0.01 s to 0.03 s" in cause


def test_a_run_without_shards_takes_over_the_errors_of_shards(run, odd_videos, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("empty.mp4", "text.avi", "good.mp4"):
        shutil.copy(odd_videos / name, videos)
    for share in (1, 2):
        run(videos, tmp_path / "out", share=Share(shard=(share, 2)))
    shutil.copy(odd_videos / "good.mp4", videos / "empty.mp4")
    run(videos, tmp_path / "out")
    (errors,) = (tmp_path / "out" / "tiny_pose").glob("errors*")
    assert [json.loads(line)["file"] for line in errors.read_text().splitlines()] == ["text.avi"]


def test_a_run_without_shards_leaves_what_it_did_not_settle_to_the_shards(tmp_path):
    """A shard that is still working finds its own entries, and removes them when they are no longer true."""
    shard = ErrorLog(tmp_path, (1, 2))
    for name in ("a.mp4", "b.mp4"):
        shard.add(name, "broken")
    ErrorLog(tmp_path).settle({"a.mp4"})
    assert [json.loads(line)["file"] for line in shard.path.read_text().splitlines()] == ["b.mp4"]
    ErrorLog(tmp_path, (1, 2)).settle({"b.mp4"})
    assert not list(tmp_path.iterdir())


def test_a_run_without_shards_takes_over_what_shards_know_only_when_they_have_ended(tmp_path):
    def lasting(number: int) -> Finished:
        return Finished("1-2", f"{number}-4", "digest", "/a.mp4", "labels")

    working, ended = FinishedLog(tmp_path, (1, 2)), FinishedLog(tmp_path, (2, 2))
    ended.add("c", lasting(1))
    ended.close()
    working.add("a", lasting(2))
    whole = FinishedLog(tmp_path)
    working.add("b", lasting(3))
    whole.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".finished.1-of-2.jsonl", ".finished.jsonl"]
    # Not even if all its lines have been read: it will add more.
    FinishedLog(tmp_path).close()
    working.add("d", lasting(4))
    working.close()
    whole.close()
    FinishedLog(tmp_path).close()
    assert [path.name for path in tmp_path.iterdir()] == [".finished.jsonl"]
    assert [FinishedLog(tmp_path).get(name) for name in "abcd"] == [lasting(number) for number in (2, 3, 1, 4)]


def test_an_incomplete_line_does_not_hide_the_others(tmp_path):
    whole = ErrorLog(tmp_path)
    whole.add("a.mp4", "broken\u2028in two")
    with whole.path.open("a") as file:
        file.write('{"file": "b.mp4", "cau')
    ErrorLog(tmp_path).settle(set())
    assert [json.loads(line)["file"] for line in whole.path.read_text().split("\n")[:-1]] == ["a.mp4"]


def test_concurrent_runs_keep_each_others_errors(tmp_path, monkeypatch):
    with ThreadPoolExecutor(1) as other:
        first, second = ErrorLog(tmp_path), ErrorLog(tmp_path)
        reading = ledger._read

        def read_while_the_other_comes(path: Path, field: str) -> dict[str, str]:
            read = reading(path, field)
            if not coming:
                coming.append(other.submit(second.add, "b.mp4", "broken"))
                # Long enough for a run that does not wait to finish; a waiting one is not done.
                with suppress(TimeoutError):
                    coming[0].result(timeout=0.3)
            return read

        coming: list[Future[None]] = []
        monkeypatch.setattr(ledger, "_read", read_while_the_other_comes)
        first.add("a.mp4", "broken")
        first.settle(set())
        coming[0].result()
    assert [json.loads(line)["file"] for line in first.path.read_text().splitlines()] == ["a.mp4", "b.mp4"]
    assert [path.name for path in tmp_path.iterdir()] == ["errors.jsonl"]


@pytest.mark.slow
def test_an_unreadable_video_is_reported_and_the_others_continue(networks, clips, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root, to become a user who may read less")
    # Not in the folders of pytest, which only root can access.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        videos = folder / "videos"
        shutil.copytree(clips / "wave", videos)
        shutil.copytree(networks[0].parent, folder / "networks")
        (folder / "networks").chmod(0o755)
        networks = folder / "networks" / networks[0].name, folder / "networks" / networks[1].name
        (videos / "clip 2 ü.mp4").chmod(0)
        (videos / "locked").mkdir(mode=0)
        out = folder / "out"
        out.mkdir()
        os.chown(out, NOBODY, -1)
        # A first run as root imports everything: other users may not be able to read Python's folders.
        become = (
            f"import os\nfrom pipeline import cli, extract_videos\nextract_videos({str(clips)!r}, {str(tmp_path)!r}, "
        )
        become += f"estimator={str(networks[0])!r}, detector={str(networks[1])!r}, device='cpu')\nos.seteuid({NOBODY})"
        done = call_cli(command(networks, out, videos), become)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        lines = [json.loads(line) for line in (out / "tiny_pose" / "errors.jsonl").read_text().splitlines()]
        causes = {line["file"]: line["cause"] for line in lines}
        assert sorted(causes) == [str(videos / "locked"), "clip 2 ü.mp4"]
        assert "no permission to read" in causes["clip 2 ü.mp4"]
        assert "Permission denied" in causes[str(videos / "locked")]
        clips_read = read_skeletons(out / "tiny_pose.pkl")["annotations"]
        assert [clip["frame_dir"] for clip in clips_read] == ["clip 3 ü"]


@pytest.mark.slow
def test_a_full_disk_loses_only_files_that_do_not_fit_and_a_second_run_completes_them(networks, run, clips, tmp_path):
    run(clips, tmp_path / "whole")
    written = all_files(tmp_path / "whole" / "tiny_pose")
    sizes = sorted(len(content) for name, content in written.items() if name.endswith(".pkl"))
    # Maximum file size: two of the four clips fit.
    done = call_cli(command(networks, tmp_path / "out", clips), preexec_fn=room((sizes[1] + sizes[2]) // 2))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    failed = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert sum("File too large" in line and ".mp4" in line for line in failed) == len(failed) == 2
    left = [name for name in all_files(tmp_path / "out") if "notes" not in name]
    assert sorted(Path(name).suffix for name in left) == [".jsonl", ".pkl", ".pkl", ".pkl"]
    run(clips, tmp_path / "out")
    assert all_files(tmp_path / "out") == all_files(tmp_path / "whole")


@pytest.mark.slow
def test_a_full_disk_at_the_end_keeps_the_old_data_set(networks, run, clips, tmp_path):
    run(clips, tmp_path)
    before = all_files(tmp_path)
    done = call_cli(command(networks, tmp_path, clips), preexec_fn=room(1000))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (failure,) = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert "tiny_pose.pkl: cannot write the file (File too large); run `skelpipe merge" in failure
    after = all_files(tmp_path)
    after.pop("tiny_pose/errors.jsonl", None)
    assert after == before
    # Not even an empty file can be written; the run must still end with a message.
    done = call_cli(command(networks, tmp_path / "none", clips), preexec_fn=room(0))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "errors.jsonl: cannot write the file (File too large)" in done.stderr


def room(size: int) -> Callable[[], None]:
    """Limits the size of files that the process writes, in bytes, to simulate a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["decoding", "drawing", "two processes"])
def test_an_interrupt_ends_the_run_promptly_and_cleanly(networks, run, clips, tmp_path, moment):
    videos = tmp_path / "videos"
    shutil.copytree(clips, videos)
    write_made_clip(videos / "run" / "a long one.mp4", size=SIZE, frames=400)
    arguments = command(networks, tmp_path / "out", videos)
    # The process sends the signal itself, at a known frame, to the whole group like a terminal, and prints the final
    # number of frames.
    where = {
        "decoding": "calls = at(video.VideoReader, '_at_first_size', 60, interrupt)",
        "drawing": "calls = at(overlay, 'draw_poses', 60, interrupt)",
        "two processes": "calls = at(progress.RunProgress, 'frame', 1, interrupt)",
    }[moment]
    if moment == "drawing":
        arguments.append("--overlay")
    if moment == "two processes":
        arguments += ["--device", "cpu,cpu"]
    prelude = (
        f"{PRELUDE}\ndef interrupt():\n    os.killpg(0, signal.SIGINT)\nif __name__ == '__main__':\n    import atexit\n"
        # A shell lets its background processes ignore the signal, and the processes that they start.
        f"    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"    {where}\n    atexit.register(lambda: print('frames', len(calls)))"
    )
    done = call_cli(arguments, prelude, start_new_session=True)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert "interrupted; running the same command again continues" in done.stderr
    frames = int(done.stdout.split()[-1])
    assert frames < 200
    left = all_files(tmp_path / "out") if (tmp_path / "out").exists() else {}
    if moment != "two processes":
        assert not [name for name in left if name.endswith(".part")]
    for name in left:
        if name.endswith(".pkl") and "/." not in name:
            read_skeletons(tmp_path / "out" / name)
    before = identities(tmp_path / "out")
    overlay = moment == "drawing"
    run(videos, tmp_path / "out", overlay=overlay)
    run(videos, tmp_path / "fresh", overlay=overlay)
    assert all_files(tmp_path / "out") == all_files(tmp_path / "fresh")
    after = identities(tmp_path / "out")
    assert all(after[name] == before[name] for name in before if "/." not in name)


class _Hostile:
    """Runs code when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch '{self.trace}'",)


def test_code_in_a_pickle_is_never_run(run, clips, tmp_path, capsys):
    run(clips, tmp_path / "fresh")
    run(clips, tmp_path / "out")
    trace = tmp_path / "it ran"
    content = pickle.dumps({"split": {}, "annotations": [], "digest": _Hostile(trace)})
    hostile = tmp_path / "out" / "tiny_pose" / "wave" / "clip 2 ü.pkl"
    hostile.write_bytes(content)
    again = run(clips, tmp_path / "out")
    assert again.report.done == 1
    assert "extracting 1 of 4 videos again: the stored result is damaged" in again.output
    assert all_files(tmp_path / "out") == all_files(tmp_path / "fresh")
    foreign = tmp_path / "out" / "tiny_pose" / "foreign.pkl"
    foreign.write_bytes(content)
    third = run(clips, tmp_path / "out")
    assert list(third.report.failed) == [str(foreign)]
    errors = tmp_path / "out" / "tiny_pose" / "errors.jsonl"
    assert str(foreign) in errors.read_text()
    assert "posix.system" in third.report.failed[str(foreign)]
    assert (tmp_path / "out" / "tiny_pose.pkl").read_bytes() == (tmp_path / "fresh" / "tiny_pose.pkl").read_bytes()
    assert [path for path, _ in merge([foreign.parent]).damaged] == [foreign]
    table = tmp_path / "labels.csv"
    table.write_text("file,label\na.mp4,b\n")
    with pytest.raises(AnnotationError):
        statistics_of([foreign])
    with pytest.raises(AnnotationError):
        relabel(foreign, table, None)
    assert not trace.exists()
    # After the file is deleted, it is no longer listed.
    foreign.unlink()
    run(clips, tmp_path / "out")
    assert not errors.exists()
    # Check that the pickle does run code with the standard reader.
    pickle.loads(content)
    assert trace.exists()
