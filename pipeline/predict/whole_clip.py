"""Predictions for a clip as a whole and for each of its persons."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.predict.answers import BEST, Answer, in_words, label_of
from pipeline.predict.attention_record import AttentionRecord
from pipeline.predict.options import Scope
from pipeline.predict.persons import PersonClip, PersonId, frame_interval, person_clips
from pose_extraction.drawing.overlay import Stretch
from pose_extraction.poses import VideoPoses
from recognition.inference.clip_predictor import FEWEST_FRAMES, ClipPredictor
from recognition.inference.windows import Cell

if TYPE_CHECKING:
    from recognition.inference.explanation import Explanation


class WholePrediction(NamedTuple):
    """Result for a clip as a whole.

    Args:
        answers: The predictions, that of the clip first.
        stretch: The poses with captions and attention.
        cells: The probabilities of all classes for each prediction.
    """

    answers: list[Answer]
    stretch: Stretch
    cells: list[Cell[PersonId]]


def too_few(frames: int) -> str | None:
    """Return the reason why a person visible in `frames` frames is not classified; None if they suffice."""
    if frames >= FEWEST_FRAMES:
        return None
    if not frames:
        return "no person is visible in any frame"
    return f"a person is visible in only {frames} frames; at least {FEWEST_FRAMES} are required"


def predict_whole(
    predictor: ClipPredictor,
    scope: Scope,
    video: VideoPoses,
    name: str,
    *,
    reason_if_empty: str = "no person found",
    tracked: bool = True,
    timed: bool = True,
    record: AttentionRecord | None = None,
) -> WholePrediction:
    """Classify a clip and its persons.

    Args:
        predictor: The recognizer.
        scope: Which persons to classify, together or separately.
        video: The persons of the whole clip.
        name: Id of the clip.
        reason_if_empty: Reason to report for a clip without persons.
        tracked: Whether a person keeps the same identity in all frames.
        timed: Whether the times of the frames are real, rather than numbers of frames.
        record: Receives the attention of each joint; None if it is not requested.
    """
    if not video.tracks:
        return WholePrediction([Answer(name, reason=reason_if_empty)], Stretch(video), [])
    targets = list(person_clips(video, scope, name, predictor.threshold, tracked=tracked, timed=timed))
    reasons = [too_few(len(target.seen)) for target in targets]
    clips = [target.clip for target, reason in zip(targets, reasons, strict=True) if reason is None]
    found = predictor.classify(clips) if clips else None
    results = iter(zip(found.probabilities, found.unknown.tolist(), strict=True) if found is not None else ())
    rejection = predictor.trained.confidence.rejection(scope.threshold)
    explanations = iter(predictor.explanations(clips) if clips and scope.explain else ())
    answers: list[Answer] = []
    cells: list[Cell[PersonId]] = []
    captions: dict[int, str] = {}
    heat: dict[int, np.ndarray] = {}
    for target, reason in zip(targets, reasons, strict=True):
        if reason is not None:
            answers.append(Answer(name, target.person, reason=reason))
            if target.person is not None:
                # The joint prediction does not apply to this person.
                captions.pop(target.person, None)
            continue
        probabilities, unknown = next(results)
        best = predictor.best(probabilities, BEST)
        label, share = label_of(best, unknown, rejection), best[0][1]
        span = _span(video, target.seen)
        cells.append(Cell(target.person, 0, probabilities.astype(np.float64), unknown, *span))
        attention: dict[str, float] = {}
        if scope.explain:
            rows = _by_track(target, next(explanations), video.num_frames)
            attention = _recorded(record, target, rows, video) if record is not None else {}
            if target.person is not None or not scope.persons:
                heat.update(rows)
        answers.append(Answer(name, target.person, *span, label, share, unknown, best, attention=attention))
        # The prediction of a single person comes later and replaces the joint one.
        captions.update(dict.fromkeys(target.persons_used(predictor), in_words(label, share, None)))
    return WholePrediction(answers, Stretch(video, captions, heat), cells)


def _span(video: VideoPoses, seen: np.ndarray) -> tuple[float, float]:
    """Seconds from the first of the rows `seen`, in ascending order, to the end of the last."""
    return float(video.time[seen[0]]), float(video.time[seen[-1]]) + frame_interval(video.time)


def _by_track(target: PersonClip, explanation: "Explanation", frames: int) -> dict[int, np.ndarray]:
    """Attention (T, V) over all frames of the video by track id; NaN where it is unknown."""
    rows = {}
    for person, attention in zip(explanation.persons.tolist(), explanation.attention, strict=True):
        whole = np.full((frames, attention.shape[1]), np.nan, np.float32)
        whole[target.first : target.first + len(attention)] = attention
        rows[target.track_ids[person]] = whole
    return rows


def _recorded(
    record: AttentionRecord, target: PersonClip, rows: dict[int, np.ndarray], video: VideoPoses
) -> dict[str, float]:
    """Record the attention of each frame, averaged over the persons in the input; return the clip's mean."""
    interval = frame_interval(video.time) or 1.0
    stacked = np.stack(list(rows.values()))
    for row in np.flatnonzero(np.isfinite(stacked).all(axis=-1).any(axis=0)):
        time = float(video.time[row])
        record.add(target.person, time, time + interval, np.nanmean(stacked[:, row], axis=0))
    return record.mean(target.person, -np.inf, np.inf)
