"""`skelpipe robustness`: compare runs on clean and damaged skeletons; writes tables, figures and a report page."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from pipeline.cluster.jobs import ClusterJobs, opened_jobs
from pipeline.cluster.options import ClusterOptions
from pipeline.robustness.bench import Bench, prepare_bench
from pipeline.robustness.measuring import Measuring, engine_for, measure_on_cluster, size_of
from pipeline.robustness.subjects import Subject
from pipeline.robustness.tasks import Task, passes_of_task
from pose_extraction.engines.engine import Engine
from recognition.robustness.conditions import BenchSettings

if TYPE_CHECKING:
    from pipeline.robustness.results import Results

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
    cluster: ClusterOptions | None = None,
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
        cluster: How to use a Ray cluster, whose actors have the kind of device of `engine`; None for this machine.

    Returns:
        The results; None for a dry run.

    Raises:
        UsageError: There is no such split, clip or family, or runs and files do not fit each other.
        WeightsError: A run cannot be read.
        BackendError: A network cannot run with these settings on this machine, or there is no cluster.
        SkelpipeError: The actors of the cluster could not compute a result.
    """
    with _opened(cluster, engine, console) as connected:
        engine = engine_for(engine, connected)
        bench = prepare_bench(runs, data, split, settings, engine, out, clip, skip_bad=skip_bad, console=console)
        todo = {
            subject: [task for task in bench.tasks(subject) if not bench.cache.has(subject, task)]
            for subject in bench.subjects
        }
        _plan(bench, todo, console, timed=connected is None)
        if dry_run:
            return None
        _work(bench, todo, connected, console)
    from pipeline.robustness.report import write_report
    from pipeline.robustness.results import gather

    results = gather(bench, figures=figures)
    write_report(bench, results, out, figures=figures)
    return results


def _opened(
    cluster: ClusterOptions | None, engine: Engine, console: Console
) -> "AbstractContextManager[ClusterJobs | None]":
    if cluster is None:
        return nullcontext()
    return opened_jobs(cluster, engine.device, lambda text: console.print(Text(text, style="yellow")))


def _plan(bench: Bench, todo: dict[Subject, list[Task]], console: Console, *, timed: bool) -> None:
    """Print the plan.

    Args:
        bench: The benchmark.
        todo: Results to compute.
        console: Receives the plan.
        timed: Whether to estimate the time, with measurements on this machine.
    """
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
    measuring = Measuring(bench.cache, skip_bad=bench.skip_bad)
    for subject, tasks in todo.items():
        passes = sum(passes_of_task(task, bench.settings) for task in tasks)
        total = len(bench.tasks(subject))
        seconds[subject] = _seconds_of(bench, measuring, subject, tasks, measured) if timed and tasks else 0.0
        table.add_row(
            Text(subject.name),
            str(total),
            str(total - len(tasks)),
            str(len(bench.sources[0].names)),
            str(passes),
            "none" if not tasks else _clock(seconds[subject]) if timed else "",
        )
    console.print(table)
    if timed:
        in_all = _clock(sum(seconds.values()))
        console.print(
            Text(
                f"about {in_all} in total, including damage and attention, but not the final intervals, t-SNE and "
                "figures; if it is interrupted, running the command again continues"
            )
        )


def _seconds_of(
    bench: Bench, measuring: Measuring, subject: Subject, tasks: Sequence[Task], measured: dict[tuple[str, ...], float]
) -> float:
    """Estimate the time of the tasks of a run; `measured` keeps the measurements for the next runs."""
    worker = measuring.worker(subject)
    kind = f"{worker.trained.settings.model} {worker.trained.settings.data}"
    if (kind,) not in measured:
        measured[kind,] = worker.seconds_per_clip(bench.sources[0])
    seconds = 0.0
    for task in tasks:
        clips = 1 if task.kind == "attention" else len(bench.sources[task.source].names)
        other_work = (kind, task.condition.family, task.condition.other, task.order)
        if other_work not in measured:
            measured[other_work] = worker.seconds_besides_network(task)
        seconds += clips * (passes_of_task(task, bench.settings) * measured[kind,] + measured[other_work])
    return seconds


def _work(bench: Bench, todo: dict[Subject, list[Task]], cluster: ClusterJobs | None, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:

        def bar_for(name: str, tasks: Sequence[Task]) -> Callable[[int], None]:
            bar = progress.add_task(name, total=sum(size_of(bench.cache, task) for task in tasks))
            return lambda count: progress.advance(bar, count)

        if cluster is not None:
            jobs = [(subject, task) for subject, tasks in todo.items() for task in tasks]
            shown = bar_for("clips", [task for _, task in jobs])
            measure_on_cluster(cluster, bench.cache, jobs, skip_bad=bench.skip_bad, progress=shown)
            return
        measuring = Measuring(bench.cache, skip_bad=bench.skip_bad)
        for subject, tasks in todo.items():
            shown = bar_for(subject.name, tasks)
            for task in tasks:
                measuring.do((subject, task), shown)


def _clock(seconds: float) -> str:
    """Format a duration: "40 s", "12 min", "3 h 5 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
