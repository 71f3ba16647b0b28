"""`skelpipe train`: turns options into settings and trains a recognizer."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.help_pages import NETWORKS, OUTPUT, SETTINGS, SPEED
from pipeline.commands.options import SkipBad
from pipeline.commands.sharing.runs import pinned
from pipeline.commands.training import (
    BatchOfClips,
    DataFile,
    DryRun,
    Resume,
    Seed,
    TrainingDevice,
    TrainingPrecision,
    TrainSplit,
    settings_and_run,
    train_to_end,
)
from pose_extraction.engines.torch_extra import require_torch

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG] [KEY=VALUE]...",
        help="Config (name or path), and settings such as training.phase1_epochs=30. The section may "
        "be omitted if the key is unique.",
        show_default="custom",
        rich_help_panel=SETTINGS,
    ),
]

Out = Annotated[
    Path | None,
    typer.Option(metavar="runs/NAME", help="Run directory.", show_default="runs/DATA-BACKBONE", rich_help_panel=OUTPUT),
]

Init = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|RUN",
        help="Initial weights: a run, also on a hub (its classes may differ), a file of MotionBERT, or those of the "
        "package: base, everyday.",
        show_default="from the config; custom: base weights",
        rich_help_panel=NETWORKS,
    ),
]

Devices = Annotated[
    str | None,
    typer.Option(
        metavar="auto|N",
        help="Number of processes; they share each batch.",
        show_default="those of --device, or 1",
        rich_help_panel=SPEED,
    ),
]

Nodes = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Number of machines, each started with torchrun or srun.",
        show_default="1",
        rich_help_panel=SPEED,
    ),
]


def train(
    words: Words = None,
    data: DataFile = None,
    split: TrainSplit = None,
    out: Out = None,
    resume: Resume = None,
    init: Init = None,
    device: TrainingDevice = None,
    devices: Devices = None,
    nodes: Nodes = None,
    precision: TrainingPrecision = None,
    batch_size: BatchOfClips = None,
    seed: Seed = None,
    skip_bad: SkipBad = False,
    dry_run: DryRun = False,
) -> None:
    """Train an action recognizer on a skeleton file."""
    require_torch("skelpipe train")
    from pipeline.train.settings import resumed_train_settings, train_settings

    options = {
        "init": pinned(init),
        "data.file": data,
        "data.train_split": split,
        "data.skip_bad": skip_bad or None,
        "training.device": device,
        "training.devices": int(devices) if devices is not None and devices.isdecimal() else devices,
        "training.nodes": nodes,
        "training.precision": precision,
        "training.batch_size": batch_size,
        "training.seed": seed,
    }
    settings, run = settings_and_run(
        words, options, out=out, resume=resume, new=train_settings, resumed=resumed_train_settings
    )
    # Only now, because these load torch.
    from pipeline.train.recognizer import dry_run as describe
    from recognition.training.run import train as train_recognizer

    if dry_run:
        describe(settings, resume=run)
    else:
        train_to_end(train_recognizer, settings, run)
