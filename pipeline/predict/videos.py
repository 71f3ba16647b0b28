"""Predict actions in videos: stage one (as in `skelpipe extract`) and stage two run while the video is read.

Decoding, the networks of stage one, stage two and the drawing each run in a thread. The poses of a video that is
classified as a whole are kept in memory until it ends. Long videos, and videos that are classified in windows, are
processed in bounded memory; see `video_prediction`.
"""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console

from pipeline.inputs.videos import Source
from pipeline.predict.answers import Answer
from pipeline.predict.observer import Observer
from pipeline.predict.options import PredictOptions
from pipeline.predict.overlay import Drawing
from pipeline.predict.video_prediction import PredictionJob, VideoPrediction
from pipeline.reporting.notes import NoteSummary
from pipeline.reporting.progress import RunProgress
from pose_extraction.extraction import PoseExtractor
from pose_extraction.files import atomic_write
from pose_extraction.queues import prefetch
from recognition.inference.clip_predictor import ClipPredictor

# Poses of frames that may wait for stage two; they are small.
POSES_AHEAD = 256
# Overlays that may still be drawn while the networks process the next videos.
DRAWINGS_AHEAD = 2


def predict_videos(
    sources: Sequence[Source],
    extractor: PoseExtractor,
    predictor: ClipPredictor,
    options: PredictOptions,
    console: Console,
    *,
    stride: int = 1,
    observer: Observer | None = None,
) -> Generator[Answer, None, None]:
    """Predict the actions of videos; each prediction is yielded as soon as it is final.

    Args:
        sources: The videos.
        extractor: Networks of stage one, with their settings.
        predictor: The recognizer.
        options: Options of the prediction.
        console: Receives progress and notes.
        stride: Process every N-th frame.
        observer: Follows the prediction; None for no one.

    Yields:
        One or more predictions per video. A video that cannot be read yields one with the reason. A video whose overlay
        cannot be written yields an additional one with the reason.
    """
    open_videos: dict[PredictionJob, VideoPrediction] = {}
    overlays = _Overlays(console)
    summary = NoteSummary()
    observer = observer or Observer()
    jobs = (
        PredictionJob(path=source.path, stride=stride, fps=options.fps, stream=options.stream, source=source)
        for source in sources
    )
    poses = prefetch(extractor.frames(jobs), POSES_AHEAD, name="networks")
    with RunProgress(len(sources), console) as progress, closing(poses):
        try:
            for job, frame in poses:
                if frame is not None:
                    if job not in open_videos:
                        open_videos[job] = VideoPrediction(
                            job, options, predictor, extractor, console, summary, observer
                        )
                    yield from open_videos[job].add(frame)
                    progress.frame()
                    assert job.info is not None
                    observer.frame(job.info)
                    continue
                video = open_videos.pop(job, None)
                if video is None:
                    yield Answer(job.source.frame_dir, reason=job.error or "contains no frames", failed=True)
                else:
                    overlays.add(video)
                    observer.last_frame()
                    yield from video.end(job)
                    yield from overlays.finish(DRAWINGS_AHEAD)
                progress.video()
            yield from overlays.finish(0)
        finally:
            for video in open_videos.values():
                overlays.add(video)
            overlays.abandon()
            _report(summary, options.notes, console)


def _report(summary: NoteSummary, details: Path | None, console: Console) -> None:
    """Print the notes, one line per kind, and write all of them to a file."""
    if details is not None and summary.lines():
        with atomic_write(details) as file:
            file.write(summary.as_json_lines().encode())
    for line in summary.lines(details):
        console.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)


class _Overlays:
    """Overlays of videos whose poses are complete, while they are drawn."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._waiting: deque[tuple[Source, Drawing]] = deque()

    def add(self, video: VideoPrediction) -> None:
        """Add the overlay of a video, if it has one."""
        if video.drawing is not None:
            self._waiting.append((video.source, video.drawing))

    def finish(self, most: int) -> Iterator[Answer]:
        """Wait until at most `most` overlays are incomplete; print their paths, and yield a failure for each error."""
        while len(self._waiting) > most:
            source, drawing = self._waiting[0]
            error = drawing.result()
            self._waiting.popleft()
            if error is None:
                self._console.print(str(drawing.path), highlight=False, markup=False, soft_wrap=True)
            else:
                yield Answer(source.frame_dir, reason=f"overlay not written: {error}", failed=True)

    def abandon(self) -> None:
        """Stop drawing and discard the files that are incomplete."""
        for _, drawing in self._waiting:
            drawing.abandon()
