"""The `skelpipe` command: registers the commands of `pipeline/commands/`, and turns errors into exit codes.

Nothing heavy is imported until a command runs: `skelpipe --help` loads neither torch nor OpenMMLab.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pipeline.commands.datasets import convert, label, merge, stats
from pipeline.commands.evaluate import evaluate
from pipeline.commands.exchange import export, import_
from pipeline.commands.extract import extract
from pipeline.commands.help_pages import HelpCommand, print_help
from pipeline.commands.machine import info, models
from pipeline.commands.predict import predict
from pipeline.commands.pretrain import pretrain
from pipeline.commands.resume import TrainCommand
from pipeline.commands.robustness import robustness
from pipeline.commands.serve import serve
from pipeline.commands.sharing.card import card
from pipeline.commands.sharing.export_model import export_model
from pipeline.commands.sharing.push import push
from pipeline.commands.sweep import sweep
from pipeline.commands.train import train
from pipeline.exit_codes import FAILED, INTERRUPTED, WRONG_USAGE
from pose_extraction._version import __version__
from pose_extraction.engines.threads import wait_asleep
from pose_extraction.engines.torch_extra import PACKAGES as TORCH_PACKAGES
from pose_extraction.engines.torch_extra import needed
from pose_extraction.errors import SkelpipeError, UsageError

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
        except ModuleNotFoundError as error:
            # Commands that always need torch check before; this is for the others.
            module = (error.name or "").partition(".")[0]
            if module not in TORCH_PACKAGES:
                raise
            _print_error(needed(f"skelpipe {ctx.invoked_subcommand}", module))
            raise typer.Exit(FAILED) from error
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
    "import",
    cls=HelpCommand,
    rich_help_panel=_SKELETONS,
    epilog="skelpipe import openpose keypoints/ --fps 25 --size 1280x720\n"
    "skelpipe import slp tracks.slp --labels labels.csv --out skeletons/sleap.pkl\n"
    "skelpipe import alphapose results/ --joints halpe26 --skip-bad",
)(import_)
app.command(
    cls=HelpCommand,
    rich_help_panel=_SKELETONS,
    epilog="skelpipe export skeletons/vitpose.pkl coco --out annotations/\n"
    "skelpipe export skeletons/vitpose/clip.pkl trc --out clip.trc\n"
    "skelpipe export skeletons/vitpose.pkl openpose --split test --out keypoints/",
)(export)
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
    "export-model",
    cls=HelpCommand,
    rich_help_panel=_ACTIONS,
    epilog="skelpipe export-model runs/mine\n"
    "skelpipe export-model runs/mine --format openvino --out mine-openvino\n"
    "skelpipe export-model vitpose-b --out vitpose-b.onnx",
)(export_model)
app.command(
    cls=HelpCommand,
    rich_help_panel=_ACTIONS,
    epilog="skelpipe serve --run runs/mine\n"
    "skelpipe serve --run runs/mine --run runs/other --data service --keep 30\n"
    "skelpipe serve --host 0.0.0.0 --token auto --allow videos",
)(serve)
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
    rich_help_panel=_ACTIONS,
    epilog="skelpipe card runs/mine\n"
    "skelpipe card runs/mine --license cc-by-nc-4.0 --out README.md\n"
    "skelpipe card runs/mine --robustness robustness",
)(card)
app.command(
    cls=HelpCommand,
    rich_help_panel=_ACTIONS,
    epilog="skelpipe push runs/mine hf://lab/gestures --private\n"
    "skelpipe push runs/mine hf://lab/gestures --revision second --license cc-by-nc-4.0\n"
    "skelpipe push runs/mine hf://lab/gestures --robustness robustness/mine",
)(push)
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
    # First, because it takes effect only before torch is imported.
    wait_asleep()
    app(prog_name="skelpipe")


def _print_error(error: Exception) -> None:
    logging.getLogger("skelpipe").info("failed", exc_info=error)
    typer.echo(f"error: {error}", err=True)


if __name__ == "__main__":
    main()
