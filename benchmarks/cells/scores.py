"""What results say: accuracy over folds and seeds, paired intervals, ranks, calibration, detection of the unknown."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.cells.results import UNANSWERED, Key, Result
from recognition.robustness.statistics import bootstrap_difference

RESAMPLES = 2000
BINS = 15


@dataclass(frozen=True)
class Block:
    """All folds and seeds of one method on one data set with one number of clips under one condition.

    Args:
        each: float64 (S,), accuracy of each seed over all clips of its folds, 0 to 1.
        of_clips: float64 (N,), share of the seeds that classify each clip correctly.
        clips: N names, FOLD/PLACE, of these clips.
        seconds: Mean duration of a training.
        cpu_seconds: Mean processor time of a training.
        megabytes: Largest peak memory.
        trained_on: Mean number of training clips.
    """

    each: np.ndarray
    of_clips: np.ndarray
    clips: tuple[str, ...]
    seconds: float
    cpu_seconds: float
    megabytes: float
    trained_on: float

    @property
    def mean(self) -> float:
        """Accuracy, mean over the seeds."""
        return float(self.of_clips.mean())


# Data set, training clips per class, condition.
Where = tuple[str, int | None, str]


def blocks(results: Mapping[Key, Result]) -> dict[Where, dict[str, Block]]:
    """Return the blocks of all methods; clips that are not measured with every seed and method are left out.

    Folds that lack a seed of some method would distort the comparison, so a block has only folds that all methods of
    its row have measured with all seeds that they have in common.
    """
    rows: dict[Where, dict[str, dict[tuple[str, int], Result]]] = defaultdict(lambda: defaultdict(dict))
    for key, result in results.items():
        if key.left_out is None:
            rows[key.data, key.count, key.condition][key.method][key.fold, key.seed] = result
    return {where: _common(methods) for where, methods in rows.items()}


def _common(methods: Mapping[str, Mapping[tuple[str, int], Result]]) -> dict[str, Block]:
    shared = set.intersection(*(set(found) for found in methods.values()))
    seeds = sorted({seed for _, seed in shared})
    folds = sorted({fold for fold, _ in shared if all((fold, seed) in shared for seed in seeds)})
    if not folds:
        return {}
    return {name: _block(found, folds, seeds) for name, found in methods.items()}


def _block(found: Mapping[tuple[str, int], Result], folds: Sequence[str], seeds: Sequence[int]) -> Block:
    right = np.array([np.concatenate([found[fold, seed].right for fold in folds]) for seed in seeds], float)
    used = [found[fold, seed] for fold in folds for seed in seeds]
    names = [f"{fold}/{place}" for fold in folds for place in range(len(found[fold, seeds[0]].labels))]
    return Block(
        right.mean(axis=1),
        right.mean(axis=0),
        tuple(names),
        float(np.mean([result.seconds for result in used])),
        float(np.mean([result.cpu_seconds for result in used])),
        max(result.megabytes for result in used),
        float(np.mean([result.trained_on for result in used])),
    )


def best_of(row: Mapping[str, Block], methods: Iterable[str]) -> str | None:
    """Return the most accurate of some methods; None if none is measured."""
    known = [name for name in methods if name in row]
    return max(known, key=lambda name: row[name].mean, default=None)


def lead(row: Mapping[str, Block], ours: str, rival: str) -> tuple[float, float, float]:
    """Return the difference of two accuracies with its 95 % interval, from a bootstrap over the clips."""
    return bootstrap_difference(row[ours].of_clips, row[rival].of_clips, resamples=RESAMPLES)


def mean_ranks(rows: Iterable[Mapping[str, Block]], methods: Sequence[str]) -> tuple[dict[str, float], int]:
    """Return the mean rank of each method, 1 for the best, over the rows that have all of them; and their number."""
    from scipy.stats import rankdata

    ranks = [
        rankdata([-row[name].mean for name in methods])
        for row in rows
        if methods and all(name in row for name in methods)
    ]
    if not ranks:
        return {}, 0
    return dict(zip(methods, np.mean(ranks, axis=0).tolist(), strict=True)), len(ranks)


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Return the expected calibration error over bins of equal width.

    Args:
        confidence: float (N,), probability of the predicted class.
        right: bool (N,), whether the prediction is correct.
        bins: Number of bins.
    """
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[places == place].sum() - right[places == place].sum())
        for place in range(bins)
        if (places == place).any()
    ]
    return float(np.sum(gaps) / len(confidence))


def calibration(results: Mapping[Key, Result]) -> dict[Where, dict[str, float]]:
    """Return the expected calibration error of each method, over all answers of its folds and seeds."""
    answers: dict[tuple[Where, str], list[Result]] = defaultdict(list)
    for key, result in results.items():
        if key.left_out is None:
            answers[(key.data, key.count, key.condition), key.method].append(result)
    found: dict[Where, dict[str, float]] = defaultdict(dict)
    for (where, method), own in answers.items():
        answered = [result.predicted != UNANSWERED for result in own]
        confidence = np.concatenate([result.confidence[there] for result, there in zip(own, answered, strict=True)])
        right = np.concatenate([result.right[there] for result, there in zip(own, answered, strict=True)])
        found[where][method] = calibration_error(confidence, right)
    return dict(found)


def unknown_detection(results: Mapping[Key, Result], names: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """Return how well each method tells clips of a class that it never saw from others: mean AUROC over the classes.

    For each class left out and each seed, the clips of all folds are pooled.

    Args:
        results: Results with a class left out.
        names: Class names of the data sets, by their titles; others are left out.
    """
    from sklearn.metrics import roc_auc_score

    pooled: dict[tuple[str, str, str, int], list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    for key, result in results.items():
        if key.left_out is not None and key.condition == "clean" and key.data in names:
            new = result.labels == names[key.data].index(key.left_out)
            there = ~np.isnan(result.unknown)
            pooled[key.data, key.method, key.left_out, key.seed].append((new[there], result.unknown[there]))
    areas: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (data, method, _, _), parts in pooled.items():
        new, score = (np.concatenate(values) for values in zip(*parts, strict=True))
        if new.any() and not new.all():
            areas[data, method].append(float(roc_auc_score(new, score)))
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for (data, method), values in areas.items():
        found[data][method] = float(np.mean(values))
    return dict(found)
