"""`skelpipe merge`, `label`, `convert` and `stats`: commands that read or change skeleton files."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.help_pages import INPUT, OUTPUT
from pipeline.exit_codes import FAILED
from pose_extraction.errors import SkelpipeError, UsageError, counted


def merge(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER...",
            help="Folders of skeleton files, such as skeletons/vitpose; skeleton files; data sets in shards.",
            rich_help_panel=INPUT,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Data set to write; NAME.parquet is a folder of shards.",
            show_default="FOLDER.pkl",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="pickle|parquet",
            help="One file, or shards, which suit large data sets: only new clips are written.",
            show_default="by the suffix of --out",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Merge skeleton files, such as those of several machines, into one data set."""
    from pipeline.datasets.merging import merge as merge_files

    merged = merge_files(paths, out, to=to)
    for note in merged.notes:
        typer.echo(note, err=True)
    for _path, reason in merged.damaged:
        typer.echo(f"skipped: {reason}", err=True)
    typer.echo(f"merged {counted(merged.clips, 'clip')} from {counted(merged.files, 'file')}", err=True)
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
            help="Columns: file, label, and optionally split, group, start, end, track, anchor_time, anchor_box.",
            rich_help_panel=INPUT,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Data set to write.", show_default="in place", rich_help_panel=OUTPUT),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Write nothing, and list lines that match no clip or no person.",
            show_default="no",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
) -> None:
    """Change labels, splits and groups of a data set without extracting it again."""
    from pipeline.datasets.relabel import relabel

    if check and out is not None:
        raise UsageError(f"--check writes nothing; leave out --out {out}")
    report = relabel(skeletons, labels, out, check=check)
    for line in report.lines(labels, complete=check):
        typer.echo(f"warning: {line}", err=True)
    every = report.matched + len(report.unmatched)
    typer.echo(f"{'matching' if check else 'changed'}: {report.matched} of {counted(every, 'clip')}", err=True)
    if report.persons:
        lost = len(report.nobody)
        typer.echo(f"lines for persons that match no person: {lost} of {report.persons}", err=True)
    if not check:
        typer.echo(str(report.path))
    elif report.unused or report.nobody:
        raise typer.Exit(FAILED)


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
    from pipeline.datasets.convert import convert as convert_files

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
    typer.echo(f"{counted(converted.clips, 'clip')}{malformed}", err=True)
    typer.echo(str(converted.path))


def stats(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="SKELETONS.pkl...", help="Skeleton files.", rich_help_panel=INPUT),
    ],
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Compare two files of the same videos joint by joint.",
            show_default="no",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON.", show_default="no", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Report missing joints, missing persons, tracks, identity switches and jitter, before and after cleaning."""
    from rich.console import Console

    from pipeline.datasets.merging import skeleton_files

    for path in paths:
        # An error that needs nothing to be loaded.
        skeleton_files(path)
    if compare and len(paths) != 2:
        raise UsageError(f"--compare takes two skeleton files, not {len(paths)}")
    # Only now, because they load SciPy.
    if compare:
        from pipeline.datasets import comparison

        result = comparison.compare_files(*paths)
        if as_json:
            typer.echo(comparison.as_json(result))
        else:
            comparison.print_comparison(result, Console())
        return
    from pipeline.datasets import statistics

    rows = statistics.statistics_of(paths)
    if as_json:
        typer.echo(statistics.as_json(rows))
    else:
        if not rows:
            raise SkelpipeError(f"{', '.join(map(str, paths))}: no clips; run `skelpipe extract` first")
        statistics.print_table(rows, Console())
