"""Tables with confidence intervals from the JSON lines of `recognition_accuracy.py`: method, seed and condition."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CLEAN = "clean"
# Methods are compared at the first level; if the baseline's drop there is below a minimum, at the first harder level
# with a large drop.
FIRST_LEVEL = {"noise": 0.01, "occlusion": 0.6}
FAIR_DROP, LARGE_DROP = 0.05, 0.10
DRAWS = 4000


@dataclass(frozen=True)
class Condition:
    """Condition of the clips: clean, noise with a given sigma, or occlusion of a given share of joints."""

    kind: str
    level: float = 0.0

    def __str__(self) -> str:
        if self.kind == "noise":
            return f"noise {self.level:g}"
        return f"occlusion {100 * self.level:.0f} %" if self.kind == "occlusion" else self.kind


# Correctness of each clip, bool (N,), per seed, method and condition.
Results = Mapping[str, Mapping[Condition, Mapping[int, np.ndarray]]]


def line_of(method: str, seed: int, condition: Condition, correct: np.ndarray) -> str:
    """Return one line of the results file."""
    return json.dumps(
        {
            "method": method,
            "seed": seed,
            "kind": condition.kind,
            "level": condition.level,
            "accuracy": round(float(correct.mean()), 5),
            "correct": "".join("1" if right else "0" for right in correct),
        }
    )


def read_results(path: Path) -> Results:
    """Read a results file; a line that was truncated by a kill is ignored."""
    results: dict[str, dict[Condition, dict[int, np.ndarray]]] = defaultdict(lambda: defaultdict(dict))
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        correct = np.array([mark == "1" for mark in entry["correct"]])
        results[entry["method"]][Condition(entry["kind"], entry["level"])][entry["seed"]] = correct
    return results


@dataclass(frozen=True)
class Comparison:
    """Comparison of two methods on the same clips; values from 0 to 1, with 95 % intervals over clips.

    Args:
        drop: Accuracy loss of the method from clean clips to the condition, averaged over seeds.
        baseline_drop: The same for the baseline.
        difference: `baseline_drop - drop`, with its interval.
        ratio: `drop / baseline_drop`, with its interval; None if the baseline's drop may be zero.
    """

    drop: float
    baseline_drop: float
    difference: tuple[float, float, float]
    ratio: tuple[float, float, float] | None


def mean_over_seeds(of_seeds: Mapping[int, np.ndarray], seeds: Iterable[int]) -> np.ndarray:
    """Return the share of seeds with a correct prediction per clip, float64 (N,)."""
    return np.mean([of_seeds[seed] for seed in seeds], axis=0)


def resampled_means(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return the means of `DRAWS` bootstrap samples of clips.

    Args:
        values: (Q, N), Q quantities of the same N clips. All are resampled together, which gives paired intervals.
        seed: Random seed.

    Returns:
        float64 (DRAWS, Q).
    """
    rng = np.random.default_rng(seed)
    count = values.shape[1]
    weights = rng.multinomial(count, np.full(count, 1 / count), size=DRAWS)
    return weights @ values.T / count


