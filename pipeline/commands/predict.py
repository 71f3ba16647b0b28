"""`skelpipe predict`: passes the options to `pipeline.predict.workflow` and prints the predictions."""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.help_pages import INPUT, NETWORKS, OUTPUT, PREDICTIONS
from pipeline.commands.options import (
    Backend,
    BatchSize,
    Checkpoint,
    DetectorCheckpoint,
    Device,
    Fps,
    KeypointFiles,
    Precision,
    RunDetectionThreshold,
    RunDetector,
    RunEstimator,
    RunTiles,
    Stream,
    engine_of,
)
from pipeline.commands.sharing.runs import run_path
from pipeline.exit_codes import FAILED, INTERRUPTED
from pose_extraction.errors import UsageError

if TYPE_CHECKING:
    from pipeline.predict.answers import Answer
    from pipeline.predict.options import Threshold
    from pipeline.predict.output.frames import FrameRecord


def predict(
    clips: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Videos, folders, patterns, skeleton files, a camera number, or an rtsp, http or https address.",
            rich_help_panel=INPUT,
        ),
    ],
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="Run directory, file of weights, exported folder, or hf://OWNER/NAME.",
            show_default="newest run, else `everyday`",
            rich_help_panel=NETWORKS,
        ),
    ] = None,
    estimator: RunEstimator = None,
    detector: RunDetector = None,
    checkpoint: Checkpoint = None,
    detector_checkpoint: DetectorCheckpoint = None,
    detection_threshold: RunDetectionThreshold = None,
    tiles: RunTiles = None,
    per_person: Annotated[
        bool | None,
        typer.Option(
            "--per-person/--together",
            help="Predict per tracked person or for all together.",
            show_default="together; with --windows per person; with --overlay both",
            rich_help_panel=PREDICTIONS,
        ),
    ] = None,
    windows: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Sliding windows; equal neighbours are merged.",
            show_default="off; live: 3",
            rich_help_panel=PREDICTIONS,
        ),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            metavar="auto|PROBABILITY",
            help='Report "unknown" below this probability; auto: above the threshold of the unknown score.',
            show_default="auto if the run supports it, else 0",
            rich_help_panel=PREDICTIONS,
        ),
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.mp4|FOLDER",
            help="Write the video with skeletons, ids and actions. FOLDER: for several videos.",
            show_default="none",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Show the influence of each joint: on the overlay, and as a figure next to it or in predictions/.",
            show_default="no",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object per line.", show_default="no", rich_help_panel=OUTPUT),
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV.", show_default="no", rich_help_panel=OUTPUT)
    ] = False,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="elan, boris, cvat, labelstudio, webvtt, srt, csv or json.",
            show_default="a table",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="File to write: CSV for *.csv, else JSON lines, or as --format says; a folder with one file per clip "
            "for elan, cvat, webvtt and srt.",
            show_default="print; for these predictions/",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    fps: Fps = None,
    stream: Stream = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Split of the skeleton files; all: every clip.",
            show_default="all clips",
            rich_help_panel=INPUT,
        ),
    ] = None,
    keypoint_files: KeypointFiles = None,
    device: Device = "auto",
    batch_size: BatchSize = "auto",
    precision: Precision = "auto",
    backend: Backend = "auto",
) -> None:
    """Predict the top-5 actions of videos, with their probabilities."""
    from rich.console import Console

    from pipeline.predict import workflow as use_case
    from pipeline.predict.options import Networks, PredictOptions, SkeletonFileOptions, scope_of
    from pipeline.predict.output.frames import FrameRecord
    from pipeline.predict.output.printing import print_table
    from pipeline.predict.output.table import FORMATS, check_format

    check_format(format_name)
    as_json, as_csv = as_json or format_name == "json", as_csv or format_name == "csv"
    if as_json + as_csv + (format_name in FORMATS) > 1:
        raise UsageError("--json, --csv and --format: choose one of the formats")
    record = FrameRecord() if format_name in FORMATS else None
    scope = scope_of(
        per_person=per_person,
        windows=windows,
        overlay=overlay,
        explain=explain,
        threshold=_threshold_of(threshold),
    )
    answers = use_case.predict(
        clips,
        run_path(run),
        PredictOptions(
            scope,
            windows,
            overlay,
            fps=fps,
            stream=stream,
            notes=None if out is None else out.with_name(f"{out.name}.notes.jsonl"),
            timed=record is not None,
        ),
        networks=Networks(estimator, detector, checkpoint, detector_checkpoint, detection_threshold, tiles),
        engine=engine_of(device, batch_size, precision, backend),
        file_options=SkeletonFileOptions(split, keypoint_files),
        observer=record,
        console=Console(stderr=True),
    )
    counted = _Counted(answers)
    as_csv = as_csv or (out is not None and out.suffix.lower() == ".csv" and not as_json)
    try:
        if record is not None and format_name is not None:
            _write_files(format_name, list(counted), record, out)
        elif out is not None or as_json or as_csv:
            _write_lines(counted, out, as_csv=as_csv)
        else:
            print_table(list(_print_live(counted)), Console(), times=windows is not None)
    except KeyboardInterrupt:
        typer.echo("interrupted; running the same command again starts from scratch", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if counted.without:
        typer.echo(f'warning: no prediction for {counted.without} of {counted.all} inputs; see "reason"', err=True)
    if counted.failed:
        raise typer.Exit(FAILED)


def _threshold_of(word: str | None) -> "Threshold | None":
    """Parse --threshold.

    Raises:
        UsageError: It is neither a number nor auto.
    """
    if word is None:
        return None
    if word == "auto":
        return "auto"
    try:
        return float(word)
    except ValueError:
        raise UsageError(
            f"--threshold {word}: must be a probability from 0 to 1, such as --threshold 0.5, or auto"
        ) from None


class _Counted:
    """Passes answers on and counts them."""

    def __init__(self, answers: Iterable["Answer"]) -> None:
        self._answers = answers
        self.all = self.without = self.failed = 0

    def __iter__(self) -> Iterator["Answer"]:
        for answer in self._answers:
            self.all += 1
            self.without += answer.reason is not None
            self.failed += answer.failed
            yield answer


def _write_lines(answers: Iterable["Answer"], out: Path | None, *, as_csv: bool) -> None:
    """Writes each answer as a line as soon as it arrives; a file appears once it is complete."""
    from pipeline.predict import answers as texts
    from pose_extraction.files import atomic_write

    with nullcontext() if out is None else atomic_write(out) as file:

        def write(text: str) -> None:
            if file is None:
                typer.echo(text, nl=False)
            else:
                file.write(text.encode())

        if as_csv:
            write(texts.as_csv([]))
        for answer in answers:
            write(texts.as_csv([answer], header=False) if as_csv else texts.as_json_lines([answer]))
    if out is not None:
        typer.echo(str(out))


def _write_files(name: str, answers: list["Answer"], record: "FrameRecord", out: Path | None) -> None:
    """Writes the files of a format that needs all predictions, or prints the only one of a format for all clips."""
    from pipeline.predict.output.table import FORMATS, SetFormat, texts_of
    from pose_extraction.files import atomic_write

    timeless = sum(answer.label is not None and answer.start is None for answer in answers)
    if timeless:
        typer.echo(f"warning: {timeless} predictions are left out, because {name} requires times", err=True)
    for path, text in texts_of(name, answers, record.clips, out or Path("predictions")):
        if out is None and isinstance(FORMATS[name], SetFormat):
            typer.echo(text, nl=False)
            continue
        with atomic_write(path) as file:
            file.write(text.encode())
        typer.echo(str(path))


def _print_live(answers: Iterable["Answer"]) -> Iterator["Answer"]:
    """Answers for a table; those of a live source are printed as they arrive, and are not kept."""
    from pipeline.predict.answers import in_words

    for answer in answers:
        if answer.delay is None:
            yield answer
            continue
        who = "together" if answer.person is None else f"person {answer.person}"
        what = in_words(answer.label or "", answer.probability or 0.0, answer.closest)
        typer.echo(f"{answer.end:.1f} s  {who}  {what}  ({answer.delay:.2f} s later)")
