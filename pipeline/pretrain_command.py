"""`skelpipe pretrain`: words into settings, and the call of `pipeline.pretrain`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.train_command import STOPPED


def pretrain(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG] [KEY=VALUE]...",
            help="A config by name or path, such as pcm3/custom, and single settings, such as mamp.ratio=0.8.",
            show_default="mamp/custom",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Skeleton pickle (data.file).", show_default="newest of skeletons/*.pkl"),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Split to train on (data.train_split); all: every clip.",
            show_default="the one named train",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="runs/NAME", help="Run directory.", show_default="runs/DATA-METHOD")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="[RUN]",
            help="Go on with a run as if it had never stopped; without a name, that of --out, or the newest.",
            show_default="no",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="auto|cpu|cuda:0,1", help="Where to train.", show_default="auto")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(metavar="auto|fp32|bf16", help="Of the arithmetic, not the weights.", show_default="auto"),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Clips a step, over all processes.", show_default="of the config")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything random.", show_default="of the config")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out malformed clips, and say how many.", show_default="no")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the settings, size and time of the run.", show_default="no")
    ] = False,
) -> None:
    """Pre-train an encoder on skeletons without labels (MAMP, PCM3)."""
    from pipeline.pretrain import dry_run as describe
    from pipeline.pretrain import pretrain_settings, resumed_pretraining
    from pipeline.train import run_to_resume
    from recognition.loop import TrainingStopped
    from recognition.pretraining.training import pretrain as pretrain_encoder

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
    if dry_run:
        describe(settings, resume=run)
        return
    try:
        folder = pretrain_encoder(settings, resume=run, show=True)
    except TrainingStopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(STOPPED) from None
    typer.echo(str(folder))
