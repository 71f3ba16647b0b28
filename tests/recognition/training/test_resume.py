"""A run that was stopped and resumed equals an uninterrupted one exactly."""

import json
import multiprocessing
import random
import shutil
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic, sleep

import pytest
import torch

from pose_extraction.errors import TrainingError, UsageError, WeightsError
from recognition import run_file
from recognition.training.run import train
from test_support.clips.made_motions import write_motions
from test_support.processes.training_driver import run_to_end, small_settings

pytestmark = [pytest.mark.processor, pytest.mark.slow]

# Dropout, masks, warmed prototypes, steps of two micro-batches, checkpoints within epochs: all must be restored.
WORDS = ("accumulate=2", "checkpoint_minutes=1e-6")
WALL_CLOCK = {"clips_per_second"}


def log_lines(run: Path) -> list[dict[str, object]]:
    """The metrics of a run, without values that depend on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in WALL_CLOCK} for line in lines]


def assert_same_run(first: Path, second: Path) -> None:
    assert log_lines(first) == log_lines(second)
    for name in ("last.safetensors", "best.safetensors"):
        one, other = run_file.load(first / name), run_file.load(second / name)
        assert one["model"].keys() == other["model"].keys()
        for key, tensor in one["model"].items():
            assert torch.equal(tensor, other["model"][key]), key
        assert one["held_out"] == other["held_out"]


# A real process, but forked from one that has already imported torch.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["recognition.training.run", "pipeline.config", "torch._dynamo"])


def start(file: Path, run: Path, *words: str, resume: bool = False) -> BaseProcess:
    process = CONTEXT.Process(target=run_to_end, args=(file, run, (*WORDS, *words), resume))
    process.start()
    return process


def finish(process: BaseProcess, run: Path) -> None:
    process.join(120)
    words = run.with_suffix(".txt")
    assert process.exitcode == 0, words.read_text() if words.exists() else process.exitcode


def wait_for_steps(run: Path, steps: int, process: BaseProcess) -> None:
    """Wait until the run has logged this many steps, or is over."""
    limit = monotonic() + 120
    while process.is_alive():
        assert monotonic() < limit, "the run takes too long"
        path = run / "metrics.jsonl"
        if path.is_file() and path.read_bytes().count(b'"kind": "step"') >= steps:
            return
        sleep(0.002)


@pytest.fixture(scope="module")
def motions(tmp_path_factory):
    return write_motions(tmp_path_factory.mktemp("data") / "motions.pkl")


@pytest.fixture(scope="module")
def uninterrupted(motions, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    finish(start(motions, run), run)
    return run


def test_killed_and_resumed_run_equals_an_uninterrupted_one(motions, uninterrupted, tmp_path):
    run = tmp_path / "killed"
    total = sum(line["kind"] == "step" for line in log_lines(uninterrupted))
    # The seed determines the step at which the run is killed; the moment within the step is up to the machine.
    steps = sorted(random.Random(5).sample(range(1, total), 4))
    process = start(motions, run)
    for step in steps:
        wait_for_steps(run, step, process)
        process.kill()
        process.join()
        process = start(motions, run, resume=True)
    finish(process, run)
    assert_same_run(uninterrupted, run)


def test_signal_saves_the_run_and_names_the_command_to_resume(motions, uninterrupted, tmp_path):
    run = tmp_path / "stopped"
    process = start(motions, run, "checkpoint_minutes=1000")
    wait_for_steps(run, 3, process)
    process.terminate()
    process.join(60)
    words = run.with_suffix(".txt").read_text()
    assert words.startswith("stopped by SIGTERM after step ")
    assert f"skelpipe train --resume {run}" in words
    assert run_file.load(run / "last.safetensors")["step"] >= 3
    finish(start(motions, run, "checkpoint_minutes=1000", resume=True), run)
    assert_same_run(uninterrupted, run)


def test_signal_stops_after_an_epoch_of_one_step(motions, tmp_path):
    run = tmp_path / "stopped"
    words = ("accumulate=1", "batch_size=64", "checkpoint_minutes=1000", "phase1_epochs=2000")
    process = start(motions, run, *words)
    wait_for_steps(run, 3, process)
    process.terminate()
    process.join(60)
    assert process.exitcode == 1
    assert run.with_suffix(".txt").read_text().startswith("stopped by SIGTERM after step ")
    last = run_file.load(run / "last.safetensors")
    assert 3 <= last["epoch"] == last["step"] < 2000


@pytest.fixture(scope="module")
def half_done(motions, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "half"
    train(small_settings(motions, run), stop_after=1)
    return run


def test_run_stopped_after_an_epoch_resumes_there(motions, half_done, tmp_path):
    whole = tmp_path / "whole"
    train(small_settings(motions, whole))
    train(small_settings(motions, half_done), resume=half_done)
    assert_same_run(whole, half_done)
    before = (half_done / "last.safetensors").read_bytes()
    train(small_settings(motions, half_done), resume=half_done)
    assert (half_done / "last.safetensors").read_bytes() == before


def test_pass_that_fills_the_prototypes_is_repeated(motions, tmp_path):
    words = ("phase1_epochs=0", "phase2_epochs=1")
    whole = train(small_settings(motions, tmp_path / "whole", *words))
    halted = train(small_settings(motions, tmp_path / "halted", *words), stop_after=0)
    train(small_settings(motions, halted, *words), resume=halted)
    assert_same_run(whole, halted)


def test_other_clips_are_refused(motions, half_done, tmp_path):
    other = write_motions(tmp_path / "other.pkl", seed=1)
    with pytest.raises(UsageError, match="was trained on clips that differ"):
        train(small_settings(other, half_done), resume=half_done)


def test_settings_that_change_the_completed_part_are_refused(motions, half_done):
    for word, words in (("batch_size=4", "training.batch_size=8, not 4"), ("dim=32", "model.dim=16, not 32")):
        with pytest.raises(UsageError, match=words):
            train(small_settings(motions, half_done, word), resume=half_done)


def test_settings_of_the_prototypes_are_fixed_once_they_exist(motions, tmp_path):
    words = ("phase1_epochs=1", "phase2_epochs=1")
    run = train(small_settings(motions, tmp_path / "run", *words), stop_after=1)
    for word in ("momentum=0.5", "confidence=0.5", "representation=mean"):
        with pytest.raises(UsageError, match=rf"was trained with maskclr\.{word.partition('=')[0]}="):
            train(small_settings(motions, run, *words, word), resume=run)
    train(small_settings(motions, run, *words, "ratio=0.5"), resume=run)


def test_existing_run_is_not_overwritten(motions, half_done):
    with pytest.raises(UsageError, match="already contains a run; continue it with --resume"):
        train(small_settings(motions, half_done))


def test_run_that_failed_before_its_first_step_is_overwritten(motions, tmp_path):
    run = tmp_path / "run"
    train(small_settings(motions, run, "dim=32"), stop_after=0)
    assert run_file.load(run / "last.safetensors")["step"] == 0
    train(small_settings(motions, run, "phase1_epochs=1", "phase2_epochs=0"))
    assert run_file.load(run / "last.safetensors")["settings"]["model"]["dim"] == 16


def test_early_stopped_run_can_be_extended(motions, tmp_path, capsys):
    words = ("early_stopping=1", "backbone_lr=1e-12", "head_lr=1e-12", "phase1_epochs=0", "phase2_epochs=30")
    run = train(small_settings(motions, tmp_path / "run", *words))
    epochs = run_file.load(run / "last.safetensors")["epoch"]
    assert epochs < 30
    train(small_settings(motions, run, *words), resume=run, show=True)
    assert "already finished" in capsys.readouterr().err
    assert run_file.load(run / "last.safetensors")["epoch"] == epochs
    train(small_settings(motions, run, *words, "early_stopping=null"), resume=run)
    assert run_file.load(run / "last.safetensors")["epoch"] == 30


def test_missing_run_is_named(motions, tmp_path):
    with pytest.raises(WeightsError, match="no such run"):
        train(small_settings(motions, tmp_path / "none"), resume=tmp_path / "none")


def test_truncated_metrics_are_refused(motions, tmp_path):
    run = tmp_path / "run"
    train(small_settings(motions, run), stop_after=1)
    (run / "metrics.jsonl").write_text("")
    with pytest.raises(TrainingError, match="has 0 bytes"):
        train(small_settings(motions, run), resume=run)


def test_initial_weights_are_not_needed_to_resume(motions, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(small_settings(motions, tmp_path / "first", "phase2_epochs=0", "unseen=embed"), stop_after=1)
    # Open settings are resolved from the initial weights, also when the same settings are prepared again.
    words = ("init=first", "model=auto", "phase1_epochs=2", "phase2_epochs=0")
    run = train(small_settings(motions, tmp_path / "tuned", *words), stop_after=1)
    before = run_file.load(run / "last.safetensors")["settings"]
    assert (before["init"], before["model"]["unseen"]) == (str(tmp_path / "first"), "embed")
    shutil.rmtree(tmp_path / "first")
    train(small_settings(motions, run, *words), resume=run)
    after = run_file.load(run / "last.safetensors")
    assert (after["epoch"], after["settings"]["init"]) == (2, before["init"])
