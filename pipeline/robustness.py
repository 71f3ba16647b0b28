"""`skelpipe robustness`: compare runs on clean and damaged skeletons; writes tables, figures and a report page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from pipeline.evaluate import Engine
from pipeline.robustness_subjects import (
    Source,
    Subject,
    estimator_statistics,
    open_sources,
    read_subjects,
    translation_of,
)
from pipeline.robustness_tasks import Cache, Task, Worker
from pose_extraction.errors import UsageError
from recognition.perturbations import ErrorStatistics
from recognition.robustness_conditions import (
    BY_NAME,
    CLEAN,
    ESTIMATOR_ERRORS,
    ESTIMATORS,
    MASKED_FRAMES,
    MEASURES,
    NOISE,
    NOISE_OF_TABLES,
    TARGETED,
    BenchSettings,
    Condition,
    conditions_of,
    families_for,
    seeds_of,
)
from recognition.robustness_targeted import RANDOM, orders_of
from recognition.runs import Trained, load_run

if TYPE_CHECKING:
    from pipeline.robustness_results import Results

OUT = Path("robustness")
CACHE = "cache"
# Conditions that are applied to the skeletons of every estimator (table 3).
ON_ESTIMATORS = (Condition(CLEAN), Condition(NOISE, NOISE_OF_TABLES), Condition("frames_deleted", MASKED_FRAMES))


@dataclass(frozen=True)
class Bench:
    """Definition of a robustness benchmark.

    Args:
        subjects: The runs.
        sources: The skeleton files; all conditions are measured on the first.
        split: Name of the split.
        label_names: Names of the classes, numbered as in the first run.
        conditions: Conditions for the first file.
        settings: Choices that the papers leave open.
        cache: Store of the results.
        compared: Description of the clips on which each other estimator was compared with the first.
        orders: Orders of joints for targeted masking, per run; empty if it is not requested.
        clip: Id of the clip whose attention is shown.
        skip_bad: Whether to skip malformed clips.
    """

    subjects: list[Subject]
    sources: list[Source]
    split: str
    label_names: tuple[str, ...]
    conditions: list[Condition]
    settings: BenchSettings
    cache: Cache
    compared: dict[str, str]
    orders: dict[Subject, list[str]]
    clip: str
    skip_bad: bool

    @property
    def others(self) -> range:
        """Positions of the files that are compared with the first; empty if this is not requested."""
        return range(1, len(self.sources) if self.settings.wants(ESTIMATORS) else 1)

    def tasks(self, subject: Subject) -> list[Task]:
        """Return all tasks of a run."""
        listed = [
            Task("answers", 0, condition, seed)
            for condition in self.conditions
            for seed in seeds_of(condition, self.settings)
        ]
        for source in (*self.others, *([0] if self.others else [])):
            for condition in ON_ESTIMATORS:
                listed += [Task("answers", source, condition, seed) for seed in seeds_of(condition, self.settings)]
        listed += [task for order in self.orders[subject] for task in self.targeted(order)]
        listed.append(Task("attention", 0, clip=self.clip))
        return list(dict.fromkeys(listed))

    def targeted(self, order: str) -> list[Task]:
        """Return the deletion and insertion tasks of one order; the random order is drawn as often as damage is."""
        seeds = [self.settings.seed + number for number in range(self.settings.repeats)] if order == RANDOM else [0]
        return [Task("targeted", 0, seed=seed, order=order) for seed in seeds]


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
        runs: Run directories or .pt files; `METHOD=RUN` if several runs belong to one method.
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
    from pipeline.robustness_report import write_report
    from pipeline.robustness_results import gather

    results = gather(bench, figures=figures)
    write_report(bench, results, out, figures=figures)
    return results


def prepare_bench(
    runs: Sequence[str],
    data: Sequence[Path],
    split: str | None,
    settings: BenchSettings,
    engine: Engine,
    out: Path,
    clip: str | None,
    *,
    skip_bad: bool,
    console: Console,
) -> Bench:
    """Open runs and files, and list the conditions; see `robustness`."""
    unknown = [name for name in settings.families if name not in MEASURES]
    if unknown:
        raise UsageError(f"--only {unknown[0]}: unknown family of damage; choose from {', '.join(MEASURES)}")
    of_others = [name for name in settings.families if name in (ESTIMATORS, ESTIMATOR_ERRORS)]
    if of_others and len(data) < 2:
        raise UsageError(
            f"--only {of_others[0]}: requires a second file, with the same clips by another estimator (--data)"
        )
    subjects = read_subjects(runs)
    first = load_run(subjects[0].path)
    files = list(data) or [Path(first.settings.data.file)]
    if not files[0].is_file():
        raise UsageError(f"{files[0]}: file not found; specify the skeleton file with --data")
    sources, split = open_sources(subjects[0], files, split, limit=settings.limit, skip_bad=skip_bad)
    main = sources[0]
    if clip is not None and clip not in main.names:
        raise UsageError(f"--clip {clip}: not among the selected clips of split {split!r}; choose another")
    orders: dict[Subject, list[str]] = {}
    asked_about = sources if settings.wants(ESTIMATORS) else sources[:1]
    shown = [source.names for source in asked_about]
    for subject in subjects:
        trained = load_run(subject.path)
        orders[subject] = orders_of(trained.recognizer.backbone) if settings.wants(TARGETED) else []
        shown = [
            _seen(trained, source, names, split, skip_bad=skip_bad)
            for source, names in zip(asked_about, shown, strict=True)
        ]
        if clip is not None and clip not in shown[0]:
            raise UsageError(
                f"--clip {clip}: no person is visible to {_told(trained)}; choose another, such as {shown[0][0]!r}"
            )
    clips = main.clips_of(first, skip_bad=skip_bad)
    _, asked = main.asked(clips)
    several = any(len(clips[int(index)].score) > 1 for index in asked)
    families = families_for(clips.layout, dimensions=clips.dimensions, several=several)
    admitted = {family.name for family in families}
    left_out = [name for name in settings.families if name in BY_NAME and name not in admitted]
    if left_out:
        raise UsageError(f"--only {left_out[0]}: does not apply to the skeletons of {files[0]}; remove it")
    families = tuple(family for family in families if settings.wants(family.name))
    statistics: dict[str, ErrorStatistics] = {}
    compared: dict[str, str] = {}
    for source in sources[1:] if settings.wants(ESTIMATOR_ERRORS) else ():
        found, compared[source.name] = estimator_statistics(
            main, source, clips, source.clips_of(first, skip_bad=skip_bad)
        )
        if found is None:
            console.print(
                Text(f"warning: {source.path} has no persons where {main.path} has; its errors are not replayed")
            )
        else:
            statistics[source.name] = found
    conditions = conditions_of(families, others=list(statistics))
    return Bench(
        subjects=subjects,
        sources=sources,
        split=split,
        label_names=first.label_names,
        conditions=conditions,
        settings=settings,
        cache=Cache(out / CACHE, settings, engine, sources, statistics, first.label_names),
        compared=compared,
        orders=orders,
        clip=shown[0][0] if clip is None else clip,
        skip_bad=skip_bad,
    )


def _seen(trained: Trained, source: Source, names: list[str], split: str, *, skip_bad: bool) -> list[str]:
    """Return the clips in which this run sees a person, out of those in which the previous runs do.

    Raises:
        UsageError: There is no such clip.
    """
    places, _ = source.asked(source.clips_of(trained, skip_bad=skip_bad))
    own = {source.names[place] for place in places}
    seen = [name for name in names if name in own]
    if not seen:
        raise UsageError(
            f"{source.path}: in no labelled clip of split {split!r} is a person visible to {_told(trained)} and the "
            "previous runs; choose another split or file, or omit the run"
        )
    return seen


def _told(trained: Trained) -> str:
    """Describe a run with its visibility threshold."""
    return f"{trained.path} (data.score_threshold={trained.settings.data.score_threshold:g})"


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
                measured[kind,] = worker.seconds_a_clip(bench.sources[0])
            for task in tasks:
                own = worker.passes(task)
                passes += own
                clips = 1 if task.kind == "attention" else len(bench.sources[task.source].names)
                beside = (kind, task.condition.family, task.condition.other, task.order)
                if beside not in measured:
                    measured[beside] = worker.seconds_beside(task)
                seconds[subject] += clips * (own * measured[kind,] + measured[beside])
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
