"""Predict actions in cameras and streams: each window is classified as soon as its last frame arrives."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import islice
from statistics import median
from time import monotonic

import numpy as np
from rich.console import Console

from pipeline.predict.answers import BEST, Answer, label_of
from pipeline.predict.options import PredictOptions, Scope
from pipeline.predict.overlay import LiveDrawing
from pipeline.predict.sliding import Sliding, is_long_enough, no_window_classified
from pose_extraction.drawing.overlay import Stretch
from pose_extraction.errors import VideoError
from pose_extraction.extraction import PoseExtractor
from pose_extraction.following import Follower
from pose_extraction.poses import FramePoses
from pose_extraction.queues import prefetch
from pose_extraction.video.live import LiveSource
from pose_extraction.video.reader import Frame
from recognition.engine.interruption import StopSignals
from recognition.inference.clip_predictor import ClipPredictor
from recognition.inference.windows import CELLS, Grid

# Default window length in seconds.
LIVE_WINDOW = 3.0
# Poses of frames that may wait; a longer queue would only add delay.
AHEAD = 4
# Number of delays kept for the summary, so that memory stays bounded for streams of any length.
MOST_DELAYS = 10_000


def predict_live(
    address: str,
    extractor: PoseExtractor,
    predictor: ClipPredictor,
    options: PredictOptions,
    console: Console,
    *,
    stride: int = 1,
) -> Iterator[Answer]:
    """Predict the actions in a camera or stream, window by window, until it ends or Ctrl-C is pressed.

    Args:
        address: Camera number or stream address; see `LiveSource`.
        extractor: Networks of stage one that process frames one by one.
        predictor: The recognizer.
        options: Options of the prediction; `overlay` is a file.
        console: Receives notes and the summary.
        stride: Process every N-th frame.

    Yields:
        One prediction per person and window, with its delay.

    Raises:
        VideoError: The source does not exist, delivers no frame, or the overlay cannot be written.
    """
    seconds = options.windows or LIVE_WINDOW
    predictor.prepare()
    with ExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        try:
            source = stack.enter_context(LiveSource(address, is_unwanted=lambda: signals.received is not None))
        except VideoError:
            if signals.received is None:
                raise
            yield Answer(address, reason=f"stopped by {signals.received} before the first frame")
            return
        size = source.info.size
        console.print(
            f"{address}: {size[1]}x{size[0]}, {source.info.fps:g} frames/s, windows of {seconds:g} s; Ctrl-C stops it",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        drawing = None
        if options.overlay is not None:
            drawing = stack.enter_context(LiveDrawing(options.overlay, source.info))
        prediction = _StreamPrediction(
            address, predictor, options.scope, Grid(seconds), Follower(size, extractor.settings)
        )
        last: float | None = None
        arrivals: dict[int, tuple[float, np.ndarray | None]] = {}

        def frames() -> Iterator[tuple[str, Frame | None]]:
            for live in islice(source, 0, None, stride):
                arrivals[live.frame.index] = live.arrived, live.frame.image if drawing is not None else None
                yield address, live.frame
            yield address, None

        poses = stack.enter_context(closing(prefetch(extractor.poses(frames()), AHEAD, name="networks")))
        for _, frame in poses:
            if frame is None:
                continue
            arrived, image = arrivals.pop(frame.frame_index)
            yield from prediction.add(frame, arrived)
            if drawing is not None and image is not None:
                drawing.add(image, frame.time, prediction.stretch())
            last = arrived
        if last is not None:
            yield from prediction.end(last)
        if drawing is not None:
            drawing.finish()
            console.print(str(options.overlay), highlight=False, markup=False, soft_wrap=True)
        reason = f"stopped by {signals.received}" if signals.received is not None else "stream ended"
        for line in (*dict.fromkeys(source.problems), prediction.summary(reason, source.dropped)):
            console.print(f"{address}: {line}", highlight=False, markup=False, soft_wrap=True)
        if not prediction.has_predictions:
            yield Answer(address, reason=prediction.reason_for_none())


class _StreamPrediction:
    """Tracks the persons of a stream and classifies each window when it is complete."""

    def __init__(self, name: str, predictor: ClipPredictor, scope: Scope, grid: Grid, follower: Follower) -> None:
        self.has_predictions = self._has_classified = False
        self._name, self._predictor, self._grid, self._follower = name, predictor, grid, follower
        self._rejection = predictor.trained.confidence.rejection(scope.threshold)
        self._sliding = Sliding(predictor, scope, grid, name)
        self._cell: int | None = None
        self._captions: dict[int, str] = {}
        self._delays: list[float] = []
        self._frames = self._poses = 0
        self._first_time = self._time = 0.0

    def add(self, poses: FramePoses, arrived: float) -> Iterator[Answer]:
        """Add the next frame; yield the predictions of the window that it completes."""
        grid = self._grid
        if self._cell is None:
            self._cell, self._first_time = int(grid.cell_of(poses.time)), poses.time
        self._follower.add(poses)
        self._frames += 1
        self._poses += poses.num_persons
        self._time = poses.time
        # A window is complete if the next frame lies beyond it. If several complete at once, as after a gap in the
        # stream, only the last one is classified.
        newest = int(grid.cell_of(poses.time + self._step())) - CELLS
        if newest < self._cell:
            return
        yield from self._classify(newest, arrived)

    def end(self, arrived: float) -> Iterator[Answer]:
        """Yield the predictions of a stream that ends before its first window is full."""
        if self._cell is None or self._has_classified:
            return
        if is_long_enough(self._grid, self._cell, self._cell, self._follower.stretch(*self._grid.bounds(self._cell))):
            yield from self._classify(self._cell, arrived)

    def _classify(self, newest: int, arrived: float) -> Iterator[Answer]:
        grid, self._cell, self._has_classified = self._grid, newest + 1, True
        window = self._follower.stretch(*grid.bounds(newest))
        found = self._sliding.classify(window) if window.num_frames else []
        self._sliding.settle(newest, window)
        self._follower.forget(grid.start_of(self._cell))
        self._captions = {
            person: self._sliding.caption(answer.probabilities, answer.unknown)
            for answer in found
            for person in answer.persons_used
        }
        delay = monotonic() - arrived
        if found:
            self._delays = [*self._delays[-MOST_DELAYS:], delay]
        for one in found:
            self.has_predictions = True
            best = self._predictor.best(one.probabilities, BEST)
            label, share = label_of(best, one.unknown, self._rejection), best[0][1]
            span = (one.start, one.end)
            yield Answer(self._name, one.person, *span, label, share, one.unknown, best, delay=delay)

    def _step(self) -> float:
        """Mean interval between frames so far, in seconds."""
        return (self._time - self._first_time) / max(self._frames - 1, 1)

    def stretch(self) -> Stretch:
        """Return the poses of the newest frame, with the latest caption of each person."""
        now = self._follower.now()
        shown = {track.track_id for track in now.tracks}
        return Stretch(now, {person: text for person, text in self._captions.items() if person in shown})

    def summary(self, reason: str, dropped: int) -> str:
        """Return the summary that is printed at the end."""
        left_out = f", {dropped} dropped to keep up" if dropped else ""
        delay = ""
        if self._delays:
            middle, most = median(self._delays), max(self._delays)
            delay = f"; delay after the last frame of a window: median {middle:.2f} s, maximum {most:.2f} s"
        return f"{reason} after {self._time - self._first_time:.1f} s and {self._frames} frames{left_out}{delay}"

    def reason_for_none(self) -> str:
        """Return the reason why there are no predictions."""
        if not self._poses:
            return "no person found"
        return no_window_classified(self._frames)
