"""`skelpipe evaluate`: measure a run on a split; results go to the terminal, to files and to figures."""

import io
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pose_extraction._version import __version__
from pose_extraction.annotations import ALL_CLIPS
from pose_extraction.errors import UsageError
from pose_extraction.files import atomic_write
from recognition.clips import ClipSet, split_indices, training_indices
from recognition.dataset import SkeletonDataset
from recognition.evaluation import Metrics, measure
from recognition.inference import Scores, scores_of
from recognition.prediction import clips_for, with_someone
from recognition.run_log import read_metrics
from recognition.runs import BEST, SPLIT_NAME, Trained, load_run, newest_run
from recognition.settings import DataSettings

FOLDER, JSON_NAME, SCORES_NAME = "evaluation", "evaluation.json", "scores.npz"
# Names of the test split that belongs to a training split, the most likely first.
TEST_WORDS = ("test", "val", "valid", "validation", "eval")


@dataclass(frozen=True)
class Engine:
    """Device, backend, precision and batch settings of a network; see `recognition.inference.scores_of`."""

    device: str = "auto"
    batch_size: int | None = None
    precision: str = "auto"
    backend: str = "auto"


@dataclass(frozen=True)
class Evaluation:
    """Results of an evaluation.

    Args:
        trained: The recognizer.
        clips: The skeleton file.
        split: Name of the split.
        metrics: The metrics.
        scores: The scores behind the metrics, with labels numbered as in the recognizer.
        unanswered: Names of the clips in which no person is visible; they count as failures.
        unanswered_labels: int64, their labels, numbered as in the recognizer.
        unlabelled: Number of clips in the split without a label; they are not counted.
        left_out: Number of malformed clips in the split; they are not counted.
        trained_on: Number of clips in the split whose name is that of a training clip; None if the training clips are
            unknown because the weights were copied out of their run.
        chosen_on: The same for the held-out clips that selected the best epoch.
        folder: Folder of the result files.
    """

    trained: Trained
    clips: ClipSet
    split: str
    metrics: Metrics
    scores: Scores
    unanswered: list[str]
    unanswered_labels: np.ndarray
    unlabelled: int
    left_out: int
    trained_on: int | None
    chosen_on: int | None
    folder: Path


def evaluate(
    run: Path | None,
    data: Path | None,
    split: str | None,
    *,
    engine: Engine,
    skip_bad: bool = False,
    keypoint_files: Path | None = None,
    figures: bool = True,
    console: Console,
) -> Evaluation:
    """Evaluate a run on a split and write the results below the run directory.

    Args:
        run: Run directory, or one of its .pt files; None for the newest run.
        data: Skeleton file; None for the one that the run was trained on.
        split: Name of the split; None for the test split that matches the run's training split.
        engine: Device, backend, precision and batch settings.
        skip_bad: Whether to skip malformed clips instead of raising an error.
        keypoint_files: Folder with the keypoint files of Kinetics-400; None for that of the run.
        figures: Whether to draw figures.
        console: Receives progress and warnings.

    Returns:
        The results.

    Raises:
        UsageError: There is no such run or split, or labels or joints do not fit the run.
        AnnotationError: The skeleton file is malformed.
        WeightsError: The run cannot be read.
        BackendError: The network cannot run with these settings on this machine.
    """
    trained = load_run(run if run is not None else newest_run())
    path = data if data is not None else Path(trained.settings.data.file)
    if data is None and not path.is_file():
        raise UsageError(f"{path}, the training data of {trained.path}, no longer exists; specify a file with --data")
    clips = clips_for(trained, path, skip_bad=skip_bad, keypoint_files=keypoint_files)
    if split is None:
        split = split_to_test(clips, trained.settings.data)
        console.print(Text(f"split {split} of {path}"))
    indices = np.arange(len(clips)) if split == ALL_CLIPS and split not in clips.splits else split_indices(clips, split)
    left_out = [clip for clip in clips.left_out if split == ALL_CLIPS or split in clip.splits]
    empty = [clip for clip in left_out if clip.empty]
    labels = matched_labels(clips, clips.labels[indices], trained)
    empty_labels = matched_labels(clips, np.array([clip.label for clip in empty], np.int64), trained)
    labelled, someone = labels >= 0, with_someone(clips, indices)
    asked, silent = labelled & someone, labelled & ~someone
    if not labelled.any():
        raise UsageError(f"{path}: no clip of split {split!r} has a label; add some with `skelpipe label`")
    if not asked.any():
        raise UsageError(f"{path}: no person is visible in any labelled clip of split {split!r}; choose another split")
    dataset = SkeletonDataset(clips, indices[asked], trained.settings.data, train=False)
    # Create the folder before the long computation, so that errors appear early.
    folder = folder_for(trained.path, path, split)
    with progress_bar(console, len(dataset)) as advance:
        scores = scores_of(trained, dataset, **vars(engine), progress=advance)
    scores = Scores(scores.probabilities, scores.features, labels[asked], scores.names, scores.placement)
    unanswered = [clips.names[index] for index in indices[silent]]
    unanswered += [clip.name for clip, label in zip(empty, empty_labels, strict=True) if label >= 0]
    unanswered_labels = np.concatenate([labels[silent], empty_labels[empty_labels >= 0]])
    counted = {*scores.names, *unanswered}
    parts = _names_of_run(trained)
    result = Evaluation(
        trained=trained,
        clips=clips,
        split=split,
        metrics=measure(scores.probabilities, scores.labels, unanswered=unanswered_labels),
        scores=scores,
        unanswered=unanswered,
        unanswered_labels=unanswered_labels,
        unlabelled=int((~labelled).sum() + (empty_labels < 0).sum()),
        left_out=len(left_out) - len(empty),
        trained_on=len(counted & parts["training"]) if parts is not None else None,
        chosen_on=len(counted & parts["held_out"]) if parts is not None else None,
        folder=folder,
    )
    for line in warnings_of(result):
        console.print(Text(f"warning: {line}"))
    _write(result)
    if figures:
        _draw(result)
    return result


