"""The `skelpipe` command. Each function is thin: it parses the options and calls the use case of the same name.

Nothing heavy is imported until a command runs: `skelpipe --help` loads neither torch nor OpenMMLab.
"""

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
from pipeline.help_pages import INPUT, NETWORKS, OTHER, OUTPUT, SPEED, TRACKING, HelpCommand, print_help
from pipeline.predict_command import predict
from pipeline.pretrain_command import pretrain
from pipeline.robustness_command import robustness
from pipeline.sweep_command import sweep
from pipeline.train_command import TrainCommand, train
from pose_extraction._version import __version__
from pose_extraction.errors import SkelpipeError, UsageError

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130
# Commands that keep finished work when they are interrupted. (Training reports this itself.)
RESUMING = ("extract", "robustness", "sweep")


class _Commands(TyperGroup):
    """All commands; turns errors into one line and an exit status."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        print_help(self, ctx)

    def invoke(self, ctx: Any) -> Any:
        # Typer itself reports wrong options, with status 2. This handles the errors of the commands.
        try:
            with _terminated_as_interrupted():
                return super().invoke(ctx)
        except UsageError as error:
            _print_error(error)
            raise typer.Exit(WRONG_USAGE) from error
        except BrokenPipeError:
            # The reader closed the pipe; discard what Python flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILED) from None
        except (SkelpipeError, OSError) as error:
            _print_error(error)
            raise typer.Exit(FAILED) from error
        except KeyboardInterrupt:
            then = "continues" if ctx.invoked_subcommand in RESUMING else "starts from scratch"
            typer.echo(f"interrupted; running the same command again {then}", err=True)
            raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Treats SIGTERM, which cluster schedulers send, like Ctrl-C, so that no half-written file remains."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # Python delivers signals to the main thread only.
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
    epilog="skelpipe extract videos/ --smooth\n"
    "skelpipe train custom --data skeletons/vitpose.pkl\n"
    "skelpipe predict clip.mp4 --overlay clip-actions.mp4",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"skelpipe {__version__}")
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="Log more, with a traceback if the command fails.", show_default="no"),
    ] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s" if verbose else "%(levelname)s: %(message)s",
    )


def _use_config(context: typer.Context, name: str | None) -> str | None:
    """Makes the values of a config the defaults of the other options; options on the command line override them."""
    if name is not None:
        from pipeline.settings import read_config

        context.default_map = {**(context.default_map or {}), **read_config(name)}
    return name


def extract(
    context: typer.Context,
    videos: Annotated[
        list[str],
        typer.Argument(
            metavar="VIDEO|FOLDER|GLOB...",
            help="Videos; a folder of images counts as one video.",
            rich_help_panel=INPUT,
        ),
    ],
    estimator: Annotated[
        str,
        typer.Option(metavar="NAME|FILE.onnx", help="Pose estimator; see `skelpipe models`.", rich_help_panel=NETWORKS),
    ] = "vitpose",
    detector: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE.onnx", help="Person detector; see `skelpipe models`.", rich_help_panel=NETWORKS
        ),
    ] = "rtmdet",
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Output folder.", rich_help_panel=OUTPUT)] = Path(
        "skeletons"
    ),
    labels: Annotated[
        str,
        typer.Option(
            metavar="auto|none|FILE.csv",
            help="Labels. auto: NTU file names, else the parent folder. Columns of the CSV: file, label, and "
            "optionally split, group, start, end.",
            rich_help_panel=INPUT,
        ),
    ] = "auto",
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Estimator weights; seed:N: random.",
            show_default="official",
            rich_help_panel=NETWORKS,
        ),
    ] = None,
    detector_checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Detector weights; seed:N: random.",
            show_default="official",
            rich_help_panel=NETWORKS,
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="auto|cpu|cuda:0,1", help="Devices; several GPUs share the videos.", rich_help_panel=SPEED
        ),
    ] = "auto",
    backend: Annotated[
        str,
        typer.Option(metavar="NAME", help="auto, torch, openvino or onnxruntime.", rich_help_panel=SPEED),
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            metavar="auto|fp32|bf16|fp16",
            help="Precision; auto: bf16 if supported, detectors fp32.",
            rich_help_panel=SPEED,
        ),
    ] = "auto",
    batch_size: Annotated[
        str,
        typer.Option(metavar="auto|N", help="Persons (openpifpaf: frames) per batch.", rich_help_panel=SPEED),
    ] = "auto",
    detect_every: Annotated[
        str,
        typer.Option(
            metavar="auto|N",
            help="Detect in every N-th frame; auto: every 0.1 s.",
            rich_help_panel=SPEED,
        ),
    ] = "auto",
    detection_threshold: Annotated[
        str,
        typer.Option(
            metavar="auto|SCORE",
            help="Minimum box score; auto: per detector.",
            rich_help_panel=NETWORKS,
        ),
    ] = "auto",
    square_input: Annotated[
        bool,
        typer.Option(
            "--square-input/--oblong-input",
            help="Shape of the detector's input.",
            show_default="oblong",
            rich_help_panel=NETWORKS,
        ),
    ] = False,
    flip_test: Annotated[
        bool,
        typer.Option(
            "--flip-test/--no-flip-test",
            help="Average with the mirrored image; half as fast.",
            show_default="no",
            rich_help_panel=NETWORKS,
        ),
    ] = False,
    max_persons: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Maximum number of persons per clip, most relevant first.",
            rich_help_panel=TRACKING,
        ),
    ] = 10,
    persons: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Expected persons per frame, for the statistics.",
            show_default="unknown",
            rich_help_panel=TRACKING,
        ),
    ] = None,
    smooth: Annotated[
        bool,
        typer.Option(
            "--smooth/--no-smooth",
            help="Smooth the tracks (Savitzky-Golay).",
            show_default="no",
            rich_help_panel=TRACKING,
        ),
    ] = False,
    stride: Annotated[int, typer.Option(min=1, metavar="N", help="Use every N-th frame.", rich_help_panel=INPUT)] = 1,
    start: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Start time within each video.", show_default="beginning", rich_help_panel=INPUT
        ),
    ] = None,
    end: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="End time within each video.", show_default="end", rich_help_panel=INPUT),
    ] = None,
    overlay: Annotated[
        bool,
        typer.Option(
            "--overlay",
            help="Write a video with the skeletons drawn on it.",
            show_default="no",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Process only the I-th of N shares.", show_default="all", rich_help_panel=INPUT
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Maximum number of videos.", show_default="all", rich_help_panel=INPUT),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace existing results.", show_default="no", rich_help_panel=OUTPUT),
    ] = False,
    workers: Annotated[
        str,
        typer.Option(metavar="auto|N", help="Videos decoded in parallel per device.", rich_help_panel=SPEED),
    ] = "auto",
    config: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.yaml",
            is_eager=True,
            callback=_use_config,
            help="Defaults for these options, such as extract/accurate.",
            show_default="none",
            rich_help_panel=OTHER,
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
    console.print(f"{report.done} extracted, {report.skipped} already done, {len(report.failed)} failed{rate}")
    typer.echo(str(report.data_set or report.folder))
    if report.failed:
        raise typer.Exit(FAILED)


def merge(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER...", help="Folders of skeleton files, such as skeletons/vitpose.", rich_help_panel=INPUT
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Data set to write.", show_default="FOLDER.pkl", rich_help_panel=OUTPUT),
    ] = None,
) -> None:
    """Merge skeleton files, such as those of several shards, into one data set."""
    from pipeline.merging import merge as merge_files

    merged = merge_files(paths, out)
    for _path, reason in merged.damaged:
        typer.echo(f"skipped: {reason}", err=True)
    typer.echo(f"merged {merged.clips} clips from {merged.files} files", err=True)
    typer.echo(str(merged.path))
    if merged.damaged:
        raise typer.Exit(FAILED)


def label(
    skeletons: Annotated[
        Path, typer.Argument(metavar="SKELETONS.pkl", help="Data set to change.", rich_help_panel=INPUT)
    ],
    labels: Annotated[
        Path,
        typer.Option(
            metavar="FILE.csv",
            help="Columns: file, label, and optionally split, group.",
            rich_help_panel=INPUT,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Data set to write.", show_default="in place", rich_help_panel=OUTPUT),
    ] = None,
) -> None:
    """Change labels, splits and groups of a data set without extracting it again."""
    from pipeline.relabel import relabel

    report = relabel(skeletons, labels, out)
    for line in (*report.warnings, *(f"the table lists no clip for {clip}" for clip in report.unmatched)):
        typer.echo(f"warning: {line}", err=True)
    for line in report.unused:
        typer.echo(f"warning: {labels}, {line}: matches no clip", err=True)
    typer.echo(f"{report.matched} clips changed, {len(report.unmatched)} unchanged", err=True)
    typer.echo(str(report.path))


def convert(
    kind: Annotated[str, typer.Argument(metavar="ntu|pkummd", help="Data set.", rich_help_panel=INPUT)],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder with its text files.", rich_help_panel=INPUT)
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Skeleton file to write.", show_default="skeletons/KIND.pkl", rich_help_panel=OUTPUT
        ),
    ] = None,
    untrimmed: Annotated[
        bool,
        typer.Option(
            "--untrimmed",
            help="Keep whole PKU-MMD videos with their actions.",
            show_default="no",
            rich_help_panel=INPUT,
        ),
    ] = False,
    keep_incomplete: Annotated[
        bool,
        typer.Option(
            "--keep-incomplete",
            help="Keep clips that NTU's authors list as incomplete.",
            show_default="no",
            rich_help_panel=INPUT,
        ),
    ] = False,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Skip malformed files and count them.", show_default="no", rich_help_panel=INPUT
        ),
    ] = False,
) -> None:
    """Convert the 3D text files of NTU RGB+D or PKU-MMD to a skeleton file."""
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
    malformed = f", {len(left_out)} skipped; the first: {left_out[0]}" if left_out else ""
    typer.echo(f"{converted.clips} clips{malformed}", err=True)
    typer.echo(str(converted.path))


def stats(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="SKELETONS.pkl...", help="Skeleton files.", rich_help_panel=INPUT),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON.", show_default="no", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Report missing keypoints, missing persons, tracks, identity switches and jitter, before and after cleaning."""
    from rich.console import Console

    from pipeline import statistics

    rows = statistics.statistics_of(paths)
    if as_json:
        typer.echo(statistics.as_json(rows))
    else:
        statistics.print_table(rows, Console())


