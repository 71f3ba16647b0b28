"""Sliding windows over a video while it is read: predictions, segments, and stretches that are ready to draw."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from pipeline.predict.answers import in_words
from pipeline.predict.attention_record import AttentionRecord
from pipeline.predict.options import Scope
from pipeline.predict.persons import PersonClip, PersonId, frame_interval, person_clips
from pose_extraction.drawing.overlay import Stretch
from pose_extraction.extraction import cut
from pose_extraction.poses import VideoPoses
from recognition.inference.clip_predictor import FEWEST_FRAMES, ClipPredictor
from recognition.inference.windows import LEAST_SEEN, UNKNOWN, Cell, Grid, Joiner, Segment, Timeline


@dataclass(frozen=True)
class WindowPrediction:
    """Prediction for one window.

    Args:
        person: Track id; None for all persons together.
        persons_used: Ids of the persons in the recognizer's input.
        probabilities: float (K,).
        unknown: Unknown score.
        start: Time in seconds of the first frame in which the person is visible.
        end: Time in seconds of the end of the last such frame.
    """

    person: PersonId
    persons_used: tuple[int, ...]
    probabilities: np.ndarray
    unknown: float
    start: float
    end: float


@dataclass(frozen=True)
class Settled:
    """Results that are final once a window has been classified.

    Args:
        segments: Stretches of one action that have ended.
        cells: Results for the first cell of the window.
        stretch: The poses of that cell with captions and attention.
    """

    segments: list[Segment[PersonId]]
    cells: list[Cell[PersonId]]
    stretch: Stretch


@dataclass
class _Heat:
    """Sum and count of the windows' attention, per person and frame."""

    held: dict[int, dict[int, tuple[np.ndarray, int]]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, person: int, frame_index: np.ndarray, attention: np.ndarray) -> None:
        frames = self.held[person]
        for index, row in zip(frame_index.tolist(), attention, strict=True):
            if np.isfinite(row).all():
                total, count = frames.get(index, (np.zeros(len(row)), 0))
                frames[index] = total + row, count + 1

    def rows(self, person: int, frame_index: np.ndarray, joints: int) -> np.ndarray:
        """Return (T, V), NaN where unknown; rows up to the last of these frames are discarded."""
        frames = self.held.get(person, {})
        nothing = np.full(joints, np.nan), 1
        means = [total / count for total, count in (frames.get(index, nothing) for index in frame_index.tolist())]
        return np.array(means, np.float32).reshape(len(frame_index), joints)

    def forget(self, before: int) -> None:
        for person in list(self.held):
            kept = {index: held for index, held in self.held[person].items() if index >= before}
            if kept:
                self.held[person] = kept
            else:
                del self.held[person]


