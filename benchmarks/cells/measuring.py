"""Measures methods cell by cell: a cell is a data set, a number of clips per class, a seed and a fold."""

import os
import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from benchmarks.cells.damage import OTHER, damaged
from benchmarks.cells.data_sets import DataSet, Fold, draw, is_smaller
from benchmarks.cells.results import UNANSWERED, Key, Result, append, digest_of
from benchmarks.rivals.method import Fitted, Method
from benchmarks.rivals.motion import has_person
from pose_extraction.engines.devices import cpu_count
from pose_extraction.errors import UsageError
from pose_extraction.formats.annotations import identifier_of
from recognition.robustness.conditions import CLEAN, Condition


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Args:
        sets: Data sets.
        methods: Functions that create the methods, by name.
        counts: Training clips per class; None for all.
        seeds: Seeds of draws and trainings.
        folds: Names of the folds; empty for all.
        conditions: Conditions of the test clips.
        leave_class_out: Whether to train without each class in turn, instead of with all.
        titles: Titles of the sets to measure, None for all; the others only provide skeletons of other estimators.
    """

    sets: Sequence[DataSet]
    methods: Mapping[str, Callable[[], Method]]
    counts: Sequence[int | None]
    seeds: Sequence[int]
    folds: Sequence[str] = ()
    conditions: Sequence[Condition] = (Condition(CLEAN),)
    leave_class_out: bool = False
    titles: Sequence[str] | None = None


@dataclass(frozen=True)
class Cell:
    """One training of one method, and the tests of it.

    Args:
        key: Key of its results, for the clean condition.
        data: The data set.
        train: int64, indices of the training clips.
        test: int64, indices of the test clips.
        classes: int64 (K,), classes of the training in ascending order.
        left_out: Number of the class that was left out of the training; None for none.
    """

    key: Key
    data: DataSet
    train: np.ndarray
    test: np.ndarray
    classes: np.ndarray
    left_out: int | None = None

    def digest(self) -> str:
        names = [identifier_of(clip) for clip in self.data.clips]
        return digest_of([names[index] for index in self.train], [names[index] for index in self.test])


def cells_of(plan: Plan) -> Iterator[Cell]:
    """Yield the cells of a plan, those with all clips and the first seed first, so that a first table is there early.

    Cells whose number of clips leaves none out are omitted, because they equal the cell of all clips.
    """
    for data in _measured(plan):
        for seed in plan.seeds:
            for count in plan.counts:
                for fold in data.folds:
                    if plan.folds and fold.name not in plan.folds:
                        continue
                    for left_out in range(len(data.label_names)) if plan.leave_class_out else [None]:
                        for method in plan.methods:
                            cell = _cell(data, fold, method, count, seed, left_out)
                            if cell is not None:
                                yield cell


def _measured(plan: Plan) -> list[DataSet]:
    return [data for data in plan.sets if plan.titles is None or data.title in plan.titles]


def check(plan: Plan) -> None:
    """Refuse a plan if a part of it would measure nothing.

    Raises:
        UsageError: A title or a fold does not exist, or no number of clips leaves any out.
    """
    known = {data.title for data in plan.sets}
    for title in plan.titles or ():
        if title not in known:
            raise UsageError(f"--on {title}: --data has no such set; choose from {', '.join(sorted(known))}")
    sets = _measured(plan)
    for name in plan.folds:
        if not any(name == fold.name for data in sets for fold in data.folds):
            listed = "; ".join(f"{data.title} has {', '.join(fold.name for fold in data.folds)}" for data in sets)
            raise UsageError(f"--folds {name}: there is no such fold; {listed}")
    for data in sets:
        folds = [fold.name for fold in data.folds]
        if plan.folds and not set(plan.folds) & set(folds):
            raise UsageError(
                f"--folds {' '.join(plan.folds)}: {data.title} has only {', '.join(folds)}; name one of them, or leave "
                f"out the set with --on"
            )
    if next(cells_of(plan), None) is None:
        counts = " ".join("all" if count is None else str(count) for count in plan.counts)
        raise UsageError(f"--counts {counts}: no class has more training clips than that; measure with --counts all")


def _cell(data: DataSet, fold: Fold, method: str, count: int | None, seed: int, left_out: int | None) -> Cell | None:
    train = np.array([index for index in fold.train if has_person(data.clips[index])], np.int64)
    if left_out is not None:
        train = train[data.labels[train] != left_out]
    if not is_smaller(data.labels, train, count):
        return None
    train = draw(data.labels, data.groups, train, count, seed)
    name = None if left_out is None else data.label_names[left_out]
    key = Key(data.title, method, count, seed, fold.name, left_out=name)
    return Cell(key, data, train, fold.test, np.unique(data.labels[train]), left_out)


def measure(plan: Plan, results: dict[Key, Result], path: Path, say: Callable[[str], None]) -> None:
    """Measure what is missing.

    Args:
        plan: What to measure.
        results: Results of earlier runs; new ones are added.
        path: File that new ones are appended to.
        say: Receives a message for each new result, or that there was nothing to do.

    Raises:
        UsageError: A part of the plan would measure nothing.
    """
    check(plan)
    measured = False
    others = _skeletons_of_others(plan.sets)
    under = _Damage(others)
    for cell in cells_of(plan):
        digest = cell.digest()
        wanted = []
        for condition in _conditions_for(cell, plan.conditions, others):
            key = replace(cell.key, condition=condition.name)
            if key not in results or results[key].clips != digest:
                wanted.append((key, condition))
        if not wanted:
            continue
        fitted, cost = _fit(cell, plan.methods[cell.key.method]())
        for key, condition in wanted:
            answers = _answers(cell, fitted, [under(cell.data, int(index), condition) for index in cell.test])
            facts = {**fitted.facts, "cpus": _cpus()}
            result = Result(key, digest, *answers, len(cell.train), *cost, facts, cell.left_out)
            append(path, result)
            results[key] = result
            say(f"{_described(key)}: {100 * result.right.mean():.1f} % of {len(cell.test)} clips, {cost[0]:.1f} s")
            measured = True
    if not measured:
        say(f"{path}: has all these results already")


def _described(key: Key) -> str:
    count = "all" if key.count is None else key.count
    without = "" if key.left_out is None else f", without {key.left_out}"
    return f"{key.data}, {key.method}, {count} per class, seed {key.seed}, {key.fold}, {key.condition}{without}"


def _skeletons_of_others(sets: Sequence[DataSet]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the clips of every data set by id, by the names of the set and the estimator."""
    return {(data.name, data.estimator): {identifier_of(clip): clip for clip in data.clips} for data in sets}


