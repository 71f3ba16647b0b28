"""`skelpipe push`: uploads a run to a hub of models."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.help_pages import OUTPUT
from pipeline.commands.sharing.card import License, Robustness, RunFile
from pose_extraction.engines.torch_extra import require_torch


def push(
    run: RunFile,
    target: Annotated[
        str, typer.Argument(metavar="hf://OWNER/NAME", help="Repository on the hub.", rich_help_panel=OUTPUT)
    ],
    private: Annotated[
        bool,
        typer.Option("--private", help="Make a new repository private.", show_default="no", rich_help_panel=OUTPUT),
    ] = False,
    revision: Annotated[
        str | None,
        typer.Option(metavar="BRANCH", help="Branch to push to.", show_default="main", rich_help_panel=OUTPUT),
    ] = None,
    license_id: License = None,
    robustness: Robustness = Path("robustness"),
) -> None:
    """Upload a run with its model card to a hub of models."""
    require_torch("skelpipe push")
    from pipeline.sharing.push import push as push_run
    from pipeline.sharing.run_facts import facts_of

    facts = facts_of(run, robustness=robustness)
    typer.echo(str(push_run(facts, target, private=private, revision=revision, license_id=license_id)))