def split_to_test(clips: ClipSet, settings: DataSettings) -> str:
    """Return the test split that matches the training split, such as xsub_val for xsub_train.

    Args:
        clips: The skeleton file.
        settings: Data settings of the run.

    Raises:
        UsageError: The match is ambiguous, or there is none.
    """
    if not clips.splits or set(clips.splits) == {ALL_CLIPS}:
        return ALL_CLIPS
    known = ", ".join(repr(name) for name in clips.splits)
    try:
        trained_indices = training_indices(clips, settings)
    except UsageError as error:
        # The file is not that of the run; it may contain a single split.
        if len(clips.splits) == 1:
            return next(iter(clips.splits))
        raise UsageError(
            f"{clips.path}: cannot tell which of the splits {known} to use; choose one with --split"
        ) from error
    # Find the training split by its clips, because the setting may be "auto".
    training = [name for name, indices in clips.splits.items() if np.isin(trained_indices, indices).all()]
    named = [name for name in training if "train" in name.lower()] or training
    for word in TEST_WORDS:
        for name in named:
            other = re.sub("train", word, name, flags=re.IGNORECASE)
            if other != name and other in clips.splits and other != settings.holdout_split:
                return other
    rest = [name for name in clips.splits if name not in (*training, settings.holdout_split)]
    if len(rest) == 1:
        return rest[0]
    raise UsageError(f"{clips.path}: cannot tell which of the splits {known} to use; choose one with --split")


def matched_labels(clips: ClipSet, labels: np.ndarray, trained: Trained) -> np.ndarray:
    """Map labels of the file to the recognizer's class numbers, by name if the file has class names.

    Args:
        clips: The skeleton file.
        labels: int64, labels of clips as numbered in the file; -1 for none.
        trained: The recognizer.

    Returns:
        int64, labels as numbered in the recognizer; -1 for none.

    Raises:
        UsageError: The recognizer does not have one of the classes.
    """
    numbers = {name: number for number, name in enumerate(trained.label_names)}
    own = clips.label_names
    unnamed = own == [str(number) for number in range(len(own))]
    translated = np.array(
        [number if unnamed and number < len(numbers) else numbers.get(name, -1) for number, name in enumerate(own)],
        np.int64,
    )
    present = np.unique(labels[labels >= 0])
    unknown = [own[label] for label in present if translated[label] < 0]
    if unknown:
        raise UsageError(
            f"{clips.path}: contains clips of class {unknown[0]!r}{' and others' if unknown[1:] else ''}, but the "
            f"classes of {trained.path} are {_some(trained.label_names)}. Train the run on these classes "
            "(`skelpipe train --init`), or relabel the clips with `skelpipe label`"
        )
    return np.where(labels >= 0, translated[labels], -1) if len(own) else labels


