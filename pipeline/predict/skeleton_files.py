"""Predict actions from skeleton files, with stage two alone."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.text import Text

from pipeline.predict.answers import Answer, label_of
from pipeline.predict.attention_record import AttentionRecord
from pipeline.predict.observer import Observer
from pipeline.predict.options import PredictOptions, SkeletonFileOptions
from pipeline.predict.persons import video_of
from pipeline.predict.sliding import Sliding, is_long_enough, no_window_classified, slide_over
from pipeline.predict.whole_clip import predict_whole, too_few
from pipeline.reporting.progress import progress_bar
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from pose_extraction.formats.clip_times import times_of
from pose_extraction.formats.storage import annotation_reader
from pose_extraction.poses import VideoPoses
from pose_extraction.skeleton import COCO17, Skeleton
from recognition.confidence.confidence import Rejection
from recognition.data.clips import ClipSet, nameless_note
from recognition.data.splits import left_out_of, split_indices
from recognition.inference.clip_predictor import ClipPredictor, frames_seen
from recognition.inference.exported import ExportedPredictor
from recognition.inference.exported_run import ExportedRun
from recognition.inference.skeleton_clips import clips_for
from recognition.inference.windows import UNKNOWN, Grid
from recognition.runs import Trained

if TYPE_CHECKING:
    from recognition.protocols.detector import ActionDetector

# Clips of a file that an exported recognizer receives at once.
_TOGETHER = 64


def predict_skeletons(
    path: Path,
    trained: "Trained | ActionDetector | ExportedRun",
    engine: Engine,
    file_options: SkeletonFileOptions,
    options: PredictOptions,
    console: Console,
    observer: Observer | None = None,
) -> Iterator[Answer]:
    """Predict the actions of the clips in a skeleton file: usable clips in file order, then the others.

    Args:
        path: The skeleton file.
        trained: The recognizer.
        engine: Device, backend, precision and batch settings.
        file_options: Selection of clips.
        options: Options of the prediction.
        console: Receives progress and warnings.
        observer: Receives the poses of each clip if the options require times; None for no one.

    Yields:
        One or more predictions per clip.

    Raises:
        UsageError: The split does not exist, the joints do not fit the run, or the file lacks data for an option.
        AnnotationError: The file is malformed.
        BackendError: The network cannot run with these settings on this machine.
    """
    keypoint_files = file_options.keypoint_files
    clips = clips_for(trained, path, skip_bad=True, keypoint_files=keypoint_files, cut_persons=False)
    if clips.nameless():
        console.print(Text(f"warning: {nameless_note(clips)}"))
    indices = split_indices(clips, file_options.split)
    if (
        isinstance(trained, Trained | ExportedRun)
        and options.windows is None
        and not options.scope.persons
        and not options.scope.explain
        and not options.timed
    ):
        rejection = trained.confidence.rejection(options.scope.threshold)
        yield from _whole(trained, clips, indices, engine, rejection, console)
    else:
        yield from _one_by_one(trained, clips, indices, engine, options, console, observer or Observer())
    for clip in left_out_of(clips, file_options.split):
        yield Answer(clip.name, reason=clip.reason)


def _whole(
    trained: Trained | ExportedRun,
    clips: ClipSet,
    indices: np.ndarray,
    engine: Engine,
    rejection: Rejection,
    console: Console,
) -> Iterator[Answer]:
    """Yield one prediction per clip; clips of similar length share a batch."""
    reasons = {int(index): too_few(frames_seen(clips[int(index)].score, 0.0)) for index in indices}
    classified = np.array([index for index in indices if reasons[int(index)] is None], np.int64)
    with progress_bar(console, len(classified)) as advance:
        found = _found(trained, clips, classified, engine, advance)
        for index in indices:
            reason = reasons[int(index)]
            name = clips.names[int(index)]
            if reason is not None:
                yield Answer(name, reason=reason)
                continue
            best, unknown = next(found)
            label = label_of(best, unknown, rejection)
            yield Answer(name, None, None, None, label, best[0][1], unknown, best)


def _found(
    trained: Trained | ExportedRun, clips: ClipSet, indices: np.ndarray, engine: Engine, advance: Callable[[int], None]
) -> Iterator[tuple[tuple[tuple[str, float], ...], float]]:
    """Yield the most probable classes and the unknown score of each clip."""
    if isinstance(trained, Trained):
        from recognition.inference.prediction import predict_clips

        found = predict_clips(trained, clips, indices, engine=engine, progress=advance) if len(indices) else ()
        yield from ((one.best, one.unknown) for one in found)
        return
    predictor = predictor_for(trained, engine, layout=clips.layout, dimensions=clips.dimensions)
    for first in range(0, len(indices), _TOGETHER):
        together = predictor.classify([clips[int(index)] for index in indices[first : first + _TOGETHER]])
        advance(len(together))
        for probabilities, unknown in zip(together.probabilities, together.unknown.tolist(), strict=True):
            yield predictor.best(probabilities), unknown


def _one_by_one(
    trained: "Trained | ActionDetector | ExportedRun",
    clips: ClipSet,
    indices: np.ndarray,
    engine: Engine,
    options: PredictOptions,
    console: Console,
    observer: Observer,
) -> Iterator[Answer]:
    """Yield predictions per person, per window, or with explanations."""
    predictor = predictor_for(trained, engine, layout=clips.layout, dimensions=clips.dimensions)
    stored = annotation_reader(clips.path)
    with progress_bar(console, len(indices)) as advance:
        for index in indices:
            name = clips.names[int(index)]
            annotation = stored(name)
            if "keypoint" not in annotation:
                raise UsageError(
                    f"{clips.path}: clip {name!r} stores its joints in a separate file, which --per-person, --windows "
                    "and --explain do not support; omit these options"
                )
            frames = annotation["keypoint"].shape[1]
            timed = options.windows is not None or times_of(annotation, frames) is not None
            # Without timestamps, one frame counts as one second, and no times are reported.
            video = video_of(annotation if timed else {**annotation, "fps": 1.0}, f"{clips.path}: clip {name!r}")
            observer.poses(name, video)
            tracked = "track_id" in annotation
            unit = "seconds" if timed else "frames"
            record = AttentionRecord(clips.layout.joints, unit=unit) if options.scope.explain else None
            if options.windows is None:
                answers, _, _ = predict_whole(
                    predictor, options.scope, video, name, tracked=tracked, timed=timed, record=record
                )
                if not timed:
                    answers = [replace(answer, start=None, end=None) for answer in answers]
            else:
                sliding = Sliding(predictor, options.scope, Grid(options.windows), name, tracked=tracked, record=record)
                answers = _windows(sliding, video, name, predictor, record)
            yield from answers
            if record is not None:
                figure = options.figures / f"{name}.png"
                yield from record.write(figure, name, answers, console)
            advance(1)


def predictor_for(
    trained: "Trained | ActionDetector | ExportedRun", engine: Engine, *, layout: Skeleton = COCO17, dimensions: int = 2
) -> ClipPredictor:
    """Prepare a network for clips with a given joint layout.

    Args:
        trained: The recognizer, action detector or exported recognizer.
        engine: Device, backend, precision and batch settings.
        layout: Joint layout of the clips.
        dimensions: Coordinates per joint, 2 or 3.

    Raises:
        BackendError: The network cannot run with these settings on this machine.
    """
    if isinstance(trained, ExportedRun):
        return ExportedPredictor(trained, engine, layout=layout, dimensions=dimensions)
    # Only now, because these load torch.
    if isinstance(trained, Trained):
        from recognition.inference.predictor import Predictor

        return Predictor(trained, engine, layout=layout, dimensions=dimensions)
    from recognition.protocols.frame_predictor import FramePredictor

    return FramePredictor(trained, engine, layout=layout, dimensions=dimensions)


def _windows(
    sliding: Sliding, video: VideoPoses, name: str, predictor: ClipPredictor, record: AttentionRecord | None
) -> list[Answer]:
    """Return the segments of a clip, or one prediction with the reason for having none."""
    segments = []
    first: int | None = None
    for cell, window in slide_over(video, sliding):
        first = cell if first is None else first
        if is_long_enough(sliding.grid, cell, first, window):
            sliding.classify(window)
        segments += sliding.settle(cell, window).segments
    segments += sliding.end()
    answers = []
    for segment in sorted(segments, key=lambda one: (one.start, one.person or 0)):
        best = predictor.best(segment.probabilities)
        label = UNKNOWN if segment.number is None else best[0][0]
        attention = record.mean(segment.person, segment.start, segment.end) if record is not None else {}
        span, share = (segment.start, segment.end), best[0][1]
        answers.append(Answer(name, segment.person, *span, label, share, segment.unknown, best, attention=attention))
    return answers or [Answer(name, reason=no_window_classified(video.num_frames))]
