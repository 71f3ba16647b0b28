"""The `skelpipe` command. Every function here is thin: it checks words, and calls the use case that bears its name.

Nothing heavy is imported until a command runs: `skelpipe --help` loads neither torch nor OpenMMLab.
"""

import importlib.metadata
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pipeline.evaluate_command import evaluate
from pipeline.predict_command import predict
from pipeline.pretrain_command import pretrain
from pipeline.robustness_command import robustness
from pipeline.sweep_command import sweep
from pipeline.train_command import TrainCommand, train
from pose_extraction.errors import SkelpipeError, UsageError

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130
# Commands that keep what is done. (Training tells for itself, from its first step on.)
RESUMING = ("extract", "robustness", "sweep")


class _Commands(TyperGroup):
    """All commands; turns errors into one line and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        # Wrong options are the library's to tell, with status 2. What is caught here is ours.
        try:
            with _terminated_as_interrupted():
                return super().invoke(ctx)
        except UsageError as error:
            _tell(error)
            raise typer.Exit(WRONG_USAGE) from error
        except BrokenPipeError:
            # Whoever read the output has had enough of it; what is flushed at the end goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILED) from None
        except (SkelpipeError, OSError) as error:
            _tell(error)
            raise typer.Exit(FAILED) from error
        except KeyboardInterrupt:
            then = "goes on where this one stopped" if ctx.invoked_subcommand in RESUMING else "begins anew"
            typer.echo(f"interrupted; the same command {then}", err=True)
            raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """A cluster's SIGTERM ends a command as Ctrl-C does, with nothing half-written left."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # Python delivers signals to the main thread alone.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


app = typer.Typer(
    name="skelpipe",
    cls=_Commands,
    help="From RGB video to tracked COCO-17 skeletons, and from skeletons to actions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"skelpipe {importlib.metadata.version('skelpipe')}")
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Say more; with a traceback when something fails.", show_default="no")
    ] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s" if verbose else "%(levelname)s: %(message)s",
    )


def _use_config(context: typer.Context, name: str | None) -> str | None:
    """Makes a config's values the defaults of the other options, so that the command line still has the last word."""
    if name is not None:
        from pipeline.settings import read_config

        context.default_map = {**(context.default_map or {}), **read_config(name)}
    return name


@app.command()
def extract(
    context: typer.Context,
    videos: Annotated[
        list[str], typer.Argument(metavar="VIDEO|FOLDER|GLOB...", help="A folder of images is a video, too.")
    ],
    estimator: Annotated[
        str, typer.Option(metavar="NAME|FILE.onnx", help="Pose estimator; see `skelpipe models`.")
    ] = "vitpose",
    detector: Annotated[
        str, typer.Option(metavar="NAME|FILE.onnx", help="Person detector; see `skelpipe models`.")
    ] = "rtmdet",
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of results.")] = Path("skeletons"),
    labels: Annotated[
        str,
        typer.Option(
            metavar="auto|none|FILE.csv",
            help="Labels: auto takes NTU names, or else the folder above a clip; a CSV has file, label, and, if "
            "wanted, split, group, start, end.",
        ),
    ] = "auto",
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Weights in place of the official ones; seed:N for random ones, to try things.",
            show_default="official",
        ),
    ] = None,
    detector_checkpoint: Annotated[
        str | None, typer.Option(metavar="FILE", help="The same for the detector.", show_default="official")
    ] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda:0,1", help="Several GPUs share the videos.")] = "auto",
    backend: Annotated[str, typer.Option(metavar="auto|torch|openvino|onnxruntime", help="What runs the networks.")] = (
        "auto"
    ),
    precision: Annotated[
        str,
        typer.Option(
            metavar="auto|fp32|bf16|fp16", help="Auto is bf16 where the processor has it, fp32 for detectors."
        ),
    ] = "auto",
    batch_size: Annotated[
        str, typer.Option(metavar="auto|N", help="Persons, or frames of openpifpaf, at once.")
    ] = "auto",
    detect_every: Annotated[
        str, typer.Option(metavar="auto|N", help="Detect in every N-th frame; auto: about every 0.1 s.")
    ] = "auto",
    detection_threshold: Annotated[
        str,
        typer.Option(
            metavar="auto|SCORE", help="Boxes with a lower score are not persons; auto: the detector's own, mostly 0.3."
        ),
    ] = "auto",
    square_input: Annotated[
        bool, typer.Option("--square-input/--oblong-input", help="Detect on the published square input, or on less.")
    ] = False,
    flip_test: Annotated[
        bool, typer.Option("--flip-test/--no-flip-test", help="Average with the mirrored picture: half as fast.")
    ] = False,
    max_persons: Annotated[int, typer.Option(min=1, help="Persons of a clip to keep, the most relevant first.")] = 10,
    persons: Annotated[
        int | None,
        typer.Option(min=1, help="Persons expected in each frame, for the statistics.", show_default="unknown"),
    ] = None,
    smooth: Annotated[bool, typer.Option("--smooth/--no-smooth", help="Smooth the tracks (Savitzky-Golay).")] = False,
    stride: Annotated[int, typer.Option(min=1, help="Take every N-th frame.")] = 1,
    start: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Begin there.", show_default="beginning")
    ] = None,
    end: Annotated[float | None, typer.Option(metavar="SECONDS", help="End there.", show_default="end")] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Write a video with the skeletons drawn on it.", show_default="no")
    ] = False,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Do the I-th of N shares only.", show_default="all")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Do at most so many videos.", show_default="all")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do again what is done.", show_default="no")] = False,
    workers: Annotated[
        str, typer.Option(metavar="auto|N", help="Videos decoded at the same time on a device.")
    ] = "auto",
    config: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.yaml",
            is_eager=True,
            callback=_use_config,
            help="Defaults for these options, such as extract/accurate.",
            show_default="none",
        ),
    ] = None,
) -> None:
    """Extract tracked, cleaned COCO-17 skeletons from videos."""
    from rich.console import Console

    from pipeline.extract import Share, parse_shard
    from pipeline.extract import extract as extract_videos
    from pipeline.settings import ExtractSettings, parse_settings

    given: dict[str, Any] = {name: context.params[name] for name in ExtractSettings.model_fields}
    for name in ("batch_size", "detect_every", "workers"):
        given[name] = int(given[name]) if str(given[name]).lstrip("-").isdecimal() else given[name]
    settings = parse_settings(given, place="the command line")
    console = Console(stderr=True)
    report = extract_videos(
        videos,
        out,
        settings=settings,
        labels=labels,
        share=Share(parse_shard(shard) if shard is not None else None, limit, overwrite),
        console=console,
    )
    rate = f", {report.frames_per_second:.1f} frames/s" if report.done else ""
    console.print(f"{report.done} extracted, {report.skipped} done before, {len(report.failed)} failed{rate}")
    typer.echo(str(report.data_set or report.folder))
    if report.failed:
        raise typer.Exit(FAILED)


