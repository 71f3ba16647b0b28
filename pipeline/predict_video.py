"""Videos to actions: stage one as `skelpipe extract` does it, stage two on what comes out, both while they are read.

Decoding, the networks of stage one, stage two and the drawing each have a thread. A video of which one answer is wanted
is kept, as numbers, until it ends; one that goes on past `WHOLE_LIMIT`, or of which windows are wanted, never is.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console

from pipeline.ahead import ahead
from pipeline.answers import BEST, Answer, label_of
from pipeline.attention_record import AttentionRecord
from pipeline.extract_device import nobody_found
from pipeline.inputs import Source
from pipeline.predict_overlay import Drawing
from pipeline.progress import RunProgress
from pipeline.sliding import Scope, Settled, Sliding, Who, is_long_enough, nobody_asked
from pipeline.whole_clip import answer_whole
from pose_extraction.decoding import VideoJob
from pose_extraction.extraction import PoseExtractor, follow
from pose_extraction.following import Follower
from pose_extraction.poses import FramePoses
from pose_extraction.skeleton import COCO17
from recognition.asking import Asker
from recognition.windows import CELLS, UNKNOWN, Grid, Segment

# Seconds from which a video is too long for one look: the network would see a frame every now and then.
WHOLE_LIMIT = 120.0
# Seconds of the windows whose mean is the answer for such a video.
LONG_WINDOW = 10.0
# Frames' poses that may wait for stage two: numbers only.
POSES_AHEAD = 256
# Overlays that may still be drawn while the networks go on with the next videos.
DRAWINGS_AHEAD = 2


@dataclass(frozen=True)
class Wanted:
    """What is wanted of each video.

    Args:
        scope: Of whom it is asked.
        windows: Seconds of sliding windows; None for one answer a clip.
        overlay: Video to write; None for none. For several videos, a folder of one file each.
        figures: Where figures of the attention go, if the scope asks for it and there is no overlay.
    """

    scope: Scope
    windows: float | None = None
    overlay: Path | None = None
    figures: Path = Path("predictions")

    def overlay_of(self, source: Source) -> Path | None:
        """The overlay of a video."""
        if self.overlay is None or self.overlay.suffix.lower() == ".mp4":
            return self.overlay
        return self.overlay / f"{source.frame_dir}.mp4"

    def figure_of(self, source: Source) -> Path:
        """The figure of a video: beside its overlay where there is one."""
        overlay = self.overlay_of(source)
        return self.figures / f"{source.frame_dir}.png" if overlay is None else overlay.with_suffix(".png")


class SlidingVideo:
    """A video that is followed window by window, in bounded memory.

    Args:
        sliding: Asks of its windows.
        follower: Follows its persons.
    """

    def __init__(self, sliding: Sliding, follower: Follower) -> None:
        self._sliding = sliding
        self._follower = follower
        self._first_cell = self._next_cell = -1
        self._time = 0.0

    def add(self, poses: FramePoses) -> Iterator[Settled]:
        """Takes the next frame; gives what has become certain by it."""
        grid = self._sliding.grid
        if self._next_cell < 0:
            self._first_cell = self._next_cell = int(grid.cell_of(poses.time))
        self._follower.add(poses)
        before, self._time = self._time, poses.time
        while grid.start_of(self._next_cell) + grid.seconds + self._follower.context <= poses.time:
            if grid.start_of(self._next_cell) > before:
                # A hole in the stream, however long: the next window with a frame in it ends with this frame's cell.
                self._next_cell = int(grid.cell_of(poses.time)) - CELLS + 1
                continue
            yield self._window()

    def end(self) -> tuple[list[Settled], list[Segment[Who]]]:
        """What was still open."""
        settled = []
        while self._next_cell >= 0 and self._sliding.grid.start_of(self._next_cell) <= self._time:
            settled.append(self._window())
        return settled, self._sliding.end()

    def _window(self) -> Settled:
        cell, grid = self._next_cell, self._sliding.grid
        window = self._follower.stretch(*grid.bounds(cell))
        if is_long_enough(grid, cell, self._first_cell, window):
            self._sliding.ask(window)
        settled = self._sliding.settle(cell, window)
        self._next_cell += 1
        self._follower.forget(grid.start_of(self._next_cell))
        return settled


@dataclass
class _Means:
    """Mean probabilities of a long video's cells, by person."""

    held: dict[Who, tuple[np.ndarray, int, float, float]] = field(default_factory=dict)

    def add(self, settled: Settled) -> None:
        for cell in settled.cells:
            total, count, start, _ = self.held.get(cell.person, (0.0, 0, cell.start, cell.end))
            self.held[cell.person] = (total + cell.probabilities, count + 1, start, cell.end)


