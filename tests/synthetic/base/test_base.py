"""Base weights: their clips, the chain from one command to a file of a package, and training that starts from it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.train.settings import train_settings
from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.formats.pickle_writing import write_pickle
from recognition import packed, runs
from recognition.data.class_names import pair_of
from recognition.data.clips import open_clips
from recognition.data.dataset import SkeletonDataset, collate
from recognition.training.initialising import initialise
from recognition.training.preparation import prepare
from recognition.training.sizing import recognizer_of
from synthetic.base.__main__ import main
from synthetic.base.data import Source, base_set
from synthetic.base.shipping import ship
from synthetic.base.words import command_of
from synthetic.motions.actions import actions_of
from synthetic.motions.clips import make_clip, motion_set

SMALL = ("training.phase1_epochs=1", "training.phase2_epochs=1", "model.dim=16", "model.depth=1", "model.heads=2")


def real_file(path: Path) -> Path:
    data = motion_set(4, 12, seed=3)
    names = data["split"]["train"]
    write_pickle(path, data | {"split": {"train": names[:8], "test": names[8:]}})
    return path


def test_only_training_clips_are_added_as_classes_of_their_own(tmp_path: Path) -> None:
    data, sources = base_set({"other": real_file(tmp_path / "other.pkl")}, classes=10, clips=20, seed=0)
    assert len(data["annotations"]) == 28 and len(data["label_names"]) == 14
    assert [source.clips for source in sources] == [20, 8] and sources[1].sha256
    added = [annotation for annotation in data["annotations"] if annotation["frame_dir"].startswith("other/")]
    assert {data["label_names"][one["label"]].split("/")[0] for one in added} == {"other"}
    assert {one["frame_dir"] for one in added} == {f"other/motion_3_{number:06d}" for number in range(8)}


def test_impossible_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to train on"):
        base_set({}, classes=0, clips=10, seed=0)
    path = tmp_path / "other.pkl"
    write_pickle(path, motion_set(4, 12) | {"split": {"fold1": []}})
    with pytest.raises(UsageError, match=r"no split 'train'.*fold1"):
        base_set({"other": path}, classes=0, clips=0, seed=0)


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    words = ["custom", *SMALL, "data.descriptors=false", "data.workers=0", "--classes", "8", "--clips", "32"]
    words += ["--out", str(folder), "--real", f"other={real_file(folder / 'r.pkl')}"]
    monkeypatch.setattr(sys, "argv", ["base", *words])
    main()
    return folder / "run"


@pytest.mark.slow
def test_weights_travel_from_one_command_to_the_start_of_another_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    run = trained(tmp_path / "work", monkeypatch)
    path = ship(run, "tiny", [Source("synthetic motions", 32, 8, None)], "the command", folder=tmp_path)
    content = json.loads(path.with_suffix(".json").read_text())
    assert len(content["label_names"]) == 12 and content["settings"]["data"]["file"] == "auto"
    assert str(tmp_path) not in path.with_suffix(".json").read_text()
    assert "the command" in path.with_suffix(".md").read_text()

    monkeypatch.setattr(packed, "FOLDER", tmp_path)
    shipped, original = runs.load_run("tiny"), runs.load_run(run, "last")
    for name, tensor in original.recognizer.state_dict().items():
        torch.testing.assert_close(shipped.recognizer.state_dict()[name], tensor, rtol=2e-3, atol=1e-4)
    # A run that starts from the weights takes over their sizes, and all of them except the last layer.
    clips = tmp_path / "few.pkl"
    write_pickle(clips, motion_set(3, 9, seed=4))
    prepared = prepare(train_settings(["custom"], {"init": "tiny", "data.file": str(clips), "data.holdout": 0.0}))
    assert prepared.settings.model.dim == 16 and Path(prepared.settings.init or "") == path
    recognizer = recognizer_of(prepared)
    initialise(recognizer, "tiny", label_names=prepared.clips.label_names, dimensions=2)
    assert recognizer.head.fc2.out_features == 3
    for name, tensor in shipped.recognizer.backbone.state_dict().items():
        assert torch.equal(recognizer.backbone.state_dict()[name], tensor)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    content = {"model": {"recognizer.a": torch.arange(6.0).reshape(2, 3), "prototypes": torch.ones(2)}, "epoch": 3}
    path = tmp_path / "net.safetensors"
    packed.write_packed(path, content, prefix="recognizer.")
    found = packed.read_packed(path)
    assert found["epoch"] == 3 and list(found["model"]) == ["recognizer.a"]
    np.testing.assert_array_equal(found["model"]["recognizer.a"], content["model"]["recognizer.a"])
    packed.write_packed(tmp_path / "other.safetensors", content | {"epoch": 4, "model": {}}, prefix="recognizer.")
    (tmp_path / "other.json").replace(path.with_suffix(".json"))
    with pytest.raises(WeightsError, match=r"net\.safetensors: does not belong to net\.json"):
        packed.read_packed(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(WeightsError, match=r"net\.json: cannot be read"):
        packed.read_packed(path)


def test_names_outside_the_package_are_paths() -> None:
    assert packed.shipped("../runs") is None and packed.shipped("") is None and packed.shipped("no such name") is None


def test_the_shipped_base_was_trained_as_its_card_says() -> None:
    trained = runs.load_run("base")
    card = trained.path.with_suffix(".md").read_text(encoding="utf-8")
    content = runs.load(trained.path)
    assert trained.path.stat().st_size < 8_000_000
    for source in content["sources"]:
        assert f"| {source['name']} | {source['clips']} | {source['classes']} |" in card
    assert f"`{content['command']}`" in card
    # The default network of `skelpipe train`, which therefore can start from it.
    assert trained.settings.model.backbone == "segments" and trained.settings.model.relative is True
    assert trained.layout == "coco17" and trained.dimensions == 2


def test_the_shipped_base_knows_the_synthetic_actions(tmp_path: Path) -> None:
    """New clips of the actions that it was trained on; chance is a third of a percent."""
    trained = runs.load_run("base")
    actions = actions_of(300, 0)
    assert [action.name for action in actions] == list(trained.label_names)
    chosen = range(0, 300, 5)
    clips = [make_clip(actions[label], 10_000 + label) | {"label": label} for label in chosen]
    data = {"split": {}, "annotations": clips, "label_names": list(trained.label_names)}
    write_pickle(tmp_path / "new.pkl", data)
    opened = open_clips(tmp_path / "new.pkl", trained.settings.data)
    dataset = SkeletonDataset(opened, np.arange(len(opened)), trained.settings.data, train=False)
    with torch.inference_mode():
        logits = trained.recognizer(collate([dataset[place] for place in range(len(dataset))]))
    assert (logits.argmax(-1).numpy() == opened.labels).mean() > 0.3


def test_the_recorded_command_names_no_folder_of_this_machine() -> None:
    words = ["custom", "--real", "penn=/data/penn.pkl", "--real=a=/data/a.pkl", "--out", "/runs/base", "runs/x", "lr=1"]
    assert command_of("synthetic.base", words) == (
        "python -m synthetic.base custom --real penn=penn.pkl --real=a=a.pkl --out base runs/x lr=1"
    )
    with pytest.raises(UsageError, match=r"--real penn: must have the form NAME=VALUE, such as penn=penn_action.pkl"):
        pair_of("--real", "penn", example="penn=penn_action.pkl")
