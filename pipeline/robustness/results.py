"""Results of a robustness benchmark, computed from the stored predictions: one dictionary, and tables for CSV."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.robustness.subjects import Subject, methods_of
from pipeline.robustness.tables import Answers, confusing_condition, tables_of
from pipeline.robustness.tasks import Task
from pose_extraction._version import __version__
from pose_extraction.engines.engine import Engine
from recognition.hub import described
from recognition.robustness.conditions import (
    BY_NAME,
    CLEAN,
    ESTIMATOR_ERRORS,
    NOISE_OF_CONFUSIONS,
    TARGETED,
    Condition,
    seeds_of,
)
from recognition.robustness.statistics import Accuracy, accuracy, metrics_of
from recognition.robustness.targeted import TargetedCurves

if TYPE_CHECKING:
    from pipeline.robustness.bench import Bench


@dataclass(frozen=True)
class Results:
    """Results of a benchmark.

    Args:
        methods: Names of the methods; the others are compared with the first.
        answers: (method, source, condition) -> predicted classes, int (runs * repeats, N).
        accuracies: Accuracies with the same keys.
        curves: Method -> order -> curves: per clip, the share of runs and draws that are correct; empty if targeted
            masking is not requested.
        tables: Name -> rows, for CSV.
        summary: Everything except the predictions, for JSON.
    """

    methods: list[str]
    answers: dict[tuple[str, int, Condition], np.ndarray]
    accuracies: dict[tuple[str, int, Condition], Accuracy]
    curves: dict[str, dict[str, TargetedCurves]]
    tables: dict[str, list[dict[str, Any]]]
    summary: dict[str, Any]


def gather(bench: "Bench", *, figures: bool = True) -> Results:
    """Read all predictions of a finished benchmark and compute the results.

    Args:
        bench: Definition of the benchmark.
        figures: Whether to compute the t-SNE coordinates that a figure shows.

    Returns:
        The results.
    """
    from pipeline.robustness.bench import ON_ESTIMATORS

    methods = methods_of(bench.subjects)
    subjects = {name: [one for one in bench.subjects if one.method == name] for name in methods}
    wanted = [(0, condition) for condition in bench.conditions]
    if bench.others:
        wanted += [(number, condition) for number in (0, *bench.others) for condition in ON_ESTIMATORS]
    answers: dict[tuple[str, int, Condition], np.ndarray] = {}
    for name in methods:
        for number, condition in dict.fromkeys(wanted):
            answers[name, number, condition] = np.stack(
                [
                    bench.cache.read(subject, Task("answers", number, condition, seed))["predicted"]
                    for subject in subjects[name]
                    for seed in seeds_of(condition, bench.settings)
                ]
            )
    accuracies = {key: accuracy(found, bench.sources[key[1]].labels) for key, found in answers.items()}
    curves = {name: _curves_of(bench, subjects[name]) for name in methods} if bench.settings.wants(TARGETED) else {}
    tables = tables_of(bench, methods, answers, accuracies, curves, places=figures)
    return Results(methods, answers, accuracies, curves, tables, _summary(bench, methods, answers, tables))


def title_of(condition: Condition) -> str:
    """Describe a condition in words, without its level."""
    if condition.family == CLEAN:
        return "clean"
    if condition.family == ESTIMATOR_ERRORS:
        return f"errors of {condition.other}"
    return BY_NAME[condition.family].title


def _curves_of(bench: "Bench", subjects: Iterable[Subject]) -> dict[str, TargetedCurves]:
    """Return the curves of one method per order, averaged over its runs and draws."""
    found: dict[str, list[dict[str, np.ndarray]]] = {}
    for subject in subjects:
        for order in bench.orders[subject]:
            found.setdefault(order, []).extend(bench.cache.read(subject, task) for task in bench.targeted(order))
    # Only clips in which every run sees a person, so that orders can be compared clip by clip.
    shared = set.intersection(*(set(part["rows"].tolist()) for parts in found.values() for part in parts))
    clips = np.array(sorted(shared))

    def mean(parts: Sequence[Mapping[str, np.ndarray]], name: str) -> np.ndarray:
        return np.mean([part[name][:, np.searchsorted(part["rows"], clips)] for part in parts], axis=0)

    return {order: TargetedCurves(mean(parts, "deleted"), mean(parts, "inserted")) for order, parts in found.items()}


def _confusions(bench: "Bench", methods: Sequence[str], answers: Answers) -> list[dict[str, Any]]:
    """Return confusion matrices for clean clips and for the condition in the figure."""
    labels, classes = bench.sources[0].labels, len(bench.label_names)
    return [
        {
            "condition": condition.name,
            "method": method,
            "draws": len(answers[method, 0, condition]),
            "matrix": metrics_of(answers[method, 0, condition], labels, classes).confusion.tolist(),
        }
        for condition in dict.fromkeys((Condition(CLEAN), confusing_condition(bench, NOISE_OF_CONFUSIONS)))
        for method in methods
    ]


def engine_info(engine: Engine) -> dict[str, Any]:
    """Return the package version, device, backend and precision that the networks ran with.

    Args:
        engine: Without "auto".
    """
    return {
        "version": __version__,
        "engine": engine.facts(),
    }


def _summary(
    bench: "Bench",
    methods: Sequence[str],
    answers: Answers,
    tables: Mapping[str, list[dict[str, Any]]],
) -> dict[str, Any]:
    return {
        **engine_info(bench.cache.engine),
        "split": bench.split,
        "clips": len(bench.sources[0].names),
        "classes": list(bench.label_names),
        "settings": bench.settings.model_dump(mode="json"),
        "runs": [
            {"name": one.name, "method": one.method, "weights": described(one.path), "sha256": one.digest}
            for one in bench.subjects
        ],
        "data": [
            {
                "name": one.name,
                "file": str(one.path),
                "estimator": one.estimator,
                "clips": len(one.names),
                "sha256_of_content": one.digest,
            }
            for one in bench.sources
        ],
        "estimator_errors": [
            {
                "other": name,
                "measured_on": bench.compared[name],
                "joints_compared": found.pairs,
                "median_displacement": [float(np.abs(joint).mean()) for joint in found.displacement[:, :, 50]],
                "spread_of_displacement": [
                    float(value) for value in (found.displacement[:, :, 84] - found.displacement[:, :, 16]).mean(axis=1)
                ],
                "correlation": found.correlation.tolist(),
                "missed": found.missed.tolist(),
                "still_missed": found.still_missed.tolist(),
            }
            for name, found in bench.cache.statistics.items()
        ],
        "confusions_at": confusing_condition(bench, NOISE_OF_CONFUSIONS).name,
        "confusions": _confusions(bench, methods, answers),
        **{name: rows for name, rows in tables.items()},
    }