class _OpenVideo:
    """One video on its way: what is kept of it, and its overlay."""

    def __init__(self, job: VideoJob, wanted: Wanted, asker: Asker, extractor: PoseExtractor, console: Console) -> None:
        assert job.info is not None
        self.source: Source = job.payload
        self.wanted = wanted
        self._asker, self._extractor, self._console = asker, extractor, console
        self._size = job.info.size
        self._frames: list[FramePoses] = []
        self._poses = 0
        self._means = _Means()
        self._record = AttentionRecord(COCO17.joints) if wanted.scope.explain else None
        self._answers: list[Answer] = []
        self._is_answered = False
        overlay = wanted.overlay_of(self.source)
        self._sliding = None if wanted.windows is None else self._slide(wanted.windows)
        self.drawing = None if overlay is None else Drawing(self.source.path, overlay)

    def _slide(self, seconds: float) -> SlidingVideo:
        sliding = Sliding(self._asker, self.wanted.scope, Grid(seconds), self.source.frame_dir, record=self._record)
        return SlidingVideo(sliding, Follower(self._size, self._extractor.settings))

    def add(self, poses: FramePoses) -> Iterator[Answer]:
        """Takes a frame's poses; gives answers that are certain by now."""
        self._poses += poses.num_persons
        waiting = [poses]
        if self._sliding is None:
            self._frames.append(poses)
            if poses.time - self._frames[0].time <= WHOLE_LIMIT:
                return
            self._sliding = self._slide(LONG_WINDOW)
            self._say(
                f"goes on for more than {WHOLE_LIMIT:g} s: its answers are means over windows of {LONG_WINDOW:g} s; "
                "--windows tells them apart"
            )
            waiting, self._frames = self._frames, []
        for one in waiting:
            for settled in self._sliding.add(one):
                yield from self._settled(settled)

    def _settled(self, settled: Settled) -> Iterator[Answer]:
        if self.drawing is not None:
            self.drawing.give(settled.stretch)
        if self.wanted.windows is None:
            self._means.add(settled)
        else:
            yield from self._told(settled.segments)

    def _told(self, segments: Iterable[Segment[Who]]) -> Iterator[Answer]:
        for segment in sorted(segments, key=lambda one: one.start):
            best = self._asker.best(segment.probabilities, BEST)
            label = UNKNOWN if segment.number is None else best[0][0]
            yield self._answer(segment.person, segment.start, segment.end, label, best)

    def _answer(
        self, person: Who, start: float, end: float, label: str | None, best: tuple[tuple[str, float], ...]
    ) -> Answer:
        attention = self._record.mean(person, start, end) if self._record is not None else {}
        return self._kept(
            Answer(self.source.frame_dir, person, start, end, label, best[0][1], best, attention=attention)
        )

    def _kept(self, answer: Answer) -> Answer:
        self._is_answered = True
        if self._record is not None:
            # The figure tells them.
            self._answers.append(answer)
        return answer

    def end(self, job: VideoJob) -> Iterator[Answer]:
        """The rest of the answers; of the whole video there is always one at least."""
        for problem in dict.fromkeys(job.problems):
            self._say(problem)
        if self._sliding is None:
            yield from self._end_whole()
        else:
            yield from self._end_sliding(self._sliding)
        if self.drawing is not None:
            self.drawing.end()
        if self._record is not None:
            path = self.wanted.figure_of(self.source)
            yield from self._record.write(path, self.source.frame_dir, self._answers, self._console)

    def _end_whole(self) -> Iterator[Answer]:
        (clip,) = follow(self._frames, self._size, self._extractor.settings)
        answers, stretch = answer_whole(
            self._asker,
            self.wanted.scope,
            clip.poses,
            self.source.frame_dir,
            nobody=nobody_found(self._poses),
            record=self._record,
        )
        if self.drawing is not None:
            self.drawing.give(stretch)
        for answer in answers:
            yield self._kept(answer)

    def _end_sliding(self, sliding: SlidingVideo) -> Iterator[Answer]:
        rest, segments = sliding.end()
        for settled in rest:
            yield from self._settled(settled)
        yield from self._told(segments if self.wanted.windows is not None else ())
        for person in sorted(self._means.held, key=lambda who: (who is not None, who or 0)):
            total, count, start, end = self._means.held[person]
            best = self._asker.best(total / count, BEST)
            label, _ = label_of(best, self.wanted.scope.threshold)
            yield self._answer(person, start, end, label, best)
        if not self._is_answered:
            yield self._kept(Answer(self.source.frame_dir, reason=self._why_nothing()))

    def _why_nothing(self) -> str:
        if not self._poses:
            return nobody_found(0)
        return nobody_asked()

    def _say(self, text: str) -> None:
        self._console.print(
            f"note: {self.source.relative}: {text}", style="yellow", highlight=False, markup=False, soft_wrap=True
        )


