"""Temporal action detection: actions from scores of frames, and PKU-MMD's evaluation measures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Action:
    """An action in a video.

    Args:
        video: Name of the video.
        label: Class index.
        start: First frame.
        end: Frame after the last one.
        confidence: Score of a proposal, higher is more confident; ignored in ground truth.
    """

    video: str
    label: int
    start: int
    end: int
    confidence: float = 1.0


def temporal_iou(one: Action, other: Action) -> float:
    """Return the intersection over the joint span, as in PKU-MMD; negative if the actions do not overlap."""
    shared = min(one.end, other.end) - max(one.start, other.start)
    return shared / (max(one.end, other.end) - min(one.start, other.start))


def average_precision(proposals: Sequence[Action], truths: Sequence[Action], *, overlap: float = 0.5) -> float:
    """Return the area under the precision-recall curve, with precision interpolated as usual.

    Precision is interpolated to the best value at this or a higher recall. Proposals are processed in order of
    confidence. A proposal is correct if it overlaps a ground truth of its class and video by `overlap` or more that no
    earlier proposal has matched, as in PKU-MMD's own script. scikit-learn's `average_precision_score` differs: it does
    not interpolate, and its recall counts only truths that some proposal matches.

    Args:
        proposals: Detected actions.
        truths: Ground truth.
        overlap: Smallest temporal IoU of a correct proposal, 0 to 1.

    Returns:
        Average precision, 0 to 1; 0 without proposals or without ground truth.
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
    """Return mAP_a, the mean over all classes, and mAP_v, the mean over the videos with ground truth."""

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
    """Find runs of frames with the same most likely class, except the background.

    Args:
        video: Name of the video.
        scores: float (T, K + 1), class probabilities of each frame, the background last.
        smooth: Number of frames over which scores are averaged first.
        fewest: Length of the shortest run, in frames.

    Returns:
        Actions in temporal order; the confidence is the class's mean score in the run.
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
    """Return each frame's class, int64 (T,), `num_classes` for the background; later actions win."""
    labels = np.full(num_frames, num_classes, np.int64)
    for truth in truths:
        labels[max(0, truth.start) : truth.end] = truth.label
    return labels
