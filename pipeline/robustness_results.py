"""The numbers of a robustness bench, out of the answers that were kept: as one dictionary, and as tables for CSV."""

import csv
import importlib.metadata
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.robustness_subjects import Source, Subject, methods_of
from pipeline.robustness_tasks import Task
from recognition.robustness_conditions import (
    BY_NAME,
    CLEAN,
    ESTIMATOR_ERRORS,
    NOISE,
    NOISE_OF_CONFUSIONS,
    NOISE_OF_TABLES,
    TARGETED,
    Condition,
    seeds_of,
)
from recognition.robustness_statistics import (
    Accuracy,
    accuracy,
    bootstrap_difference,
    class_gains,
    metrics_of,
)
from recognition.robustness_targeted import TargetedCurves

if TYPE_CHECKING:
    from pipeline.robustness import Bench

PAIRS = 5


@dataclass(frozen=True)
class Results:
    """What was found.

    Args:
        methods: Names, the first being what the others are held against.
        answers: (method, source, condition) -> int (runs * repeats, N).
        accuracies: The same keys.
        curves: Method -> order -> curves, of each clip the share of runs and draws that is right; empty where targeted
            masking is not wanted.
        tables: Name -> rows, for CSV.
        summary: Everything but the answers, for JSON.
    """

    methods: list[str]
    answers: dict[tuple[str, int, Condition], np.ndarray]
    accuracies: dict[tuple[str, int, Condition], Accuracy]
    curves: dict[str, dict[str, TargetedCurves]]
    tables: dict[str, list[dict[str, Any]]]
    summary: dict[str, Any]


def gather(bench: "Bench") -> Results:
    """Reads all answers of a bench that is done, and computes what is told of them."""
    from pipeline.robustness import ON_ESTIMATORS

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
    tables = {
        "conditions": _conditions(bench, methods, accuracies),
        "differences": _differences(bench, methods, accuracies),
        "estimators": _estimators(bench, methods, answers, accuracies),
        "targeted": _targeted(curves),
        "targeted_curves": _targeted_curves(curves),
        "confused_pairs": _confused(bench, methods, answers),
        "class_gains": _gains(bench, methods, answers),
    }
    return Results(methods, answers, accuracies, curves, tables, _summary(bench, tables))


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def title_of(condition: Condition) -> str:
    """A condition in words, without its level."""
    if condition.family == CLEAN:
        return "clean"
    if condition.family == ESTIMATOR_ERRORS:
        return f"errors of {condition.other}"
    return BY_NAME[condition.family].title


def _conditions(
    bench: "Bench", methods: Sequence[str], accuracies: Mapping[tuple[str, int, Condition], Accuracy]
) -> list[dict[str, Any]]:
    rows = []
    for condition in bench.conditions:
        for name in methods:
            found, clean = accuracies[name, 0, condition], accuracies[name, 0, Condition(CLEAN)]
            rows.append(
                {
                    "family": condition.family,
                    "other": condition.other,
                    "level": condition.level,
                    "method": name,
                    "top1": found.mean,
                    "spread": found.spread,
                    "drop": clean.mean - found.mean,
                    "draws": len(found.each),
                }
            )
    return rows


def _differences(
    bench: "Bench", methods: Sequence[str], accuracies: Mapping[tuple[str, int, Condition], Accuracy]
) -> list[dict[str, Any]]:
    rows = []
    for condition in bench.conditions:
        for name in methods[1:]:
            difference, low, high = bootstrap_difference(
                accuracies[methods[0], 0, condition].of_clips,
                accuracies[name, 0, condition].of_clips,
                resamples=bench.settings.resamples,
                seed=bench.settings.seed,
            )
            rows.append(
                {
                    "family": condition.family,
                    "other": condition.other,
                    "level": condition.level,
                    "method": methods[0],
                    "against": name,
                    "difference": difference,
                    "low": low,
                    "high": high,
                }
            )
    return rows


def _estimators(
    bench: "Bench",
    methods: Sequence[str],
    answers: Mapping[tuple[str, int, Condition], np.ndarray],
    accuracies: Mapping[tuple[str, int, Condition], Accuracy],
) -> list[dict[str, Any]]:
    """Tables 2 and 3: each other file beside the first on the clips that both have."""
    from pipeline.robustness import ON_ESTIMATORS

    rows = []
    main = bench.sources[0]
    places = {name: number for number, name in enumerate(main.names)}
    for number in bench.others:
        source = bench.sources[number]
        shared = np.array([places[name] for name in source.names])
        for name in methods:
            for condition in ON_ESTIMATORS:
                own = accuracy(answers[name, 0, condition][:, shared], source.labels)
                there = accuracies[name, number, condition]
                own_clean = accuracy(answers[name, 0, Condition(CLEAN)][:, shared], source.labels)
                clean = accuracies[name, number, Condition(CLEAN)]
                change, low, high = bootstrap_difference(
                    there.of_clips, own.of_clips, resamples=bench.settings.resamples, seed=bench.settings.seed
                )
                rows.append(
                    {
                        "from": _called(main),
                        "to": _called(source),
                        "clips": len(source.names),
                        "method": name,
                        "family": condition.family,
                        "level": condition.level,
                        "top1_from": own.mean,
                        "drop_from": own_clean.mean - own.mean,
                        "top1_to": there.mean,
                        "drop_to": clean.mean - there.mean,
                        "change": change,
                        "low": low,
                        "high": high,
                    }
                )
    return rows


