"""Long videos in pieces: the same files as in one pass, by any number of processes, and nothing lost by a stop."""

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from pipeline import read_skeletons
from pipeline.extract import data_set
from pipeline.extract.executors import LocalExecutor
from pipeline.extract.pieces import piece_bounds
from pipeline.extract.share import Share
from pipeline.reporting.progress import RunProgress
from pose_extraction.extraction import ExtractionSettings
from pose_extraction.streaming.key_frames import key_frames
from pose_extraction.streaming.regions import restarts
from pose_extraction.video.reader import VideoReader, frame_times
from test_support.networks.made_runs import SIZE, all_files
from test_support.videos.made_video import write_made_clip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos at a constant and at a variable rate, a short one, one of uncertain frame numbers, a folder of images."""
    folder = tmp_path_factory.mktemp("long")
    write_made_clip(folder / "constant.mp4", size=SIZE, frames=120, persons=2, key_every=10)
    times = [index / 25 + 0.013 * (index % 3) for index in range(90)]
    write_made_clip(folder / "variable.mkv", size=SIZE, times=times, persons=1, key_every=30)
    write_made_clip(folder / "short.mp4", size=SIZE, frames=12, persons=1)
    write_made_clip(folder / "moving.avi", size=SIZE, frames=60, persons=1, codec="mpeg4")
    (folder / "images").mkdir()
    with VideoReader(folder / "constant.mp4") as reader:
        for frame in itertools.islice(reader, 50):
            cv2.imwrite(str(folder / "images" / f"{frame.index:03}.png"), frame.image)
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        {"chunk": 1.0},
        {"chunk": 0.3, "stride": 2},
        {"chunk": 0.5, "start": 0.2, "end": 3.1, "detect_every": 4},
        {"chunk": 0.9, "device": "cpu,cpu"},
    ],
)
def test_the_files_are_those_of_one_pass(run, videos, tmp_path, settings):
    rest = {name: value for name, value in settings.items() if name not in ("chunk", "device")}
    run(videos, tmp_path / "one", **rest)
    report = run(videos, tmp_path / "pieces", **settings).report
    assert (report.done, report.failed) == (5, {})
    assert all_files(tmp_path / "pieces") == all_files(tmp_path / "one")


def interrupt_after(monkeypatch, frames: int) -> None:
    """Stop the run, as Ctrl-C does, after this number of frames."""
    count = itertools.count(1)
    report = RunProgress.frame

    def frame(progress: RunProgress) -> None:
        report(progress)
        if next(count) == frames:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunProgress, "frame", frame)


def test_stored_pieces_are_not_extracted_again(run, videos, tmp_path, monkeypatch):
    video, out = videos / "constant.mp4", tmp_path / "out"
    with monkeypatch.context() as patch:
        interrupt_after(patch, 100)
        with pytest.raises(KeyboardInterrupt):
            run(video, out, chunk=0.5)
    stored = sorted(path.name for path in out.rglob(".*.piece"))
    assert 4 <= len(stored) < 9 and not list(out.rglob("*.pkl"))
    counted = []
    frame = RunProgress.frame

    def count(progress: RunProgress) -> None:
        counted.append(progress)
        frame(progress)

    monkeypatch.setattr(RunProgress, "frame", count)
    run(video, out, chunk=0.5)
    assert len(counted) < 120 - 12 * len(stored) + 15
    run(video, tmp_path / "one")
    assert all_files(out) == all_files(tmp_path / "one")


class LateStorage:
    """Storage on a network: pieces of other processes are seen only after their folder was read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        is_file, iterdir = Path.is_file, Path.iterdir
        self.seen: set[Path] = set()
        self.works = True

        def late(path: Path) -> bool:
            return (path.suffix != ".piece" or path in self.seen) and is_file(path)

        def listed(folder: Path) -> Iterator[Path]:
            for path in iterdir(folder):
                if self.works:
                    self.seen.add(path)
                if self.works or path.suffix != ".piece":
                    yield path

        monkeypatch.setattr(Path, "is_file", late)
        monkeypatch.setattr(Path, "iterdir", listed)


