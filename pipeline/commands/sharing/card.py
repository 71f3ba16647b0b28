"""`skelpipe card`: writes the model card of a run."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.help_pages import INPUT, OUTPUT

RunFile = Annotated[
    str,
    typer.Argument(metavar="RUN", help="Run directory, or file of weights.", rich_help_panel=INPUT),
]
License = Annotated[
    str | None,
    typer.Option(
        "--license",
        metavar="ID",
        help="Licence of the weights, such as cc-by-nc-4.0.",
        show_default="not stated",
        rich_help_panel=OUTPUT,
    ),
]
Robustness = Annotated[
    Path,
    typer.Option("--robustness", metavar="FOLDER", help="Results of `skelpipe robustness`.", rich_help_panel=INPUT),
]


def card(
    run: RunFile,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Output file.", show_default="standard output", rich_help_panel=OUTPUT),
    ] = None,
    license_id: License = None,
    robustness: Robustness = Path("robustness"),
) -> None:
    """Write a model card: data, accuracy, calibration, robustness and limits of a run."""
    from pipeline.sharing.card import card_of
    from pipeline.sharing.run_facts import facts_of
    from pose_extraction.files import atomic_write

    text = card_of(facts_of(run, robustness=robustness), license_id=license_id)
    if out is None:
        typer.echo(text, nl=False)
        return
    with atomic_write(out) as file:
        file.write(text.encode())
    typer.echo(str(out))
