"""Temporal action detection: actions of frames' scores, and PKU-MMD's measure of how right they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Action:
    """A stretch of a video.

    Args:
        video: Its name.
        label: Class number.
        start: First frame.
        end: Frame after the last.
        confidence: The higher, the surer; of no account in a ground truth.
    """

    video: str
    label: int
    start: int
    end: int
    confidence: float = 1.0


def temporal_iou(one: Action, other: Action) -> float:
    """Intersection over the span of both, as PKU-MMD measures it; below 0 where they lie apart."""
    shared = min(one.end, other.end) - max(one.start, other.start)
    return shared / (max(one.end, other.end) - min(one.start, other.start))


def average_precision(proposals: Sequence[Action], truths: Sequence[Action], *, overlap: float = 0.5) -> float:
    """Area under precision over recall, precision being the best at this recall or a higher one.

    Proposals count from the surest on. One is right when a truth of its class and video, which no surer one has taken,
    overlaps it by `overlap` or more, as in PKU-MMD's own script. Without proposals, or without truths, it is 0.
    """
    if not proposals or not truths:
        return 0.0
    taken: set[int] = set()
    right = np.zeros(len(proposals))
    for place, proposal in enumerate(sorted(proposals, key=lambda one: -one.confidence)):
        for number, truth in enumerate(truths):
            same = truth.video == proposal.video and truth.label == proposal.label
            if same and number not in taken and temporal_iou(proposal, truth) >= overlap:
                taken.add(number)
                right[place] = 1
                break
    found = right.cumsum()
    precision, recall = found / np.arange(1, len(right) + 1), found / len(truths)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best * np.diff(recall, prepend=0.0)).sum())


def mean_average_precisions(
    proposals: Sequence[Action], truths: Sequence[Action], num_classes: int, *, overlap: float = 0.5
) -> tuple[float, float]:
    """mAP_a, the mean over all classes, and mAP_v, the mean over the videos that have truths."""

    def mean_over(key: Callable[[Action], object], values: Sequence[object]) -> float:
        return float(
            np.mean(
                [
                    average_precision(
                        [one for one in proposals if key(one) == value],
                        [one for one in truths if key(one) == value],
                        overlap=overlap,
                    )
                    for value in values
                ]
            )
        )

    videos = sorted({truth.video for truth in truths})
    return mean_over(lambda one: one.label, range(num_classes)), mean_over(lambda one: one.video, videos)


def actions_of(video: str, scores: np.ndarray, *, smooth: int, fewest: int) -> list[Action]:
    """Runs of frames with one likeliest class, the background apart.

    Args:
        video: Name.
        scores: float (T, K + 1), probabilities of each frame's classes, the last that of the background.
        smooth: Frames over which scores are averaged first.
        fewest: Frames of the shortest run that counts.

    Returns:
        In their order; the confidence is the class's mean score in the run.
    """
    width = min(smooth, len(scores))
    kernel = np.ones(width)
    covered = np.convolve(np.ones(len(scores)), kernel, "same")
    averaged = np.stack([np.convolve(column, kernel, "same") / covered for column in scores.T], axis=1)
    likeliest = averaged.argmax(axis=1)
    edges = np.flatnonzero(np.diff(likeliest)) + 1
    found = []
    for start, end in zip([0, *edges], [*edges, len(scores)], strict=True):
        label = int(likeliest[start])
        if label < scores.shape[1] - 1 and end - start >= fewest:
            found.append(Action(video, label, int(start), int(end), float(averaged[start:end, label].mean())))
    return found


def frame_labels(truths: Sequence[Action], num_frames: int, num_classes: int) -> np.ndarray:
    """Class of each frame, `num_classes` for the background, int64 (T,); where actions overlap, the later one's."""
    labels = np.full(num_frames, num_classes, np.int64)
    for truth in truths:
        labels[max(0, truth.start) : truth.end] = truth.label
    return labels
