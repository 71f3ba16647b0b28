"""What results say: accuracy over folds and seeds, paired intervals, ranks, calibration, detection of the unknown."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.cells.results import UNANSWERED, Key, Result
from recognition.evaluation.calibration import calibration_errors
from recognition.robustness.statistics import bootstrap_difference

RESAMPLES = 2000
BINS = 15


@dataclass(frozen=True)
class Block:
    """All seeds of one method on one data set with one number of clips under one condition.

    Args:
        right: float64 (S, N), 1 for each clip that a seed classifies correctly, otherwise 0.
        seeds: S seeds of the method, which other methods of the row need not have.
        clips: N names, FOLD/PLACE, of the clips, the same for all methods of a row.
        seconds: Mean duration of a training.
        cpu_seconds: Mean processor time of a training.
        megabytes: Largest peak memory.
        trained_on: Mean number of training clips.
    """

    right: np.ndarray
    seeds: tuple[int, ...]
    clips: tuple[str, ...]
    seconds: float
    cpu_seconds: float
    megabytes: float
    trained_on: float

    @property
    def each(self) -> np.ndarray:
        """float64 (S,), accuracy of each seed, 0 to 1."""
        return self.right.mean(axis=1)

    @property
    def mean(self) -> float:
        """Accuracy, mean over the seeds of the method."""
        return float(self.right.mean())

    def of_clips(self, seeds: Sequence[int]) -> np.ndarray:
        """Return which share of some seeds classifies each clip correctly, float64 (N,).

        Args:
            seeds: At least one; the method has all of them.
        """
        return self.right[[self.seeds.index(seed) for seed in seeds]].mean(axis=0)


# Data set, training clips per class, condition.
Where = tuple[str, int | None, str]


def blocks(results: Mapping[Key, Result]) -> dict[Where, dict[str, Block]]:
    """Return the blocks of all methods; a method has all its own seeds, and all methods of a row have the same clips.

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
    seeds = {seed for _, seed in shared}
    everywhere = set.intersection(*({fold for fold, _ in found} for found in methods.values()))
    folds = sorted(fold for fold in everywhere if all((fold, seed) in shared for seed in seeds))
    complete = {
        name: [seed for seed in sorted({seed for _, seed in found}) if all((fold, seed) in found for fold in folds)]
        for name, found in methods.items()
    }
    return {name: _block(methods[name], folds, own) for name, own in complete.items() if folds and own}


def _block(found: Mapping[tuple[str, int], Result], folds: Sequence[str], seeds: Sequence[int]) -> Block:
    right = np.array([np.concatenate([found[fold, seed].right for fold in folds]) for seed in seeds], float)
    used = [found[fold, seed] for fold in folds for seed in seeds]
    names = [f"{fold}/{place}" for fold in folds for place in range(len(found[fold, seeds[0]].labels))]
    return Block(
        right,
        tuple(seeds),
        tuple(names),
        float(np.mean([result.seconds for result in used])),
        float(np.mean([result.cpu_seconds for result in used])),
        max(result.megabytes for result in used),
        float(np.mean([result.trained_on for result in used])),
    )


def shared_seeds(row: Mapping[str, Block], methods: Iterable[str]) -> list[int]:
    """Return the seeds that all of these methods have in a row, in ascending order; an absent method has none."""
    seeds = [set(row[name].seeds) if name in row else set() for name in methods]
    return sorted(set.intersection(*seeds)) if seeds else []


def best_of(row: Mapping[str, Block], ours: str, rivals: Iterable[str]) -> str | None:
    """Return the most accurate of the rivals, each over the seeds that it shares with ours; None if none shares any."""
    shared = {name: shared_seeds(row, [ours, name]) for name in rivals}
    known = [name for name, seeds in shared.items() if seeds]
    return max(known, key=lambda name: row[name].of_clips(shared[name]).mean(), default=None)


def lead(row: Mapping[str, Block], ours: str, rival: str) -> tuple[float, float, float]:
    """Return the difference of two accuracies with its 95 % interval, from a bootstrap over the clips.

    Only seeds that both methods have are compared; there must be one.
    """
    seeds = shared_seeds(row, [ours, rival])
    return bootstrap_difference(row[ours].of_clips(seeds), row[rival].of_clips(seeds), resamples=RESAMPLES)


