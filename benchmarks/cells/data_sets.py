"""Data sets of the bench: clips of a skeleton file, the rule that makes folds of them, and subsets for training."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.motion import times_of
from pose_extraction.errors import UsageError
from pose_extraction.formats.annotations import identifier_of
from pose_extraction.formats.validation import read_data_set

Annotation = dict[str, Any]


@dataclass(frozen=True)
class Fold:
    """Clips to train and to test on.

    Args:
        name: Name in results.
        train: int64, indices in ascending order.
        test: int64, indices in ascending order.
    """

    name: str
    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class DataSet:
    """A skeleton file of the bench.

    Args:
        name: Name of the data set, which determines the folds.
        estimator: Name of the pose estimator in results; empty if there is only one.
        clips: Annotations of the labelled clips.
        labels: int64 (N,), class numbers.
        label_names: K class names.
        groups: Group of each clip, such as its person; None if unknown.
        folds: The folds.
    """

    name: str
    estimator: str
    clips: list[Annotation]
    labels: np.ndarray
    label_names: tuple[str, ...]
    groups: list[str | None]
    folds: tuple[Fold, ...]

    @property
    def title(self) -> str:
        """Name with the estimator."""
        return f"{self.name}/{self.estimator}" if self.estimator else self.name


# Where a file stores no groups: the first group of this expression in the clip's id.
GROUP_IN_NAME = {"motions5": r"_s(\d+)_"}
# Persons of the yoga clips who look alike and may be the same.
SAME_PERSON = {"p05": "p04", "p15": "p12"}
FOLDS_OF_YOGA = 5


def read_set(title: str, path: Path) -> DataSet:
    """Read a skeleton file.

    Args:
        title: NAME or NAME/ESTIMATOR; NAME is a key of `RULES`.
        path: The file.

    Raises:
        UsageError: The name is unknown, or the file lacks what its folds need.
        AnnotationError: The file is malformed.
    """
    name, _, estimator = title.partition("/")
    if name not in RULES:
        raise UsageError(f"--data {title}={path}: there is no data set {name!r}; choose one of {', '.join(RULES)}")
    data = read_data_set(path)
    labelled = [clip for clip in data["annotations"] if clip["label"] >= 0]
    groups = [_group_of(name, clip) for clip in labelled]
    # Time stamps for files without them, so that a lower frame rate shows in the file as it does in real ones; groups,
    # because methods leave out whole persons, too, when they choose or calibrate something.
    clips = [{**clip, "time": times_of(clip), "group": group} for clip, group in zip(labelled, groups, strict=True)]
    labels = np.array([clip["label"] for clip in clips], np.int64)
    splits = {split: set(names) for split, names in data["split"].items()}
    folds = RULES[name](path, labels, groups, [identifier_of(clip) for clip in clips], splits)
    return DataSet(name, estimator, clips, labels, tuple(data["label_names"]), groups, tuple(folds))


def _group_of(name: str, clip: Annotation) -> str | None:
    if clip.get("group") is not None or name not in GROUP_IN_NAME:
        return clip.get("group")
    found = re.search(GROUP_IN_NAME[name], identifier_of(clip))
    return found[1] if found else None


def leave_one_out(
    path: Path, labels: np.ndarray, groups: Sequence[str | None], names: Sequence[str], splits: dict[str, set[str]]
) -> list[Fold]:
    """Return one fold for each group, which tests on it."""
    known = np.array(_known(path, groups))
    return [_fold(str(group), known == group) for group in sorted(set(known))]


def five_by_person(
    path: Path, labels: np.ndarray, groups: Sequence[str | None], names: Sequence[str], splits: dict[str, set[str]]
) -> list[Fold]:
    """Return five folds of whole persons with about equal shares of every class."""
    from sklearn.model_selection import StratifiedGroupKFold

    persons = [SAME_PERSON.get(group, group) for group in _known(path, groups)]
    parts = StratifiedGroupKFold(FOLDS_OF_YOGA, shuffle=True, random_state=0).split(labels, labels, persons)
    return [_fold(f"fold{number}", np.isin(np.arange(len(labels)), test)) for number, (_, test) in enumerate(parts)]


def official(
    path: Path, labels: np.ndarray, groups: Sequence[str | None], names: Sequence[str], splits: dict[str, set[str]]
) -> list[Fold]:
    """Return the one fold that the splits "train" and "test" of the file define."""
    if not {"train", "test"} <= set(splits):
        raise UsageError(f"{path}: has the splits {', '.join(splits) or '(none)'}, but train and test are required")
    train, test = (
        np.array([place for place, name in enumerate(names) if name in splits[split]]) for split in ("train", "test")
    )
    return [Fold("test", train, test)]


Rule = Callable[[Path, np.ndarray, Sequence[str | None], Sequence[str], dict[str, set[str]]], list[Fold]]
RULES: dict[str, Rule] = {
    "weizmann": leave_one_out,
    "yoga": five_by_person,
    "motions5": official,
    "penn_action": official,
    "rendered": official,
}


def _known(path: Path, groups: Sequence[str | None]) -> list[str]:
    if None in groups:
        raise UsageError(f"{path}: clip {groups.index(None)} has no group; extract it with labels that name the person")
    return [str(group) for group in groups]


def _fold(name: str, tested: np.ndarray) -> Fold:
    return Fold(name, np.flatnonzero(~tested), np.flatnonzero(tested))


def draw(
    labels: np.ndarray, groups: Sequence[str | None], indices: np.ndarray, count: int | None, seed: int
) -> np.ndarray:
    """Draw training clips of every class, of the same people for all classes, as if these people had been recorded.

    The groups have one random order for all classes; each class takes a random clip of each group in turn, so that five
    clips are of five people if there are as many. A larger count contains the clips of a smaller one.

    Args:
        labels: int (N,), class numbers.
        groups: Group of each clip; clips without a group are drawn at random.
        indices: Clips to choose from.
        count: Clips per class; classes with fewer keep them all. None for all clips.
        seed: Random seed.

    Returns:
        int64, indices in ascending order.
    """
    if count is None:
        return np.sort(indices)
    rng = np.random.default_rng(seed)
    names = sorted({str(groups[index]) for index in indices})
    rank = dict(zip(rng.permutation(names).tolist(), range(len(names)), strict=True))
    chosen: list[int] = []
    for label in np.unique(labels[indices]):
        own = rng.permutation(indices[labels[indices] == label])
        taken: dict[str, int] = {}
        keys = []
        for index in own:
            group = str(groups[index])
            # Round of this clip within its group, then the group's place in the common order.
            keys.append((taken.get(group, 0), rank[group]))
            taken[group] = keys[-1][0] + 1
        order = sorted(range(len(own)), key=lambda place, keys=keys: keys[place])  # type: ignore[misc]
        chosen += [int(own[place]) for place in order[:count]]
    return np.sort(np.array(chosen, np.int64))


def is_smaller(labels: np.ndarray, indices: np.ndarray, count: int | None) -> bool:
    """Return whether drawing `count` clips per class leaves any out; otherwise the cell is that of all clips."""
    return count is None or bool(np.bincount(labels[indices]).max() > count)
