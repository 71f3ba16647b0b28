"""Subjects of a robustness benchmark: the runs, grouped by method, and the clips that all of them classify."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.robustness.usage import split_method
from pose_extraction.errors import UsageError
from pose_extraction.files import sha256_of
from pose_extraction.formats.annotations import UNLABELLED
from recognition.data.clip import Clip
from recognition.data.clips import ClipSet
from recognition.data.perturbations import ErrorStatistics, measure_errors
from recognition.data.splits import left_out_of, matching_test_split, split_indices
from recognition.inference.prediction import matched_labels, visible_clips
from recognition.inference.skeleton_clips import clips_for
from recognition.runs import Trained, load_run, run_file

# Largest and smallest number of clips for comparing two estimators.
MOST_COMPARED, FEWEST_COMPARED = 500, 20
LEFT_OUT = -1


@dataclass(frozen=True)
class Subject:
    """One run in the benchmark.

    Args:
        name: Name in tables.
        method: Name of the method; runs of one method, trained with different seeds, are averaged.
        path: The weights.
        digest: SHA-256 of the weights.
    """

    name: str
    method: str
    path: Path
    digest: str


@dataclass
class SkeletonSource:
    """One skeleton file in the benchmark, with the selected clips.

    Args:
        name: The stem of the file name.
        path: The file.
        names: Ids of the N selected clips; equal for all files of a benchmark that contain them.
        labels: int64 (N,), numbered as in the first run.
        estimator: Name of the pose estimator, if the file records it.
        digest: Digest of the file's content.
    """

    name: str
    path: Path
    names: list[str]
    labels: np.ndarray
    estimator: str | None
    digest: str
    opened: dict[tuple[object, ...], ClipSet] = field(default_factory=dict)

    def clips_of(self, trained: Trained, *, skip_bad: bool) -> ClipSet:
        """Return the file as a run reads it; opened once for all runs with equal data settings.

        Args:
            trained: The run, whose data settings apply.
            skip_bad: Whether to skip malformed clips instead of raising an error.
        """
        key = _reading_of(trained)
        if key not in self.opened:
            self.opened[key] = clips_for(trained, self.path, skip_bad=skip_bad)
        return self.opened[key]

    def visible_in(self, clips: ClipSet) -> tuple[np.ndarray, np.ndarray]:
        """Return the clips with a visible person, as positions in `names` and as indices in the file."""
        places = {name: number for number, name in enumerate(clips.names)}
        indices = np.array([places.get(name, LEFT_OUT) for name in self.names], np.int64)
        there = np.flatnonzero(indices != LEFT_OUT)
        there = there[visible_clips(clips, indices[there])]
        return there, indices[there]


def _reading_of(trained: Trained) -> tuple[object, ...]:
    """Return the settings of a run that affect how it reads a file."""
    data = trained.settings.data
    return data.layout, data.score_threshold, data.keypoint_files, trained.layout, trained.dimensions


def read_subjects(words: Sequence[str]) -> list[Subject]:
    """Parse the runs of the command line: a directory or a file of weights, or `METHOD=RUN`.

    A run without METHOD is a method of its own. It is named after its folder, with parent folders if names collide.

    Raises:
        WeightsError: A run does not exist.
        UsageError: A run is given twice.
    """
    given: list[tuple[str | None, Path, Path]] = []
    for word in words:
        method, run = split_method(word)
        path = run_file(run)
        if any(path.resolve() == other.resolve() for _, _, other in given):
            raise UsageError(f"{word}: this run is given twice; list each run once")
        given.append((method, run, path))
    own = _distinct_names([run for _, run, _ in given], [method for method, _, _ in given])
    subjects: list[Subject] = []
    for (named_method, _, path), called in zip(given, own, strict=True):
        method = called if named_method is None else named_method
        name = called if method == called else f"{method} ({called})"
        subjects.append(Subject(name, method, path, sha256_of(path)))
    return subjects


def _distinct_names(paths: Sequence[Path], methods: Sequence[str | None]) -> list[str]:
    """Return a unique name for each run, from as many path components as needed: "seed0", or "ratio=0.1/seed0".

    Args:
        paths: Run directories and files of weights.
        methods: Method names of the runs; None for a run without one, whose name must differ from all others.
    """
    taken = {method for method in methods if method is not None}
    whole = [path.absolute() for path in paths]
    parts = [path.parts if path.is_dir() else (*path.parts[:-2], f"{path.parent.name}-{path.stem}") for path in whole]
    lengths = [1] * len(parts)
    while True:
        names = ["/".join(own[-length:]) for own, length in zip(parts, lengths, strict=True)]
        unclear = [
            number
            for number, (name, method) in enumerate(zip(names, methods, strict=True))
            if names.count(name) > 1 or (method is None and name in taken)
        ]
        longer = [number for number in unclear if lengths[number] < len(parts[number])]
        if not longer:
            # Only the whole path distinguishes a directory `a-last` from `a/last.safetensors`.
            for number in unclear:
                while names.count(names[number]) > 1 or (methods[number] is None and names[number] in taken):
                    names[number] += "'"
            return names
        for number in longer:
            lengths[number] += 1


def methods_of(subjects: Sequence[Subject]) -> list[str]:
    """Return the methods in order of appearance."""
    return list(dict.fromkeys(subject.method for subject in subjects))


def open_sources(
    subject: Subject, files: Sequence[Path], split: str | None, *, limit: int | None, skip_bad: bool
) -> tuple[list[SkeletonSource], str]:
    """Open the skeleton files and select clips: a split of the first file, and the same clips in the others.

    Args:
        subject: The first run, which defines the class numbers.
        files: All conditions are measured on the first; the others are from other estimators.
        split: Split of the first file; None for the test split that matches the training split.
        limit: Maximum number of clips, spread evenly over the split; None for all.
        skip_bad: Whether to skip malformed clips instead of raising an error.

    Returns:
        The files, and the split's name.

    Raises:
        UsageError: There is no such split, labels do not fit, a file is given twice, or files share no clips.
    """
    for number, path in enumerate(files):
        if any(path.resolve() == other.resolve() for other in files[:number]):
            raise UsageError(f"--data {path}: this file is given twice; list each file once")
    trained = load_run(subject.path)
    clips = clips_for(trained, files[0], skip_bad=skip_bad)
    if split is None:
        split = matching_test_split(clips, trained.settings.data)
    indices = split_indices(clips, split)
    empty = [clip for clip in left_out_of(clips, split) if clip.empty]
    labels = matched_labels(
        clips, np.concatenate([clips.labels[indices], np.array([clip.label for clip in empty], np.int64)]), trained
    )
    names = [*(clips.names[index] for index in indices), *(clip.name for clip in empty)]
    counted = labels != UNLABELLED
    if not counted.any():
        raise UsageError(f"{files[0]}: no clip of split {split!r} has a label; add some with `skelpipe label`")
    chosen = np.flatnonzero(counted)
    if limit is not None and limit < len(chosen):
        chosen = chosen[np.linspace(0, len(chosen) - 1, limit).round().astype(np.int64)]
    names, labels = [names[place] for place in chosen], labels[chosen]
    reading = _reading_of(trained)
    digest = clips.content_digest()
    sources = [SkeletonSource(_stem(files[0]), files[0], names, labels, clips.estimator, digest, {reading: clips})]
    for path in files[1:]:
        other = clips_for(trained, path, skip_bad=skip_bad)
        known = {*other.names, *(clip.name for clip in other.left_out if clip.empty)}
        shared = np.array([name in known for name in names])
        if not shared.any():
            raise UsageError(
                f"{path}: contains no clip of split {split!r} of {files[0]}, such as {names[0]!r}; use files that were "
                "extracted from the same videos"
            )
        name = _stem(path)
        while any(source.name == name for source in sources):
            name += "'"
        common = [one for one, there in zip(names, shared, strict=True) if there]
        digest = other.content_digest()
        sources.append(SkeletonSource(name, path, common, labels[shared], other.estimator, digest, {reading: other}))
    return sources, split


def _stem(path: Path) -> str:
    return re.sub(r"[^\w.+-]", "_", path.stem)


def estimator_statistics(main: SkeletonSource, first: ClipSet, second: ClipSet) -> tuple[ErrorStatistics | None, str]:
    """Measure how an estimator differs from the first; return the errors and a description of the clips used.

    Uses clips that are in both files and not selected for testing, if there are enough; else the selected clips.
    """
    places = {name: number for number, name in enumerate(second.names)}
    shared = [(number, places[name]) for number, name in enumerate(first.names) if name in places]
    asked = set(main.names)
    apart = [pair for pair in shared if first.names[pair[0]] not in asked]
    chosen = apart if len(apart) >= FEWEST_COMPARED else shared
    # Spread evenly over the file, so that all classes are represented.
    chosen = chosen[:: max(1, -(-len(chosen) // MOST_COMPARED))]

    def pairs() -> "list[tuple[Clip, Clip]]":
        return [(first[a], second[b]) for a, b in chosen]

    where = (
        "clips that are not used for testing"
        if chosen and chosen[0] in apart and len(apart) >= FEWEST_COMPARED
        else ("the test clips themselves, because there are too few others")
    )
    return measure_errors(pairs()), f"{len(chosen)} of {where}"


def translation_of(trained: Trained, label_names: Sequence[str]) -> np.ndarray:
    """Return the class numbers of the first run for the classes of a run, int64 (K,).

    Args:
        trained: The run.
        label_names: Class names of the first run, in order.

    Raises:
        UsageError: The runs do not have the same classes.
    """
    numbers = {name: number for number, name in enumerate(label_names)}
    if set(trained.label_names) != set(numbers):
        apart = sorted(set(trained.label_names) ^ set(numbers))
        raise UsageError(
            f"{trained.path}: does not have the same classes as the first run; one of them lacks {apart[0]!r}. "
            "Compare runs that were trained on the same classes"
        )
    return np.array([numbers[name] for name in trained.label_names], np.int64)


def digest_of_names(names: Sequence[str]) -> str:
    """SHA-256 of ids in their order."""
    return hashlib.sha256("\0".join(names).encode()).hexdigest()