def mean_ranks(rows: Iterable[Mapping[str, Block]], methods: Sequence[str]) -> tuple[dict[str, float], int]:
    """Return the mean rank of each method, 1 for the best, over the rows in which all share a seed; and their number.

    Only the shared seeds are compared.
    """
    from scipy.stats import rankdata

    ranks = [
        rankdata([-row[name].of_clips(seeds).mean() for name in methods])
        for row in rows
        if (seeds := shared_seeds(row, methods))
    ]
    if not ranks:
        return {}, 0
    return dict(zip(methods, np.mean(ranks, axis=0).tolist(), strict=True)), len(ranks)


def calibration(results: Mapping[Key, Result]) -> dict[Where, dict[str, tuple[float, float]]]:
    """Return the expected calibration error of each method on undamaged clips, and that of exact probabilities.

    Both are means over the seeds with an answer.
    """
    answers: dict[tuple[Where, str], dict[int, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for key, result in results.items():
        if key.left_out is None and key.condition == "clean":
            answers[(key.data, key.count, key.condition), key.method][key.seed].append(result)
    found: dict[Where, dict[str, tuple[float, float]]] = defaultdict(dict)
    for (where, method), seeds in answers.items():
        errors = []
        for own in seeds.values():
            answered = [result.predicted != UNANSWERED for result in own]
            confidence = np.concatenate([result.confidence[there] for result, there in zip(own, answered, strict=True)])
            right = np.concatenate([result.right[there] for result, there in zip(own, answered, strict=True)])
            if len(confidence):
                errors.append(calibration_errors(confidence, right, bins=BINS))
        if errors:
            error, if_exact = np.mean(errors, axis=0).tolist()
            found[where][method] = error, if_exact
    return dict(found)


def called_unknown(results: Mapping[Key, Result]) -> dict[Where, dict[str, tuple[int, int]]]:
    """Return how many undamaged clips of known actions each method calls unknown with the threshold it chose, of all.

    Clips of all folds and seeds are counted; those that show no person are not.
    """
    found: dict[Where, dict[str, tuple[int, int]]] = defaultdict(dict)
    for key, result in results.items():
        threshold = result.facts.get("unknown_threshold")
        if key.left_out is not None or key.condition != "clean" or threshold is None:
            continue
        where = (key.data, key.count, key.condition)
        unknown, clips = found[where].get(key.method, (0, 0))
        scores = result.unknown[~np.isnan(result.unknown)]
        found[where][key.method] = unknown + int((scores > threshold).sum()), clips + len(scores)
    return dict(found)


def unseen_class(result: Result, names: Mapping[str, Sequence[str]]) -> int | None:
    """Return the number of the class that was left out; None if none was, or if neither result nor names tell it."""
    left_out, known = result.key.left_out, names.get(result.key.data, ())
    if result.unseen is not None or left_out is None or left_out not in known:
        return result.unseen
    return known.index(left_out)


def unknown_detection(results: Mapping[Key, Result], names: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """Return how well each method tells clips of a class that it never saw from others: mean AUROC over the classes.

    For each class left out and each seed, the clips of all folds are pooled.

    Args:
        results: Results with a class left out; those whose class has no known number are left out.
        names: Class names of the data sets, by their titles, for results of earlier versions.
    """
    from sklearn.metrics import roc_auc_score

    pooled: dict[tuple[str, str, int, int], list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    for key, result in results.items():
        unseen = unseen_class(result, names)
        if key.condition == "clean" and unseen is not None:
            new = result.labels == unseen
            there = ~np.isnan(result.unknown)
            pooled[key.data, key.method, unseen, key.seed].append((new[there], result.unknown[there]))
    areas: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (data, method, _, _), parts in pooled.items():
        new, score = (np.concatenate(values) for values in zip(*parts, strict=True))
        if new.any() and not new.all():
            areas[data, method].append(float(roc_auc_score(new, score)))
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for (data, method), values in areas.items():
        found[data][method] = float(np.mean(values))
    return dict(found)
