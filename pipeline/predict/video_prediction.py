"""Predictions for one video while its frames arrive: as a whole, or window by window in bounded memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from rich.console import Console

from pipeline.extract.results.writing import nobody_found
from pipeline.inputs.videos import Source
from pipeline.predict.answers import BEST, Answer, label_of
from pipeline.predict.attention_record import AttentionRecord
from pipeline.predict.observer import Observer
from pipeline.predict.options import PredictOptions
from pipeline.predict.overlay import Drawing
from pipeline.predict.persons import PersonId
from pipeline.predict.sliding import Settled, Sliding, is_long_enough, no_window_classified
from pipeline.predict.whole_clip import predict_whole
from pipeline.reporting.notes import NoteSummary
from pose_extraction.extraction import PoseExtractor, follow
from pose_extraction.following import Follower
from pose_extraction.poses import FramePoses
from pose_extraction.skeleton import COCO17
from pose_extraction.video.decoding import VideoJob
from recognition.inference.clip_predictor import ClipPredictor
from recognition.inference.windows import CELLS, UNKNOWN, Grid, Segment

# Seconds above which a video is too long to classify as a whole: the network would sample its frames too sparsely.
WHOLE_LIMIT = 120.0
# Length in seconds of the windows whose mean is the prediction for such a video.
LONG_WINDOW = 10.0


class SlidingVideo:
    """Window-by-window tracking and classification of one video, in bounded memory.

    Args:
        sliding: Classifies the windows.
        follower: Tracks the persons.
    """

    def __init__(self, sliding: Sliding, follower: Follower) -> None:
        self._sliding = sliding
        self._follower = follower
        self._first_cell = self._next_cell = -1
        self._time = 0.0

    def add(self, poses: FramePoses) -> Iterator[Settled]:
        """Add the next frame; yield the results that it makes final."""
        grid = self._sliding.grid
        if self._next_cell < 0:
            self._first_cell = self._next_cell = int(grid.cell_of(poses.time))
        self._follower.add(poses)
        before, self._time = self._time, poses.time
        while grid.start_of(self._next_cell) + grid.seconds + self._follower.context <= poses.time:
            if grid.start_of(self._next_cell) > before:
                # Gap in the stream: the next window that contains a frame ends with the cell of this frame.
                self._next_cell = int(grid.cell_of(poses.time)) - CELLS + 1
                continue
            yield self._window()

    def end(self) -> tuple[list[Settled], list[Segment[PersonId]]]:
        """Return the remaining results at the end of the video."""
        settled = []
        while self._next_cell >= 0 and self._sliding.grid.start_of(self._next_cell) <= self._time:
            settled.append(self._window())
        return settled, self._sliding.end()

    def _window(self) -> Settled:
        cell, grid = self._next_cell, self._sliding.grid
        window = self._follower.stretch(*grid.bounds(cell))
        if is_long_enough(grid, cell, self._first_cell, window):
            self._sliding.classify(window)
        settled = self._sliding.settle(cell, window)
        self._next_cell += 1
        self._follower.forget(grid.start_of(self._next_cell))
        return settled


@dataclass
class _MeanOverCells:
    """Mean probabilities and unknown scores over the cells of a long video, per person."""

    held: dict[PersonId, tuple[np.ndarray, float, int, float, float]] = field(default_factory=dict)

    def add(self, settled: Settled) -> None:
        for cell in settled.cells:
            total, unknown, count, start, _ = self.held.get(cell.person, (0.0, 0.0, 0, cell.start, cell.end))
            self.held[cell.person] = (total + cell.probabilities, unknown + cell.unknown, count + 1, start, cell.end)


@dataclass(eq=False, kw_only=True)
class PredictionJob(VideoJob):
    """A video to decode and predict actions in."""

    source: Source


class VideoPrediction:
    """State of a video that is being processed: its poses and its overlay."""

    def __init__(
        self,
        job: PredictionJob,
        options: PredictOptions,
        predictor: ClipPredictor,
        extractor: PoseExtractor,
        console: Console,
        summary: NoteSummary,
        observer: Observer,
    ) -> None:
        assert job.info is not None
        self.source = job.source
        self.options = options
        self._predictor, self._extractor, self._console = predictor, extractor, console
        self._summary, self._observer = summary, observer
        self._size = job.info.size
        self._frames: list[FramePoses] = []
        # Poses and frames so far.
        self._poses = self._count = 0
        self._means = _MeanOverCells()
        self._record = AttentionRecord(COCO17.joints) if options.scope.explain else None
        self._answers: list[Answer] = []
        self._is_answered = False
        overlay = options.overlay_of(self.source)
        self._sliding = None if options.windows is None else self._slide(options.windows)
        self.drawing = (
            None if overlay is None else Drawing(self.source.path, overlay, fps=options.fps, stream=options.stream)
        )

    def _slide(self, seconds: float) -> SlidingVideo:
        sliding = Sliding(
            self._predictor, self.options.scope, Grid(seconds), self.source.frame_dir, record=self._record
        )
        return SlidingVideo(sliding, Follower(self._size, self._extractor.settings))

    def add(self, poses: FramePoses) -> Iterator[Answer]:
        """Add the poses of a frame; yield the predictions that are final."""
        self._poses += poses.num_persons
        self._count += 1
        waiting = [poses]
        if self._sliding is None:
            self._frames.append(poses)
            if poses.time - self._frames[0].time <= WHOLE_LIMIT:
                return
            self._sliding = self._slide(LONG_WINDOW)
            note = (
                f"longer than {WHOLE_LIMIT:g} s: the prediction is the mean over windows of {LONG_WINDOW:g} s; "
                "use --windows to get each of them"
            )
            self._summary.add(self.source.relative, [note])
            waiting, self._frames = self._frames, []
        for one in waiting:
            for settled in self._sliding.add(one):
                yield from self._settled(settled)

    def _settled(self, settled: Settled) -> Iterator[Answer]:
        if self.drawing is not None:
            self.drawing.add(settled.stretch)
        self._observer.poses(self.source.frame_dir, settled.stretch.video)
        self._observer.settled(settled.cells, settled.stretch)
        if self.options.windows is None:
            self._means.add(settled)
        else:
            yield from self._of_segments(settled.segments)

    def _of_segments(self, segments: Iterable[Segment[PersonId]]) -> Iterator[Answer]:
        for segment in sorted(segments, key=lambda one: one.start):
            best = self._predictor.best(segment.probabilities, BEST)
            label = UNKNOWN if segment.number is None else best[0][0]
            subject = (self.source.frame_dir, segment.person, segment.start, segment.end)
            yield self._explained(Answer(*subject, label, best[0][1], segment.unknown, best))

    def _explained(self, answer: Answer) -> Answer:
        """Add the attention of the time that an answer covers, and record the answer."""
        if self._record is None or answer.start is None or answer.end is None:
            return self._record_answer(answer)
        attention = self._record.mean(answer.person, answer.start, answer.end)
        return self._record_answer(replace(answer, attention=attention))

    def _record_answer(self, answer: Answer) -> Answer:
        self._is_answered = True
        if self._record is not None:
            # Kept for the figure, which lists them.
            self._answers.append(answer)
        return answer

    def end(self, job: PredictionJob) -> Iterator[Answer]:
        """Yield the remaining predictions; a video that is classified as a whole has at least one."""
        self._summary.add(self.source.relative, list(dict.fromkeys(job.problems)))
        if self._sliding is None:
            yield from self._end_whole()
        else:
            yield from self._end_sliding(self._sliding)
        if self.drawing is not None:
            self.drawing.end()
        if self._record is not None:
            path = self.options.figure_of(self.source)
            yield from self._record.write(path, self.source.frame_dir, self._answers, self._console)

    def _end_whole(self) -> Iterator[Answer]:
        (clip,) = follow(self._frames, self._size, self._extractor.settings)
        answers, stretch, cells = predict_whole(
            self._predictor,
            self.options.scope,
            clip.poses,
            self.source.frame_dir,
            reason_if_empty=nobody_found(self._poses),
            record=self._record,
        )
        if self.drawing is not None:
            self.drawing.add(stretch)
        self._observer.poses(self.source.frame_dir, stretch.video)
        self._observer.settled(cells, stretch)
        for answer in answers:
            yield self._record_answer(answer)

    def _end_sliding(self, sliding: SlidingVideo) -> Iterator[Answer]:
        rest, segments = sliding.end()
        for settled in rest:
            yield from self._settled(settled)
        yield from self._of_segments(segments if self.options.windows is not None else ())
        rejection = self._predictor.trained.confidence.rejection(self.options.scope.threshold)
        for person in sorted(self._means.held, key=lambda who: (who is not None, who or 0)):
            total, unknown, count, start, end = self._means.held[person]
            best, score = self._predictor.best(total / count, BEST), unknown / count
            label = label_of(best, score, rejection)
            yield self._explained(Answer(self.source.frame_dir, person, start, end, label, best[0][1], score, best))
        if not self._is_answered:
            yield self._record_answer(Answer(self.source.frame_dir, reason=self._why_nothing()))

    def _why_nothing(self) -> str:
        if not self._poses:
            return nobody_found(0)
        return no_window_classified(self._count)
