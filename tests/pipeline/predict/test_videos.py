"""`skelpipe predict` on videos, with tiny networks and a run that is trained for a few seconds."""

import io
import itertools
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline import predict_actions
from pipeline.cli import app
from pipeline.predict.answers import Answer
from pipeline.predict.networks import estimator_for
from pipeline.predict.options import Networks, PredictOptions, scope_of
from pipeline.predict.video_prediction import LONG_WINDOW
from pipeline.predict.workflow import predict
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from recognition.runs import load_run
from test_support.networks.made_runs import SIZE, Run
from test_support.networks.trained_run import LABEL_NAMES
from test_support.videos.made_container import encode
from test_support.videos.made_video import write_made_clip

pytestmark = [pytest.mark.processor, pytest.mark.slow]

ENGINE = Engine(device="cpu", backend="onnxruntime", precision="fp32")
Ask = Callable[..., list[Answer]]


@pytest.fixture
def ask(trained: tuple[Path, Path], networks: tuple[Path, Path]) -> Ask:
    """Return a function that predicts with the tiny networks: `ask(videos, windows=..., overlay=..., ...)`."""

    def call(
        *videos: Path,
        overlay: Path | None = None,
        windows: float | None = None,
        per_person: bool | None = None,
        explain: bool = False,
        threshold: float = 0.0,
        output: io.StringIO | None = None,
    ) -> list[Answer]:
        scope = scope_of(per_person=per_person, windows=windows, overlay=overlay, explain=explain, threshold=threshold)
        estimator, detector = networks
        return list(
            predict(
                videos,
                trained[0],
                PredictOptions(scope, windows, overlay, figures=overlay.parent if overlay else Path("unused")),
                networks=Networks(str(estimator), str(detector)),
                engine=ENGINE,
                console=Console(file=output or io.StringIO(), width=400),
            )
        )

    return call


@pytest.fixture(scope="module")
def walkers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of two persons, 2.5 s long."""
    return write_made_clip(tmp_path_factory.mktemp("walkers") / "walkers.mp4", size=SIZE, frames=60, persons=2)


def frames_of(path: Path) -> tuple[list[np.ndarray], float, str]:
    """Return the frames of a video, the frame rate and the codec."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(stream)]
        assert stream.average_rate is not None
        return frames, float(stream.average_rate), stream.codec_context.name


