"""`skelpipe predict` on a run of a few seconds' training."""

import io
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from trained_run import LABEL_NAMES, made_clip, nobody, write_data
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.evaluate import Engine
from pipeline.predict import predict, print_table
from pose_extraction.errors import UsageError
from recognition.prediction import Prediction
from recognition.runs import load_run

ENGINE = Engine(device="cpu", backend="torch", precision="fp32")


@pytest.fixture
def run(trained: tuple[Path, Path]) -> Path:
    return trained[0]


@pytest.fixture
def skeletons(tmp_path: Path) -> Path:
    """Six clips without labels, the third without anybody; the last three in split "late"."""
    rng = np.random.default_rng(5)
    clips = [made_clip(f"new{n}", LABEL_NAMES[n % 3], rng) | {"label": -1, "label_name": None} for n in range(6)]
    clips[2] = nobody(clips[2])
    return write_data(tmp_path / "new.pkl", clips, {"early": ["new2"], "late": ["new3", "new4", "new5"]})


def predicted(given: Path, run: Path | None, split: str | None = None) -> list[Prediction]:
    return predict(given, run, split, engine=ENGINE, console=Console(file=io.StringIO()))


def test_every_clip_has_an_answer_or_a_reason(run: Path, skeletons: Path) -> None:
    found = {prediction.name: prediction for prediction in predicted(skeletons, run)}
    assert sorted(found) == [f"new{n}" for n in range(6)]
    assert not found["new2"].best and "no person" in str(found["new2"].reason)
    answered = [found[f"new{n}"] for n in (0, 1, 3, 4, 5)]
    for prediction in answered:
        shares = [share for _, share in prediction.best]
        # Three classes: all of them are among the five best.
        assert sorted(name for name, _ in prediction.best) == sorted(LABEL_NAMES)
        assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1, abs=1e-5)
    right = sum(p.best[0][0] == LABEL_NAMES[int(p.name[-1]) % 3] for p in answered)
    assert right >= 3


def test_what_is_left_out_is_told_without_options_that_there_are_not(run: Path, tmp_path: Path) -> None:
    clips = [made_clip(f"new{n}", None, np.random.default_rng(n)) for n in range(4)]
    clips[1] = nobody(clips[1])
    clips[2]["keypoint"][0, 0, 0, 0] = np.nan
    said = io.StringIO()
    data = write_data(tmp_path / "new.pkl", [*clips, clips[3]], {})
    found = predict(data, run, None, engine=ENGINE, console=Console(file=said, width=400))
    reasons = {prediction.name: prediction.reason for prediction in found if prediction.reason}
    assert sorted(reasons) == ["new1", "new2"] and not any("--skip" in reason for reason in reasons.values())
    assert "warning: 1 entries of the file are left out; the first: " in said.getvalue()
    assert "'new3' occurs twice" in said.getvalue() and "--skip" not in said.getvalue()


def test_a_splits_clips_alone(run: Path, skeletons: Path) -> None:
    assert [p.name for p in predicted(skeletons, run, "late")] == ["new3", "new4", "new5"]
    with pytest.raises(UsageError, match="there is no split 'noon'"):
        predicted(skeletons, run, "noon")


def test_skeletons_of_another_estimator_are_told(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip = made_clip("a", None, np.random.default_rng(0), estimator="hrnet")
    path = write_data(tmp_path / "hrnet.pkl", [clip], {})
    with caplog.at_level(logging.WARNING):
        predicted(path, run)
    assert "holds skeletons of hrnet" in caplog.text and "on those of made" in caplog.text


def test_a_run_knows_whether_its_joints_were_in_2d_or_3d(run: Path) -> None:
    assert load_run(run).dimensions == 2


def test_what_is_no_skeleton_file_is_told_what_to_do(run: Path, tmp_path: Path) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"")
    for given in (video, tmp_path):
        with pytest.raises(UsageError, match=r"predict takes skeleton files.*skelpipe extract"):
            predicted(given, run)
    with pytest.raises(UsageError, match="there is no such file"):
        predicted(tmp_path / "none.pkl", run)


def test_the_command_prints_json_lines_or_a_table_or_writes(run: Path, skeletons: Path, tmp_path: Path) -> None:
    words = ["predict", str(skeletons), "--run", str(run), "--device", "cpu"]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == 6
    assert [line["clip"] for line in lines if line["predictions"] is None] == ["new2"]
    assert all((line["reason"] is None) == (line["predictions"] is not None) for line in lines)
    assert "nothing can be said of 1 of 6 clips" in result.stderr
    out = tmp_path / "answers.jsonl"
    written = CliRunner().invoke(app, [*words, "--out", str(out)])
    assert written.stdout.strip() == str(out) and len(out.read_text(encoding="utf-8").splitlines()) == 6
    table = CliRunner().invoke(app, words)
    assert table.exit_code == 0 and "new2" in table.stdout and "none:" in table.stdout


def test_a_clips_name_is_not_read_as_markup() -> None:
    output = io.StringIO()
    print_table([Prediction("[bold]odd", (("[red]wave", 0.5),))], Console(file=output, width=100))
    assert "[bold]odd" in output.getvalue() and "[red]wave 50.0%" in output.getvalue()