def predict_videos(
    sources: Sequence[Source],
    extractor: PoseExtractor,
    asker: Asker,
    wanted: Wanted,
    console: Console,
    *,
    stride: int = 1,
) -> Iterator[Answer]:
    """Answers for videos, each as soon as it is certain.

    Args:
        sources: The videos.
        extractor: Networks of stage one, with settings.
        asker: The recognizer.
        wanted: What is wanted.
        console: Where progress and notes are told.
        stride: Every N-th frame is looked at.

    Yields:
        One or more answers a video. A video that cannot be read has one that says why, and so has one whose overlay
        could not be written, besides its others.
    """
    open_videos: dict[VideoJob, _OpenVideo] = {}
    drawings: deque[tuple[Source, Drawing]] = deque()

    def finished(most: int) -> Iterator[Answer]:
        while len(drawings) > most:
            source, drawing = drawings[0]
            error = drawing.result()
            drawings.popleft()
            if error is None:
                console.print(str(drawing.path), highlight=False, markup=False, soft_wrap=True)
            else:
                yield Answer(source.frame_dir, reason=f"the overlay was not written: {error}", failed=True)

    jobs = (VideoJob(source.path, stride=stride, payload=source) for source in sources)
    poses = ahead(extractor.frames(jobs), POSES_AHEAD, name="networks")
    with RunProgress(len(sources), console) as shown, closing(poses):
        try:
            for job, frame in poses:
                if frame is not None:
                    if job not in open_videos:
                        open_videos[job] = _OpenVideo(job, wanted, asker, extractor, console)
                    yield from open_videos[job].add(frame)
                    shown.frame()
                    continue
                video = open_videos.pop(job, None)
                if video is None:
                    yield Answer(job.payload.frame_dir, reason=job.error or "gave no frame", failed=True)
                else:
                    if video.drawing is not None:
                        drawings.append((job.payload, video.drawing))
                    yield from video.end(job)
                    yield from finished(DRAWINGS_AHEAD)
                shown.video()
            yield from finished(0)
        finally:
            for video in open_videos.values():
                if video.drawing is not None:
                    video.drawing.abandon()
            for _, drawing in drawings:
                drawing.abandon()