def _conditions_for(
    cell: Cell, conditions: Sequence[Condition], others: Mapping[tuple[str, str], Mapping[str, Any]]
) -> list[Condition]:
    """Return the conditions of a cell, `OTHER` once for every other estimator that has all test clips."""
    listed = []
    needed = {identifier_of(cell.data.clips[index]) for index in cell.test}
    for condition in conditions:
        if condition.family != OTHER:
            listed.append(condition)
            continue
        for name, estimator in others:
            if name == cell.data.name and estimator != cell.data.estimator and needed <= set(others[name, estimator]):
                listed.append(Condition(OTHER, other=estimator))
    return listed


def _fit(cell: Cell, method: Method) -> tuple[Fitted, tuple[float, float, float]]:
    """Train a method; return it with seconds, processor seconds, and the peak memory in megabytes."""
    names = [cell.data.label_names[number] for number in cell.classes]
    labels = np.searchsorted(cell.classes, cell.data.labels[cell.train])
    _reset_peak()
    begun, begun_busy = perf_counter(), process_time()
    fitted = method.fit([cell.data.clips[index] for index in cell.train], labels, names, cell.key.seed)
    seconds, busy = (
        now - before + fitted.saved for now, before in ((perf_counter(), begun), (process_time(), begun_busy))
    )
    return fitted, (seconds, busy, _peak())


class _Damage:
    """Clips under a condition, made once, so that methods can keep what they compute from them.

    Args:
        others: Clips of every data set by id, by the names of the set and the estimator.
    """

    def __init__(self, others: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
        self._others = others
        self._made: dict[tuple[str, Condition, int], Any] = {}

    def __call__(self, data: DataSet, index: int, condition: Condition) -> Any:
        place = (data.title, condition, index)
        if place not in self._made:
            other = self._others.get((data.name, condition.other))
            self._made[place] = damaged(data.clips[index], condition, other)
        return self._made[place]


def _answers(cell: Cell, fitted: Fitted, clips: Sequence[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, predicted classes, confidence and unknown score of the test clips."""
    seen = np.array([has_person(clip) for clip in clips])
    predicted = np.full(len(clips), UNANSWERED)
    confidence, unknown = np.full(len(clips), np.nan), np.full(len(clips), np.nan)
    if seen.any():
        shown = [clip for clip, there in zip(clips, seen, strict=True) if there]
        probabilities = np.asarray(fitted.probabilities(shown), np.float64)
        predicted[seen] = cell.classes[probabilities.argmax(axis=1)]
        confidence[seen] = probabilities.max(axis=1)
        unknown[seen] = fitted.unknown(shown, probabilities)
    return cell.data.labels[cell.test], predicted, confidence, unknown


def _cpus() -> int:
    """Return the number of processors that this process may use."""
    return int(os.environ.get("OMP_NUM_THREADS") or cpu_count())


def _reset_peak() -> None:
    """Start a new measurement of the process's peak memory, where Linux allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def _peak() -> float:
    """Return the peak memory of this process since the last reset, in megabytes."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