def _called(source: Source) -> str:
    return source.name if source.estimator in (None, source.name) else f"{source.name} ({source.estimator})"


def _curves_of(bench: "Bench", subjects: Iterable[Subject]) -> dict[str, TargetedCurves]:
    found: dict[str, list[dict[str, np.ndarray]]] = {}
    for subject in subjects:
        for order in bench.orders[subject]:
            found.setdefault(order, []).extend(bench.cache.read(subject, task) for task in bench.targeted(order))
    clips = len(bench.sources[0].names)
    return {
        order: TargetedCurves(_of_each_clip(parts, "deleted", clips), _of_each_clip(parts, "inserted", clips))
        for order, parts in found.items()
    }


def _of_each_clip(parts: Sequence[Mapping[str, np.ndarray]], name: str, clips: int) -> np.ndarray:
    """float64 (steps + 1, N), mean of several curves of each clip; clips that none of them was asked about are out."""
    total, asked = np.zeros((len(parts[0][name]), clips)), np.zeros(clips)
    for part in parts:
        total[:, part["rows"]] += part[name]
        asked[part["rows"]] += 1
    return total[:, asked > 0] / asked[asked > 0]


def _targeted(curves: Mapping[str, Mapping[str, TargetedCurves]]) -> list[dict[str, Any]]:
    return [
        {"method": name, "order": order, "deletion_area": found.areas[0], "insertion_area": found.areas[1]}
        for name, orders in curves.items()
        for order, found in orders.items()
    ]


def _targeted_curves(curves: Mapping[str, Mapping[str, TargetedCurves]]) -> list[dict[str, Any]]:
    rows = []
    for name, orders in curves.items():
        for order, found in orders.items():
            steps = len(found.deleted) - 1
            for step in range(steps + 1):
                rows.append(
                    {
                        "method": name,
                        "order": order,
                        "share": step / steps,
                        "top1_deleted": float(found.deleted[step].mean()),
                        "top1_inserted": float(found.inserted[step].mean()),
                    }
                )
    return rows


def _confused(
    bench: "Bench", methods: Sequence[str], answers: Mapping[tuple[str, int, Condition], np.ndarray]
) -> list[dict[str, Any]]:
    """The five most confused pairs of each method under each condition; counts are means of a run and repeat."""
    rows = []
    labels, names = bench.sources[0].labels, bench.label_names
    for condition in bench.conditions:
        for method in methods:
            found = answers[method, 0, condition]
            for place, pair in enumerate(metrics_of(found, labels, len(names)).confused_pairs[:PAIRS], 1):
                rows.append(
                    {
                        "family": condition.family,
                        "other": condition.other,
                        "level": condition.level,
                        "method": method,
                        "place": place,
                        "first": names[pair.first],
                        "second": names[pair.second],
                        "clips": pair.count / len(found),
                        "share_of_failures": pair.share,
                    }
                )
    return rows


def confusing_condition(bench: "Bench", level: float) -> Condition:
    """Noise of some level, where it was measured; clean otherwise."""
    wanted = Condition(NOISE, level)
    return wanted if wanted in bench.conditions else Condition(CLEAN)


def _gains(
    bench: "Bench", methods: Sequence[str], answers: Mapping[tuple[str, int, Condition], np.ndarray]
) -> list[dict[str, Any]]:
    """What the first method gains on each class over each other, under the noise of the paper's table."""
    rows = []
    labels, names = bench.sources[0].labels, bench.label_names
    condition = confusing_condition(bench, NOISE_OF_TABLES)
    first = metrics_of(answers[methods[0], 0, condition], labels, len(names))
    for other in methods[1:]:
        second = metrics_of(answers[other, 0, condition], labels, len(names))
        for number, gain in enumerate(class_gains(first, second)):
            if np.isfinite(gain):
                rows.append(
                    {
                        "condition": condition.name,
                        "class": names[number],
                        "clips": int((labels == number).sum()),
                        "method": methods[0],
                        "against": other,
                        "top1": float(first.per_class[number]),
                        "top1_against": float(second.per_class[number]),
                        "gain": float(gain),
                    }
                )
    return rows


def _summary(bench: "Bench", tables: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    from recognition.inference import place

    engine = bench.cache.engine
    return {
        "version": importlib.metadata.version("skelpipe"),
        "split": bench.split,
        "clips": len(bench.sources[0].names),
        "classes": list(bench.label_names),
        "settings": bench.settings.model_dump(mode="json"),
        "engine": vars(place(engine.device, engine.backend, engine.precision)),
        "runs": [
            {"name": one.name, "method": one.method, "weights": str(one.path), "sha256": one.digest}
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
        **{name: rows for name, rows in tables.items()},
    }