@app.command()
def merge(
    paths: Annotated[list[Path], typer.Argument(help="Folders of skeleton files, such as skeletons/vitpose.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The data set to write.", show_default="FOLDER.pkl")
    ] = None,
) -> None:
    """Merge skeleton files, of all shards of a run, into one data set."""
    from pipeline.merging import merge as merge_files

    merged = merge_files(paths, out)
    for _path, reason in merged.damaged:
        typer.echo(f"left out: {reason}", err=True)
    typer.echo(f"{merged.clips} clips of {merged.files} files", err=True)
    typer.echo(str(merged.path))
    if merged.damaged:
        raise typer.Exit(FAILED)


@app.command()
def label(
    skeletons: Annotated[Path, typer.Argument(metavar="SKELETONS.pkl")],
    labels: Annotated[Path, typer.Option(metavar="FILE.csv", help="file, label, and if wanted split, group.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there.", show_default="in place")] = None,
) -> None:
    """Change labels, splits and groups of a data set without extracting again."""
    from pipeline.relabel import relabel

    report = relabel(skeletons, labels, out)
    for line in (*report.warnings, *(f"the table lists no clip for {clip}" for clip in report.unmatched)):
        typer.echo(f"warning: {line}", err=True)
    for line in report.unused:
        typer.echo(f"warning: {labels}, {line}: fits no clip", err=True)
    typer.echo(f"{report.matched} clips changed, {len(report.unmatched)} left as they were", err=True)
    typer.echo(str(report.path))


@app.command()
def convert(
    kind: Annotated[str, typer.Argument(metavar="ntu|pkummd")],
    folder: Annotated[Path, typer.Argument(help="Folder with the data set's text files.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The skeleton file.", show_default="skeletons/KIND.pkl")
    ] = None,
    untrimmed: Annotated[
        bool, typer.Option("--untrimmed", help="Whole videos of PKU-MMD, with their actions.", show_default="no")
    ] = False,
    keep_incomplete: Annotated[
        bool,
        typer.Option("--keep-incomplete", help="Also clips that NTU's authors list as incomplete.", show_default="no"),
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out malformed files, and say how many.", show_default="no")
    ] = False,
) -> None:
    """Make a skeleton file of NTU RGB+D's or PKU-MMD's 3D text files."""
    from pipeline.kinect import convert as convert_files

    converted = convert_files(
        kind,
        folder,
        out or Path("skeletons") / f"{kind}.pkl",
        untrimmed=untrimmed,
        keep_incomplete=keep_incomplete,
        skip_bad=skip_bad,
    )
    for note in converted.notes:
        typer.echo(note, err=True)
    left_out = converted.left_out
    malformed = f", {len(left_out)} left out; the first: {left_out[0]}" if left_out else ""
    typer.echo(f"{converted.clips} clips{malformed}", err=True)
    typer.echo(str(converted.path))


@app.command()
def stats(
    paths: Annotated[list[Path], typer.Argument(metavar="SKELETONS.pkl...")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.", show_default="no")] = False,
) -> None:
    """Missing keypoints and people, tracks, identity switches and jitter, before and after cleaning."""
    from rich.console import Console

    from pipeline import statistics

    rows = statistics.statistics_of(paths)
    if as_json:
        typer.echo(statistics.as_json(rows))
    else:
        statistics.print_table(rows, Console())


app.command(cls=TrainCommand)(pretrain)
app.command(cls=TrainCommand)(train)
app.command()(evaluate)
app.command()(predict)
app.command()(robustness)
app.command()(sweep)


@app.command()
def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.", show_default="no")] = False) -> None:
    """List the networks that can be named, how good they are, and which weights are on this machine."""
    from pipeline.models import models as list_models

    list_models(as_json=as_json)


@app.command()
def info(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.", show_default="no")] = False) -> None:
    """Print versions, devices, and what is usable here and why not: what a bug report needs."""
    from pipeline.info import info as print_info

    print_info(as_json=as_json)


def main() -> None:
    """Runs the command; the exit status is 1 if anything failed, 2 for wrong usage, 130 when interrupted."""
    app(prog_name="skelpipe")


def _tell(error: Exception) -> None:
    logging.getLogger("skelpipe").info("failed", exc_info=error)
    typer.echo(f"error: {error}", err=True)


if __name__ == "__main__":
    main()