def warnings_of(result: Evaluation) -> list[str]:
    """Return warnings about the validity of the results, one sentence each."""
    lines = []
    if result.trained_on is None:
        lines.append(
            f"{result.trained.path} has no {SPLIT_NAME} next to it, so its training clips are unknown and may include "
            "the evaluated clips"
        )
    if result.trained_on:
        lines.append(
            f"{result.trained_on} of {result.metrics.clips} clips have the names of training clips of the run: "
            "the results do not measure generalization"
        )
    if result.chosen_on:
        lines.append(
            f"{result.chosen_on} of {result.metrics.clips} clips have the names of clips that selected the best epoch: "
            "the accuracy is optimistic"
        )
    if result.unlabelled:
        lines.append(f"{result.unlabelled} clips of the split have no label and are not counted")
    if result.unanswered:
        lines.append(f"no person is visible in {len(result.unanswered)} clips of the split; they count as failures")
    if result.left_out:
        lines.append(f"{result.left_out} clips of the split are malformed and are not counted")
    if result.clips.nameless():
        lines.append(told_of_nameless(result.clips))
    return lines


def told_of_nameless(clips: ClipSet) -> str:
    """Return a note with the number of unusable entries in a file and the reason for the first one."""
    sentences = clips.nameless()
    return f"{len(sentences)} entries of the file are skipped; the first: {sentences[0]}"


def as_dictionary(result: Evaluation) -> dict[str, Any]:
    """Return all results except the scores for JSON output; null where a class has no clips."""
    metrics, names = result.metrics, result.trained.label_names
    return {
        "run": str(result.trained.path),
        "epoch": result.trained.epoch,
        "phase": result.trained.phase,
        "data": str(result.clips.path),
        "split": result.split,
        "estimator": result.clips.estimator,
        "trained_estimator": result.trained.estimator,
        "version": __version__,
        "engine": vars(result.scores.placement),
        "clips": metrics.clips,
        "unanswered": metrics.unanswered,
        "unlabelled": result.unlabelled,
        "left_out": result.left_out,
        "nameless": len(result.clips.nameless()),
        "trained_on": result.trained_on,
        "chosen_on": result.chosen_on,
        "correct": metrics.correct,
        "top1": metrics.top1,
        "top1_interval": list(metrics.top1_interval),
        "top5": metrics.top5,
        "mean_class": metrics.mean_class,
        "confused_pairs": [
            {
                "classes": [names[pair.first], names[pair.second]],
                "clips": pair.count,
                "share_of_failures": pair.share,
            }
            for pair in metrics.confused_pairs
        ],
        "per_class": [
            {"class": name, "clips": int(count), "accuracy": None if np.isnan(accuracy) else float(accuracy)}
            for name, count, accuracy in zip(names, metrics.counts, metrics.per_class, strict=True)
        ],
        "confusion": metrics.confusion.tolist(),
    }


def print_table(result: Evaluation, console: Console) -> None:
    """Print the metrics, the most confused pairs, and the accuracy per class in ascending order."""
    metrics, names = result.metrics, result.trained.label_names
    low, high = metrics.top1_interval
    # Names come from the user's files, so they must not be parsed as markup.
    table = Table("measure", "value", title=Text(_title(result)), title_justify="left")
    table.add_row("weights", _weights(result.trained))
    missing = f"  ({metrics.unanswered} of them without a visible person: failures)" if metrics.unanswered else ""
    table.add_row("clips", f"{metrics.clips}{missing}")
    table.add_row("top-1", f"{metrics.top1:.2%}  (95 % interval {low:.2%} to {high:.2%})")
    table.add_row("top-5", f"{metrics.top5:.2%}")
    table.add_row("mean class accuracy", f"{metrics.mean_class:.2%}")
    console.print(table)
    pairs = Table("most confused", "clips", "share of failures", title_justify="left")
    for pair in metrics.confused_pairs:
        pairs.add_row(Text(f"{names[pair.first]} / {names[pair.second]}"), str(pair.count), f"{pair.share:.1%}")
    if metrics.confused_pairs:
        console.print(pairs)
    counts = metrics.counts
    classes = Table("class", "clips", "accuracy")
    for number in np.argsort(metrics.per_class, kind="stable"):
        accuracy = f"{metrics.per_class[number]:.1%}" if counts[number] else "n/a"
        classes.add_row(Text(names[number]), str(counts[number]), accuracy)
    console.print(classes)


