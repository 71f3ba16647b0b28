"""`skelpipe sweep`: train many runs that differ in a few settings, and compare them in one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.reporting.tables import as_csv, as_json
from pipeline.robustness.results import engine_told, title_of
from pipeline.robustness.subjects import Source, Subject, open_sources, read_subjects, translation_of
from pipeline.robustness.tasks import Cache, Task, Worker
from pipeline.sweep.jobs import RUNS, Job, phase_one_of, train_rows, write_results
from pipeline.sweep.recognizer_plan import SweepSettings, folder_name, settings_of
from pose_extraction.errors import UsageError
from recognition.data.clips import open_clips
from recognition.data.skeleton_file import skeleton_file_of
from recognition.data.splits import matching_test_split, split_indices
from recognition.evaluation.figures import figure_bytes
from recognition.inference.scores import Engine
from recognition.robustness.conditions import CLEAN, NOISE, BenchSettings, Condition, families_for, seeds_of
from recognition.robustness.statistics import Accuracy, accuracy, bootstrap_difference
from recognition.runs import load_run, run_file
from recognition.settings import RunSettings
from recognition.training.preparation import prepare

CACHE = "cache"


@dataclass(frozen=True)
class Swept:
    """Results of a sweep.

    Args:
        rows: The table, one dictionary per row and condition.
        accuracies: (row, condition) -> accuracy over seeds and draws.
        failed: Runs that could not be trained, with the reasons.
        out: Folder of the files.
    """

    rows: list[dict[str, Any]]
    accuracies: dict[tuple[str, Condition], Accuracy]
    failed: dict[str, str]
    out: Path


def sweep(
    plan: SweepSettings,
    data: Path | None,
    changes: Mapping[str, Any],
    *,
    split: str | None,
    seeds: Sequence[int] | None,
    jobs: int | None,
    out: Path,
    engine: Engine,
    skip_bad: bool = False,
    dry_run: bool = False,
    console: Console,
) -> Swept | None:
    """Train every row with every seed, evaluate the runs on the test split, and write a table and a figure.

    Finished runs are not trained again, interrupted ones are resumed, and existing measurements are reused.

    Args:
        plan: Rows and conditions of the sweep.
        data: Skeleton file; None for the newest.
        changes: Settings for all rows, by dotted name; they override the plan.
        split: Test split; None for the one that matches the training split.
        seeds: Training seeds; None for those of the plan.
        jobs: Number of parallel runs; None for one per GPU, or one per core.
        out: Folder for runs and results.
        engine: Device, backend, precision and batch settings of the evaluation.
        skip_bad: Whether to skip malformed clips, regardless of the rows' settings.
        dry_run: Whether to list the runs without training.
        console: Receives progress.

    Returns:
        The results; None for a dry run.

    Raises:
        UsageError: A setting is unknown or invalid, there is no such file or split, its skeletons do not support a
            condition, or a run in the folder has other settings.
        AnnotationError: The file is malformed, or a clip is and `data.skip_bad` is not set.
        TrainingError: No row has a run for every seed.
    """
    given = {**changes, **({"data.file": str(data)} if data is not None else {})}
    if skip_bad:
        given["data.skip_bad"] = True
    wanted = tuple(seeds) if seeds else plan.seeds
    listed: dict[str, list[Job]] = {}
    for row in plan.rows:
        listed[row.name] = []
        for seed in wanted:
            folder = out / RUNS / folder_name(row.name) / f"seed{seed}"
            own = {**given, "training.seed": seed, "out": str(folder)}
            settings = settings_of(plan, row, own, place=plan.title)
            listed[row.name].append(Job(f"{row.name}, seed {seed}", settings, phase_one_of(settings, out)))
    _check_files(plan, listed, split)
    trained = train_rows(listed, jobs=jobs, dry_run=dry_run, console=console)
    if trained is None:
        return None
    whole, failed = trained
    subjects = {
        # Use the weights of the last epoch: with few held-out clips the best epoch is random and differs between rows.
        name: read_subjects([f"{name.replace('=', ' ')}={run_file(job.folder, 'last')}" for job in jobs])
        for name, jobs in whole.items()
    }
    accuracies, source, split = _measured(plan, subjects, split, out, engine)
    rows = _rows(plan, list(whole), accuracies)
    result = Swept(rows, accuracies, failed, out)
    made_with = {
        "settings": given,
        "bench": BenchSettings().model_dump(mode="json"),
        "seeds": wanted,
        "data": str(source.path),
        "split": split,
        "clips": len(source.names),
        "runs": [
            {"row": name, "seed": seed, "weights": str(one.path), "sha256": one.digest}
            for name, own in subjects.items()
            for seed, one in zip(wanted, own, strict=True)
        ],
    }
    title = f"{plan.title}\n{source.path.name}, {split}, {len(source.names)} clips, {len(wanted)} seeds"
    _write(plan, result, {**engine_told(engine), "sweep": plan.model_dump(mode="json"), **made_with}, title)
    return result


def print_table(plan: SweepSettings, result: Swept, console: Console) -> None:
    """Print one line per row: top-1 with its standard deviation, under each condition.

    Args:
        plan: The sweep.
        result: Results of the sweep.
        console: Receives the table.
    """
    conditions = plan.measured()
    table = Table("row", *_papers(plan, "paper"), *map(_titled, conditions), title=Text(plan.title))
    for name, cells in _cells(plan, result).items():
        table.add_row(Text(name), *cells)
    console.print(table)


def _check_files(plan: SweepSettings, listed: Mapping[str, Sequence[Job]], split: str | None) -> None:
    """Open the skeleton files of the rows, so that errors appear before hours of training.

    Raises:
        UsageError: There is no such file or split, or its skeletons do not support a condition.
        AnnotationError: The file is malformed.
    """
    every = [job.settings for jobs in listed.values() for job in jobs]
    # Most rows and seeds read the file in the same way.
    for settings in {(str(one.data), one.init): one for one in every if isinstance(one, RunSettings)}.values():
        data = settings.data
        # Initial weights determine how the file is read.
        clips = open_clips(skeleton_file_of(data), data) if settings.init is None else prepare(settings).clips
        split_indices(clips, split if split is not None else matching_test_split(clips, data))
        admitted = {family.name for family in families_for(clips.layout, dimensions=clips.dimensions, several=True)}
        for family in plan.conditions:
            if family not in admitted:
                raise UsageError(
                    f"{plan.title}: conditions.{family}: does not apply to the skeletons of {clips.path}; remove it"
                )


def _measured(
    plan: SweepSettings,
    subjects: Mapping[str, Sequence[Subject]],
    split: str | None,
    out: Path,
    engine: Engine,
) -> tuple[dict[tuple[str, Condition], Accuracy], Source, str]:
    """Return the accuracy of every row under every condition, over seeds and draws, on the file of the first row.

    Malformed clips are skipped if that row's settings say so; otherwise it could not have been trained on the file.
    """
    bench = BenchSettings()
    first = next(iter(subjects.values()))[0]
    trained = load_run(first.path)
    files, skip_bad = [Path(trained.settings.data.file)], trained.settings.data.skip_bad
    (source,), split = open_sources(first, files, split, limit=None, skip_bad=skip_bad)
    cache = Cache(out / CACHE, bench, engine, [source], {}, trained.label_names)
    accuracies: dict[tuple[str, Condition], Accuracy] = {}
    answers: dict[tuple[str, Condition], list[np.ndarray]] = {}
    for name, own in subjects.items():
        for subject in own:
            tasks = [
                Task("answers", 0, condition, seed)
                for condition in plan.measured()
                for seed in seeds_of(condition, bench)
            ]
            left = [task for task in tasks if not cache.has(subject, task)]
            if left:
                run = load_run(subject.path)
                worker = Worker(run, translation_of(run, trained.label_names), cache, skip_bad=skip_bad)
                for task in left:
                    cache.write(subject, task, worker.do(task, lambda _: None))
            for task in tasks:
                answers.setdefault((name, task.condition), []).append(cache.read(subject, task)["predicted"])
    for key, found in answers.items():
        accuracies[key] = accuracy(np.stack(found), source.labels)
    return accuracies, source, split


def _rows(
    plan: SweepSettings, names: Sequence[str], accuracies: Mapping[tuple[str, Condition], Accuracy]
) -> list[dict[str, Any]]:
    """Return the table; differences are relative to its first row, with the interval of a bootstrap over clips."""
    by_name = {row.name: row for row in plan.rows}
    table = []
    for name in names:
        for condition in plan.measured():
            found, first = accuracies[name, condition], accuracies[names[0], condition]
            difference, low, high = bootstrap_difference(
                found.of_clips, first.of_clips, resamples=BenchSettings().resamples
            )
            table.append(
                {
                    "row": name,
                    "value": by_name[name].value,
                    "paper": by_name[name].paper,
                    "family": condition.family,
                    "level": condition.level,
                    "top1": found.mean,
                    "spread": found.spread,
                    "draws": len(found.each),
                    "against": names[0],
                    "difference": difference,
                    "low": low,
                    "high": high,
                }
            )
    return table


def _write(plan: SweepSettings, result: Swept, made_with: Mapping[str, Any], title: str) -> None:
    from recognition.robustness import plots

    files = {
        "sweep.json": as_json({**made_with, "failed": result.failed, "table": result.rows}).encode(),
        "sweep.csv": as_csv(result.rows).encode(),
        "sweep.md": _markdown(plan, result).encode(),
    }
    names = list(dict.fromkeys(row["row"] for row in result.rows))
    figure = None
    noises = [Condition(CLEAN), *(one for one in plan.measured() if one.family == NOISE)]
    if plan.axis is not None:
        values = {row.name: row.value for row in plan.rows}
        curves = {
            _titled(condition): (
                [values[name] for name in names],
                [result.accuracies[name, condition].mean for name in names],
                [result.accuracies[name, condition].spread or 0.0 for name in names],
            )
            for condition in plan.measured()
        }
        figure = plots.levels_figure({"top-1": (plan.axis, curves)}, title)  # type: ignore[dict-item]
    elif len(noises) > 4:
        found = {
            name: (
                [float(one.level or 0) for one in noises],
                [result.accuracies[name, one].mean for one in noises],
                [result.accuracies[name, one].spread or 0.0 for one in noises],
            )
            for name in names
        }
        figure = plots.noise_figure({"Gaussian noise in space and time": found}, title)
    if figure is not None:
        files |= {f"sweep.{kind}": figure_bytes(figure, kind) for kind in ("png", "svg")}
    write_results(result.out, files)


def _markdown(plan: SweepSettings, result: Swept) -> str:
    heads = ["top-1 in per cent", *_papers(plan, "paper, NTU60 xsub"), *map(_titled, plan.measured())]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join([name, *cells]) + " |" for name, cells in _cells(plan, result).items()]
    return "\n".join([f"{plan.title}", "", *lines, ""])


def _papers(plan: SweepSettings, head: str) -> list[str]:
    """Return the head of the column with the paper's results, if there are any."""
    return [head] if any(row.paper is not None for row in plan.rows) else []


def _cells(plan: SweepSettings, result: Swept) -> dict[str, list[str]]:
    """Return row -> cells: the paper's result, if there are any, and the accuracy under each condition."""
    conditions = plan.measured()
    return {
        row.name: [
            *["" if row.paper is None else f"{row.paper:.1f}" for _ in _papers(plan, "")],
            *(_shown(result.accuracies[row.name, condition]) for condition in conditions),
        ]
        for row in plan.rows
        if (row.name, conditions[0]) in result.accuracies
    }


def _titled(condition: Condition) -> str:
    return title_of(condition) if condition.level is None else f"{title_of(condition)}, {condition.level}"


def _shown(found: Accuracy) -> str:
    return f"{100 * found.mean:.1f}" + (f" ± {100 * found.spread:.1f}" if found.spread is not None else "")
