"""`skelpipe sweep`: rows with a shared phase one, resumed runs, one table."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.sweep.job import is_done
from pipeline.sweep.jobs import phase_one_of
from pipeline.sweep.plan import folder_name
from pipeline.sweep.recognizer_plan import SweepSettings, read_sweep, settings_of
from pose_extraction.errors import UsageError
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle
from recognition import run_folder, runs
from recognition.robustness.conditions import CLEAN, NOISE, Condition
from test_support.doc_pages import page, section
from test_support.networks.trained_run import made_data, write_data

pytestmark = [pytest.mark.processor, pytest.mark.slow]

BASE = """
data: {num_frames: own, max_frames: 16, holdout: 0.2, random_move: false}
model: {dim: 16, depth: 1, heads: 2, dim_representation: 16, hidden: 32, max_frames: 16, dropout: 0.1}
training: {phase1_epochs: 3, phase2_epochs: 1, batch_size: 8, backbone_lr: 0.003, head_lr: 0.003, device: cpu,
  precision: fp32}
"""


def write_sweep(folder: Path, **changes: Any) -> Path:
    (folder / "base.yaml").write_text(BASE)
    values = {
        "title": "made",
        "base": str(folder / "base.yaml"),
        "seeds": [0, 1],
        "conditions": {"noise": [0.05]},
        "rows": [
            {"name": "none", "set": {"objective": "cross_entropy"}, "paper": 88.7},
            {"name": "random 15 %", "set": {"mask": "random", "maskclr.ratio": 0.15}},
        ],
    } | changes
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def command(folder: Path, *words: str) -> Any:
    given = ["sweep", str(folder / "mine.yaml"), "--data", str(folder / "made.pkl"), "--out", str(folder / "out")]
    return CliRunner().invoke(app, [*given, "--jobs", "1", "--device", "cpu", "--backend", "torch", *words])


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("sweep")
    made_data(folder / "made.pkl")
    write_sweep(folder)
    return folder, command(folder)


def test_every_row_is_trained_with_every_seed_and_phase_one_once_per_seed(swept: tuple[Path, Any]) -> None:
    folder, result = swept
    assert result.exit_code == 0, result.output
    assert "4 runs, 0 of them finished; 1 in parallel; 2 shared trainings of" in " ".join(result.stderr.split())
    for row in ("none", "random_15_pct"):
        for seed in (0, 1):
            content = runs.load(folder / "out" / "runs" / row / f"seed{seed}" / run_folder.LAST)
            assert content["epoch"] == 4
            assert content["settings"]["training"]["seed"] == seed
            objective = content["settings"]["training"]["objective"]
            assert objective == ("cross_entropy" if row == "none" else "maskclr")
    shared = sorted((folder / "out" / "phase_one").iterdir())
    assert [runs.load(one / run_folder.LAST)["epoch"] for one in shared] == [3, 3]


def test_table_contains_means_over_seeds_and_draws_and_differences(swept: tuple[Path, Any]) -> None:
    folder, result = swept
    report = json.loads((folder / "out" / "sweep.json").read_text(encoding="utf-8"))
    assert report["clips"] == 12 and report["split"] == "one_test" and report["failed"] == {}
    assert report["settings"]["data.file"] == str(folder / "made.pkl") and report["engine"]["backend"] == "torch"
    assert report["bench"]["repeats"] == 3 and report["version"]
    for run in report["runs"]:
        # The best epoch on a few held-out clips would differ between rows.
        assert Path(run["weights"]).name == run_folder.LAST
        assert hashlib.sha256(Path(run["weights"]).read_bytes()).hexdigest() == run["sha256"]
    assert [(run["row"], run["seed"]) for run in report["runs"]] == [
        (row, seed) for row in ("none", "random 15 %") for seed in (0, 1)
    ]
    with (folder / "out" / "sweep.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    text = " ".join(section(page("file_formats.md"), "Robustness").split())
    assert ", ".join(f"`{column}`" for column in rows[0]) in text and all(f"`{name}`" in text for name in report)
    assert [(row["row"], row["family"]) for row in rows] == [
        ("none", CLEAN),
        ("none", NOISE),
        ("random 15 %", CLEAN),
        ("random 15 %", NOISE),
    ]
    # Two seeds for clean clips; noise is drawn three times for each.
    assert [row["draws"] for row in rows] == ["2", "6", "2", "6"]
    assert float(rows[2]["difference"]) == pytest.approx(float(rows[2]["top1"]) - float(rows[0]["top1"]))
    text = (folder / "out" / "sweep.md").read_text(encoding="utf-8")
    assert "| none | 88.7 | " in text and "random 15 %" in result.stdout


def test_finished_runs_are_kept_and_missing_ones_are_trained(swept: tuple[Path, Any]) -> None:
    folder, _ = swept
    run = folder / "out" / "runs" / "none" / "seed1" / run_folder.LAST
    before = run.stat().st_mtime_ns
    kept = {path: path.stat().st_mtime_ns for path in (folder / "out" / "cache").iterdir()}
    plan = read_sweep(str(write_sweep(folder, seeds=[0, 1])))
    again = command(folder)
    assert again.exit_code == 0 and "4 runs, 4 of them finished" in " ".join(again.stderr.split())
    assert run.stat().st_mtime_ns == before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert is_done(settings_of(plan, plan.rows[0], {"out": str(run.parent), "training.seed": 1}, place="here"))


def test_runs_with_other_settings_are_not_reused(swept: tuple[Path, Any]) -> None:
    folder, _ = swept
    result = command(folder, "label_smoothing=0.2")
    assert result.exit_code == 2 and "training.label_smoothing" in result.stderr


def test_failed_row_is_reported_and_others_continue(tmp_path: Path) -> None:
    made_data(tmp_path / "made.pkl")
    bad = {"name": "bad", "set": {"model.heads": 3}}
    rows = [{"name": "none", "set": {"objective": "cross_entropy"}}, bad]
    write_sweep(tmp_path, seeds=[0], set={"phase2_epochs": 0}, rows=rows)
    result = command(tmp_path, "--jobs", "2")
    assert result.exit_code == 1 and "2 in parallel" in result.stderr
    assert "failed: bad, seed 0" in result.stderr and "not divisible" in result.stderr
    assert "paper" not in result.stdout, "the paper has no result for these rows"
    assert "none" in result.stdout and (tmp_path / "out" / "sweep.csv").is_file()


def test_rows_share_phase_one_only_if_it_is_equal() -> None:
    plan = SweepSettings(
        title="t",
        rows=(
            {"name": "a", "set": {"alpha": 0}},  # type: ignore[arg-type]
            {"name": "b", "set": {"objective": "cross_entropy"}},  # type: ignore[arg-type]
            {"name": "c", "set": {"backbone_lr": 0.5}},  # type: ignore[arg-type]
            {"name": "d", "set": {"model.dim": 32}},  # type: ignore[arg-type]
        ),
    )
    places = [phase_one_of(settings_of(plan, row, {}, place="t"), Path("out")) for row in plan.rows]
    assert places[0] == places[1] is not None and len(set(places)) == 3
    seeds = {phase_one_of(settings_of(plan, plan.rows[0], {"training.seed": n}, place="t"), Path()) for n in (0, 1)}
    assert len(seeds) == 2
    single = settings_of(plan, plan.rows[0], {"phase2_epochs": 0}, place="t")
    assert phase_one_of(single, Path("out")) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": []}, "rows"),
        ({"rows": [{"name": "a"}, {"name": "a"}]}, "two rows have the same name, 'a'"),
        ({"rows": [{"name": ".."}]}, "the row name '..' gives no valid folder name"),
        ({"rows": [{"name": "a b"}, {"name": "a_b"}]}, "'a b' and 'a_b' would both be trained in the folder 'a_b'"),
        ({"seeds": [0, 1, 0]}, "seed 0 is repeated"),
        ({"rows": [{"name": "a", "set": {"alhpa": 1}}]}, "did you mean 'maskclr.alpha'"),
        ({"conditions": {"fog": [1]}}, "'fog' is not a family of perturbations"),
        ({"conditions": {"part": ["nosuchpart"]}}, "part: 'nosuchpart' is not a valid level.*head or left_arm"),
        ({"conditions": {"joints": [1.5]}}, "joints: 1.5 is not a valid level.*from 0 to 1"),
        ({"conditions": {"noise": [-0.1]}}, "noise: -0.1 is not a valid level.*from 0 on"),
        (
            {"conditions": {"lower_frame_rate": [2.5]}},
            "lower_frame_rate: 2.5 is not a valid level.*an integer from 1 on",
        ),
        ({"conditions": {"spatial": [0.5]}}, "spatial: 0.5 is not a valid level.*0.3-0.7"),
        ({"sedes": [1]}, "unknown setting 'sedes'"),
    ],
)
def test_invalid_sweeps_are_errors(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_sweep(str(write_sweep(tmp_path, **changes)))


def test_command_checks_options_and_prints_a_plan(tmp_path: Path) -> None:
    made_data(tmp_path / "made.pkl")
    write_sweep(tmp_path)
    for seeds in ("0,0", "0, 0", "0,00"):
        assert "must be distinct integers" in " ".join(command(tmp_path, "--seeds", seeds).stderr.split())
    assert CliRunner().invoke(app, ["sweep", str(tmp_path / "mine.yaml"), "--jobs", "0"]).exit_code == 2
    plan = command(tmp_path, "--dry-run", "--seeds", "7")
    assert plan.exit_code == 0 and "random 15 %, seed 7" in plan.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["--dry-run"], []])
def test_errors_are_reported_before_training(tmp_path: Path, words: list[str]) -> None:
    data = read_pickle(made_data(tmp_path / "made.pkl"))
    write_sweep(tmp_path)
    assert "there is no split 'val'" in " ".join(command(tmp_path, "--split", "val", *words).stderr.split())
    write_pickle(tmp_path / "made.pkl", data | {"split": data["split"] | {"all": []}})
    assert "split 'all' has no usable clips" in " ".join(command(tmp_path, "--split", "all", *words).stderr.split())
    data["annotations"][40]["keypoint"] = data["annotations"][40]["keypoint"][:, :, :9]
    write_pickle(tmp_path / "made.pkl", data)
    result = command(tmp_path, *words)
    assert result.exit_code != 0 and "clip40" in result.stderr and "--skip-bad" in result.stderr, result.stderr
    write_data(tmp_path / "made.pkl", [in_3d(clip) for clip in data["annotations"][:40]], {})
    write_sweep(tmp_path, conditions={"frame_crop": [0.1]})
    result = command(tmp_path, *words)
    assert result.exit_code == 2 and "conditions.frame_crop: does not apply to the skeletons" in result.stderr, (
        result.stderr
    )
    assert not (tmp_path / "out").exists()


def test_malformed_clips_are_skipped_on_request(tmp_path: Path) -> None:
    data = read_pickle(made_data(tmp_path / "made.pkl"))
    data["annotations"][40]["keypoint"] = data["annotations"][40]["keypoint"][:, :, :9]
    write_pickle(tmp_path / "made.pkl", data)
    short = {"phase1_epochs": 1, "phase2_epochs": 0, "objective": "cross_entropy"}
    write_sweep(tmp_path, seeds=[0], conditions={}, rows=[{"name": "a"}], set=short | {"data.skip_bad": True})
    refused = command(tmp_path, "data.skip_bad=false")
    assert refused.exit_code == 1 and "clip40" in refused.stderr, refused.stderr
    result = command(tmp_path)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "sweep.json").read_text(encoding="utf-8"))
    assert report["clips"] == 11 and "data.skip_bad" not in report["settings"]
    flagged = command(tmp_path, "--skip-bad", "data.skip_bad=false", "--dry-run")
    assert flagged.exit_code == 0 and "1 run, 1 of them finished" in " ".join(flagged.stderr.split()), flagged.stderr


def in_3d(clip: dict[str, Any]) -> dict[str, Any]:
    """Add a third coordinate to a clip."""
    return clip | {"keypoint": np.concatenate([clip["keypoint"], clip["keypoint"][..., :1]], axis=-1)}


def test_row_names_give_distinct_folders() -> None:
    plan = read_sweep("ablations/table4")
    assert len({folder_name(row.name) for row in plan.rows}) == len(plan.rows) == 13
    assert plan.measured()[0] == Condition(CLEAN)
