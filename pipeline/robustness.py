"""`skelpipe robustness`: runs side by side under damage of every kind, as tables, figures and one page."""

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
# What is done to the skeletons of every estimator (table 3).
ON_ESTIMATORS = (Condition(CLEAN), Condition(NOISE, NOISE_OF_TABLES), Condition("frames_deleted", MASKED_FRAMES))


@dataclass(frozen=True)
class Bench:
    """What is measured.

    Args:
        subjects: The runs.
        sources: The skeleton files, the first of them for all conditions.
        split: Name of the split.
        label_names: Names of the classes, by the first run's numbers.
        conditions: On the first file.
        settings: What the papers leave open.
        cache: Where results are kept.
        compared: On which clips each other estimator was compared with the first, in words.
        orders: What joints leave and come by in targeted masking of each run; none where that is not wanted.
        clip: Whose attention is shown.
        skip_bad: Whether malformed clips are left out.
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
        """Places of the files that are held against the first; none where that is not wanted."""
        return range(1, len(self.sources) if self.settings.wants(ESTIMATORS) else 1)

    def tasks(self, subject: Subject) -> list[Task]:
        """All that is wanted of a run."""
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
        """Deletion and insertion in one order; that by chance is drawn as often as damage is."""
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
    """Measures runs under all conditions, and writes tables, figures and a page.

    Args:
        runs: Run directories or .pt files; `METHOD=RUN` where several runs are of one method.
        data: Skeleton files; all conditions are measured on the first, the others are of other estimators. None for the
            file that the first run was trained on.
        split: Of the first file; None for the one beside that trained on.
        settings: What the papers leave open.
        engine: How networks are run.
        out: Folder of the results, and of what is kept to go on with.
        clip: Id of the clip whose attention is shown; None for the first in which all runs see somebody.
        skip_bad: Whether to go on without malformed clips.
        figures: Whether to draw.
        dry_run: Whether to tell the plan alone.
        console: Where plan and progress are told.

    Returns:
        The numbers; None of a dry run.

    Raises:
        UsageError: There is no such split, clip or family, or runs and files do not fit each other.
        WeightsError: A run cannot be read.
        BackendError: It cannot run as asked on this machine.
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
    """Opens runs and files, and lists what is measured; see `robustness`."""
    unknown = [name for name in settings.families if name not in MEASURES]
    if unknown:
        raise UsageError(f"--only {unknown[0]}: there is no such family of damage; there are {', '.join(MEASURES)}")
    of_others = [name for name in settings.families if name in (ESTIMATORS, ESTIMATOR_ERRORS)]
    if of_others and len(data) < 2:
        raise UsageError(
            f"--only {of_others[0]}: needs a second file, of the same clips by another estimator; give it with --data"
        )
    subjects = read_subjects(runs)
    first = load_run(subjects[0].path)
    files = list(data) or [Path(first.settings.data.file)]
    if not files[0].is_file():
        raise UsageError(f"{files[0]}: there is no such file; name the skeleton file with --data")
    sources, split = open_sources(subjects[0], files, split, limit=settings.limit, skip_bad=skip_bad)
    main = sources[0]
    if clip is not None and clip not in main.names:
        raise UsageError(f"--clip {clip}: is no clip of split {split!r} that is asked about; name another")
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
                f"--clip {clip}: {_told(trained)} sees nobody there; name another, such as {shown[0][0]!r}, or none"
            )
    clips = main.clips_of(first, skip_bad=skip_bad)
    _, asked = main.asked(clips)
    several = any(len(clips[int(index)].score) > 1 for index in asked)
    families = families_for(clips.layout, dimensions=clips.dimensions, several=several)
    admitted = {family.name for family in families}
    left_out = [name for name in settings.families if name in BY_NAME and name not in admitted]
    if left_out:
        raise UsageError(f"--only {left_out[0]}: the skeletons of {files[0]} do not admit it; leave it out")
    families = tuple(family for family in families if settings.wants(family.name))
    statistics: dict[str, ErrorStatistics] = {}
    compared: dict[str, str] = {}
    for source in sources[1:] if settings.wants(ESTIMATOR_ERRORS) else ():
        found, compared[source.name] = estimator_statistics(
            main, source, clips, source.clips_of(first, skip_bad=skip_bad)
        )
        if found is None:
            console.print(
                Text(f"warning: {source.path} shows nobody at the places of {main.path}; its errors are not replayed")
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
    """Those of some clips of a file, in which the runs before see somebody, in which a run does, too.

    Raises:
        UsageError: There are none.
    """
    places, _ = source.asked(source.clips_of(trained, skip_bad=skip_bad))
    own = {source.names[place] for place in places}
    seen = [name for name in names if name in own]
    if not seen:
        raise UsageError(
            f"{source.path}: no labelled clip of split {split!r} shows anybody to {_told(trained)} and the runs before "
            "it; choose another split or file, or leave the run out"
        )
    return seen


def _told(trained: Trained) -> str:
    """A run with what it takes for unseen."""
    return f"{trained.path} (data.score_threshold={trained.settings.data.score_threshold:g})"


def _worker(bench: Bench, subject: Subject) -> Worker:
    trained = load_run(subject.path)
    return Worker(trained, translation_of(trained, bench.label_names), bench.cache, skip_bad=bench.skip_bad)


def _plan(bench: Bench, todo: dict[Subject, list[Task]], console: Console) -> None:
    """Tells what is to be done and how long that takes."""
    seconds: dict[Subject, float] = {}
    # Runs with the same network and input take the same time, which is measured once; so do all levels of a damage.
    measured: dict[tuple[str, ...], float] = {}
    table = Table(
        Column("run", overflow="fold"),
        "results to have",
        "kept from before",
        "clips",
        "passes left",
        "time, about",
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
            f"in all about {in_all}, damage and attention with it, but not the intervals, t-SNE and figures at the "
            "end; the same command goes on where it was stopped"
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
    """Seconds for people: "40 s", "12 min", "3 h 5 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
