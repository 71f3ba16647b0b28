"""`skelpipe import` and `skelpipe export`: skeletons of other programs."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.help_pages import INPUT, OUTPUT
from pipeline.exit_codes import FAILED
from pose_extraction.errors import counted


def _list_formats(requested: bool) -> None:
    if not requested:
        return
    from rich.console import Console
    from rich.table import Table

    from pose_extraction.exchange.table import FORMATS

    table = Table("format", "program, file", "import", "export", "cannot hold")
    for name, one in FORMATS.items():
        able = ("" if action is None else "yes" for action in (one.read, one.write))
        table.add_row(name, one.title, *able, ", ".join(sorted(one.lacks)))
    table.add_row("ntu, pkummd", "3D data sets of the Kinect, text files", "yes", "", "")
    Console().print(table)
    raise typer.Exit


FormatList = Annotated[
    bool,
    typer.Option(
        "--list",
        callback=_list_formats,
        is_eager=True,
        help="Print the formats, and what each cannot hold.",
        show_default="no",
        rich_help_panel=OUTPUT,
    ),
]


def import_(
    format_name: Annotated[
        str,
        typer.Argument(metavar="FORMAT", help="Format: openpose, coco, slp, ... (--list).", rich_help_panel=INPUT),
    ],
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files or folders.", rich_help_panel=INPUT)],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Skeleton file to write.",
            show_default="skeletons/FORMAT.pkl",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    labels: Annotated[
        str,
        typer.Option(metavar="auto|none|FILE.csv", help="Labels: names of folders, or a table.", rich_help_panel=INPUT),
    ] = "auto",
    fps: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER", help="Frames per second.", show_default="of the file, else 30", rich_help_panel=INPUT
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WIDTHxHEIGHT",
            help="Size of the frames.",
            show_default="of the file, else by joints",
            rich_help_panel=INPUT,
        ),
    ] = None,
    joints: Annotated[
        str | None,
        typer.Option(
            metavar="LAYOUT|NAME,...",
            help="Joints in the files.",
            show_default="of the file, else by number",
            rich_help_panel=INPUT,
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="LAYOUT|source",
            help="Joints to write, by name.",
            show_default="coco17; 3D: ntu25 or h36m17",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Skip malformed files and count them.", show_default="no", rich_help_panel=INPUT
        ),
    ] = False,
    untrimmed: Annotated[
        bool,
        typer.Option("--untrimmed", help="pkummd: keep whole videos.", show_default="no", rich_help_panel=INPUT),
    ] = False,
    keep_incomplete: Annotated[
        bool,
        typer.Option("--keep-incomplete", help="ntu: keep incomplete clips.", show_default="no", rich_help_panel=INPUT),
    ] = False,
    list_formats: FormatList = False,
) -> None:
    """Convert skeletons of other programs to a skeleton file, with labels."""
    from pipeline.datasets.importing import ImportOptions, import_files
    from pose_extraction.exchange.dropping import NO_PERSONS

    done = import_files(
        format_name,
        paths,
        out or Path("skeletons") / f"{format_name}.pkl",
        ImportOptions(labels, fps, size, joints, layout, skip_bad, untrimmed, keep_incomplete),
    )
    for line in (*done.notes, *(f"skipped: {reason}" for reason in done.left_out)):
        typer.echo(line, err=True)
    # Clips without persons are in the files, but not in the skeleton file.
    read = done.clips + done.dropped.get(NO_PERSONS, 0)
    for part, clips in sorted(done.dropped.items()):
        typer.echo(f"dropped: {part} ({clips} of {counted(read, 'clip')})", err=True)
    typer.echo(f"{counted(done.clips, 'clip')}, {done.labelled} with a label", err=True)
    typer.echo(str(done.path))
    if done.left_out:
        raise typer.Exit(FAILED)


def export(
    skeletons: Annotated[Path, typer.Argument(metavar="FILE", help="Skeleton file.", rich_help_panel=INPUT)],
    format_name: Annotated[
        str,
        typer.Argument(metavar="FORMAT", help="Format: openpose, coco, slp, ... (--list).", rich_help_panel=OUTPUT),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="PATH", help="Folder; a file for a single clip.", show_default=False, rich_help_panel=OUTPUT
        ),
    ],
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only this split.", show_default="all clips", rich_help_panel=INPUT),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout",
            metavar="LAYOUT",
            help="Joints to write, by name.",
            show_default="of the file; openpose: BODY_25",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    list_formats: FormatList = False,
) -> None:
    """Convert a skeleton file to the format of another program."""
    from pipeline.datasets.exporting import export_file

    done = export_file(skeletons, format_name, out, split=split, layout=layout)
    for part, clips in sorted(done.dropped.items()):
        typer.echo(
            f"dropped: {part} ({clips} of {counted(done.clips, 'clip')}); {format_name} cannot hold it", err=True
        )
    typer.echo(counted(done.clips, "clip"), err=True)
    typer.echo(str(done.path))
