"""`skelpipe evaluate`: measure a run on a split; results go to the terminal, to files and to figures."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from pipeline.evaluate.evaluation import Evaluation
from pipeline.evaluate.folders import JSON_NAME, SCORES_NAME, folder_for
from pipeline.evaluate.report import as_dictionary, draw, warnings_of
from pipeline.reporting.progress import progress_bar
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from pose_extraction.files import atomic_write, sha256_of
from pose_extraction.formats.shards.manifest import is_data_set
from recognition.data.class_names import check_new, check_old
from recognition.data.clips import ClipSet
from recognition.data.dataset import SkeletonDataset
from recognition.data.splits import left_out_of, matching_test_split, split_indices
from recognition.evaluation.calibration import calibration_of
from recognition.evaluation.metrics import answered_of, measure
from recognition.inference.prediction import matched_labels, visible_clips
from recognition.inference.scores import Scores, scores_of
from recognition.inference.skeleton_clips import clips_for
from recognition.run_folder import SPLIT_NAME
from recognition.run_names import newest_run, shown
from recognition.runs import Trained, load_run


def evaluate(
    run: Path | None,
    data: Path | None,
    split: str | None,
    *,
    engine: Engine,
    skip_bad: bool = False,
    keypoint_files: Path | None = None,
    call: Mapping[str, str] | None = None,
    figures: bool = True,
    console: Console,
) -> Evaluation:
    """Evaluate a run on a split and write the results below the run directory.

    Args:
        run: Run directory, or one of its files of weights; None for the newest run.
        data: Skeleton file; None for the one that the run was trained on.
        split: Name of the split; None for the test split that matches the run's training split.
        engine: Device, backend, precision and batch settings.
        skip_bad: Whether to skip malformed clips instead of raising an error.
        keypoint_files: Folder with the keypoint files of Kinetics-400; None for that of the run.
        call: Names of the run's classes by names of the file's classes, for those that differ; several classes of the
            file may be one class of the run.
        figures: Whether to draw figures.
        console: Receives progress and warnings.

    Returns:
        The results.

    Raises:
        UsageError: There is no such run or split, or labels or joints do not fit the run, or `call` does not.
        AnnotationError: The skeleton file is malformed.
        WeightsError: The run cannot be read.
        BackendError: The network cannot run with these settings on this machine.
    """
    trained = load_run(run if run is not None else newest_run())
    # Now, because a training may replace the file meanwhile.
    digest = sha256_of(trained.path)
    path = data if data is not None else Path(trained.settings.data.file)
    if data is None and not is_data_set(path):
        raise UsageError(f"{path}, the training data of {trained.path}, no longer exists; specify a file with --data")
    call = call or {}
    clips = _opened(trained, path, call, skip_bad=skip_bad, keypoint_files=keypoint_files)
    if split is None:
        split = matching_test_split(clips, trained.settings.data)
        console.print(Text(f"split {split} of {path}"))
    chosen = _select(clips, split, trained, call)
    dataset = SkeletonDataset(clips, chosen.indices, trained.settings.data, train=False)
    # Create the folder before the long computation, so that errors appear early.
    folder = folder_for(trained.path, path, split, call=call)
    with progress_bar(console, len(dataset)) as advance:
        scores = scores_of(trained, dataset, engine, progress=advance)
    scores = replace(scores, labels=chosen.labels)
    result = _measured(trained, digest, clips, split, chosen, scores, call, folder)
    for line in warnings_of(result):
        console.print(Text(f"warning: {line}"))
    _write(result)
    if figures:
        draw(result)
    return result


def _opened(
    trained: Trained, path: Path, call: Mapping[str, str], *, skip_bad: bool, keypoint_files: Path | None
) -> ClipSet:
    """Open a skeleton file after checking the new names of its classes, see `evaluate`.

    Raises:
        UsageError: The run or the file has no class of such a name, or the joints do not fit the run.
        AnnotationError: The skeleton file is malformed.
    """
    check_new("--call", call, trained.label_names, shown(trained.path))
    clips = clips_for(trained, path, skip_bad=skip_bad, keypoint_files=keypoint_files)
    check_old("--call", call, clips.label_names, str(path))
    return clips


@dataclass(frozen=True)
class _Selection:
    """Clips of a split by their use in the evaluation; labels are numbered as in the recognizer.

    Args:
        indices: int64 (N,), labelled clips with a visible person.
        labels: int64 (N,), their labels.
        unanswered: Names of labelled clips without a visible person.
        unanswered_labels: int64, their labels.
        unlabelled: Number of clips without a label.
        left_out: Number of malformed clips.
    """

    indices: np.ndarray
    labels: np.ndarray
    unanswered: list[str]
    unanswered_labels: np.ndarray
    unlabelled: int
    left_out: int


def _measured(
    trained: Trained,
    digest: str,
    clips: ClipSet,
    split: str,
    chosen: _Selection,
    scores: Scores,
    call: Mapping[str, str],
    folder: Path,
) -> Evaluation:
    """Return the measures of scores, and how the evaluated clips relate to those of the run."""
    counted = {*scores.names, *chosen.unanswered}
    parts = _names_of_run(trained)
    groups = _count_groups(clips, chosen.indices, parts)
    threshold = trained.confidence.threshold
    return Evaluation(
        trained=trained,
        digest=digest,
        clips=clips,
        split=split,
        metrics=measure(scores.probabilities, scores.labels, unanswered=chosen.unanswered_labels),
        calibration=calibration_of(scores.probabilities, scores.labels),
        answered=None
        if threshold is None
        else answered_of(scores.probabilities, scores.labels, scores.unknown > threshold),
        scores=scores,
        unanswered=chosen.unanswered,
        unanswered_labels=chosen.unanswered_labels,
        unlabelled=chosen.unlabelled,
        left_out=chosen.left_out,
        trained_on=len(counted & parts["training"]) if parts is not None else None,
        chosen_on=len(counted & parts["held_out"]) if parts is not None else None,
        groups=groups[0],
        groups_trained_on=groups[1],
        persons=sum(clips.part_of[index] is not None for index in chosen.indices),
        call=call,
        folder=folder,
    )


def _select(clips: ClipSet, split: str, trained: Trained, call: Mapping[str, str]) -> _Selection:
    """Divide the clips of a split into those to classify, those without persons, and those that are not counted.

    Raises:
        UsageError: There is no such split, a class is unknown, or no labelled clip shows a person.
    """
    indices, left_out = split_indices(clips, split), left_out_of(clips, split)
    # Clips without persons are left out on reading, but they count as failures.
    empty = [clip for clip in left_out if clip.empty]
    labels = matched_labels(clips, clips.labels[indices], trained, call=call)
    empty_labels = matched_labels(clips, np.array([clip.label for clip in empty], np.int64), trained, call=call)
    labelled, visible = labels >= 0, visible_clips(clips, indices)
    if not labelled.any():
        raise UsageError(f"{clips.path}: no clip of split {split!r} has a label; add some with `skelpipe label`")
    scored, invisible = labelled & visible, labelled & ~visible
    if not scored.any():
        raise UsageError(
            f"{clips.path}: no person is visible in any labelled clip of split {split!r}; choose another split"
        )
    unanswered = [clips.names[index] for index in indices[invisible]]
    unanswered += [clip.name for clip, label in zip(empty, empty_labels, strict=True) if label >= 0]
    return _Selection(
        indices[scored],
        labels[scored],
        unanswered,
        np.concatenate([labels[invisible], empty_labels[empty_labels >= 0]]),
        int((~labelled).sum() + (empty_labels < 0).sum()),
        len(left_out) - len(empty),
    )


def _names_of_run(trained: Trained) -> dict[str, set[str]] | None:
    """Names of the run's training clips and held-out clips; None for a file of weights that was copied elsewhere."""
    path = trained.path.parent / SPLIT_NAME
    if not path.is_file():
        return None
    return {name: set(clips) for name, clips in json.loads(path.read_text(encoding="utf-8")).items()}


def _count_groups(
    clips: ClipSet, evaluated: np.ndarray, parts: dict[str, set[str]] | None
) -> tuple[int | None, int | None]:
    """Number of groups, such as persons, in the evaluated clips, and of those that are in the training clips, too.

    The first is None without groups, the second also if the file does not contain the training clips.
    """
    groups = {clips.groups[index] for index in evaluated} - {None}
    if not groups:
        return None, None
    named = parts["training"] if parts is not None else set()
    trained = {group for name, group in zip(clips.names, clips.groups, strict=True) if name in named}
    return len(groups), len(groups & trained) if trained else None


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
        unknown=scores.unknown,
        unanswered_names=np.array(result.unanswered, np.str_),
        unanswered_labels=result.unanswered_labels,
        label_names=np.array(result.trained.label_names, np.str_),
    )
    with atomic_write(result.folder / SCORES_NAME) as file:
        file.write(content.getvalue())
