"""Definition of a robustness benchmark: the runs, the clips, and the conditions that are measured on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pipeline.robustness.subjects import SkeletonSource, Subject, estimator_statistics, open_sources, read_subjects
from pipeline.robustness.tasks import Cache, Task
from pipeline.robustness.usage import check_usage
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from pose_extraction.formats.shards.manifest import is_data_set
from recognition.data.clips import ClipSet
from recognition.data.perturbations import ErrorStatistics
from recognition.robustness.conditions import (
    BY_NAME,
    CLEAN,
    ESTIMATOR_ERRORS,
    ESTIMATORS,
    MASKED_FRAMES,
    NOISE,
    NOISE_OF_TABLES,
    TARGETED,
    BenchSettings,
    Condition,
    conditions_of,
    families_for,
    seeds_of,
)
from recognition.robustness.targeted import RANDOM, orders_of
from recognition.runs import Trained, load_run

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
    sources: list[SkeletonSource]
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
    """Open runs and files, and list the conditions; see `robustness`. The engine is without "auto"."""
    check_usage(runs, data, settings.families)
    subjects = read_subjects(runs)
    first = load_run(subjects[0].path)
    files = list(data) or [Path(first.settings.data.file)]
    if not is_data_set(files[0]):
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
                f"--clip {clip}: no person is visible to {_described(trained)}; choose another, such as {shown[0][0]!r}"
            )
    clips = main.clips_of(first, skip_bad=skip_bad)
    _, visible = main.visible_in(clips)
    several = any(len(clips[int(index)].score) > 1 for index in visible)
    families = families_for(clips.layout, dimensions=clips.dimensions, several=several)
    admitted = {family.name for family in families}
    left_out = [name for name in settings.families if name in BY_NAME and name not in admitted]
    if left_out:
        raise UsageError(f"--only {left_out[0]}: does not apply to the skeletons of {files[0]}; remove it")
    families = tuple(family for family in families if settings.wants(family.name))
    others = sources[1:] if settings.wants(ESTIMATOR_ERRORS) else ()
    statistics, compared = _errors_of(others, main, clips, first, skip_bad=skip_bad, console=console)
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


def _errors_of(
    others: Sequence[SkeletonSource],
    main: SkeletonSource,
    clips: ClipSet,
    trained: Trained,
    *,
    skip_bad: bool,
    console: Console,
) -> tuple[dict[str, ErrorStatistics], dict[str, str]]:
    """Return the errors of other estimators relative to the first, and which clips they were measured on, by source."""
    statistics: dict[str, ErrorStatistics] = {}
    compared: dict[str, str] = {}
    for source in others:
        found, compared[source.name] = estimator_statistics(main, clips, source.clips_of(trained, skip_bad=skip_bad))
        if found is None:
            console.print(
                Text(f"warning: {source.path} has no persons where {main.path} has; its errors are not replayed")
            )
        else:
            statistics[source.name] = found
    return statistics, compared


def _seen(trained: Trained, source: SkeletonSource, names: list[str], split: str, *, skip_bad: bool) -> list[str]:
    """Return the clips in which this run sees a person, out of those in which the previous runs do.

    Raises:
        UsageError: There is no such clip.
    """
    places, _ = source.visible_in(source.clips_of(trained, skip_bad=skip_bad))
    own = {source.names[place] for place in places}
    seen = [name for name in names if name in own]
    if not seen:
        raise UsageError(
            f"{source.path}: in no labelled clip of split {split!r} is a person visible to {_described(trained)} and "
            "the previous runs; choose another split or file, or omit the run"
        )
    return seen


def _described(trained: Trained) -> str:
    """Describe a run with its visibility threshold."""
    return f"{trained.path} (data.score_threshold={trained.settings.data.score_threshold:g})"
