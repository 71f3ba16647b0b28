"""`skelpipe train`: settings from arguments, configs and options, and error messages."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.commands.resume import run_to_resume
from pipeline.config import override, read_config, read_words
from pipeline.train.settings import resumed_train_settings, train_settings
from pose_extraction.errors import UsageError
from recognition.settings import ModelSettings, RunSettings
from test_support.clips.made_motions import write_motions

pytestmark = pytest.mark.slow

TINY = (
    "schedule=exponential",
    "dim=16",
    "depth=1",
    "heads=2",
    "dim_representation=16",
    "hidden=32",
    "phase1_epochs=1",
    "phase2_epochs=1",
    "holdout=0.25",
    "--batch-size",
    "8",
    "--device",
    "cpu",
)


@pytest.fixture
def skelpipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*words: str):
        return CliRunner().invoke(app, list(words))

    return run


def test_train_defaults_to_the_newest_file_and_resume_to_the_newest_run(skelpipe, tmp_path):
    (tmp_path / "skeletons").mkdir()
    write_motions(tmp_path / "skeletons" / "mine.pkl", clips=24)
    result = skelpipe("train", *TINY)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == "runs/mine-segments"
    assert (tmp_path / "runs" / "mine-segments" / "best.safetensors").is_file()
    assert "epoch 2/2: loss" in result.stderr
    again = skelpipe("train", *TINY)
    assert again.exit_code == 2 and "continue it with --resume runs/mine-segments" in again.stderr
    resumed = skelpipe("train", "--resume", "phase2_epochs=2")
    assert resumed.exit_code == 0, resumed.output
    assert "epoch 3/3: loss" in resumed.stderr and "epoch 2/3: loss" not in resumed.stderr
    changed = skelpipe("train", "--resume", "runs/mine-segments", "--batch-size", "4")
    assert changed.exit_code == 2 and "training.batch_size=8, not 4" in changed.stderr


def test_a_dry_run_prints_its_cost_and_writes_nothing(skelpipe, tmp_path):
    file = write_motions(tmp_path / "mine.pkl", clips=24)
    result = skelpipe("train", "--data", str(file), "--dry-run", "holdout=0.25")
    assert result.exit_code == 0, result.output
    for words in ("dim: 96", "parameters", "held out", "computed", "measured"):
        assert words in result.stdout, words
    phases = re.findall(r"phase[12]_epochs: (\d+)", result.stdout)
    # The same number in the settings and in the time estimate, on any machine.
    assert len(phases) == 4 and len(set(phases)) == 1
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_reports_the_errors_of_the_run(skelpipe, tmp_path):
    (tmp_path / "skeletons").mkdir()
    write_motions(tmp_path / "skeletons" / "mine.pkl", clips=24)
    trained = skelpipe("train", *TINY)
    assert trained.exit_code == 0, trained.output
    begun = skelpipe("train", *TINY, "--dry-run")
    assert begun.exit_code == 2 and "continue it with --resume runs/mine-segments" in begun.stderr
    wider = skelpipe(
        "train",
        *TINY,
        "--init",
        "runs/mine-segments",
        "--out",
        "runs/other",
        "dim=24",
        "dim_representation=24",
        "--dry-run",
    )
    assert wider.exit_code == 1 and "set model=auto" in wider.stderr, wider.stderr
    same = skelpipe("train", *TINY, "--init", "runs/mine-segments", "--out", "runs/other", "--dry-run")
    assert same.exit_code == 0 and "loaded all" in same.stdout and not (tmp_path / "runs/other").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dmi=3"], "unknown setting 'dmi'; did you mean 'model.dim'?"),
        (
            ["training.phase1_epoch=3"],
            "unknown setting 'training.phase1_epoch'; did you mean 'training.phase1_epochs'?",
        ),
        (["max_frames=9"], "'max_frames' is ambiguous; write data.max_frames or model.max_frames"),
        (["batch_size=0"], "training.batch_size: must be at least 1 (got 0)"),
        (["backbone=resnet"], "model.backbone: "),
        (["num_frames=0"], "data.num_frames: "),
        (["workers=-1"], "data.workers: "),
        (["scale_range_train=[3, 1]"], "data.scale_range_train: must be two numbers above 0 in ascending order"),
        (["phase1_epochs=-1"], "training.phase1_epochs: "),
        (["phase1_epochs=many"], "training.phase1_epochs: must be an integer or 'auto' (got 'many')"),
        (["--data", "FILE", "phase1_epochs=1", "phase2_epochs=1", "warmup_epochs=3"], "training.warmup_epochs 3"),
        (["mine.pkl"], "mine.pkl is not a config; did you mean --data mine.pkl?"),
        (["dim=[1"], "dim=[1: invalid YAML"),
        (["custom", "maskclr/ntu60_xsub_dstformer"], "only one config is allowed"),
        (["costum"], "unknown config costum"),
        (["--resume"], "no run in runs/"),
        (["--resume", "custom"], "no such run"),
        (["--data", "none.pkl"], "none.pkl"),
        ([], "skelpipe extract"),
        (["--precision", "int8"], "training.precision: "),
        (["--device", "cuda:7", "--data", "FILE"], "cuda:7"),
        (["--data", "FILE", "accumulate=3"], "training.accumulate 3"),
        (["--data", "FILE", "--split", "nope"], "nope"),
        (["--data", "FILE", "model.max_frames=9", "backbone=dstformer"], "set model.max_frames="),
        (["--data", "FILE", "phase1_epochs=0", "phase2_epochs=0"], "nothing to train"),
        (["--data", "FILE", "--nodes", "2"], "torchrun or srun"),
    ],
)
def test_invalid_usage_gives_a_one_line_error(skelpipe, tmp_path, arguments, words):
    file = write_motions(tmp_path / "made.pkl", clips=12)
    result = skelpipe("train", *(str(file) if word == "FILE" else word for word in arguments))
    assert result.exit_code in (1, 2), result.output
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1 and result.stderr.startswith("error: ")
    assert not (tmp_path / "runs").exists()


def test_the_command_line_overrides_a_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text("training: {seed: 5, batch_size: 16}\nmodel: {dim: 64}\n")
    Path("mine.yaml").write_text("extends: base.yaml\ntraining: {batch_size: 4}\n")
    settings = train_settings(["mine.yaml", "head_lr=1e-4"], {"training.seed": 9, "data.file": None})
    assert (settings.training.seed, settings.training.batch_size, settings.training.head_lr) == (9, 4, 1e-4)
    assert settings.model.dim == 64 and settings.data.file == "auto"


def test_a_config_that_extends_itself_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("one.yaml").write_text("extends: two.yaml\n")
    Path("two.yaml").write_text("extends: one.yaml\n")
    with pytest.raises(UsageError, match="extends itself"):
        read_config("one.yaml", RunSettings)


def test_one_setting_of_an_automatic_model_keeps_the_rest_automatic():
    values = override({"model": "auto"}, read_words(["dim=32"]), RunSettings)
    assert values["model"] == {"size": "auto", "dim": 32}
    settings = train_settings(["dropout=0.3"], {})
    assert (settings.model.size, settings.model.dropout, settings.model.dim) == ("auto", 0.3, None)


def test_a_model_size_keeps_the_backbone_of_the_config():
    small = train_settings(["baselines/ctrgcn", "model=small"], {})
    assert (small.model.backbone, small.model.size, small.model.dropout) == ("ctrgcn", "small", 0.0)
    paper = train_settings(["small", "model=paper"], {})
    assert (paper.model.size, paper.model.dim, paper.model.max_frames) == ("paper", None, 32)
    assert train_settings(["maskclr/ntu60_xsub_sttformer", "model=auto"], {}).model == ModelSettings(size="auto")


def test_resume_finds_the_run(tmp_path):
    assert run_to_resume("newest", tmp_path / "here") == tmp_path / "here"
    assert run_to_resume("runs/mine", None) == Path("runs/mine")
    (tmp_path / "last.safetensors").touch()
    assert run_to_resume(str(tmp_path / "last.safetensors"), None) == tmp_path
    with pytest.raises(UsageError, match="give either"):
        run_to_resume("runs/mine", tmp_path)
    with pytest.raises(UsageError, match="leave out init and out"):
        resumed_train_settings(tmp_path, [], {"init": "runs/mine"})


def test_a_run_with_an_equals_sign_in_its_name_is_resumed(skelpipe, tmp_path):
    file = write_motions(tmp_path / "mine.pkl", clips=24)
    assert skelpipe("train", *TINY, "--data", str(file), "--out", "runs/ratio=0.5").exit_code == 0
    resumed = skelpipe("train", "--resume", "runs/ratio=0.5", "phase2_epochs=2")
    assert resumed.exit_code == 0, resumed.output
    assert resumed.stdout.strip() == "runs/ratio=0.5"


def test_the_config_of_the_paper_has_its_settings():
    settings = train_settings(["maskclr/ntu60_xsub_dstformer"], {})
    training = settings.training
    assert (training.phase1_epochs, training.phase2_epochs, training.batch_size) == (300, 300, 32)
    assert (training.backbone_lr, training.head_lr, training.weight_decay, training.lr_decay) == (
        1e-4,
        1e-3,
        0.01,
        0.99,
    )
    assert settings.data.num_frames == 243
    baseline = train_settings(["cross_entropy/ntu60_xsub_dstformer"], {})
    assert baseline.training.objective == "cross_entropy" and baseline.data == settings.data
