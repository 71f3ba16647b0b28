"""`skelpipe pretrain`: turns options into settings and calls `pipeline.train.encoder`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands.help_pages import INPUT, OUTPUT, SETTINGS, SPEED
from pipeline.exit_codes import INTERRUPTED


def pretrain(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG] [KEY=VALUE]...",
            help="Config (name or path), such as pcm3/custom, and settings, such as mamp.ratio=0.8.",
            show_default="mamp/custom",
            rich_help_panel=SETTINGS,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Skeleton file (data.file).",
            show_default="newest of skeletons/*.pkl",
            rich_help_panel=INPUT,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Training split (data.train_split); all: every clip.",
            show_default="train",
            rich_help_panel=INPUT,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="runs/NAME", help="Run directory.", show_default="runs/DATA-METHOD", rich_help_panel=OUTPUT
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="[RUN]",
            help="Continue a run; without RUN: --out, or the newest.",
            show_default="no",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="auto|cpu|cuda:0,1", help="Devices to train on.", show_default="auto", rich_help_panel=SPEED
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="auto|fp32|bf16",
            help="Compute precision; weights stay in fp32.",
            show_default="auto",
            rich_help_panel=SPEED,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Clips per step, over all processes.",
            show_default="from the config",
            rich_help_panel=SETTINGS,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Random seed.", show_default="from the config", rich_help_panel=SETTINGS),
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Skip malformed clips and count them.", show_default="no", rich_help_panel=INPUT
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print settings, size and duration of the run, then exit.",
            show_default="no",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
) -> None:
    """Pre-train an encoder on skeletons without labels (MAMP, PCM3)."""
    from pipeline.commands.resume import run_to_resume
    from pipeline.train.settings import check_files, pretrain_settings, resumed_pretraining

    options: dict[str, Any] = {
        "out": str(out) if out is not None else None,
        "data.file": data,
        "data.train_split": split,
        "data.skip_bad": skip_bad or None,
        "training.device": device,
        "training.precision": precision,
        "training.batch_size": batch_size,
        "training.seed": seed,
    }
    given = words or []
    run = run_to_resume(resume, out) if resume is not None else None
    settings = pretrain_settings(given, options) if run is None else resumed_pretraining(run, given, options)
    if run is None:
        check_files(settings.data)
    # Only now, because these load torch.
    from pipeline.train.encoder import dry_run as describe
    from recognition.engine.training_run import TrainingStopped
    from recognition.pretraining.run import pretrain as pretrain_encoder

    if dry_run:
        describe(settings, resume=run)
        return
    try:
        folder = pretrain_encoder(settings, resume=run, show=True)
    except TrainingStopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(str(folder))
