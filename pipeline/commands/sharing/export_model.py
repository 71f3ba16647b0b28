"""`skelpipe export-model`: passes the options to `pipeline.export_model`."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.help_pages import INPUT, OUTPUT
from pose_extraction.engines.torch_extra import require_torch


def export_model(
    model: Annotated[
        str,
        typer.Argument(
            metavar="RUN|NETWORK",
            help="Run directory, one of its files, or a network of `skelpipe models`, such as vitpose-b.",
            rich_help_panel=INPUT,
        ),
    ],
    format_name: Annotated[
        str,
        typer.Option("--format", metavar="onnx|openvino|torch", help="Format to write.", rich_help_panel=OUTPUT),
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder to create; for a network of `skelpipe models` the .onnx file.",
            show_default="exported/NAME",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Weights of a network of `skelpipe models`.",
            show_default="downloaded",
            rich_help_panel=INPUT,
        ),
    ] = None,
    int8: Annotated[
        Path | None,
        typer.Option(
            metavar="SKELETONS",
            help="8-bit weights, if they cost at most 1 % of these labelled clips; those of the training do not count.",
            show_default="weights of the run",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Export a recognizer, or a network of stage one, for machines without torch."""
    require_torch("skelpipe export-model")
    from pipeline.export_model.choice import export

    typer.echo(str(export(model, format_name, out, weights, int8)))
