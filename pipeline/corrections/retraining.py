"""Training on corrections: a run that starts from the current one, and the comparison of both."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config import changed, parse
from pipeline.corrections.comparison import Comparison, compare
from pipeline.corrections.lessons import HELD_OUT, TRAINING, CorrectedVideo, Lessons, lessons_of
from pipeline.corrections.progress import COMPARISON, DATA, RUN, TABLE
from pipeline.inputs.label_table import table_as_csv
from pose_extraction.engines.torch_extra import require_torch
from pose_extraction.errors import UsageError
from pose_extraction.files import atomic_write
from pose_extraction.formats.pickle_writing import write_pickle
from recognition import run_names, runs
from recognition.settings import RunSettings

if TYPE_CHECKING:
    from recognition.runs import Trained

# Epochs of a retraining, and its learning rates relative to those of the earlier run: its weights are to change little.
EPOCHS, RATE = 8, 0.3
# Sections whose settings may differ (others name files), and settings of these that belong to the machine.
SECTIONS, OF_MACHINE = ("training", "maskclr"), ("device", "devices", "nodes", "compile")


@dataclass(frozen=True)
class Retraining:
    """What to retrain.

    Args:
        base: Run to start from: a directory, a file of weights, or the name of weights of the package.
        out: Folder of the retraining.
        videos: The corrected videos.
        settings: Settings of the training that differ, by name, such as {"training.phase1_epochs": 20}.
        device: Device to train on.
    """

    base: str
    out: Path
    videos: tuple[CorrectedVideo, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"


def check_retraining(request: Retraining) -> None:
    """Check what can be checked without loading the run; takes milliseconds.

    Raises:
        UsageError: No segment was corrected, two videos have one name, or a setting is unknown or may not be changed.
        WeightsError: There is no such run, or it is an exported recognizer.
        BackendError: torch is not installed.
    """
    runs.run_file(request.base)
    require_torch("training on corrections")
    if not any(video.corrections.lessons for video in request.videos):
        raise UsageError(
            "there is nothing to learn from: no segment of these videos is reviewed or corrected and has a label; "
            "review some segments first"
        )
    names = [video.name for video in request.videos]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two videos are called {twice!r}; give each its own name")
    for key in request.settings:
        section, _, name = key.rpartition(".")
        if section not in SECTIONS or name in OF_MACHINE:
            raise UsageError(
                f"settings: {key!r} cannot be set for a retraining; those of {' and '.join(SECTIONS)} can, such as "
                "training.phase1_epochs"
            )
    # Unknown names, and values of the wrong type.
    parse(changed({}, [], request.settings, RunSettings), RunSettings, place="settings")


def retrain(request: Retraining) -> Comparison:
    """Train a run on corrections, and compare it with the one that it starts from.

    Run it in a process of its own. `request.out` then contains the data set (`skeletons.pkl`), the corrections as a
    label table (`labels.csv`), the run (`run/`) and the comparison (`comparison.json`).

    Args:
        request: What to retrain.

    Raises:
        UsageError: As in `check_retraining`, or a setting contradicts the data.
        WeightsError: The run cannot be read.
        AnnotationError: A skeleton file is malformed, or corrections do not fit it.
        TrainingError: The loss is not finite, or memory ran out.
    """
    check_retraining(request)
    # Only now, because it loads torch.
    from recognition.training.run import train

    base = runs.load_run(request.base)
    earlier_data = Path(base.settings.data.file)
    lessons = lessons_of(request.videos, base.label_names, earlier_data, run_names.located(request.base))
    request.out.mkdir(parents=True, exist_ok=True)
    write_pickle(request.out / DATA, lessons.data)
    _write_text(request.out / TABLE, table_as_csv(lessons.rows))
    train(settings_of(request, base, lessons))
    comparison = _compared(request, base, lessons)
    _write_text(request.out / COMPARISON, json.dumps(comparison.as_dictionary(), ensure_ascii=False, indent=1))
    return comparison


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())


def settings_of(request: Retraining, base: "Trained", lessons: Lessons) -> RunSettings:
    """Return the settings of the run: those of the earlier one, except for data, epochs and learning rates.

    Raises:
        UsageError: A setting of the request is unknown or invalid.
    """
    training = base.settings.training
    both = training.objective == "maskclr"
    keeps = not lessons.earlier and base.recognizer.movement is not None and base.recognizer.movement.is_fitted
    holds_out = bool(lessons.data["split"].get(HELD_OUT))
    own = {
        "out": str(request.out / RUN),
        "init": str(run_names.located(request.base)),
        "data.file": str(request.out / DATA),
        "data.train_split": TRAINING,
        "data.skip_bad": True,
        "data.group_pattern": None,
        "data.layout": "auto",
        "data.holdout_split": HELD_OUT if holds_out else None,
        "data.holdout": 0.0,
        "training.phase1_epochs": EPOCHS // 2 if both else EPOCHS,
        "training.phase2_epochs": EPOCHS // 2 if both else 0,
        "training.warmup_epochs": 1,
        "training.early_stopping": None,
        "training.head_lr": training.head_lr * RATE,
        "training.keep_descriptors": keeps,
        "training.device": request.device,
        "training.devices": "auto",
        "training.nodes": 1,
        "training.precision": "auto",
    }
    if training.backbone_lr != "auto":
        own["training.backbone_lr"] = training.backbone_lr * RATE
    # "auto" takes the model of the initial weights; its resolved settings would be completed with defaults again.
    values = _overridden(base.settings.model_dump(mode="json"), own) | {"model": "auto"}
    return parse(changed(values, [], request.settings, RunSettings), RunSettings, place="settings")


def _overridden(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings with other values, of which some are None, by dotted name."""
    result = {name: dict(value) if isinstance(value, dict) else value for name, value in values.items()}
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        (result[section] if section else result)[name] = value
    return result


def _compared(request: Retraining, base: "Trained", lessons: Lessons) -> Comparison:
    from pose_extraction.engines.engine import Engine
    from recognition.data.splits import split_indices
    from recognition.inference.skeleton_clips import clips_for

    new = runs.load_run(request.out / RUN)
    clips = clips_for(base, request.out / DATA, skip_bad=True)
    engine = Engine(device=request.device.partition(",")[0])
    held_out = split_indices(clips, HELD_OUT) if HELD_OUT in clips.splits else np.zeros(0, np.int64)
    held_out = held_out[clips.labels[held_out] >= 0]
    corrected = [index for index, whole in enumerate(clips.part_of) if whole in lessons.corrected]
    notes = list(lessons.notes)
    if not len(held_out):
        notes.append("no clips are held out, so it is unknown whether the new run is better on other clips")
    if base.confidence.threshold is not None and new.confidence.threshold is None:
        notes.append(
            "the new run reports no action as unknown, because there are no clips to derive its threshold from; "
            "the setting `threshold` of a job sets a minimum probability instead"
        )
    return Comparison(
        compare(base, new, clips, held_out, engine), compare(base, new, clips, corrected, engine), tuple(notes)
    )
