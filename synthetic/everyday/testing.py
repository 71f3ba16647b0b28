"""Tests of the everyday recognizer: on people that it was not trained on, and on actions that it does not know."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recognition.data.clips import open_clips
from recognition.data.dataset import SkeletonDataset
from recognition.evaluation.calibration import calibration_of
from recognition.inference.scores import Scores, scores_of
from recognition.inference.skeleton_clips import clips_for
from recognition.runs import Trained, load_run
from synthetic.everyday.merging import TEST, Part


@dataclass(frozen=True)
class Result:
    """Test clips of one class in one skeleton file.

    Args:
        part: The file.
        label_name: Name of the class.
        clips: Number of test clips.
        correct: Number of clips that were classified correctly.
    """

    part: Part
    label_name: str
    clips: int
    correct: int


@dataclass(frozen=True)
class Certainty:
    """How far the confidence can be trusted on the test clips of one skeleton file.

    Args:
        part: The file.
        clips: Number of test clips.
        calibration_error: Expected calibration error, in [0, 1].
        unknown: Number of clips that are called unknown, although their actions are known.
    """

    part: Part
    clips: int
    calibration_error: float
    unknown: int


@dataclass(frozen=True)
class OtherActions:
    """Answers to clips of actions that the recognizer does not know.

    Args:
        part: Their skeleton file.
        clips: Number of clips.
        names: Number of clips by the wrong name that they got, the most frequent first; the others are unknown.
    """

    part: Part
    clips: int
    names: Mapping[str, int]

    @property
    def unknown(self) -> int:
        """Number of clips that are called unknown."""
        return self.clips - sum(self.names.values())


def answers_to_other_actions(run: Path, parts: Sequence[Part]) -> list[OtherActions]:
    """Classify all clips of skeleton files whose actions are none of the recognizer's.

    Args:
        run: The trained run.
        parts: The files; their labels are not used.
    """
    trained = load_run(run)
    found = []
    for part in parts:
        clips = clips_for(trained, part.path)
        scores = scores_of(trained, SkeletonDataset(clips, np.arange(len(clips)), trained.settings.data, train=False))
        answers = scores.probabilities.argmax(axis=1)[~_unknown(trained, scores)]
        names = Counter(trained.label_names[answer] for answer in answers)
        found.append(OtherActions(part, len(clips), dict(names.most_common())))
    return found


def results_on_unseen_people(run: Path, file: Path, parts: Sequence[Part]) -> tuple[list[Result], list[Certainty]]:
    """Classify the test clips of all files; return the results of each class, and the certainty for each file.

    Args:
        run: The trained run.
        file: The merged skeleton file.
        parts: The files that it was merged from.
    """
    trained = load_run(run)
    clips = open_clips(file, trained.settings.data)
    data = SkeletonDataset(clips, clips.splits[TEST], trained.settings.data, train=False)
    scores = scores_of(trained, data)
    correct = scores.probabilities.argmax(axis=1) == scores.labels
    number = np.array([int(name.split("/")[1]) for name in scores.names])
    unknown = _unknown(trained, scores)
    results, certainties = [], []
    for place, part in enumerate(parts):
        of_file = number == place
        if of_file.any():
            error = calibration_of(scores.probabilities[of_file], scores.labels[of_file]).ece
            certainties.append(Certainty(part, int(of_file.sum()), error, int(unknown[of_file].sum())))
        for label, label_name in enumerate(trained.label_names):
            own = of_file & (scores.labels == label)
            if own.any():
                results.append(Result(part, label_name, int(own.sum()), int(correct[own].sum())))
    return results, certainties


def _unknown(trained: Trained, scores: Scores) -> np.ndarray:
    """Return which clips are called unknown, bool (N,)."""
    rejection = trained.confidence.rejection(None)
    outputs = zip(scores.probabilities.max(axis=1), scores.unknown, strict=True)
    return np.array([rejection.applies_to(*one) for one in outputs], bool)