def models(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON.", show_default="no", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """List the available networks, their accuracy, and which weights are on this machine."""
    from pipeline.models import models as list_models

    list_models(as_json=as_json)


def info(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON.", show_default="no", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Print versions, devices and usable backends, for bug reports."""
    from pipeline.info import info as print_info

    print_info(as_json=as_json)


_SKELETONS, _ACTIONS, _MACHINE = "From video to skeletons", "From skeletons to actions", "This machine"

app.command(
    cls=HelpCommand,
    rich_help_panel=_SKELETONS,
    epilog="skelpipe extract videos/ --smooth\n"
    "skelpipe extract clip.mp4 --estimator hrnet --detect-every 1 --overlay\n"
    "skelpipe extract 'videos/*/*.mp4' --config extract/accurate --labels labels.csv",
)(extract)
app.command(
    cls=HelpCommand,
    rich_help_panel=_SKELETONS,
    epilog="skelpipe merge skeletons/vitpose\n"
    "skelpipe merge shard-1/vitpose shard-2/vitpose --out skeletons/all.pkl\n"
    "skelpipe merge skeletons/hrnet --out hrnet.pkl",
)(merge)
app.command(
    cls=HelpCommand,
    rich_help_panel=_SKELETONS,
    epilog="skelpipe label skeletons/vitpose.pkl --labels labels.csv\n"
    "skelpipe label skeletons/vitpose.pkl --labels labels.csv --out relabelled.pkl\n"
    "skelpipe label skeletons/hrnet.pkl --labels splits.csv",
)(label)
app.command(
    cls=HelpCommand,
    rich_help_panel=_SKELETONS,
    epilog="skelpipe convert ntu nturgb+d_skeletons/\n"
    "skelpipe convert pkummd PKUMMD/ --untrimmed --out skeletons/pkummd-whole.pkl\n"
    "skelpipe convert ntu nturgb+d_skeletons/ --keep-incomplete --skip-bad",
)(convert)
app.command(
    cls=HelpCommand,
    rich_help_panel=_SKELETONS,
    epilog="skelpipe stats skeletons/vitpose.pkl\n"
    "skelpipe stats skeletons/vitpose.pkl skeletons/hrnet.pkl\n"
    "skelpipe stats skeletons/vitpose.pkl --json",
)(stats)
app.command(
    cls=TrainCommand,
    rich_help_panel=_ACTIONS,
    epilog="skelpipe pretrain mamp/custom --data skeletons/vitpose.pkl\n"
    "skelpipe pretrain pcm3/custom training.epochs=50 --out runs/pcm3\n"
    "skelpipe pretrain --resume runs/pcm3",
)(pretrain)
app.command(
    cls=TrainCommand,
    rich_help_panel=_ACTIONS,
    epilog="skelpipe train custom --data skeletons/vitpose.pkl\n"
    "skelpipe train custom training.phase1_epochs=30 --seed 1 --out runs/mine\n"
    "skelpipe train --resume runs/mine",
)(train)
app.command(
    cls=HelpCommand,
    rich_help_panel=_ACTIONS,
    epilog="skelpipe evaluate runs/mine\n"
    "skelpipe evaluate runs/mine --data skeletons/hrnet.pkl --split test --json\n"
    "skelpipe evaluate runs/pcm3 --protocol linear --set linear.epochs=50",
)(evaluate)
app.command(
    cls=HelpCommand,
    rich_help_panel=_ACTIONS,
    epilog="skelpipe predict clip.mp4 --run runs/mine\n"
    "skelpipe predict videos/ --windows 3 --overlay overlays/ --out actions.csv\n"
    "skelpipe predict skeletons/vitpose.pkl --split test --json",
)(predict)
app.command(
    cls=HelpCommand,
    rich_help_panel=_ACTIONS,
    epilog="skelpipe robustness runs/mine runs/baseline\n"
    "skelpipe robustness maskclr=runs/a maskclr=runs/b plain=runs/c --repeats 5\n"
    "skelpipe robustness runs/mine --only joints --limit 100 --dry-run",
)(robustness)
app.command(
    cls=HelpCommand,
    rich_help_panel=_ACTIONS,
    epilog="skelpipe sweep ablations/table4 --data skeletons/vitpose.pkl\n"
    "skelpipe sweep ablations/table4 training.phase1_epochs=5 --seeds 0,1,2\n"
    "skelpipe sweep mine.yaml --jobs 2 --dry-run",
)(sweep)
app.command(
    cls=HelpCommand,
    rich_help_panel=_MACHINE,
    epilog="skelpipe models\nskelpipe models --json\nskelpipe models | grep vitpose",
)(models)
app.command(
    cls=HelpCommand,
    rich_help_panel=_MACHINE,
    epilog="skelpipe info\nskelpipe info --json\nskelpipe info > info.txt",
)(info)


def main() -> None:
    """Runs the command. The exit status is 1 for a failure, 2 for wrong usage and 130 for an interruption."""
    app(prog_name="skelpipe")


def _print_error(error: Exception) -> None:
    logging.getLogger("skelpipe").info("failed", exc_info=error)
    typer.echo(f"error: {error}", err=True)


if __name__ == "__main__":
    main()
