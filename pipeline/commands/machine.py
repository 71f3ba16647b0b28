"""`skelpipe models` and `skelpipe info`: what is available on this machine."""

from typing import Annotated

import typer

from pipeline.commands.help_pages import OUTPUT


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
