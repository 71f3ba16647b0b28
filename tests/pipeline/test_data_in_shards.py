"""Commands give the same results for a data set in shards as for its skeleton file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.datasets.merging import merge
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.formats.validation import read_data_set
from recognition import run_file, run_folder
from recognition.runs import load_run
from test_support.networks.made_encoders import pretrain
from test_support.networks.trained_run import made_data

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same clips in one file and in shards."""
    folder = tmp_path_factory.mktemp("both")
    data = made_data(folder / "given.pkl")
    content = read_pickle(data)
    for number, clip in enumerate(content["annotations"]):
        clip |= {"fps": 8.0, "track_id": np.arange(1)} | ({"time": np.arange(16.0)} if number % 2 else {})
    write_pickle(data, content)
    merge([data], folder / "clips.pkl")
    merge([data], folder / "clips.parquet")
    return folder / "clips.pkl", folder / "clips.parquet"


def output(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("options", [(), ("--per-person",), ("--windows", "1")])
def test_predict(both: tuple[Path, Path], trained: tuple[Path, Path], options: tuple[str, ...]) -> None:
    words = ("--run", trained[0], "--device", "cpu", "--split", "one_test", "--json", *options)
    file, shards = (output("predict", path, *words).splitlines() for path in both)
    assert len(file) >= 12 and file == shards


def test_evaluate(both: tuple[Path, Path], trained: tuple[Path, Path]) -> None:
    words = (trained[0], "--device", "cpu", "--split", "one_test", "--json", "--data")
    file, shards = (json.loads(output("evaluate", *words, path)) for path in both)
    assert file.pop("data") == str(both[0]) and shards.pop("data") == str(both[1])
    assert file == shards and file["clips"] == 12


def test_pretrain(both: tuple[Path, Path], tmp_path: Path) -> None:
    weights = []
    for path in both:
        out = tmp_path / path.suffix
        result = pretrain("mamp", path, out, "--split", "all")
        assert result.exit_code == 0, result.output
        weights.append(run_file.load(out / run_folder.LAST)["model"])
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_stats(both: tuple[Path, Path]) -> None:
    file, shards = (json.loads(output("stats", path, "--json")) for path in both)
    assert file == shards
    assert json.loads(output("stats", "--compare", *both, "--json"))["clips"] == 48


def test_merge_and_label(both: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "again.parquet"
    assert output("merge", both[1], "--out", out) == f"{out}\n"
    assert output("merge", out, "--to", "pickle") == f"{out.with_suffix('.pkl')}\n"
    assert out.with_suffix(".pkl").read_bytes() == both[0].read_bytes()
    table = tmp_path / "labels.csv"
    table.write_text("file,label,split\nclip3,squat,one_test\n")
    output("label", out, "--labels", table)
    (clip,) = (one for one in read_data_set(out)["annotations"] if one["frame_dir"] == "clip3")
    assert clip["label_name"] == "squat" and "clip3" in read_data_set(out)["split"]["one_test"]
    wrong = CliRunner().invoke(app, ["merge", str(out), "--to", "csv"])
    assert wrong.exit_code == 2 and "pickle or parquet" in wrong.output


def test_robustness(both: tuple[Path, Path], trained: tuple[Path, Path], tmp_path: Path) -> None:
    tables = []
    for path in both:
        out = tmp_path / path.suffix[1:]
        words = (
            "--split",
            "one_test",
            "--only",
            "noise",
            "--repeats",
            "1",
            "--out",
            out,
            "--no-figures",
            "--device",
            "cpu",
        )
        output("robustness", trained[0], "--data", path, *words)
        tables.append(json.loads((out / "robustness.json").read_text())["conditions"])
    assert tables[0] == tables[1]


def test_train(both: tuple[Path, Path], tmp_path: Path) -> None:
    small = ["model.dim=16", "model.depth=1", "model.heads=2", "model.dim_representation=16", "model.hidden=16"]
    small += ["data.max_frames=16", "model.max_frames=16", "training.precision=fp32", "training.batch_size=8"]
    small += ["training.phase1_epochs=1", "training.phase2_epochs=1", "data.num_frames=own"]
    weights = []
    for number, path in enumerate(both):
        output("train", *small, "--data", path, "--out", tmp_path / str(number), "--device", "cpu")
        weights.append(load_run(tmp_path / str(number)).recognizer.state_dict())
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
