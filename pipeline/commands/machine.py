"""`skelpipe models` and `skelpipe info`: what is available on this machine."""

from typing import Annotated

import typer

from pipeline.commands.help_pages import OTHER, OUTPUT


def models(
    download: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Download the weights of a network for later use; may be repeated.",
            show_default="list the networks",
            rich_help_panel=OTHER,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON.", show_default="no", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """List the networks, their accuracy, which weights are on this machine, and the recognizers of the package."""
    from pipeline.models import fetch
    from pipeline.models import models as list_models

    if download:
        for path in fetch(download):
            typer.echo(str(path))
        return
    list_models(as_json=as_json)


def info(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON.", show_default="no", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Print versions, devices and usable backends, for bug reports."""
    from pipeline.info import info as print_info

    print_info(as_json=as_json)
