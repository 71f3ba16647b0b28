"""Output of `skelpipe models`."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.models import models
from pipeline.reporting.progress import download_progress
from pose_extraction.networks.model_zoo import all_models, lookup
from pose_extraction.networks.weights import cached_path
from recognition.packed import FOLDER, read_described


def printed(width: int = 80, **options: object) -> str:
    file = io.StringIO()
    models(console=Console(file=file, width=width), **options)
    return file.getvalue()


def test_the_table_shows_every_model_in_eighty_columns(tmp_path: Path) -> None:
    lines = printed(cache_dir=tmp_path).splitlines()
    rows = {line.split()[0]: line.split() for line in lines if line.strip()}
    for entry in all_models():
        assert entry.name in rows
    expected = "vitpose-s 256x192 73.6 COCO val2017 Apache-2.0 ~87 MB no"
    assert rows["vitpose-s"] == expected.split()
    assert rows["openpifpaf-shufflenetv2k16"][-4:] == ["AGPL-3.0", "41", "MB", "no"]
    assert "vitpose = vitpose-b" in "\n".join(lines)


def test_weights_on_this_machine_are_marked(tmp_path: Path) -> None:
    path = cached_path(lookup("hrnet"), tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"")
    here = {line.split()[0]: line.split()[-1] for line in printed(cache_dir=tmp_path).splitlines() if line.strip()}
    assert (here["hrnet-w32-256x192"], here["hrnet-w48-256x192"]) == ("yes", "no")


def test_two_files_of_a_network_are_both_needed(tmp_path: Path) -> None:
    folder = cached_path(lookup("blazepose"), tmp_path)
    folder.mkdir(parents=True)
    for name, here in (("pose_detection.tflite", "no"), ("pose_landmark_full.tflite", "yes")):
        (folder / name).write_bytes(b"")
        rows = {line.split()[0]: line.split()[-1] for line in printed(cache_dir=tmp_path).splitlines() if line.strip()}
        assert rows["blazepose"].rstrip("*") == rows["blazepose-boxes"].rstrip("*") == here


def test_networks_without_their_packages_are_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.models.missing_packages", lambda entry: ["mmpose"] * (entry.family == "mmpose"))
    lines = printed(cache_dir=tmp_path).splitlines()
    rows = {line.split()[0]: line.split()[-1] for line in lines if line.strip()}
    assert (rows["vitpose-s"], rows["faster-rcnn"]) == ("no*", "no")
    assert "* needs packages that are not installed: mmpose." in lines
    (row,) = (one for one in json.loads(printed(as_json=True, cache_dir=tmp_path)) if one["name"] == "vitpose-s")
    assert row["missing_packages"] == ["mmpose"]


def test_json_lists_every_model(tmp_path: Path) -> None:
    rows = {row["name"]: row for row in json.loads(printed(width=20, as_json=True, cache_dir=tmp_path))}
    assert len([row for row in rows.values() if row["kind"] in ("estimator", "detector")]) == len(all_models())
    row = rows["vitpose-b"]
    assert (row["input_size"], row["ap"], row["ap_set"], row["size"]) == ([256, 192], 0.756, "COCO val2017", None)
    assert row["use"] == ["skelpipe extract --estimator vitpose-b"]
    assert rows["rtmdet-m"]["use"] == ["skelpipe extract --detector rtmdet-m"]
    assert row["on_this_machine"] is False and row["path"].startswith(str(tmp_path))


def test_weights_of_the_package_are_listed_with_their_use() -> None:
    result = CliRunner().invoke(app, ["models"], env={"COLUMNS": "80"})
    # The width of a column depends on the size of the weights.
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "in the package actions size use" in lines
    sizes = {name: (FOLDER / f"{name}.safetensors").stat().st_size for name in ("everyday", "base")}
    actions = len(read_described(FOLDER / "everyday.safetensors")["label_names"])
    megabytes = {name: f"{size / 1e6:.1f} MB" for name, size in sizes.items()}
    assert f"everyday {actions} {megabytes['everyday']} skelpipe predict --run everyday" in lines
    assert "skelpipe train --init everyday" in lines
    assert f"base - {megabytes['base']} skelpipe train --init base" in lines
    listed = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)
    rows = {row["name"]: row for row in listed}
    assert (rows["everyday"]["kind"], rows["everyday"]["actions"]) == ("recognizer", actions)
    assert rows["everyday"]["use"] == ["skelpipe predict --run everyday", "skelpipe train --init everyday"]
    assert (rows["base"]["kind"], rows["base"]["actions"]) == ("initial_weights", None)
    assert {name: rows[name]["size"] for name in sizes} == sizes
    assert Path(rows["base"]["path"]) == FOLDER / "base.safetensors" and rows["vitpose-b"]["actions"] is None
    # Programs that read the networks find all keys in each object.
    assert all(row.keys() == rows["vitpose-b"].keys() for row in listed)


def test_weights_of_the_package_need_no_download() -> None:
    result = CliRunner().invoke(app, ["models", "--download", "everyday"])
    assert result.exit_code == 0 and Path(result.stdout.strip()) == FOLDER / "everyday.safetensors"


def test_a_download_is_announced_once_without_a_terminal() -> None:
    file = io.StringIO()
    entry = lookup("hrnet")
    with download_progress(entry, Console(file=file, width=80)) as progress:
        assert file.getvalue().strip() == ""
        for done in range(0, 100, 10):
            progress(done, 100)
    assert file.getvalue().count(entry.url) == 1