class Sliding:
    """Classifies the windows of one video in order.

    Args:
        predictor: The recognizer.
        scope: Which persons to classify, together or separately.
        grid: The windows.
        name: Id of the clip, for messages.
        tracked: Whether a person keeps the same identity in all frames.
        record: Receives the attention of each joint; None if it is not requested.
    """

    def __init__(
        self,
        predictor: ClipPredictor,
        scope: Scope,
        grid: Grid,
        name: str,
        *,
        tracked: bool = True,
        record: AttentionRecord | None = None,
    ) -> None:
        self.grid = grid
        self._predictor = predictor
        self._scope = scope
        self._name = name
        self._tracked = tracked
        self._record = record
        self._timeline: Timeline[PersonId] = Timeline()
        self._joiner: Joiner[PersonId] = Joiner(predictor.trained.confidence.rejection(scope.threshold))
        self._heat = _Heat()
        # The persons in the input of the newest joint prediction.
        self._together: tuple[int, ...] = ()

    def classify(self, window: VideoPoses) -> list[WindowPrediction]:
        """Classify one window and keep the predictions for the segments.

        Persons who are visible in too few of its frames are skipped.

        Args:
            window: The persons in the window's frames.

        Returns:
            One prediction per person, or one for all persons together.
        """
        found = person_clips(window, self._scope, self._name, self._predictor.threshold, tracked=self._tracked)
        targets = [target for target in found if self._is_enough(target, window)]
        if not targets:
            return []
        answers = []
        results = self._predictor.classify_frames([target.clip for target in targets])
        interval = frame_interval(window.time)
        for target, result in zip(targets, results, strict=True):
            time = window.time[target.seen]
            cells, first = np.unique(self.grid.cell_of(time), return_index=True)
            last = np.append(first[1:], len(time)) - 1
            # One row for all frames, or one row per frame.
            shown = np.minimum(target.seen - target.first, len(result.unknown) - 1)
            rows, unknown = result.probabilities[shown].astype(np.float64), result.unknown[shown]
            frames = last + 1 - first
            self._timeline.add(
                target.person,
                np.add.reduceat(rows, first) / frames[:, None],
                np.add.reduceat(unknown, first) / frames,
                cells=cells,
                start=time[first],
                end=time[last] + interval,
            )
            persons_used = target.persons_used(self._predictor)
            if target.person is None:
                self._together = persons_used
            means, span = (rows.mean(axis=0), float(unknown.mean())), (float(time[0]), float(time[-1]) + interval)
            answers.append(WindowPrediction(target.person, persons_used, *means, *span))
        if self._scope.explain:
            self._explain(targets, window)
        return answers

    def settle(self, cell: int, window: VideoPoses) -> Settled:
        """Return the results that are final once the window starting at a cell has been classified.

        Args:
            cell: Number of the cell.
            window: The persons in the window's frames.
        """
        cells = list(self._timeline.settled(cell + 1))
        segments = []
        captions: dict[PersonId, str] = {}
        for one in cells:
            ended = self._joiner.add(one)
            if ended is not None:
                segments.append(ended)
            if one.cell == cell:
                captions[one.person] = self.caption(one.probabilities, one.unknown)
        segments += self._joiner.ended(cell + 1)
        last = int(np.searchsorted(self.grid.cell_of(window.time), cell, side="right"))
        shown = cut(window, 0, last)
        return Settled(segments, cells, self._drawn(shown, captions, cells))

    def end(self) -> list[Segment[PersonId]]:
        """Return the segments that are still open at the end of the video."""
        return list(self._joiner.ended())

    def caption(self, probabilities: np.ndarray, unknown: float) -> str:
        """Return the caption that is drawn above a person's head.

        Args:
            probabilities: float (K,), of one window.
            unknown: Its unknown score.
        """
        number = self._joiner.answer(probabilities, unknown)
        name = UNKNOWN if number is None else self._predictor.trained.label_names[number]
        return in_words(name, float(probabilities.max()), None)

    @staticmethod
    def _is_enough(target: PersonClip, window: VideoPoses) -> bool:
        return len(target.seen) >= max(FEWEST_FRAMES, LEAST_SEEN * window.num_frames)

    def _explain(self, targets: list[PersonClip], window: VideoPoses) -> None:
        alone = [target for target in targets if target.person is not None or not self._scope.persons]
        explanations = self._predictor.explanations([target.clip for target in alone])
        for target, explanation in zip(alone, explanations, strict=True):
            frames = window.frame_index[target.first : target.first + explanation.attention.shape[1]]
            for person, attention in zip(explanation.persons.tolist(), explanation.attention, strict=True):
                self._heat.add(target.track_ids[person], frames, attention)

    def _drawn(self, shown: VideoPoses, captions: dict[PersonId, str], cells: list[Cell[PersonId]]) -> Stretch:
        ids = [track.track_id for track in shown.tracks]
        whose: dict[int, PersonId] = {name: name for name in ids}
        if not self._scope.persons:
            whose = {name: None for name in ids if name in self._together}
        texts = {name: captions[who] for name, who in whose.items() if who in captions}
        if not self._scope.explain or not shown.num_frames:
            return Stretch(shown, texts)
        joints = shown.tracks[0].keypoint.shape[1] if shown.tracks else 0
        heat = {name: self._heat.rows(name, shown.frame_index, joints) for name in ids}
        spans = {one.person: (one.start, one.end) for one in cells}
        if self._record is not None:
            for person, rows in self._to_record(heat).items():
                known = np.isfinite(rows).all(axis=1)
                if known.any():
                    time = shown.time[known]
                    span = spans.get(person, (float(time[0]), float(time[-1]) + frame_interval(shown.time)))
                    self._record.add(person, *span, rows[known].mean(axis=0))
        self._heat.forget(int(shown.frame_index[-1]) + 1)
        return Stretch(shown, texts, heat)

    def _to_record(self, heat: dict[int, np.ndarray]) -> dict[PersonId, np.ndarray]:
        """Attention (T, V) per prediction: of each person, or the mean over the persons classified together."""
        if self._scope.persons or not heat:
            return {person: rows for person, rows in heat.items()}
        rows = np.stack(list(heat.values()))
        seen = np.isfinite(rows)
        return {None: np.where(seen.any(0), np.where(seen, rows, 0).sum(0) / np.maximum(seen.sum(0), 1), np.nan)}


def slide_over(video: VideoPoses, sliding: Sliding) -> Iterator[tuple[int, VideoPoses]]:
    """Yield the windows of a complete video: number of the first cell, and the persons in the window's frames.

    Args:
        video: The tracks of the whole video.
        sliding: The windows to cut.
    """
    if not video.num_frames:
        return
    grid = sliding.grid
    first, last = (int(cell) for cell in grid.cell_of(video.time[[0, -1]]))
    for cell in range(first, last + 1):
        rows = grid.rows_of(video.time, cell)
        yield cell, cut(video, rows.start, rows.stop)


def no_window_classified(frames: int) -> str:
    """Return the reason why no window of a video with persons was classified.

    Args:
        frames: Number of frames of the video.
    """
    if frames < FEWEST_FRAMES:
        return f"has only {frames} frames; a prediction requires at least {FEWEST_FRAMES} frames with a person"
    return f"no person is visible in half of a window's frames and in at least {FEWEST_FRAMES}: use longer windows"


def is_long_enough(grid: Grid, cell: int, first_cell: int, window: VideoPoses) -> bool:
    """Whether to classify a window at the end of a video: at least half of it is covered, or it is the first one.

    Args:
        grid: The windows.
        cell: Number of the window's first cell.
        first_cell: Number of the video's first cell.
        window: The persons in the window's frames.
    """
    if not window.num_frames:
        return False
    covered = float(window.time[-1]) + frame_interval(window.time) - grid.start_of(cell)
    return cell == first_cell or covered >= LEAST_SEEN * grid.seconds