def with_interval(value: float, draws: np.ndarray) -> tuple[float, float, float]:
    """Return a value with the 2.5 and 97.5 percentiles of its bootstrap samples."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return value, float(low), float(high)


def compare(results: Results, method: str, baseline: str, condition: Condition) -> Comparison | None:
    """Compare the accuracy loss of a method and a baseline; None if they have no seed in common."""
    four = [results[name].get(which, {}) for name in (method, baseline) for which in (Condition(CLEAN), condition)]
    seeds = sorted(set.intersection(*(set(one) for one in four)))
    if not seeds:
        return None
    clean, disturbed, base_clean, base_disturbed = (mean_over_seeds(one, seeds) for one in four)
    losses = np.stack([clean - disturbed, base_clean - base_disturbed])
    drop, baseline_drop = losses.mean(axis=1)
    draws = resampled_means(losses)
    ratio = None
    if np.percentile(draws[:, 1], 2.5) > 0:
        # Use the samples in which the baseline loses accuracy, which are nearly all.
        some = draws[draws[:, 1] > 0]
        ratio = with_interval(float(drop / baseline_drop), some[:, 0] / some[:, 1])
    return Comparison(
        drop=float(drop),
        baseline_drop=float(baseline_drop),
        difference=with_interval(float(baseline_drop - drop), draws[:, 1] - draws[:, 0]),
        ratio=ratio,
    )


def clean_difference(results: Results, method: str, baseline: str) -> tuple[float, float, float] | None:
    """Return the accuracy of a method minus that of a baseline on clean clips, with a paired interval."""
    ours, theirs = (results[name].get(Condition(CLEAN), {}) for name in (method, baseline))
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        return None
    gain = mean_over_seeds(ours, seeds) - mean_over_seeds(theirs, seeds)
    return with_interval(float(gain.mean()), resampled_means(gain[None])[:, 0])


def level_to_compare(results: Results, baseline: str, kind: str) -> Condition | None:
    """Return the condition of this kind for comparing methods, chosen by the baseline's drop."""
    levels = sorted(condition.level for condition in results[baseline] if condition.kind == kind)
    for level in levels:
        compared = compare(results, baseline, baseline, Condition(kind, level))
        if compared is None or level < FIRST_LEVEL[kind]:
            continue
        if compared.drop >= (FAIR_DROP if level == FIRST_LEVEL[kind] else LARGE_DROP):
            return Condition(kind, level)
    return None


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def accuracy_table(results: Results, methods: Sequence[str]) -> str:
    """Return the accuracy in percent per method and condition: the mean, and each seed in parentheses."""
    conditions = sorted({one for name in methods for one in results[name]}, key=lambda one: (one.kind, one.level))
    lines = ["| condition | " + " | ".join(methods) + " |", "|---" * (len(methods) + 1) + "|"]
    for condition in conditions:
        cells = []
        for name in methods:
            of_seeds = results[name].get(condition, {})
            each = [float(of_seeds[seed].mean()) for seed in sorted(of_seeds)]
            cells.append(f"{percent(float(np.mean(each)))} ({', '.join(map(percent, each))})" if each else "")
        lines.append(f"| {condition} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def drop_table(results: Results, methods: Sequence[str], baseline: str) -> str:
    """Return the accuracy loss of each method and the baseline in points; the compared condition is bold."""
    lines = [
        "| condition | method | drop | baseline drop | baseline drop - drop (95 %) | drop / baseline drop (95 %) |",
        "|---|---|---|---|---|---|",
    ]
    kinds = sorted({condition.kind for condition in results[baseline]} - {CLEAN})
    for kind in kinds:
        decisive = level_to_compare(results, baseline, kind)
        for condition in sorted((one for one in results[baseline] if one.kind == kind), key=lambda one: one.level):
            for name in methods:
                compared = compare(results, name, baseline, condition)
                if name == baseline or compared is None:
                    continue
                difference = "{} ({} to {})".format(*map(percent, compared.difference))
                ratio = "" if compared.ratio is None else "{:.2f} ({:.2f} to {:.2f})".format(*compared.ratio)
                mark = "**" if condition == decisive else ""
                lines.append(
                    f"| {mark}{condition}{mark} | {name} | {percent(compared.drop)} | "
                    f"{percent(compared.baseline_drop)} | {difference} | {ratio} |"
                )
    return "\n".join(lines)


def report(results: Results, methods: Sequence[str], baseline: str) -> str:
    """Return all tables as Markdown."""
    present = [name for name in methods if name in results]
    parts = ["Accuracy in percent, mean (each seed)", accuracy_table(results, present)]
    if baseline in present:
        gains = [(name, clean_difference(results, name, baseline)) for name in present if name != baseline]
        parts += [
            "{}: clean accuracy minus that of {}: {} points (95 %: {} to {})".format(
                name, baseline, *map(percent, gain)
            )
            for name, gain in gains
            if gain is not None
        ]
        parts += [f"Drop in points against {baseline}", drop_table(results, present, baseline)]
    return "\n\n".join(parts)
