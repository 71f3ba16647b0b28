"""`skelpipe pretrain`: turns options into settings and pre-trains an encoder."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.help_pages import OUTPUT, SETTINGS
from pipeline.commands.options import SkipBad
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
        help="Config (name or path), such as pcm3/custom, and settings, such as mamp.ratio=0.8.",
        show_default="mamp/custom",
        rich_help_panel=SETTINGS,
    ),
]

Out = Annotated[
    Path | None,
    typer.Option(metavar="runs/NAME", help="Run directory.", show_default="runs/DATA-METHOD", rich_help_panel=OUTPUT),
]


def pretrain(
    words: Words = None,
    data: DataFile = None,
    split: TrainSplit = None,
    out: Out = None,
    resume: Resume = None,
    device: TrainingDevice = None,
    precision: TrainingPrecision = None,
    batch_size: BatchOfClips = None,
    seed: Seed = None,
    skip_bad: SkipBad = False,
    dry_run: DryRun = False,
) -> None:
    """Pre-train an encoder on skeletons without labels (MAMP, PCM3)."""
    require_torch("skelpipe pretrain")
    from pipeline.train.settings import pretrain_settings, resumed_pretrain_settings

    options = {
        "data.file": data,
        "data.train_split": split,
        "data.skip_bad": skip_bad or None,
        "training.device": device,
        "training.precision": precision,
        "training.batch_size": batch_size,
        "training.seed": seed,
    }
    settings, run = settings_and_run(
        words, options, out=out, resume=resume, new=pretrain_settings, resumed=resumed_pretrain_settings
    )
    # Only now, because these load torch.
    from pipeline.train.encoder import dry_run as describe
    from recognition.pretraining.run import pretrain as pretrain_encoder

    if dry_run:
        describe(settings, resume=run)
    else:
        train_to_end(pretrain_encoder, settings, run)
