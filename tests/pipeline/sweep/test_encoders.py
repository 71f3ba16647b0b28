"""`skelpipe sweep` of pre-trainings: rows of configs, resumed runs, one table of protocols."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.sweep.encoder_plan import own_changes, pretrain_settings_of, read_pretrain_sweep
from pipeline.sweep.encoders import MEASURED
from pose_extraction.errors import UsageError
from pose_extraction.formats.annotations import UNLABELLED
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle
from recognition import run_file, run_folder, runs
from test_support.clips.made_motions import write_motions
from test_support.doc_pages import page, section

pytestmark = [pytest.mark.processor, pytest.mark.slow]

SMALL = {
    "data.num_frames": 16,
    "data.part_min_frames": 8,
    "data.max_persons": 1,
    "data.flip": 0,
    "model.dim": 16,
    "model.depth": 1,
    "model.heads": 2,
    "mamp.decoder_depth": 1,
    "training.epochs": 2,
    "training.warmup_epochs": 1,
    "training.batch_size": 16,
    "training.device": "cpu",
    "training.precision": "fp32",
}


def write_sweep(folder: Path, **changes: Any) -> Path:
    values = {
        "title": "made",
        "base": "mamp/custom",
        "set": SMALL,
        "seeds": [0, 1],
        "protocols": ["linear", "knn"],
        "recipe": {"linear.epochs": 10, "linear.views": 1},
        "rows": [
            {"name": "90 %", "set": {"mamp.ratio": 0.9}, "value": 0.9},
            {"name": "70 %", "config": "mamp/ablations/ratio_70", "value": 0.7},
        ],
        "axis": "mamp.ratio",
    } | changes
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def command(folder: Path, *words: str) -> Any:
    given = ["sweep", str(folder / "mine.yaml"), "--data", str(folder / "made.pkl"), "--out", str(folder / "out")]
    return CliRunner().invoke(app, [*given, "--jobs", "1", "--device", "cpu", *words])


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("sweep")
    write_motions(folder / "made.pkl")
    write_sweep(folder)
    return folder, command(folder)


def test_every_row_is_pretrained_with_every_seed_and_evaluated(swept: tuple[Path, Any]) -> None:
    folder, result = swept
    assert result.exit_code == 0, result.output
    for row, ratio in (("90_pct", 0.9), ("70_pct", 0.7)):
        for seed in (0, 1):
            settings = runs.load(folder / "out" / "runs" / row / f"seed{seed}" / run_folder.BEST)["settings"]
            assert (settings["mamp"]["ratio"], settings["training"]["seed"]) == (ratio, seed)
    content = json.loads((folder / "out" / "sweep.json").read_text(encoding="utf-8"))
    with (folder / "out" / "sweep.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    text = " ".join(section(page("file_formats.md"), "Robustness").split())
    assert ", ".join(f"`{column}`" for column in rows[0]) in text
    keys = ["version", "sweep", "settings", "measured", "seeds", "data", "failed", "table"]
    assert set(content) == set(keys) and ", ".join(f"`{key}`" for key in keys[:-1]) in text
    assert content["seeds"] == [0, 1] and Path(content["data"]).is_file()
    names = [(row["row"], row["protocol"]) for row in rows]
    assert names == [(name, by) for name in ("90 %", "70 %", "fresh weights") for by in ("linear", "knn")]
    each = [
        json.loads((folder / "out" / "runs" / "70_pct" / f"seed{seed}" / MEASURED).read_text(encoding="utf-8"))
        for seed in (0, 1)
    ]
    knn = [value for one in each for key, value in one.items() if '"knn"' in key]
    assert float(rows[3]["top1"]) == pytest.approx(sum(knn) / 2) and rows[3]["seeds"] == "2"
    assert float(rows[3]["difference"]) == pytest.approx(float(rows[3]["top1"]) - float(rows[1]["top1"]))
    assert "fresh weights" in result.stdout and (folder / "out" / "sweep.png").is_file()


def test_finished_results_are_kept_and_missing_ones_are_computed(swept: tuple[Path, Any]) -> None:
    folder, _ = swept
    kept, gone = (folder / "out" / "runs" / "90_pct" / f"seed{seed}" / run_folder.BEST for seed in (0, 1))
    before, table = kept.stat().st_mtime_ns, (folder / "out" / "sweep.csv").read_bytes()
    gone.unlink()
    (gone.parent / MEASURED).unlink()
    again = command(folder)
    assert again.exit_code == 0 and "4 runs, 3 of them finished" in " ".join(again.stderr.split())
    assert kept.stat().st_mtime_ns == before and (folder / "out" / "sweep.csv").read_bytes() == table
    assert again.stderr.count(": knn") == 1 + 1  # Of that run, and of its random weights.


def test_results_of_other_settings_or_weights_are_measured_again(tmp_path: Path) -> None:
    write_motions(tmp_path / "made.pkl")
    write_sweep(tmp_path, seeds=[0], protocols=["knn"], fresh=False, rows=[{"name": "a"}], axis=None)
    run = tmp_path / "out" / "runs" / "a" / "seed0"
    first = command(tmp_path, "--precision", "fp32")
    assert first.exit_code == 0 and first.stderr.count(": knn") == 1, first.output
    assert json.loads((tmp_path / "out" / "sweep.json").read_text(encoding="utf-8"))["measured"]["device"] == "cpu"
    assert command(tmp_path, "--precision", "fp32").stderr.count(": knn") == 0
    assert command(tmp_path, "--precision", "bf16").stderr.count(": knn") == 1
    weights = runs.load(run / run_folder.BEST)
    run_file.save(
        run / run_folder.BEST, weights | {"model": {name: one * 1.1 for name, one in weights["model"].items()}}
    )
    assert command(tmp_path, "--precision", "fp32").stderr.count(": knn") == 1
    (run / MEASURED).write_text('{"cut')
    again = command(tmp_path, "--precision", "fp32")
    assert again.exit_code == 0 and again.stderr.count(": knn") == 1, again.output
    assert len(json.loads((run / MEASURED).read_text(encoding="utf-8"))) == 1


def test_runs_with_other_settings_are_not_used_for_a_row(swept: tuple[Path, Any]) -> None:
    folder, _ = swept
    result = command(folder, "training.lr=0.5")
    assert result.exit_code == 2 and "training.lr" in result.stderr


def test_another_base_uses_the_same_rows(tmp_path: Path) -> None:
    plan, left = read_pretrain_sweep("ablations/mamp_ratio", {"base": "mamp/ntu60_xsub", "training.epochs": 3})
    settings = pretrain_settings_of(plan, plan.rows[1], left, place="here")
    assert left == {"training.epochs": 3} and settings.training.epochs == 3
    assert (settings.model.dim, settings.mamp.ratio) == (256, 0.7)
    assert own_changes("mamp/ablations/ratio_70") == {"mamp.ratio": 0.7} and own_changes(None) == {}


def test_list_does_not_train(tmp_path: Path) -> None:
    write_motions(tmp_path / "made.pkl")
    write_sweep(tmp_path)
    result = command(tmp_path, "--dry-run")
    assert result.exit_code == 0 and "70 %, seed 1" in result.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["--dry-run"], []])
def test_invalid_measurements_are_refused_before_training(tmp_path: Path, words: list[str]) -> None:
    data = read_pickle(write_motions(tmp_path / "made.pkl"))
    write_sweep(tmp_path)

    def refused(*more: str) -> str:
        result = command(tmp_path, *more, *words)
        assert result.exit_code == 2 and not (tmp_path / "out").exists(), result.output
        return " ".join(result.stderr.split())

    assert "there is no split 'nope'" in refused("--split", "nope")
    assert "--precision fp16: with --protocol, use one of" in refused("--precision", "fp16")
    tested = set(data["split"]["test"])
    for clip in data["annotations"]:
        clip["label"] = UNLABELLED if clip["frame_dir"] in tested else clip["label"]
    write_pickle(tmp_path / "made.pkl", data)
    assert "no clip of split 'test' has a label" in refused()
    write_pickle(
        tmp_path / "made.pkl", data | {"annotations": [clip | {"label": UNLABELLED} for clip in data["annotations"]]}
    )
    assert "no training clip has a label" in refused()


@pytest.mark.parametrize(
    ("words", "content"),
    [
        (["--batch-size", "3"], "--batch-size 3: has no effect on protocols; leave it out, or set"),
        (["--backend", "openvino"], "--backend openvino: protocols run on torch only; leave it out"),
    ],
)
def test_unknown_protocol_options_are_refused(tmp_path: Path, words: list[str], content: str) -> None:
    write_motions(tmp_path / "made.pkl")
    write_sweep(tmp_path)
    result = command(tmp_path, "--dry-run", *words)
    assert result.exit_code == 2 and content in " ".join(result.stderr.split()), result.stderr


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": [{"name": "a"}, {"name": "a"}]}, "two rows have the same name"),
        ({"rows": [{"name": "fresh weights"}]}, "the row name 'fresh weights' is reserved"),
        ({"rows": [{"name": "a b"}, {"name": "a_b"}]}, "'a b' and 'a_b' would both be trained in the folder 'a_b'"),
        ({"seeds": [0, 1, 0]}, "seed 0 is repeated"),
        ({"rows": [{"name": "a", "set": {"ratoi": 1}}]}, "did you mean"),
        ({"rows": [{"name": "a", "config": "mamp/ablations/nowhere"}]}, "unknown config"),
        ({"protocols": ["lineal"]}, "unknown protocol 'lineal'"),
        ({"protocols": ["motion"]}, "motion gives no accuracy"),
        ({"recipe": {"linear.lrr": 1}}, "unknown setting"),
        ({"rows": [{"name": "a", "confg": "mamp/custom"}]}, "did you mean 'rows.0.config'"),
        ({"sedes": [1]}, "unknown setting 'sedes'"),
    ],
)
def test_an_invalid_sweep_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_pretrain_sweep(str(write_sweep(tmp_path, **changes)))


def test_rows_of_pcm3s_tables_match_the_paper() -> None:
    """Table 7's independent tasks reach 87.5, as does table 8's row without distillation; with it, it is 88.2."""
    side, alone, pairs, tasks = (
        own_changes(f"pcm3/ablations/{name}")
        for name in ("multi_task", "contrast", "positives_intra_inter", "task_prompts")
    )
    assert side == pairs and side["pcm3.distillation"] == 0
    assert alone["pcm3.distillation"] == alone["pcm3.prediction"] == 0
    assert tasks == {"pcm3.domain_prompts": False}
    plan, _ = read_pretrain_sweep("ablations/pcm3_prompts")
    prompts = [pretrain_settings_of(plan, row, {}, place="here").pcm3 for row in plan.rows]
    found = [(one.domain_prompts, one.task_prompts, one.domain_prompt_place) for one in prompts]
    assert [row[:2] for row in found if row[2] == "published"] == [
        (True, True),
        (False, False),
        (True, False),
        (False, True),
    ]
    # Not in the paper: prompts that receive a gradient.
    assert [row[:2] for row in found if row[2] == "normalised"] == [(True, True), (True, False)]
