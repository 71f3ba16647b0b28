"""`skelpipe sweep` of recognizers: train many runs that differ in a few settings, and compare them in one table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.cluster.jobs import ClusterJobs
from pipeline.reporting.tables import as_json
from pipeline.robustness.measuring import Measuring, engine_for, measure_on_cluster
from pipeline.robustness.results import engine_info, title_of
from pipeline.robustness.subjects import SkeletonSource, Subject, open_sources, read_subjects
from pipeline.robustness.tasks import Cache, Task
from pipeline.sweep.job import Job
from pipeline.sweep.jobs import phase_one_of, train_rows
from pipeline.sweep.plan import SweepRequest, Swept
from pipeline.sweep.recognizer_plan import Row, SweepSettings, settings_of
from pipeline.sweep.workflow import cluster_of, list_jobs, write_results
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from recognition.data.clips import open_clips
from recognition.data.skeleton_file import skeleton_file_of
from recognition.data.splits import matching_test_split, split_indices
from recognition.evaluation.figures import figure_bytes
from recognition.robustness.conditions import CLEAN, NOISE, BenchSettings, Condition, families_for, seeds_of
from recognition.robustness.statistics import Accuracy, accuracy, bootstrap_difference
from recognition.runs import load_run, run_file
from recognition.settings import RunSettings
from recognition.training.preparation import prepare

CACHE = "cache"


def sweep(plan: SweepSettings, request: SweepRequest, engine: Engine) -> Swept | None:
    """Train every row with every seed, evaluate the runs on the test split, and write a table and a figure.

    Finished runs are not trained again, interrupted ones are resumed, and existing measurements are reused.

    Args:
        plan: Rows and conditions of the sweep.
        request: What the command line asks for.
        engine: Device, backend, precision and batch settings of the evaluation.

    Returns:
        The results; None for a dry run.

    Raises:
        UsageError: A setting is unknown or invalid, there is no such file or split, its skeletons do not support a
            condition, or a run in the folder has other settings.
        AnnotationError: The file is malformed, or a clip is and `data.skip_bad` is not set.
        TrainingError: No row has a run for every seed.
        BackendError: There is no cluster, or it has no room for an actor.
    """
    with cluster_of(request) as cluster:
        return _sweep(plan, request, engine, cluster)


def _sweep(plan: SweepSettings, request: SweepRequest, engine: Engine, cluster: ClusterJobs | None) -> Swept | None:
    def job_of(row: Row, name: str, own: dict[str, Any]) -> Job:
        settings = settings_of(plan, row, own, place=plan.title)
        return Job(name, settings, phase_one_of(settings, request.out))

    listed = list_jobs(plan, request, job_of)
    _check_files(plan, listed, request.split)
    trained = train_rows(listed, request, cluster)
    if trained is None:
        return None
    whole, failed = trained
    engine = engine_for(engine, cluster)
    subjects = {
        # Use the weights of the last epoch: with few held-out clips the best epoch is random and differs between rows.
        name: read_subjects([f"{name.replace('=', ' ')}={run_file(job.folder, 'last')}" for job in jobs])
        for name, jobs in whole.items()
    }
    accuracies, source, split = _measured(plan, subjects, request, engine, cluster)
    heads = [*_papers(plan, "paper"), *map(_titled, plan.measured())]
    rows = _rows(plan, list(whole), accuracies)
    result = Swept(plan.title, rows, heads, _cells(plan, accuracies), failed, request.out)
    seeds = tuple(request.seeds) if request.seeds else plan.seeds
    summary = {
        **engine_info(engine),
        "sweep": plan.model_dump(mode="json"),
        "settings": request.settings_of_all_rows(),
        "bench": BenchSettings().model_dump(mode="json"),
        "seeds": seeds,
        "data": str(source.path),
        "split": split,
        "clips": len(source.names),
        "runs": [
            {"row": name, "seed": seed, "weights": str(one.path), "sha256": one.digest}
            for name, own in subjects.items()
            for seed, one in zip(seeds, own, strict=True)
        ],
        "failed": failed,
        "table": rows,
    }
    title = f"{plan.title}\n{source.path.name}, {split}, {len(source.names)} clips, {len(seeds)} seeds"
    heads = [*_papers(plan, "paper, NTU60 xsub"), *map(_titled, plan.measured())]
    write_results(result, as_json(summary), heads=heads, figures=_figure(plan, accuracies, title))
    return result


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
    request: SweepRequest,
    engine: Engine,
    cluster: ClusterJobs | None,
) -> tuple[dict[tuple[str, Condition], Accuracy], SkeletonSource, str]:
    """Return the accuracy of every row under every condition, over seeds and draws, on the file of the first row.

    Malformed clips are skipped if that row's settings say so; otherwise it could not have been trained on the file.
    """
    bench = BenchSettings()
    first = next(iter(subjects.values()))[0]
    trained = load_run(first.path)
    files, skip_bad = [Path(trained.settings.data.file)], trained.settings.data.skip_bad
    (source,), split = open_sources(first, files, request.split, limit=None, skip_bad=skip_bad)
    cache = Cache(request.out / CACHE, bench, engine, [source], {}, trained.label_names)
    tasks = [
        Task("answers", 0, condition, seed) for condition in plan.measured() for seed in seeds_of(condition, bench)
    ]
    every = [subject for own in subjects.values() for subject in own]
    left = [(subject, task) for subject in every for task in tasks if not cache.has(subject, task)]
    if cluster is not None:
        measure_on_cluster(cluster, cache, left, skip_bad=skip_bad)
    else:
        measuring = Measuring(cache, skip_bad=skip_bad)
        for one in left:
            measuring.do(one, lambda _: None)
    answers: dict[tuple[str, Condition], list[np.ndarray]] = {}
    for name, own in subjects.items():
        for subject in own:
            for task in tasks:
                answers.setdefault((name, task.condition), []).append(cache.read(subject, task)["predicted"])
    accuracies = {key: accuracy(np.stack(found), source.labels) for key, found in answers.items()}
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


def _figure(plan: SweepSettings, accuracies: Mapping[tuple[str, Condition], Accuracy], title: str) -> dict[str, bytes]:
    """Draw accuracy over the axis of the sweep, or over the level of noise; empty if the sweep has neither."""
    from recognition.robustness import plots

    def curve(points: Sequence[tuple[Any, Accuracy]]) -> tuple[list[Any], list[float], list[float]]:
        return (
            [place for place, _ in points],
            [found.mean for _, found in points],
            [found.spread or 0.0 for _, found in points],
        )

    rows = [row for row in plan.rows if (row.name, Condition(CLEAN)) in accuracies]
    noises = [Condition(CLEAN), *(one for one in plan.measured() if one.family == NOISE)]
    if plan.axis is not None:
        curves = {
            _titled(condition): curve([(row.value, accuracies[row.name, condition]) for row in rows])
            for condition in plan.measured()
        }
        figure = plots.levels_figure({"top-1": (plan.axis, curves)}, title)
    elif len(noises) > 4:
        found = {
            row.name: curve([(float(one.level or 0), accuracies[row.name, one]) for one in noises]) for row in rows
        }
        figure = plots.noise_figure({"Gaussian noise in space and time": found}, title)
    else:
        return {}
    return {kind: figure_bytes(figure, kind) for kind in ("png", "svg")}


def _papers(plan: SweepSettings, head: str) -> list[str]:
    """Return the head of the column with the paper's results, if there are any."""
    return [head] if any(row.paper is not None for row in plan.rows) else []


def _cells(plan: SweepSettings, accuracies: Mapping[tuple[str, Condition], Accuracy]) -> dict[str, list[str]]:
    """Return row -> cells: the paper's result, if there are any, and the accuracy under each condition."""
    conditions = plan.measured()
    return {
        row.name: [
            *["" if row.paper is None else f"{row.paper:.1f}" for _ in _papers(plan, "")],
            *(_shown(accuracies[row.name, condition]) for condition in conditions),
        ]
        for row in plan.rows
        if (row.name, conditions[0]) in accuracies
    }


def _titled(condition: Condition) -> str:
    return title_of(condition) if condition.level is None else f"{title_of(condition)}, {condition.level}"


def _shown(found: Accuracy) -> str:
    return f"{100 * found.mean:.1f}" + (f" ± {100 * found.spread:.1f}" if found.spread is not None else "")
