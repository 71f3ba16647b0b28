"""How far a retraining is, from the files that it writes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# Files and folders of a retraining, below its folder.
DATA, TABLE, RUN, COMPARISON = "skeletons.pkl", "labels.csv", "run", "comparison.json"
# Measures of an epoch that are shown as curves.
CURVES = ("train_loss", "train_top1", "held_out_loss", "held_out_top1", "held_out_mean_class")
# During an epoch, only the network answers. Of a recognizer with a classifier of descriptors, that is the smaller part.
OF_NETWORK = "train_top1"
NETWORK_ONLY = (
    "Training loss is that of the network alone. The recognizer also has a classifier of descriptors, which learned "
    "the segments before the first epoch. So the training accuracy of the network is not that of the recognizer, and "
    "is not shown"
)


@dataclass(frozen=True)
class Progress:
    """State of a retraining.

    Args:
        epochs_done: Number of finished epochs.
        epochs_total: Number of all epochs; None before the training has begun.
        clips: Number of training clips; None before the training has begun.
        curves: [epoch, value] pairs by name of the measure; epochs count from 1.
        comparison: The comparison with the earlier run; None before the end.
        note: What the curves do not show, in one sentence or two; None if they show everything.
    """

    epochs_done: int = 0
    epochs_total: int | None = None
    clips: int | None = None
    curves: Mapping[str, list[list[float]]] | None = None
    comparison: Mapping[str, Any] | None = None
    note: str | None = None

    def as_dictionary(self) -> dict[str, Any]:
        """Return the state for JSON output."""
        return {
            "epochs_done": self.epochs_done,
            "epochs_total": self.epochs_total,
            "clips": self.clips,
            "curves": dict(self.curves or {}),
            "curves_note": self.note,
            "comparison": self.comparison,
        }


def progress_of(folder: Path) -> Progress:
    """Return the state of a retraining.

    Args:
        folder: Its folder, which need not exist yet.
    """
    run = folder / RUN
    if not (run / "settings.yaml").is_file():
        # Written last of what a training writes before its first step.
        return Progress()
    settings = yaml.safe_load((run / "settings.yaml").read_text(encoding="utf-8"))
    training, joined = settings["training"], settings["data"].get("descriptors") is True
    split = json.loads((run / "split.json").read_text(encoding="utf-8"))
    curves: dict[str, list[list[float]]] = {}
    done = 0
    for line in _lines(run / "metrics.jsonl"):
        if line.get("kind") != "epoch":
            continue
        done = max(done, line["epoch"] + 1)
        for name in CURVES:
            if line.get(name) is not None and not (joined and name == OF_NETWORK):
                curves.setdefault(name, []).append([line["epoch"] + 1, line[name]])
    comparison = folder / COMPARISON
    return Progress(
        done,
        training["phase1_epochs"] + training["phase2_epochs"],
        len(split["training"]),
        curves,
        json.loads(comparison.read_text(encoding="utf-8")) if comparison.is_file() else None,
        NETWORK_ONLY if joined and curves else None,
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    """Read a file that grows line by line; its last line may be incomplete."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines if line.strip()]
