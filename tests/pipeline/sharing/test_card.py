"""`skelpipe card`: what a model card says about a run, and what it says where nothing was measured."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results
from typer.testing import CliRunner

from pipeline.cli import app
from pose_extraction.files import sha256_of
from recognition.evaluation.metrics import wilson_interval
from recognition.packed import FOLDER, read_described


def skelpipe(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def measured(own_run, tmp_path_factory) -> Path:
    """A copy of a run that was evaluated."""
    run = tmp_path_factory.mktemp("card") / "mine"
    shutil.copytree(own_run[0], run)
    skelpipe("evaluate", run, "--data", own_run[1], "--no-figures", "--device", "cpu", "--backend", "torch")
    return run


def parts_of(card: str) -> tuple[dict[str, Any], str]:
    start, front, text = card.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(front), text


def rows_of(text: str, title: str) -> dict[str, list[str]]:
    """Rows of the tables of a section by their first cell."""
    section = text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in rows}


def test_accuracy_of_each_class_has_its_interval(measured):
    front, text = parts_of(skelpipe("card", measured, "--license", "cc-by-nc-4.0"))
    (path,) = measured.glob("evaluation/*/evaluation.json")
    result = json.loads(path.read_text())
    rows = rows_of(text, "Accuracy on made, one_test")
    for number, one in enumerate(result["per_class"]):
        correct = result["confusion"][number][number]
        low, high = wilson_interval(correct, one["clips"])
        assert rows[one["class"]] == [str(one["clips"]), f"{correct / one['clips']:.1%} ({low:.1%} to {high:.1%})"]
    assert rows["top-1"][0].startswith(f"{result['top1']:.1%} (95 % interval ")
    assert rows["also in the training data"] == ["0 clips, unknown persons (groups)"]
    assert (front["license"], front["library_name"]) == ("cc-by-nc-4.0", "skelpipe")


def test_the_front_matter_is_what_the_hub_reads(measured):
    front, _ = parts_of(skelpipe("card", measured))
    assert "license" not in front
    name, results = model_index_to_eval_results(front["model-index"])
    assert name == "mine" and [one.metric_name for one in results] == ["top-1", "mean class accuracy"]
    assert (results[0].dataset_name, results[0].dataset_split, results[0].metric_type) == (
        "made",
        "one_test",
        "accuracy",
    )
    assert ModelCardData(**front).to_dict()["tags"] == front["tags"]


def test_training_data_and_calibration_come_from_the_files_of_the_run(measured):
    _, text = parts_of(skelpipe("card", measured))
    split, about = (json.loads((measured / name).read_text()) for name in ("split.json", "about.json"))
    rows = rows_of(text, "Training data")
    assert rows["clips for training"] == [str(len(split["training"]))]
    assert rows["SHA-256 of its content"] == [about["content_digest"]]
    assert rows["persons (groups)"][0].startswith("the file records none")
    trained, held_out = about["clips"]["training"], about["clips"]["held_out"]
    assert sum(trained) == len(split["training"]) and rows["jump"] == [str(trained[1]), str(held_out[1])]
    assert "expected calibration error" in text and "| probability | clips |" in text
    # Folders of this machine are nobody's business.
    assert str(measured.parent) not in text and "/" not in rows["skeleton file"][0]


def test_persons_of_both_parts_are_counted(measured, tmp_path):
    run = tmp_path / "mine"
    shutil.copytree(measured, run)
    about = json.loads((run / "about.json").read_text())
    about["groups"] = {"training": 6, "held_out": 2, "both": 1}
    (run / "about.json").write_text(json.dumps(about))
    _, text = parts_of(skelpipe("card", run))
    assert rows_of(text, "Training data")["persons (groups)"] == ["6 in training, 2 held out, 1 of them in both"]
    assert "It was trained on 6 people or groups." in text


def test_accuracy_of_weights_before_further_training_is_not_that_of_the_run(measured, tmp_path):
    run = tmp_path / "mine"
    shutil.copytree(measured, run)
    (path,) = run.glob("evaluation/*/evaluation.json")
    result = json.loads(path.read_text())
    assert result["sha256"] == sha256_of(run / "best.safetensors")
    old = {key: value for key, value in result.items() if key != "sha256"}
    # Of other weights after as many epochs; and without a digest, as earlier versions wrote it, of another epoch.
    for changed in (result | {"sha256": "of other weights"}, old | {"epoch": result["epoch"] + 1}):
        path.write_text(json.dumps(changed))
        front, text = parts_of(skelpipe("card", run))
        assert "model-index" not in front and "## Accuracy\n\nNot measured." in text
    # The digest decides, not the place where the weights were, and not the epoch.
    for changed in (result | {"run": "elsewhere/other.safetensors", "epoch": 99}, old):
        path.write_text(json.dumps(changed))
        assert "model-index" in parts_of(skelpipe("card", run))[0]


def test_robustness_is_that_of_these_weights(measured, tmp_path):
    condition = {"method": "mine", "other": "", "spread": 0, "drop_low": -0.3, "drop_high": -0.1}
    results = {
        "runs": [{"method": "mine", "sha256": sha256_of(measured / "best.safetensors")}],
        "data": [{"name": "made", "clips": 12}],
        "split": "one_test",
        "conditions": [
            condition | {"family": "clean", "level": None, "top1": 0.9},
            condition | {"family": "joints", "level": 0.2, "top1": 0.7},
            condition | {"family": "joints", "level": 0.4, "top1": 0.5, "drop_low": None},
            condition | {"family": "joints", "level": 0.4, "top1": 0.1, "method": "other"},
        ],
    }
    (tmp_path / "robustness.json").write_text(json.dumps(results))
    _, text = parts_of(skelpipe("card", measured, "--robustness", tmp_path))
    assert "Top-1 on 12 clips of made, one_test; undamaged: 90.0%." in text
    (row,) = [cells for title, cells in rows_of(text, "Robustness").items() if title not in ("damage", "---")]
    assert row == ["0.2: 70.0% (-30.0% to -10.0%); 0.4: 50.0%"]
    results["runs"][0]["sha256"] = "of other weights"
    (tmp_path / "robustness.json").write_text(json.dumps(results))
    assert "Not measured. To measure it: `skelpipe robustness runs/mine`" in skelpipe(
        "card", measured, "--robustness", tmp_path
    )


def test_what_was_not_measured_is_named_with_the_command(own_run, tmp_path):
    copy = tmp_path / "mine" / "best.safetensors"
    copy.parent.mkdir()
    shutil.copy(own_run[0] / "best.safetensors", copy)
    assert skelpipe("card", copy, "--out", tmp_path / "README.md") == f"{tmp_path / 'README.md'}\n"
    front, text = parts_of((tmp_path / "README.md").read_text())
    assert "model-index" not in front
    assert "Not measured. To measure it: `skelpipe evaluate runs/mine --data FILE`" in text
    assert rows_of(text, "Training data")["persons (groups)"] == ["not recorded"]


def test_the_card_of_the_package_s_recognizer_has_its_accuracy_on_people_that_it_was_not_trained_on():
    front, text = parts_of(skelpipe("card", "everyday", "--license", "other"))
    assert front["license"] == "other"
    shipped = (FOLDER / "everyday.md").read_text(encoding="utf-8").strip()
    facts = read_described(FOLDER / "everyday.safetensors")
    assert text.startswith(f"\n{shipped}\n\n## Use\n\n```bash\n") and "Not measured" not in text
    assert f"A recognizer of {len(facts['label_names'])} actions" in text
    assert all(source["sha256"] in text for source in facts["sources"])
    rows = rows_of(text, "Accuracy on people that it was not trained on")
    assert {*facts["label_names"], "expected calibration error"} <= rows.keys()
    use = text.split("\n## Use\n", 1)[1].split("\n## ", 1)[0]
    assert "skelpipe predict clip.mp4 --run everyday" in use
    assert rows_of(text, "Pose estimation")["pose estimator"] == [facts["estimator"]]


def test_the_card_of_initial_weights_says_how_to_train_with_them():
    _, text = parts_of(skelpipe("card", "base"))
    use = text.split("\n## Use\n", 1)[1].split("\n## ", 1)[0]
    assert "skelpipe train --init base" in use and "predict" not in use
    # They come from no estimator.
    assert "## Pose estimation" not in text


def test_the_card_of_the_package_s_recognizer_has_what_the_user_measured(own_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = pickle.loads(own_run[1].read_bytes())
    Path("made.pkl").write_bytes(pickle.dumps(made | {"label_names": ["walk", "run", "skip"]}))
    skelpipe("evaluate", "everyday", "--data", "made.pkl", "--no-figures", "--device", "cpu", "--backend", "torch")
    # Not in the installed package, which may be read-only.
    assert (tmp_path / "runs" / "everyday" / "evaluation").is_dir()
    _, text = parts_of(skelpipe("card", "everyday"))
    shipped = (FOLDER / "everyday.md").read_text(encoding="utf-8").strip()
    assert "## Accuracy on made, one_test" in text and "## Calibration" in text and shipped in text
