"""The result of evaluating a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recognition.data.clips import ClipSet
from recognition.evaluation.calibration import Calibration
from recognition.evaluation.metrics import Answered, Metrics
from recognition.inference.scores import Scores
from recognition.runs import Trained


@dataclass(frozen=True)
class Evaluation:
    """Results of an evaluation.

    Args:
        trained: The recognizer.
        digest: SHA-256 of its file.
        clips: The skeleton file.
        split: Name of the split.
        metrics: The metrics.
        calibration: Whether the probabilities are right.
        answered: Clips that are not reported as unknown with the run's threshold; None if the run has none.
        scores: The scores behind the metrics, with labels numbered as in the recognizer.
        unanswered: Names of the clips in which no person is visible; they count as failures.
        unanswered_labels: int64, their labels, numbered as in the recognizer.
        unlabelled: Number of clips in the split without a label; they are not counted.
        left_out: Number of malformed clips in the split; they are not counted.
        trained_on: Number of clips in the split whose name is that of a training clip; None if the training clips are
            unknown because the weights were copied out of their run.
        chosen_on: The same for the held-out clips that selected the best epoch.
        groups: Number of groups, such as persons, in the evaluated clips; None if the file has none.
        groups_trained_on: Number of those that are in the training clips, too; None if these are unknown.
        persons: Number of evaluated clips that are single labelled persons of a video.
        call: Names of the recognizer's classes by names of the file's classes, as given for those that differ.
        folder: Folder of the result files.
    """

    trained: Trained
    digest: str
    clips: ClipSet
    split: str
    metrics: Metrics
    calibration: Calibration
    answered: Answered | None
    scores: Scores
    unanswered: list[str]
    unanswered_labels: np.ndarray
    unlabelled: int
    left_out: int
    trained_on: int | None
    chosen_on: int | None
    groups: int | None
    groups_trained_on: int | None
    persons: int
    call: Mapping[str, str]
    folder: Path
