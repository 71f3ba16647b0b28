"""Tables of a robustness benchmark: each function computes the rows of one table, for JSON and CSV."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.robustness.subjects import SkeletonSource
from pipeline.robustness.tasks import Task
from recognition.evaluation.embedding import embed
from recognition.robustness.conditions import CLEAN, NOISE, NOISE_OF_TABLES, Condition
from recognition.robustness.statistics import Accuracy, accuracy, areas, bootstrap_difference, class_gains, metrics_of
from recognition.robustness.targeted import RANDOM, TargetedCurves

if TYPE_CHECKING:
    from pipeline.robustness.bench import Bench

# (method, source, condition) -> predicted classes, int (runs * repeats, N), and their accuracy.
Answers = Mapping[tuple[str, int, Condition], np.ndarray]
Accuracies = Mapping[tuple[str, int, Condition], Accuracy]
PAIRS = 5
# Number of clips in t-SNE: its cost grows faster than linearly, and there is one panel per method.
MOST_SHOWN = 2000


def tables_of(
    bench: "Bench",
    methods: Sequence[str],
    answers: Answers,
    accuracies: Accuracies,
    curves: Mapping[str, Mapping[str, TargetedCurves]],
    *,
    places: bool,
) -> dict[str, list[dict[str, Any]]]:
    """Return name -> rows; tables that were not measured have no rows.

    Args:
        bench: Definition of the benchmark.
        methods: Names of the methods; the others are compared with the first.
        answers: Predictions of all methods.
        accuracies: Accuracies with the same keys.
        curves: Method -> order -> curves of targeted masking.
        places: Whether to compute t-SNE.
    """
    return {
        "conditions": _conditions(bench, methods, accuracies),
        "differences": _differences(bench, methods, accuracies),
        "estimators": _estimators(bench, methods, answers, accuracies),
        "estimator_differences": _estimator_differences(bench, methods, answers, accuracies),
        "targeted": _targeted(bench, curves),
        "targeted_curves": _targeted_curves(curves),
        "confused_pairs": _confused(bench, methods, answers),
        "class_gains": _gains(bench, methods, answers, accuracies),
        "tsne": _places(bench, methods) if places else [],
    }


def _conditions(bench: "Bench", methods: Sequence[str], accuracies: Accuracies) -> list[dict[str, Any]]:
    rows = []
    for condition in bench.conditions:
        for name in methods:
            found = accuracies[name, 0, condition]
            drop, low, high = _compared(bench, accuracies[name, 0, Condition(CLEAN)], found)
            rows.append(
                {
                    "family": condition.family,
                    "other": condition.other,
                    "level": condition.level,
                    "method": name,
                    "top1": found.mean,
                    "spread": found.spread,
                    "drop": drop,
                    "drop_low": low,
                    "drop_high": high,
                    "draws": len(found.each),
                    "each": _each(found),
                }
            )
    return rows


def _compared(bench: "Bench", first: Accuracy, second: Accuracy) -> tuple[float, float, float]:
    """Return first minus second on the same clips, with its interval."""
    return _interval(bench, first.of_clips, second.of_clips)


def _interval(bench: "Bench", first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    return bootstrap_difference(first, second, resamples=bench.settings.resamples, seed=bench.settings.seed)


def _each(found: Accuracy) -> list[float]:
    """Return the top-1 of each draw of the first run, then of the second, and so on."""
    return [round(float(value), 6) for value in found.each]


def _differences(bench: "Bench", methods: Sequence[str], accuracies: Accuracies) -> list[dict[str, Any]]:
    rows = []
    for condition in bench.conditions:
        for name in methods[1:]:
            difference, low, high = _compared(
                bench, accuracies[methods[0], 0, condition], accuracies[name, 0, condition]
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
    answers: Answers,
    accuracies: Accuracies,
) -> list[dict[str, Any]]:
    """Return tables 2 and 3: each other file compared with the first on the clips that both contain."""
    from pipeline.robustness.bench import ON_ESTIMATORS

    rows = []
    for number in bench.others:
        for name in methods:
            clean = _on_both(bench, name, number, Condition(CLEAN), answers, accuracies)
            for condition in ON_ESTIMATORS:
                own, there = _on_both(bench, name, number, condition, answers, accuracies)
                row: dict[str, Any] = _of_pair(bench, number) | {
                    "method": name,
                    "family": condition.family,
                    "level": condition.level,
                }
                for side, found, undamaged in (("from", own, clean[0]), ("to", there, clean[1])):
                    drop, low, high = _compared(bench, undamaged, found)
                    row |= {
                        f"top1_{side}": found.mean,
                        f"spread_{side}": found.spread,
                        f"each_{side}": _each(found),
                        f"drop_{side}": drop,
                        f"drop_low_{side}": low,
                        f"drop_high_{side}": high,
                    }
                change, low, high = _compared(bench, there, own)
                rows.append(row | {"change": change, "low": low, "high": high})
    return rows


def _estimator_differences(
    bench: "Bench",
    methods: Sequence[str],
    answers: Answers,
    accuracies: Accuracies,
) -> list[dict[str, Any]]:
    """Return the first method minus each other one in both files, on the clips that a file shares with the first."""
    from pipeline.robustness.bench import ON_ESTIMATORS

    rows = []
    for number in bench.others:
        for condition in ON_ESTIMATORS:
            first = _on_both(bench, methods[0], number, condition, answers, accuracies)
            for name in methods[1:]:
                second = _on_both(bench, name, number, condition, answers, accuracies)
                row: dict[str, Any] = _of_pair(bench, number) | {
                    "family": condition.family,
                    "level": condition.level,
                    "method": methods[0],
                    "against": name,
                }
                for side, one, other in zip(("from", "to"), first, second, strict=True):
                    difference, low, high = _compared(bench, one, other)
                    row |= {f"difference_{side}": difference, f"low_{side}": low, f"high_{side}": high}
                rows.append(row)
    return rows


def _of_pair(bench: "Bench", number: int) -> dict[str, Any]:
    """Return the leading columns of rows about another file."""
    source = bench.sources[number]
    return {"from": _called(bench.sources[0]), "to": _called(source), "clips": len(source.names)}


def _on_both(
    bench: "Bench",
    method: str,
    number: int,
    condition: Condition,
    answers: Answers,
    accuracies: Accuracies,
) -> tuple[Accuracy, Accuracy]:
    """Return the accuracy of a method in the first file and in another, on the clips that both contain."""
    source = bench.sources[number]
    places = {name: place for place, name in enumerate(bench.sources[0].names)}
    shared = np.array([places[name] for name in source.names])
    return accuracy(answers[method, 0, condition][:, shared], source.labels), accuracies[method, number, condition]


def _called(source: SkeletonSource) -> str:
    return source.name if source.estimator in (None, source.name) else f"{source.name} ({source.estimator})"


def _targeted(bench: "Bench", curves: Mapping[str, Mapping[str, TargetedCurves]]) -> list[dict[str, Any]]:
    """Return areas and their differences from the random order, with intervals over clips."""
    rows = []
    for name, orders in curves.items():
        for order, found in orders.items():
            row: dict[str, Any] = {"method": name, "order": order}
            for kind in ("deletion", "insertion"):
                own, chance = (_areas(one, kind) for one in (found, orders[RANDOM]))
                mean, low, high = _interval(bench, own, np.zeros_like(own))
                row |= {f"{kind}_area": mean, f"{kind}_low": low, f"{kind}_high": high}
                apart = _interval(bench, own, chance) if order != RANDOM else (None, None, None)
                less = f"{kind}_less_random"
                row |= dict(zip((less, f"{less}_low", f"{less}_high"), apart, strict=True))
            rows.append(row)
    return rows


def _areas(found: TargetedCurves, kind: str) -> np.ndarray:
    return areas(found.deleted if kind == "deletion" else found.inserted)


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


def _confused(bench: "Bench", methods: Sequence[str], answers: Answers) -> list[dict[str, Any]]:
    """Return the five most confused pairs of each method per condition, and their counts for the other methods.

    Counts are means over runs and repeats.
    """
    rows = []
    labels, names = bench.sources[0].labels, bench.label_names
    for condition in bench.conditions:
        found = {method: answers[method, 0, condition] for method in methods}
        metrics = {method: metrics_of(given, labels, len(names)) for method, given in found.items()}
        for method in methods:
            for rank, pair in enumerate(metrics[method].confused_pairs[:PAIRS], 1):
                others = {
                    other: (one.confusion[pair.first, pair.second] + one.confusion[pair.second, pair.first])
                    / len(found[other])
                    for other, one in metrics.items()
                    if other != method
                }
                rows.append(
                    {
                        "family": condition.family,
                        "other": condition.other,
                        "level": condition.level,
                        "method": method,
                        "place": rank,
                        "first": names[pair.first],
                        "second": names[pair.second],
                        "clips": pair.count / len(found[method]),
                        "share_of_failures": pair.share,
                        "clips_of_others": "; ".join(f"{other}: {count:.1f}" for other, count in others.items()),
                    }
                )
    return rows


def confusing_condition(bench: "Bench", level: float) -> Condition:
    """Return noise of a given level if it was measured, else clean.

    Args:
        bench: Definition of the benchmark.
        level: Standard deviation of the noise.
    """
    wanted = Condition(NOISE, level)
    return wanted if wanted in bench.conditions else Condition(CLEAN)


def _gains(
    bench: "Bench",
    methods: Sequence[str],
    answers: Answers,
    accuracies: Accuracies,
) -> list[dict[str, Any]]:
    """Return the gain of the first method over each other one per class, under the noise of the paper's table.

    Intervals are over the clips of the class.
    """
    rows = []
    labels, names = bench.sources[0].labels, bench.label_names
    condition = confusing_condition(bench, NOISE_OF_TABLES)
    first = metrics_of(answers[methods[0], 0, condition], labels, len(names))
    for other in methods[1:]:
        second = metrics_of(answers[other, 0, condition], labels, len(names))
        for number, gain in enumerate(class_gains(first, second)):
            if np.isfinite(gain):
                own = labels == number
                _, low, high = _interval(
                    bench, *(accuracies[name, 0, condition].of_clips[own] for name in (methods[0], other))
                )
                rows.append(
                    {
                        "condition": condition.name,
                        "class": names[number],
                        "clips": int(own.sum()),
                        "method": methods[0],
                        "against": other,
                        "top1": float(first.per_class[number]),
                        "top1_against": float(second.per_class[number]),
                        "gain": float(gain),
                        "low": low,
                        "high": high,
                    }
                )
    return rows


def features_of(bench: "Bench", methods: Sequence[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the clips for t-SNE as indices (N,), and their hidden features, float32 (N, D), for one run per method.

    At most `MOST_SHOWN` clips, spread evenly over the split, in which all of these runs see a person.

    Args:
        bench: Definition of the benchmark.
        methods: Names of the methods.
    """
    firsts = [next(one for one in bench.subjects if one.method == method) for method in methods]
    stored = {method: bench.cache.read(one, Task("answers", 0)) for method, one in zip(methods, firsts, strict=True)}
    shared = np.array(sorted(set.intersection(*(set(one["rows"].tolist()) for one in stored.values()))))
    if len(shared) > MOST_SHOWN:
        shared = shared[np.linspace(0, len(shared) - 1, MOST_SHOWN).round().astype(np.int64)]
    return shared, {
        method: one["features"][np.searchsorted(one["rows"], shared)].astype(np.float32)
        for method, one in stored.items()
    }


def _places(bench: "Bench", methods: Sequence[str]) -> list[dict[str, Any]]:
    """Return the t-SNE coordinates of the clips, as shown in the figure."""
    main = bench.sources[0]
    shown, features = features_of(bench, methods)
    return [
        {
            "method": method,
            "clip": main.names[clip],
            "class": bench.label_names[main.labels[clip]],
            "x": round(float(x), 1),
            "y": round(float(y), 1),
        }
        for method, values in features.items()
        for clip, (x, y) in zip(shown, embed(values, seed=bench.settings.seed), strict=True)
    ]
