"""The recognizer of the package: several data sets become one training, and the card says what the result is worth."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle
from recognition import packed, runs
from synthetic.everyday import __main__ as command
from test_support.clips.made_motions import write_motions

SMALL = ("model.dim=16", "phase1_epochs=1", "phase2_epochs=1", "warmup_epochs=0", "device=cpu", "data.workers=0")


def write_others(path: Path, clips: int) -> Path:
    """Write clips of a movement that no file of motions has: the body falls over and back."""
    data = read_pickle(write_motions(path, clips=clips, seed=7))
    for annotation in data["annotations"]:
        keypoint = annotation["keypoint"].astype(float)
        centre = keypoint.mean(axis=(1, 2), keepdims=True)
        angle = np.pi / 2 * np.sin(np.linspace(0, np.pi, keypoint.shape[1]))
        (x, y), (sin, cos) = np.moveaxis(keypoint - centre, -1, 0), (np.sin(angle), np.cos(angle))
        turned = np.stack([x * cos[:, None] - y * sin[:, None], x * sin[:, None] + y * cos[:, None]], axis=-1)
        annotation["keypoint"] = (turned + centre).astype(np.float32)
    write_pickle(path, data)
    return path


@pytest.mark.slow
def test_the_card_of_a_shipped_recognizer_has_its_accuracy_and_its_answers_to_other_actions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_motions(tmp_path / "first.pkl", clips=36)
    second = write_motions(tmp_path / "second.pkl", clips=36, seed=1, classes=("left arm", "right arm", "swing"))
    others = write_others(tmp_path / "others.pkl", 12)
    words = ["--data", f"one={first}", "--data", f"two={second}", "--call", "swing=sway", "--unknown", f"new={others}"]
    words += ["--out", str(tmp_path / "work"), "--ship", "tiny", *SMALL]
    monkeypatch.setattr(sys, "argv", ["everyday", *words])
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    command.main()

    monkeypatch.setattr(packed, "FOLDER", tmp_path)
    trained = runs.load_run("tiny")
    assert trained.label_names == ("left arm", "right arm", "sway") and trained.estimator == "blazepose"
    described = (tmp_path / "tiny.json").read_text()
    assert [source["file"] for source in json.loads(described)["sources"]] == ["first.pkl", "second.pkl"]
    assert str(tmp_path / "work") not in described.split('"command"')[0]
    card = (tmp_path / "tiny.md").read_text()
    assert "| **all** | 9 of 9 (100.0%) | 9 of 9 (100.0%) |" in card
    row = next(line for line in card.splitlines() if line.startswith("| others |"))
    unknown, names = (cell.strip() for cell in row.strip("|").split("|")[1:])
    wrong = sum(int(part.rpartition(" ")[2]) for part in names.split(", ") if part)
    assert unknown == f"{12 - wrong} of 12" and wrong <= 2


def test_the_command_in_the_shipped_card_names_the_files_of_other_actions() -> None:
    card = (packed.FOLDER / "everyday.md").read_text(encoding="utf-8")
    section = card.split("\n## On actions that it does not know\n", 1)[1].split("\n## ", 1)[0]
    _, _, *rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("|")]
    command, *_ = [line for line in card.splitlines() if line.startswith("- Made with")]
    assert rows and [Path(file).stem for file in re.findall(r"--unknown \w+=(\S+)", command)] == rows