@contextmanager
def progress_bar(console: Console, clips: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal, and nothing elsewhere; yields a function that advances it by N clips."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("clips", total=clips)
        yield lambda done: progress.advance(task, done)


def folder_for(weights: Path, data: Path, what: str) -> Path:
    """Create the folder of an evaluation below its run; different weights and files get different folders.

    Args:
        weights: The run's .pt file.
        data: The skeleton file.
        what: Subject of the measurement, such as the split.

    Returns:
        The folder.

    Raises:
        UsageError: The folder is not writable.
    """
    other = "" if weights.name == BEST else f"-{weights.stem}"
    name = re.sub(r"[^\w.-]", "_", f"{data.stem}-{what}{other}")
    for number in itertools.count(1):
        folder = weights.parent / FOLDER / (name if number == 1 else f"{name}-{number}")
        if not (folder / JSON_NAME).is_file() or _is_of(folder / JSON_NAME, data):
            break
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
        reason = "it is read-only"
    except OSError as error:
        writable, reason = False, str(error.strerror)
    if not writable:
        raise UsageError(
            f"{folder}: cannot write results there ({reason}); copy {weights.parent} to a writable location and "
            "evaluate the copy"
        )
    return folder


def _is_of(evaluation: Path, data: Path) -> bool:
    """Whether an evaluation belongs to a skeleton file."""
    try:
        before = json.loads(evaluation.read_text(encoding="utf-8"))["data"]
    except (ValueError, KeyError, TypeError):
        # The file was not written by this program, so it may be overwritten.
        return True
    return Path(before).resolve() == data.resolve()


def _names_of_run(trained: Trained) -> dict[str, set[str]] | None:
    """Names of the run's training clips and held-out clips; None for a .pt file that was copied elsewhere."""
    path = trained.path.parent / SPLIT_NAME
    if not path.is_file():
        return None
    return {name: set(clips) for name, clips in json.loads(path.read_text(encoding="utf-8")).items()}


def _write(result: Evaluation) -> None:
    with atomic_write(result.folder / JSON_NAME) as file:
        file.write(json.dumps(as_dictionary(result), indent=1, ensure_ascii=False, allow_nan=False).encode())
    content = io.BytesIO()
    scores = result.scores
    np.savez(
        content,
        names=np.array(scores.names, np.str_),
        labels=scores.labels,
        probabilities=scores.probabilities,
        unanswered_names=np.array(result.unanswered, np.str_),
        unanswered_labels=result.unanswered_labels,
        label_names=np.array(result.trained.label_names, np.str_),
    )
    with atomic_write(result.folder / SCORES_NAME) as file:
        file.write(content.getvalue())


def _draw(result: Evaluation) -> None:
    from recognition import plots

    title, names, scores = _title(result), result.trained.label_names, result.scores
    figures = {
        "confusion": plots.confusion_figure(result.metrics, names, title),
        "per_class": plots.per_class_figure(result.metrics, names, title),
        "tsne": plots.embedding_figure(scores.features, scores.labels, names, title),
    }
    records = list(read_metrics(result.trained.path.parent))
    if records:
        figures["training"] = plots.training_figure(records, f"training of {result.trained.path.parent.name}")
    for name, figure in figures.items():
        plots.save_figure(figure, result.folder / f"{name}.png")


def _title(result: Evaluation) -> str:
    return f"{result.clips.path.name}, {result.split}, by {result.trained.path.parent.name}"


def _weights(trained: Trained) -> str:
    """Describe the weights: file, epoch and phase."""
    phase = {1: ", of phase one (cross-entropy)", 2: ", of phase two (both pathways)", None: ""}[trained.phase]
    return f"{trained.path.name}, after epoch {trained.epoch}{phase}"


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
