"""`skelpipe train`: words into settings, and the call of `pipeline.train`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

# What `--resume` means without a run.
NEWEST = "newest"
STOPPED = 130


class TrainCommand(TyperCommand):
    """Lets `--resume` stand without a run."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = []
        for place, word in enumerate(args):
            words.append(word)
            following = args[place + 1] if place + 1 < len(args) else "-"
            is_setting = "=" in following and not Path(following).exists()
            if word == "--resume" and (following.startswith("-") or is_setting):
                words.append(NEWEST)
        return super().parse_args(ctx, words)


def train(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG] [KEY=VALUE]...",
            help="A config by name or path, and single settings, such as training.phase1_epochs=30; the section may be "
            "left out where no other has that key.",
            show_default="custom",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Skeleton pickle (data.file).", show_default="newest of skeletons/*.pkl"),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Split to train on (data.train_split).", show_default="the one named train"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="runs/NAME", help="Run directory.", show_default="runs/DATA-BACKBONE")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="[RUN]",
            help="Go on with a run as if it had never stopped; without a name, that of --out, or the newest.",
            show_default="no",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|RUN",
            help="Start from the weights of a run, on other classes too, or of MotionBERT.",
            show_default="random weights",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="auto|cpu|cuda:0,1", help="Where to train.", show_default="auto")
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            metavar="auto|N", help="Processes, which share each batch.", show_default="those of --device, or 1"
        ),
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="Machines, each started with torchrun or srun.", show_default="1")
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
        bool,
        typer.Option("--dry-run", help="Print the settings, size, memory and time of the run.", show_default="no"),
    ] = False,
) -> None:
    """Train a recognizer on a skeleton pickle."""
    from pipeline.train import dry_run as describe
    from pipeline.train import resumed_settings, run_to_resume, train_settings
    from recognition.training import TrainingStopped
    from recognition.training import train as train_recognizer

    options: dict[str, Any] = {
        "out": str(out) if out is not None else None,
        "init": init,
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
    run = run_to_resume(resume, out) if resume is not None else None
    given = words or []
    settings = train_settings(given, options) if run is None else resumed_settings(run, given, options)
    if dry_run:
        describe(settings, resume=run)
        return
    try:
        folder = train_recognizer(settings, resume=run, show=True)
    except TrainingStopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(STOPPED) from None
    typer.echo(str(folder))
