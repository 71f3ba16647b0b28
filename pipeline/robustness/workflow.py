"""`skelpipe robustness`: compare runs on clean and damaged skeletons; writes tables, figures and a report page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from pipeline.robustness.subjects import (
    Subject,
    translation_of,
)
from pipeline.robustness.tasks import Task, Worker
from pose_extraction.engines.engine import Engine
from recognition.robustness.conditions import (
    BenchSettings,
)
from recognition.runs import load_run

if TYPE_CHECKING:
    from pipeline.robustness.results import Results
from pipeline.robustness.bench import Bench, prepare_bench

OUT = Path("robustness")


def robustness(
    runs: Sequence[str],
    data: Sequence[Path],
    split: str | None,
    *,
    settings: BenchSettings,
    engine: Engine,
    out: Path = OUT,
    clip: str | None = None,
    skip_bad: bool = False,
    figures: bool = True,
    dry_run: bool = False,
    console: Console,
) -> "Results | None":
    """Measure runs under all conditions, and write tables, figures and a report page.

    Args:
        runs: Run directories or files of weights; `METHOD=RUN` if several runs belong to one method.
        data: Skeleton files. All conditions are measured on the first; the others contain the same clips by other
            estimators. None for the file that the first run was trained on.
        split: Split of the first file; None for the test split that matches the training split.
        settings: Choices that the papers leave open.
        engine: Device, backend, precision and batch settings.
        out: Folder for results and intermediate files.
        clip: Id of the clip whose attention is shown; None for the first in which all runs see a person.
        skip_bad: Whether to skip malformed clips instead of raising an error.
        figures: Whether to draw figures.
        dry_run: Whether to print the plan without running it.
        console: Receives the plan and progress.

    Returns:
        The results; None for a dry run.

    Raises:
        UsageError: There is no such split, clip or family, or runs and files do not fit each other.
        WeightsError: A run cannot be read.
        BackendError: A network cannot run with these settings on this machine.
    """
    bench = prepare_bench(runs, data, split, settings, engine, out, clip, skip_bad=skip_bad, console=console)
    todo = {
        subject: [task for task in bench.tasks(subject) if not bench.cache.has(subject, task)]
        for subject in bench.subjects
    }
    _plan(bench, todo, console)
    if dry_run:
        return None
    _work(bench, todo, console)
    from pipeline.robustness.report import write_report
    from pipeline.robustness.results import gather

    results = gather(bench, figures=figures)
    write_report(bench, results, out, figures=figures)
    return results


def _worker(bench: Bench, subject: Subject) -> Worker:
    trained = load_run(subject.path)
    return Worker(trained, translation_of(trained, bench.label_names), bench.cache, skip_bad=bench.skip_bad)


def _plan(bench: Bench, todo: dict[Subject, list[Task]], console: Console) -> None:
    """Print the plan and the estimated time."""
    seconds: dict[Subject, float] = {}
    # Runs with the same network and input take the same time, so it is measured once; levels of a damage, too.
    measured: dict[tuple[str, ...], float] = {}
    table = Table(
        Column("run", overflow="fold"),
        "results",
        "already done",
        "clips",
        "passes left",
        "estimated time",
        title_justify="left",
    )
    for subject, tasks in todo.items():
        seconds[subject], passes = 0.0, 0
        if tasks:
            worker = _worker(bench, subject)
            kind = f"{worker.trained.settings.model} {worker.trained.settings.data}"
            if (kind,) not in measured:
                measured[kind,] = worker.seconds_per_clip(bench.sources[0])
            for task in tasks:
                own = worker.passes(task)
                passes += own
                clips = 1 if task.kind == "attention" else len(bench.sources[task.source].names)
                other_work = (kind, task.condition.family, task.condition.other, task.order)
                if other_work not in measured:
                    measured[other_work] = worker.seconds_besides_network(task)
                seconds[subject] += clips * (own * measured[kind,] + measured[other_work])
        total = len(bench.tasks(subject))
        table.add_row(
            Text(subject.name),
            str(total),
            str(total - len(tasks)),
            str(len(bench.sources[0].names)),
            str(passes),
            _clock(seconds[subject]) if tasks else "none",
        )
    console.print(table)
    in_all = _clock(sum(seconds.values()))
    console.print(
        Text(
            f"about {in_all} in total, including damage and attention, but not the final intervals, t-SNE and figures; "
            "if stopped, the same command continues"
        )
    )


def _work(bench: Bench, todo: dict[Subject, list[Task]], console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        for subject, tasks in todo.items():
            if not tasks:
                continue
            worker = _worker(bench, subject)
            clips = len(bench.sources[0].names)
            bar = progress.add_task(subject.name, total=clips * sum(worker.passes(task) for task in tasks))
            for task in tasks:
                result = worker.do(task, lambda done, bar=bar: progress.advance(bar, done))  # type: ignore[misc]
                bench.cache.write(subject, task, result)
            progress.update(bar, completed=clips * sum(worker.passes(task) for task in tasks))


def _clock(seconds: float) -> str:
    """Format a duration: "40 s", "12 min", "3 h 5 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
