"""Every config for the papers' data sets runs end to end: train, evaluate, predict.

The data are synthetic, with NTU60's structure and NTU120's split names where a config needs them. The networks are
those of the configs, with reduced width and short clips; `tests/recognition/backbones/test_backbones.py` checks the
paper's
sizes.
"""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.train.settings import train_settings
from pose_extraction.formats.pickle_writing import write_pickle
from test_support.clips.made_data_sets import made_ntu60, write_kinetics400

pytestmark = [pytest.mark.processor, pytest.mark.slow]

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SHIPPED = sorted(
    path.relative_to(CONFIGS).with_suffix("").as_posix()
    for folder in ("maskclr", "cross_entropy")
    for path in (CONFIGS / folder).glob("*.yaml")
)
NARROW = (
    "dim=16",
    "depth=1",
    "heads=2",
    "dim_representation=16",
    "hidden=32",
    "phase1_epochs=1",
    "phase2_epochs=1",
    "batch_size=8",
    "holdout=0.2",
    "precision=fp32",
    "num_frames=48",
)


@pytest.fixture(scope="module")
def data_of(tmp_path_factory):
    """Return a synthetic file for a config, the words that the config needs, and the split to report on."""
    folder = tmp_path_factory.mktemp("data")
    made = made_ntu60(48, classes=4)
    split = made["split"]
    ntu120 = {f"{new}_{part}": split[f"{old}_{part}"] for new, old in (("xsub", "xsub"), ("xset", "xview"))
              for part in ("train", "val")}  # fmt: skip
    write_pickle(folder / "ntu60.pkl", made)
    write_pickle(folder / "ntu120.pkl", {"split": ntu120, "annotations": made["annotations"]})
    kinetics, keypoints = write_kinetics400(folder / "k400", 24, classes=3)

    def files(config: str) -> tuple[list[str], str]:
        data_set, *protocol = config.split("/")[1].split("_")[:2]
        if data_set == "kinetics400":
            return ["--data", str(kinetics), f"keypoint_files={keypoints}"], "val"
        return ["--data", str(folder / f"{data_set}.pkl")], f"{protocol[0]}_val"

    return files


def test_configs_exist():
    assert len(SHIPPED) >= 17 and {name.rsplit("_", 1)[1] for name in SHIPPED} == {
        "dstformer",
        "transformer",
        "sttformer",
    }


@pytest.mark.parametrize("config", SHIPPED)
def test_a_shipped_config_runs_end_to_end(config, data_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, split = data_of(config)
    assert train_settings([config], {}).data.num_frames == 243

    def skelpipe(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == 0, result.output
        return result.stdout

    skelpipe("train", config, *words, "--out", "run", "--device", "cpu", *NARROW)
    settings = yaml.safe_load(Path("run/settings.yaml").read_text())
    wanted = config.split("/")[0]
    assert settings["training"]["objective"] == wanted
    assert settings["model"]["backbone"] == config.rsplit("_", 1)[1]
    assert settings["data"]["train_split"] == split.replace("val", "train")
    # On torch and without figures, which the tests of `evaluate` cover.
    quick = ("--device", "cpu", "--backend", "torch", "--no-figures")
    measured = json.loads(skelpipe("evaluate", "run", "--split", split, "--json", *quick))
    assert 0 <= measured["top1"] <= measured["top5"] <= 1
    steps = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert {step["phase"] for step in steps} == ({1, 2} if wanted == "maskclr" else {1})
