"""`skelpipe predict`: words into the use case of the same name, and its answers into text."""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.evaluate_command import Backend, BatchSize, Device, KeypointFiles, Precision, engine_of
from pose_extraction.errors import UsageError

if TYPE_CHECKING:
    from pipeline.answers import Answer

FAILED, INTERRUPTED = 1, 130


def predict(
    clips: Annotated[
        list[str],
        typer.Argument(
            metavar="VIDEO|FOLDER|GLOB|SKELETONS.pkl|CAMERA|ADDRESS...",
            help="Videos, skeleton files; or a camera's number, or an address of rtsp, http or https.",
        ),
    ],
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Run directory, or a .pt file.", show_default="newest run")
    ] = None,
    estimator: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE.onnx", help="Pose estimator.", show_default="that of the run's skeletons"),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE.onnx", help="Person detector.", show_default="that of the run's skeletons"),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The estimator's weights, or seed:N.", show_default="official"),
    ] = None,
    detector_checkpoint: Annotated[
        str | None, typer.Option(metavar="FILE", help="The detector's weights, or seed:N.", show_default="official")
    ] = None,
    per_person: Annotated[
        bool | None,
        typer.Option(
            "--per-person/--together",
            help="An answer for each tracked person, or for all together.",
            show_default="together; with --windows per person; with --overlay both",
        ),
    ] = None,
    windows: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Slide over long videos; equal neighbours become segments.",
            show_default="off; 3 for a camera or a stream",
        ),
    ] = None,
    threshold: Annotated[
        float, typer.Option(metavar="PROBABILITY", help="Answer unknown where the best is less likely.")
    ] = 0.0,
    overlay: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.mp4|FOLDER",
            help="Write the video with skeletons, ids and actions; a folder for several videos.",
            show_default="none",
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Tell how much each joint counted: on the overlay, and as a figure beside it or in predictions/.",
            show_default="no",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.", show_default="no")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.", show_default="no")] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write there: CSV for *.csv, else JSON lines.", show_default="print"),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of skeleton files, this split only.", show_default="all clips")
    ] = None,
    keypoint_files: KeypointFiles = None,
    device: Device = "auto",
    batch_size: BatchSize = "auto",
    precision: Precision = "auto",
    backend: Backend = "auto",
) -> None:
    """Tell the five likeliest actions of videos, with their probabilities."""
    from rich.console import Console

    from pipeline import predict as use_case
    from pipeline.answers import print_table
    from pipeline.predict_networks import Networks
    from pipeline.predict_skeletons import Part
    from pipeline.predict_video import Wanted

    if as_json and as_csv:
        raise UsageError("--json and --csv: are two forms of the same answers; choose one")
    scope = use_case.scope_of(
        per_person=per_person, windows=windows, overlay=overlay, explain=explain, threshold=threshold
    )
    answers = use_case.predict(
        clips,
        run,
        Wanted(scope, windows, overlay),
        networks=Networks(estimator, detector, checkpoint, detector_checkpoint),
        engine=engine_of(device, batch_size, precision, backend),
        part=Part(split, keypoint_files),
        console=Console(stderr=True),
    )
    counted = _Counted(answers)
    as_csv = as_csv or (out is not None and out.suffix.lower() == ".csv" and not as_json)
    try:
        if out is not None or as_json or as_csv:
            _write_lines(counted, out, as_csv=as_csv)
        else:
            print_table(list(_told_at_once(counted)), Console(), times=windows is not None)
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command begins anew", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if counted.without:
        typer.echo(f"warning: {counted.without} of {counted.all} answers say only why there is none", err=True)
    if counted.failed:
        raise typer.Exit(FAILED)


class _Counted:
    """Answers as they go by, counted."""

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
    """Each answer as a line as soon as it comes; a file is there when it is whole."""
    from pipeline import answers as texts
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


def _told_at_once(answers: Iterable["Answer"]) -> Iterator["Answer"]:
    """Answers for a table; those of a live source are told as they come, and are not kept."""
    for answer in answers:
        if answer.delay is None:
            yield answer
            continue
        who = "together" if answer.person is None else f"person {answer.person}"
        typer.echo(f"{answer.end:.1f} s  {who}  {answer.label} {answer.probability:.0%}  ({answer.delay:.2f} s later)")
