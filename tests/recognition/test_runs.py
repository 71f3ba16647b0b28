"""Run directories: loading a recognizer, and messages if that is impossible."""

import json
import os
import resource
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError, WeightsError
from recognition import run_file, run_names, runs
from recognition.confidence.confidence import Confidence, fit_confidence
from recognition.confidence.feature_distance import fit_feature_distance
from recognition.data.clips import open_clips
from recognition.data.dataset import SkeletonDataset
from recognition.inference.scores import scores_of
from recognition.settings import RunSettings
from recognition.training.run import train
from test_support.clips.made_motions import CLASSES, write_motions
from test_support.processes.training_driver import small_settings


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    file = write_motions(folder / "motions.pkl", clips=24)
    return train(small_settings(file, folder / "one", "phase1_epochs=1", "phase2_epochs=1"))


def test_run_directory_contains_everything_a_recognizer_needs(run):
    settings = RunSettings.model_validate(yaml.safe_load((run / "settings.yaml").read_text()))
    assert settings.model.dim == 16 and settings.data.model_layout == "coco17"
    assert json.loads((run / "labels.json").read_text()) == list(CLASSES)
    split = json.loads((run / "split.json").read_text())
    assert len(split["training"]) + len(split["held_out"]) == 18
    assert not set(split["training"]) & set(split["held_out"])
    kinds = [json.loads(line)["kind"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert kinds.count("epoch") == 2 and kinds.count("step") > 2
    about = json.loads((run / "about.json").read_text())
    assert (about["layout"], about["estimator"], about["classes"]) == ("coco17", "made", 3)
    assert about["parameters"] == sum(weight.numel() for weight in runs.load_run(run).recognizer.parameters())
    assert about["content_digest"] == run_file.load(run / "last.safetensors")["content_digest"]
    assert list((run / "events").glob("events.out.tfevents.*"))


def test_single_file_is_a_recognizer(run, tmp_path):
    copy = tmp_path / "anything.safetensors"
    copy.write_bytes((run / "best.safetensors").read_bytes())
    trained = runs.load_run(copy)
    assert trained.label_names == CLASSES
    assert (trained.layout, trained.channels, trained.estimator) == ("coco17", 3, "made")
    assert not trained.recognizer.training
    assert set(trained.held_out) == {"top1", "mean_class", "loss", "clips"}
    content = run_file.load(copy)
    assert "training" not in content and content["version"]
    for name, tensor in trained.recognizer.state_dict().items():
        assert torch.equal(tensor, content["model"][f"recognizer.{name}"])


def test_confidence_is_fitted_on_the_held_out_clips_with_the_final_features(run):
    """Recomputed from the outputs of the finished recognizer for its training clips and its held-out clips."""
    trained = runs.load_run(run)
    clips = open_clips(Path(trained.settings.data.file), trained.settings.data)
    split = json.loads((run / "split.json").read_text())
    known, held_out = (
        scores_of(
            replace(trained, confidence=Confidence()),
            SkeletonDataset(
                clips, np.array([clips.names.index(name) for name in split[part]]), trained.settings.data, train=False
            ),
            Engine("cpu", "torch", "fp32"),
        )
        for part in ("training", "held_out")
    )
    found = trained.confidence
    assert (found.kind, found.clips, found.threshold) == ("combined", len(split["held_out"]), None)
    expected = fit_confidence(
        np.log(held_out.probabilities.astype(np.float64)),
        held_out.labels,
        distance=(distance := fit_feature_distance(known.features, known.labels)),
        distances=distance(held_out.features),
    )
    assert found.temperature == pytest.approx(expected.temperature, rel=1e-3)
    np.testing.assert_allclose(found.distance(known.features), distance(known.features), rtol=1e-2, atol=1e-2)


def test_run_files_without_confidence_predict_as_before(run, tmp_path):
    content = run_file.load(run / "best.safetensors")
    del content["confidence"]
    torch.save(content, tmp_path / "before.pt")
    assert runs.load_run(tmp_path / "before.pt").confidence == Confidence()
    torch.save(content | {"confidence": {"temperature": 1.0}}, tmp_path / "damaged.pt")
    with pytest.raises(WeightsError, match="is incomplete"):
        runs.load_run(tmp_path / "damaged.pt")


def test_run_files_without_the_unseen_setting_embed_unseen_joints(run, tmp_path):
    content = run_file.load(run / "best.safetensors")
    assert content["settings"]["model"].pop("unseen") == "mask_token"
    torch.save(content, tmp_path / "before.pt")
    assert not runs.load_run(tmp_path / "before.pt").recognizer.backbone.unseen_as_masked
    assert runs.load_run(run).recognizer.backbone.unseen_as_masked


def test_run_files_from_before_the_variants_keep_the_alignment_that_they_were_trained_with(run, tmp_path):
    content = run_file.load(run / "best.safetensors")
    content["settings"]["data"]["placement"] = "aligned"
    content["settings"]["pcm3"] = {"stream": "bone"}
    torch.save(content, tmp_path / "after.pt")
    assert runs.load(tmp_path / "after.pt")["settings"]["data"]["placement"] == "aligned"
    del content["settings"]["model"]["variant"]
    torch.save(content, tmp_path / "before.pt")
    settings = runs.load(tmp_path / "before.pt")["settings"]
    assert settings["data"]["placement"] == "upright"
    assert settings["pcm3"] == {"stream": "bone", "bones": "layout", "prompt_start": "zeros"}


def test_last_weights_can_be_loaded(run):
    assert runs.load_run(run, "last").epoch == 2
    assert runs.load_run(str(run)).path == run / "best.safetensors"


def test_newest_run_is_the_one_saved_last(tmp_path):
    for age, name in enumerate(("new", "old")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "last.safetensors").touch()
        os.utime(tmp_path / name / "last.safetensors", (1000 - age, 1000 - age))
    (tmp_path / "unsaved").mkdir()
    assert run_names.newest_run(tmp_path) == tmp_path / "new"
    with pytest.raises(UsageError, match="train one with `skelpipe train`"):
        run_names.newest_run(tmp_path / "none")


def test_full_disk_is_reported(run, tmp_path):
    content = run_file.load(run / "best.safetensors")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A file beyond the limit also raises a signal, which ends the process unless it is handled.
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(OSError, match="File too large"):
            run_file.save(tmp_path / "best.safetensors", content)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


def test_a_mistyped_name_is_answered_with_the_nearest_run(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = "everyday, or only for `skelpipe train --init` base"
    with pytest.raises(WeightsError, match=f"train`, a file of weights, or the name of .* the package: {names}$"):
        runs.load_run("zoo")
    shutil.copytree(run, tmp_path / "runs" / "Fighting")
    with pytest.raises(WeightsError, match=r"^zoo: no such run; pass .* train` \(runs/Fighting\), a file of weights"):
        runs.load_run("zoo")
    for name in ("fighting", "Fightng", "runs/Fightng"):
        with pytest.raises(WeightsError, match=f"^{name}: no such run; did you mean runs/Fighting\\?$"):
            runs.load_run(name)
    with pytest.raises(WeightsError, match=r"^runs/everyda: no such run; did you mean everyday, a recognizer"):
        runs.load_run("runs/everyda")
    with pytest.raises(WeightsError, match=r"^other/Fightng: no such run; pass a directory of `skelpipe train`, or a"):
        runs.load_run("other/Fightng")
    for number in range(5):
        shutil.copytree(run, tmp_path / "runs" / f"{number}")
    with pytest.raises(WeightsError, match="train`, a file of weights"):
        runs.load_run("zoo")


def test_paths_that_are_not_runs_are_refused(run, tmp_path):
    with pytest.raises(WeightsError, match="no such run; pass a directory"):
        runs.load_run(tmp_path / "none")
    with pytest.raises(WeightsError, match=r"does not contain best\.safetensors; nothing was saved yet"):
        runs.load_run(tmp_path)
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="not a run file of this version"):
        runs.load_run(tmp_path / "other.pt")
    (tmp_path / "cut.safetensors").write_bytes((run / "best.safetensors").read_bytes()[:2000])
    with pytest.raises(WeightsError, match=r"cut\.safetensors: not a readable safetensors file"):
        runs.load_run(tmp_path / "cut.safetensors")
    content = run_file.load(run / "best.safetensors")
    del content["label_names"]
    torch.save(content, tmp_path / "less.pt")
    with pytest.raises(WeightsError, match="is incomplete"):
        runs.load_run(tmp_path / "less.pt")
    (tmp_path / "list.pt").unlink(missing_ok=True)
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="contains list, expected a dictionary"):
        runs.load_run(tmp_path / "list.pt")
