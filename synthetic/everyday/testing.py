"""Accuracy of the everyday recognizer on people that it was not trained on, for each skeleton file and class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recognition.data.clips import open_clips
from recognition.data.dataset import SkeletonDataset
from recognition.inference.scores import scores_of
from recognition.runs import load_run
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


def results_on_unseen_people(run: Path, file: Path, parts: Sequence[Part]) -> list[Result]:
    """Classify the test clips of all files.

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
    results = []
    for place, part in enumerate(parts):
        for label, label_name in enumerate(trained.label_names):
            own = (number == place) & (scores.labels == label)
            if own.any():
                results.append(Result(part, label_name, int(own.sum()), int(correct[own].sum())))
    return results