def test_pieces_that_nobody_saw_complete_are_joined_at_the_end(run, videos, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        LateStorage(patch)
        report = run(videos / "constant.mp4", tmp_path / "out", chunk=0.5).report
    assert (report.done, report.failed) == (1, {})
    run(videos / "constant.mp4", tmp_path / "one")
    assert all_files(tmp_path / "out") == all_files(tmp_path / "one")


def test_pieces_that_could_not_be_joined_are_reported_and_joined_by_the_next_run(run, videos, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        LateStorage(patch).works = False
        report = run(videos / "constant.mp4", tmp_path / "out", chunk=0.5).report
    assert report.done == 0 and "run the command again to join them" in report.failed["constant.mp4"]
    frames = []
    monkeypatch.setattr(RunProgress, "frame", lambda shown: frames.append(shown))
    again = run(videos / "constant.mp4", tmp_path / "out", chunk=0.5).report
    assert (again.done, again.failed, len(frames)) == (1, {}, 1)
    run(videos / "constant.mp4", tmp_path / "one")
    assert all_files(tmp_path / "out") == all_files(tmp_path / "one")


def test_reports_of_pieces_may_arrive_late(run, videos, tmp_path, monkeypatch):
    """The piece that completes a video is known before others that ended earlier, as on a cluster."""
    extract = LocalExecutor.run

    def late(executor, plan, work, sizes, shown, on_video, rest):
        parts = []

        def arrive():
            for outcome in parts:
                on_video(outcome)
            return rest()

        def hold(outcome):
            (parts.append if outcome.is_part else on_video)(outcome)

        extract(executor, plan, work, sizes, shown, hold, arrive)
        assert len(parts) == 8
        # As if two processes had joined the pieces.
        on_video(replace(parts[0], is_part=False))

    monkeypatch.setattr(LocalExecutor, "run", late)
    report = run(videos / "constant.mp4", tmp_path / "out", chunk=0.5).report
    assert (report.done, report.failed) == (1, {})


def test_a_piece_is_repeated_after_its_process_had_joined_all_and_was_killed(run, videos, tmp_path, monkeypatch):
    extract = LocalExecutor.run

    def repeated(executor, plan, work, sizes, shown, on_video, rest):
        pieces = list(work)
        parts = []
        # Nobody hears of the piece that completes the video.
        extract(executor, plan, pieces, sizes, shown, parts.append, lambda: ())
        assert [outcome.is_part for outcome in parts] == [True] * 8 + [False]
        extract(executor, plan, pieces[-1:], sizes, shown, on_video, rest)

    with monkeypatch.context() as patch:
        patch.setattr(LocalExecutor, "run", repeated)
        report = run(videos / "constant.mp4", tmp_path / "out", chunk=0.5).report
    assert (report.done, report.failed) == (1, {})
    assert not list((tmp_path / "out").rglob("*.piece"))
    run(videos / "constant.mp4", tmp_path / "one")
    assert all_files(tmp_path / "out") == all_files(tmp_path / "one")


def test_overwriting_does_not_join_pieces_of_an_earlier_run(run, videos, tmp_path, monkeypatch):
    video, out = videos / "constant.mp4", tmp_path / "out"
    with monkeypatch.context() as patch:
        LateStorage(patch).works = False
        run(video, out, chunk=0.5)
    assert len(list(out.rglob(".*.piece"))) == 9
    report = run(video, out, chunk=0.5, share=Share(overwrite=True)).report
    assert (report.done, report.failed) == (1, {})
    assert not list(out.rglob(".*.piece"))


def test_an_earlier_result_is_not_taken_for_that_of_pieces_that_nobody_joined(run, videos, tmp_path, monkeypatch):
    video, out = videos / "constant.mp4", tmp_path / "out"
    run(video, out)
    LateStorage(monkeypatch).works = False
    report = run(video, out, chunk=0.5, share=Share(overwrite=True)).report
    assert report.done == 0 and "not all visible" in report.failed["constant.mp4"]
    assert len(list(out.rglob(".*.piece"))) == 9


def test_images_that_cannot_be_read_are_reported_once(run, videos, tmp_path):
    images = shutil.copytree(videos / "images", tmp_path / "damaged")
    (images / "030.png").write_bytes(b"no image")
    outcome = run(images, tmp_path / "pieces", chunk=0.3)
    run(images, tmp_path / "one")
    ours, theirs = (read_skeletons(tmp_path / name / "tiny_pose.pkl")["annotations"][0] for name in ("pieces", "one"))
    assert ours["problems"] == theirs["problems"] and "030.png" in outcome.output
    assert 30 not in ours["frame_index"] and list(ours["frame_index"]) == list(theirs["frame_index"])


def test_pieces_begin_with_key_frames_of_the_single_pass() -> None:
    times = [index / 30 for index in range(1000)]
    settings = ExtractionSettings()
    keys = key_frames(times, settings.is_key)
    assert keys[:4] == [0, 3, 6, 9]
    bounds = [first for _, first in piece_bounds(times, settings, 5.0)]
    assert set(bounds) <= set(keys) and bounds[0] == 0
    lengths = [times[stop] - times[start] for start, stop in itertools.pairwise([*bounds, 999])]
    assert all(5 <= length < 5.2 for length in lengths[:-1]) and lengths[-1] >= 2.5
    assert piece_bounds(times, settings, 100.0) == [(0, 0)] and piece_bounds([], settings, 1.0) == []


def test_pieces_of_an_estimator_that_follows_persons_begin_where_it_finds_them_afresh() -> None:
    times = [index / 30 for index in range(3000)]
    bounds = piece_bounds(times, ExtractionSettings(), 5.0, follows=True)
    fresh = [(0, 0), *restarts(times, ExtractionSettings().is_key)]
    assert bounds == fresh and len(bounds) > 3
    assert piece_bounds(times, ExtractionSettings(), 25.0, follows=True) == [fresh[0], *fresh[2::2]]


def test_times_are_known_without_decoding(videos: Path) -> None:
    for name in ("constant.mp4", "variable.mkv", "short.mp4", "images"):
        with VideoReader(videos / name, fps=12.0 if name == "images" else None) as reader:
            assert frame_times(videos / name, fps=12.0) == [frame.time for frame in reader]
    assert frame_times(videos / "moving.avi") == []


def test_many_videos_are_merged_into_shards(run, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(data_set, "SHARDS_FROM", 3)
    report = run(clips, tmp_path).report
    assert report.data_set == tmp_path / "tiny_pose.parquet"
    assert len(read_skeletons(report.data_set)["annotations"]) == 4
    monkeypatch.setattr(data_set, "SHARDS_FROM", 100)
    # Once in shards, it stays in shards.
    assert run(clips, tmp_path).report.data_set == report.data_set
