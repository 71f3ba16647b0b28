"""`skelpipe train` and `skelpipe pretrain`: the options that both have, and what both do with them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pipeline.commands.help_pages import INPUT, OUTPUT, SETTINGS, SPEED
from pipeline.commands.resume import run_to_resume
from pipeline.exit_codes import INTERRUPTED

if TYPE_CHECKING:
    from recognition.pretraining.settings import PretrainSettings
    from recognition.settings import RunSettings

DataFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Skeleton file (data.file).",
        show_default="newest in skeletons/",
        rich_help_panel=INPUT,
    ),
]

TrainSplit = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Training split (data.train_split); all: every clip.",
        show_default="train",
        rich_help_panel=INPUT,
    ),
]

BatchOfClips = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Clips per step, over all processes.",
        show_default="from the config",
        rich_help_panel=SETTINGS,
    ),
]

Seed = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help="Random seed.", show_default="from the config", rich_help_panel=SETTINGS),
]

TrainingDevice = Annotated[
    str | None,
    typer.Option(metavar="auto|cpu|cuda:0,1", help="Devices to train on.", show_default="auto", rich_help_panel=SPEED),
]

TrainingPrecision = Annotated[
    str | None,
    typer.Option(
        metavar="auto|fp32|bf16",
        help="Compute precision; weights stay in fp32.",
        show_default="auto",
        rich_help_panel=SPEED,
    ),
]

Resume = Annotated[
    str | None,
    typer.Option(
        metavar="[RUN]",
        help="Continue a run; without RUN: --out, or the newest.",
        show_default="no",
        rich_help_panel=OUTPUT,
    ),
]

DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print settings, size and costs of the run, then exit.",
        show_default="no",
        rich_help_panel=OUTPUT,
    ),
]


Settings = TypeVar("Settings", "RunSettings", "PretrainSettings")
Options = Mapping[str, Any]


def settings_and_run(
    words: list[str] | None,
    options: Options,
    *,
    out: Path | None,
    resume: str | None,
    new: Callable[[Sequence[str], Options], Settings],
    resumed: Callable[[Path, Sequence[str], Options], Settings],
) -> tuple[Settings, Path | None]:
    """Resolves the settings, and finds the run to resume. Loads torch only to resume a run.

    Args:
        words: Positional arguments: optionally a config, and `key=value` pairs.
        options: Values of the other options by name of the setting; None for options that were not given.
        out: Value of `--out`.
        resume: Value of `--resume`.
        new: Returns the settings of a new run.
        resumed: Returns the settings of the run to resume.

    Raises:
        SkelpipeError: A setting is wrong, or a file does not exist.
    """
    from pipeline.train.settings import check_files

    options = {**options, "out": str(out) if out is not None else None}
    if resume is not None:
        run = run_to_resume(resume, out)
        return resumed(run, words or [], options), run
    settings = new(words or [], options)
    check_files(settings)
    return settings, None


def train_to_end(train: Callable[..., Path], settings: "RunSettings | PretrainSettings", run: Path | None) -> None:
    """Trains, and prints the run directory.

    Args:
        train: Starts or resumes a run; called with the settings, `resume` and `show`.
        settings: Settings of the run.
        run: Run directory of a run to resume.
    """
    from recognition.engine.training_run import TrainingStopped

    try:
        folder = train(settings, resume=run, show=True)
    except TrainingStopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(str(folder))
