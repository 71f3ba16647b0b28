"""The numbers of a robustness bench, out of the answers that were kept: as one dictionary, and as tables for CSV."""

import csv
import importlib.metadata
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.evaluate import Engine
from pipeline.robustness_subjects import Source, Subject, methods_of
from pipeline.robustness_tasks import Task
from recognition.inference import place
from recognition.plots import embed
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
    areas,
    bootstrap_difference,
    class_gains,
    metrics_of,
)
from recognition.robustness_targeted import RANDOM, TargetedCurves

if TYPE_CHECKING:
    from pipeline.robustness import Bench

PAIRS = 5
# Clips that t-SNE shows: its cost grows faster than they, and there is a panel for each method.
MOST_SHOWN = 2000


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


def gather(bench: "Bench", *, figures: bool = True) -> Results:
    """Reads all answers of a bench that is done, and computes what is told of them.

    Args:
        bench: What was measured.
        figures: Whether places of t-SNE are computed, which are the numbers of a figure.
    """
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
        "estimator_differences": _estimator_differences(bench, methods, answers, accuracies),
        "targeted": _targeted(bench, curves),
        "targeted_curves": _targeted_curves(curves),
        "confused_pairs": _confused(bench, methods, answers),
        "class_gains": _gains(bench, methods, answers, accuracies),
        "tsne": _places(bench, methods) if figures else [],
    }
    return Results(methods, answers, accuracies, curves, tables, _summary(bench, methods, answers, tables))


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as CSV; a list in a cell with spaces between its values."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: " ".join(map(str, value)) if isinstance(value, list) else value for key, value in row.items()}
        for row in rows
    )
    return text.getvalue()


def as_json(summary: Mapping[str, Any]) -> str:
    """A summary as JSON, each row of a table on a line of its own: short, and still to be read."""

    def written(value: Any) -> str:
        def line(one: Any) -> str:
            return json.dumps(one, ensure_ascii=False, allow_nan=False)

        if isinstance(value, list) and value and isinstance(value[0], dict):
            return "[\n  " + ",\n  ".join(map(line, value)) + "\n ]"
        return line(value)

    return "{\n " + ",\n ".join(f"{json.dumps(name)}: {written(value)}" for name, value in summary.items()) + "\n}\n"


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
    """First less second on the same clips, with its interval."""
    return _interval(bench, first.of_clips, second.of_clips)


def _interval(bench: "Bench", first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    return bootstrap_difference(first, second, resamples=bench.settings.resamples, seed=bench.settings.seed)


def _each(found: Accuracy) -> list[float]:
    """Top-1 of each draw of the first run, of each draw of the second, and so on."""
    return [round(float(value), 6) for value in found.each]


def _differences(
    bench: "Bench", methods: Sequence[str], accuracies: Mapping[tuple[str, int, Condition], Accuracy]
) -> list[dict[str, Any]]:
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
    answers: Mapping[tuple[str, int, Condition], np.ndarray],
    accuracies: Mapping[tuple[str, int, Condition], Accuracy],
) -> list[dict[str, Any]]:
    """Tables 2 and 3: each other file beside the first on the clips that both have."""
    from pipeline.robustness import ON_ESTIMATORS

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
    answers: Mapping[tuple[str, int, Condition], np.ndarray],
    accuracies: Mapping[tuple[str, int, Condition], Accuracy],
) -> list[dict[str, Any]]:
    """The first method less each other one, on the clips that a further file shares with the first, in both files."""
    from pipeline.robustness import ON_ESTIMATORS

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
    """What rows about a further file begin with."""
    source = bench.sources[number]
    return {"from": _called(bench.sources[0]), "to": _called(source), "clips": len(source.names)}


def _on_both(
    bench: "Bench",
    method: str,
    number: int,
    condition: Condition,
    answers: Mapping[tuple[str, int, Condition], np.ndarray],
    accuracies: Mapping[tuple[str, int, Condition], Accuracy],
) -> tuple[Accuracy, Accuracy]:
    """Accuracy of a method in the first file and in a further one, on the clips that both have."""
    source = bench.sources[number]
    places = {name: place for place, name in enumerate(bench.sources[0].names)}
    shared = np.array([places[name] for name in source.names])
    return accuracy(answers[method, 0, condition][:, shared], source.labels), accuracies[method, number, condition]


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


def _targeted(bench: "Bench", curves: Mapping[str, Mapping[str, TargetedCurves]]) -> list[dict[str, Any]]:
    """Areas with their intervals, and how far they are from those by chance; both over clips."""
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


def _confused(
    bench: "Bench", methods: Sequence[str], answers: Mapping[tuple[str, int, Condition], np.ndarray]
) -> list[dict[str, Any]]:
    """The five most confused pairs of each method under each condition, and how often the other methods confuse them.

    Counts are means of a run and repeat.
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
    """Noise of some level, where it was measured; clean otherwise."""
    wanted = Condition(NOISE, level)
    return wanted if wanted in bench.conditions else Condition(CLEAN)


def _gains(
    bench: "Bench",
    methods: Sequence[str],
    answers: Mapping[tuple[str, int, Condition], np.ndarray],
    accuracies: Mapping[tuple[str, int, Condition], Accuracy],
) -> list[dict[str, Any]]:
    """What the first method gains on each class over each other, under the noise of the paper's table.

    Intervals are over the class's clips.
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
    """Places (N,) of clips that t-SNE shows, and the hidden features, float32 (N, D), of one run of each method.

    At most `MOST_SHOWN`, evenly over the split, of those in which all of these runs see somebody.
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
    """Where t-SNE puts clips; the same as in the figure, which takes the same seed."""
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


def _confusions(
    bench: "Bench", methods: Sequence[str], answers: Mapping[tuple[str, int, Condition], np.ndarray]
) -> list[dict[str, Any]]:
    """Confusion matrices of clean clips, and of the condition that the figure shows."""
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


def engine_told(engine: Engine) -> dict[str, Any]:
    """What networks were run with: the version of this package, device, backend and precision."""
    return {
        "version": importlib.metadata.version("skelpipe"),
        "engine": vars(place(engine.device, engine.backend, engine.precision)),
    }


def _summary(
    bench: "Bench",
    methods: Sequence[str],
    answers: Mapping[tuple[str, int, Condition], np.ndarray],
    tables: Mapping[str, list[dict[str, Any]]],
) -> dict[str, Any]:
    return {
        **engine_told(bench.cache.engine),
        "split": bench.split,
        "clips": len(bench.sources[0].names),
        "classes": list(bench.label_names),
        "settings": bench.settings.model_dump(mode="json"),
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
        "confusions": _confusions(bench, methods, answers),
        **{name: rows for name, rows in tables.items()},
    }
