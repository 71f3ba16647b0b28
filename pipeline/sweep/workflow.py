"""Steps that sweeps of recognizers and of encoders share: listing the runs, printing and writing the table."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cluster.jobs import ClusterJobs, opened_jobs
from pipeline.reporting.tables import as_csv, as_markdown
from pipeline.sweep.job import Job
from pipeline.sweep.jobs import RUNS
from pipeline.sweep.plan import RowType, SweepPlan, SweepRequest, Swept, folder_name
from pose_extraction.files import atomic_write


def cluster_of(request: SweepRequest) -> "AbstractContextManager[ClusterJobs | None]":
    """Connects to the cluster of a sweep for the duration of a block; None without one, and for a dry run.

    Raises:
        UsageError: The device of the actors is not a kind of device.
        BackendError: There is no cluster, or it has no room for an actor.
    """
    if request.cluster is None or request.dry_run:
        return nullcontext()
    return opened_jobs(request.cluster, request.device, lambda text: request.console.print(Text(text, style="yellow")))


def list_jobs(
    plan: SweepPlan[RowType], request: SweepRequest, job_of: Callable[[RowType, str, dict[str, Any]], Job]
) -> dict[str, list[Job]]:
    """Lists the runs of each row, one per seed.

    Args:
        plan: Rows of the sweep.
        request: What the command line asks for.
        job_of: Makes the job of a row from the row, a name for messages, and the settings that hold in addition to
            those of the row.

    Raises:
        UsageError: A setting is unknown or invalid.
    """
    given = request.settings_of_all_rows()
    listed: dict[str, list[Job]] = {}
    for row in plan.rows:
        listed[row.name] = []
        for seed in request.seeds or plan.seeds:
            folder = request.out / RUNS / folder_name(row.name) / f"seed{seed}"
            own = {**given, "training.seed": seed, "out": str(folder)}
            listed[row.name].append(job_of(row, f"{row.name}, seed {seed}", own))
    return listed


def print_table(result: Swept, console: Console) -> None:
    """Prints one line per row: top-1 with its standard deviation, for each measurement."""
    table = Table("row", *result.heads, title=Text(result.title))
    for name, cells in result.cells.items():
        table.add_row(Text(name), *cells)
    console.print(table)


def write_results(result: Swept, summary: str, *, heads: list[str], figures: Mapping[str, bytes]) -> None:
    """Writes sweep.json, sweep.csv, sweep.md, and the figure.

    Args:
        result: Results of the sweep.
        summary: Content of sweep.json.
        heads: Column heads of the table in Markdown.
        figures: Kind of image file -> content; empty if the sweep has no figure.
    """
    table = as_markdown(["top-1 in per cent", *heads], [[name, *cells] for name, cells in result.cells.items()])
    files = {
        "sweep.json": summary.encode(),
        "sweep.csv": as_csv(result.rows).encode(),
        "sweep.md": f"{result.title}\n\n{table}".encode(),
    }
    for name, content in {**files, **{f"sweep.{kind}": image for kind, image in figures.items()}}.items():
        with atomic_write(result.out / name) as file:
            file.write(content)