def test_predicting_a_video_equals_extraction_plus_prediction(
    ask: Ask, run: Callable[..., Run], clips: Path, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    report = run(clips, tmp_path / "skeletons").report
    scope = scope_of(per_person=True, windows=None, overlay=None, explain=False, threshold=0)
    expected = list(
        predict(
            [report.data_set], trained[0], PredictOptions(scope), engine=ENGINE, console=Console(file=io.StringIO())
        )
    )
    found = ask(clips, per_person=True)
    key = lambda answer: (answer.clip, answer.person is not None, answer.person or 0)  # noqa: E731
    assert len(found) == len(expected) > 4
    for one, other in zip(sorted(found, key=key), sorted(expected, key=key), strict=True):
        assert (one.clip, one.person, one.label) == (other.clip, other.person, other.label)
        assert (one.start, one.end) == (other.start, other.end)
        assert dict(one.best) == pytest.approx(dict(other.best), abs=1e-5)
    (nobody,) = [answer for answer in found if answer.clip.startswith("run/clip 1")]
    assert nobody.reason == "no person found" and not nobody.failed


def test_windows_of_a_video_are_those_of_its_skeletons_from_pieces(
    ask: Ask, run: Callable[..., Run], trained: tuple[Path, Path], tmp_path: Path
) -> None:
    video = write_made_clip(tmp_path / "long.mp4", size=SIZE, frames=150, persons=2, key_every=10)
    skeletons = run(video, tmp_path / "skeletons", chunk=1.5).report.data_set
    scope = scope_of(per_person=True, windows=1.0, overlay=None, explain=False, threshold=0)
    options, console = PredictOptions(scope, 1.0), Console(file=io.StringIO())
    expected = list(predict([skeletons], trained[0], options, engine=ENGINE, console=console))
    found = ask(video, windows=1.0)
    key = lambda answer: (answer.person, answer.start)  # noqa: E731
    assert len(found) == len(expected) and {one.person for one in found} >= {0, 1}
    for one, other in zip(sorted(found, key=key), sorted(expected, key=key), strict=True):
        assert (one.person, one.label, one.start) == (other.person, other.label, other.start)
        assert one.end == pytest.approx(other.end)
        assert dict(one.best) == pytest.approx(dict(other.best), abs=1e-3)


def test_damaged_clip_does_not_affect_others(ask: Ask, clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    shutil.copytree(clips, folder)
    (folder / "run" / "broken.mp4").write_bytes(b"\0" * 5000)
    found = {answer.clip: answer for answer in ask(folder)}
    broken = found.pop("run/broken")
    assert broken.failed and "not a supported video" in str(broken.reason)
    assert found == {answer.clip: answer for answer in ask(clips)}


def test_windows_give_segments_per_person(ask: Ask, walkers: Path) -> None:
    found = ask(walkers, windows=1.0)
    assert {answer.person for answer in found} == {0, 1}
    for person in (0, 1):
        own = [answer for answer in found if answer.person == person]
        assert own[0].start == pytest.approx(0, abs=0.3) and own[-1].end == pytest.approx(2.4, abs=0.3)
        for before, after in itertools.pairwise(own):
            assert before.end == pytest.approx(after.start, abs=0.05) and before.label != after.label
        assert all(answer.label in LABEL_NAMES and answer.best[0][0] == answer.label for answer in own)
    together = ask(walkers, windows=1.0, per_person=False)
    assert {answer.person for answer in together} == {None}
    unknown = ask(walkers, windows=1.0, threshold=1.0)
    assert {answer.label for answer in unknown} == {"unknown"} and len(unknown) == 2


@pytest.mark.parametrize("windows", [None, 1.0])
def test_overlay_shows_actions_at_the_frame_rate_of_the_source(
    ask: Ask, walkers: Path, tmp_path: Path, windows: float | None
) -> None:
    plain, path = tmp_path / "plain.mp4", tmp_path / "overlay.mp4"
    ask(walkers, overlay=path, windows=windows)
    frames, rate, codec = frames_of(path)
    original, original_rate, _ = frames_of(walkers)
    assert len(frames) == len(original) and rate == original_rate and codec in ("h264", "libx264")
    ask(walkers, overlay=plain, windows=windows, threshold=1.0)
    other, _, _ = frames_of(plain)
    middle = len(frames) // 2
    assert np.abs(frames[middle].astype(int) - original[middle]).mean() > 3
    changed = np.abs(frames[middle].astype(int) - other[middle]).max(axis=-1) > 60
    # "unknown" replaces the action above the heads; other differences come from compression.
    assert changed[: SIZE[0] // 3].sum() > 50 and changed[SIZE[0] // 3 :].sum() < 0.1 * changed.sum()


def test_explanations_are_drawn_and_leave_a_figure_next_to_the_overlay(ask: Ask, walkers: Path, tmp_path: Path) -> None:
    for windows in (None, 1.0):
        plain = tmp_path / f"plain{windows}.mp4"
        glowing = tmp_path / f"glowing{windows}.mp4"
        ask(walkers, overlay=plain, windows=windows)
        answers = ask(walkers, overlay=glowing, windows=windows, explain=True)
        for answer in answers:
            assert np.mean(list(answer.attention.values())) == pytest.approx(1, abs=1e-3)
        assert glowing.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        assert not plain.with_suffix(".png").exists()
        difference = np.abs(frames_of(plain)[0][25].astype(int) - frames_of(glowing)[0][25])
        assert difference.max() > 80


def test_unwritable_overlay_does_not_affect_predictions(ask: Ask, walkers: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    answer, *persons, failed = ask(walkers, overlay=tmp_path / "file" / "overlay.mp4")
    assert answer.label in LABEL_NAMES and all(one.label in LABEL_NAMES for one in persons)
    assert failed.failed and "overlay not written: " in str(failed.reason)


def test_unwritable_figure_does_not_affect_predictions(ask: Ask, walkers: Path, tmp_path: Path) -> None:
    shutil.copy(walkers, tmp_path / "other.mp4")
    (tmp_path / "out" / "walkers.png").mkdir(parents=True)
    found = ask(walkers, tmp_path / "other.mp4", overlay=tmp_path / "out", explain=True)
    (failed,) = [answer for answer in found if answer.failed]
    assert failed.clip == "walkers" and "figure not written: " in str(failed.reason)
    assert {answer.clip for answer in found if answer.label in LABEL_NAMES} == {"walkers", "other"}
    assert (tmp_path / "out" / "other.png").is_file()


def test_joint_windows_support_explanations(ask: Ask, walkers: Path, tmp_path: Path) -> None:
    found = ask(walkers, windows=1.0, per_person=False, overlay=tmp_path / "overlay.mp4", explain=True)
    assert found and all(answer.person is None for answer in found)
    for answer in found:
        assert np.mean(list(answer.attention.values())) == pytest.approx(1, abs=1e-3)


def test_overlays_of_several_videos_need_a_folder(ask: Ask, clips: Path, tmp_path: Path) -> None:
    ask(clips, overlay=tmp_path / "overlays")
    drawn = {path.relative_to(tmp_path / "overlays").with_suffix("").as_posix() for path in tmp_path.rglob("*.mp4")}
    assert drawn == {path.relative_to(clips).with_suffix("").as_posix() for path in clips.rglob("*.mp4")}
    with pytest.raises(UsageError, match="4 videos need a folder, not a single file"):
        ask(clips, overlay=tmp_path / "one.mp4")


def test_overlay_never_overwrites_the_input_video(ask: Ask, walkers: Path, tmp_path: Path) -> None:
    content = walkers.read_bytes()
    with pytest.raises(UsageError, match="would overwrite the input video"):
        ask(walkers, overlay=walkers)
    assert walkers.read_bytes() == content
    with pytest.raises(UsageError, match=r"overlays are MP4 files; use .*overlay.mp4"):
        ask(walkers, overlay=tmp_path / "overlay.avi")


def test_long_video_is_classified_in_windows(ask: Ask, tmp_path: Path) -> None:
    long = write_made_clip(tmp_path / "long.mp4", size=SIZE, fps=2, times=[n / 2 for n in range(270)], persons=1)
    output = io.StringIO()
    (answer,) = ask(long, output=output)
    assert f"mean over windows of {LONG_WINDOW:g} s; use --windows to get each of them" in output.getvalue()
    assert answer.person is None and answer.start == 0.0 and answer.end == pytest.approx(135, abs=1)
    segments = ask(long, windows=LONG_WINDOW, per_person=False)
    lengths = np.array([one.end - one.start for one in segments])
    for name in LABEL_NAMES:
        shares = [dict(one.best)[name] for one in segments]
        assert dict(answer.best)[name] == pytest.approx(np.average(shares, weights=lengths), abs=0.02)


def test_early_exit_stops_threads_and_leaves_no_overlay(
    trained: tuple[Path, Path], networks: tuple[Path, Path], clips: Path, tmp_path: Path
) -> None:
    answers = predict_actions(
        clips, trained[0], estimator=networks[0], detector=networks[1], overlay=tmp_path / "out", device="cpu"
    )
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    names = {thread.name.partition("_")[0].partition("-")[0] for thread in threading.enumerate()}
    assert not names & {"networks", "draw", "decoder"}
    assert len(list(tmp_path.rglob("*.mp4"))) < 4 and not list(tmp_path.rglob("*.part"))


def test_estimator_defaults_to_that_of_the_run(trained: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    made = load_run(trained[0])
    with pytest.raises(UsageError, match=r"skeletons of made, which skelpipe does not .* --estimator made.onnx"):
        estimator_for(made, None)
    assert estimator_for(made, "folder/made.onnx") == "folder/made.onnx" and not caplog.text
    known, silent, mixed = (
        type(made)(**{**vars(made), "estimator": name}) for name in ("vitpose", None, "hrnet, vitpose")
    )
    assert estimator_for(known, None) == "vitpose"
    assert estimator_for(known, "vitpose-b") == "vitpose-b" and not caplog.text
    assert estimator_for(known, "hrnet") == "hrnet" and "of vitpose; with hrnet expect lower accuracy" in caplog.text
    with pytest.raises(UsageError, match="does not record the estimator"):
        estimator_for(silent, None)
    with pytest.raises(UsageError, match="skeletons from several estimators, hrnet, vitpose; choose one"):
        estimator_for(mixed, None)


def test_command_and_function_give_the_same_predictions(
    trained: tuple[Path, Path], networks: tuple[Path, Path], clips: Path
) -> None:
    estimator, detector = networks
    words = ["predict", str(clips / "wave"), "--run", str(trained[0]), "--device", "cpu"]
    words += ["--estimator", str(estimator), "--detector", str(detector)]
    lines = [json.loads(line) for line in CliRunner().invoke(app, [*words, "--json"]).stdout.splitlines()]
    answers = list(predict_actions(clips / "wave", trained[0], estimator=estimator, detector=detector, device="cpu"))
    assert [(line["clip"], line["label"]) for line in lines] == [(one.clip, one.label) for one in answers]
    table = CliRunner().invoke(app, words)
    assert table.exit_code == 0 and all(one.clip.rpartition("/")[2][:6] in table.stdout for one in answers)


def test_failed_video_sets_the_exit_code(
    trained: tuple[Path, Path], networks: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"\0" * 5000)
    words = ["predict", str(tmp_path / "bad.mp4"), "--run", str(trained[0]), "--device", "cpu"]
    words += ["--estimator", str(networks[0]), "--detector", str(networks[1])]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1 and "none:" in result.stdout


def test_notes_are_printed_once_and_listed_next_to_the_answers(
    trained: tuple[Path, Path], networks: tuple[Path, Path], tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("a", "b"):
        encode(videos / f"{name}.h264", rate=20, size=SIZE, frames=range(30))
    words = ["predict", str(videos), "--run", str(trained[0]), "--estimator", str(networks[0]), "--device", "cpu"]
    words += ["--detector", str(networks[1]), "--backend", "onnxruntime", "--out", str(tmp_path / "answers.json")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    notes = tmp_path / "answers.json.notes.jsonl"
    found = [json.loads(text) for text in notes.read_text().splitlines()]
    assert [entry["file"] for entry in found] == ["a.h264", "b.h264"]
    assert all("read at the 20 frames/s of its header" in entry["notes"][0] for entry in found)
    shown = " ".join(result.output.split())
    assert shown.count("a raw stream") == 1 and "2 videos: a raw stream" in shown and notes.name in shown
    # With a given rate nothing is assumed, and no list of notes is written.
    notes.unlink()
    assert CliRunner().invoke(app, [*words, "--fps", "10"]).exit_code == 0
    assert not notes.exists()


def test_python_takes_the_frame_rate_and_the_stream(
    trained: tuple[Path, Path], networks: tuple[Path, Path], tmp_path: Path
) -> None:
    video = encode(tmp_path / "walker.h264", rate=20, size=SIZE, frames=range(40))
    ends = {}
    for fps in (None, 10.0):
        answers = predict_actions(
            video, trained[0], estimator=networks[0], detector=networks[1], windows=1.0, device="cpu", fps=fps, stream=0
        )
        ends[fps] = max(answer.end or 0.0 for answer in answers)
    assert ends[10.0] == pytest.approx(2 * ends[None], abs=0.2) and ends[None] == pytest.approx(2, abs=0.3)
    for wrong in ({"fps": 0.0}, {"stream": -1}):
        with pytest.raises(UsageError, match=r"--(fps 0.0: must be a number|stream -1: must be the number)"):
            next(iter(predict_actions(video, trained[0], **wrong)))
