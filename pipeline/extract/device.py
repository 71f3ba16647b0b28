"""Extraction on one device: each video yields a complete skeleton file or an error."""

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from threading import Event
from time import perf_counter
from typing import Any

from pipeline.extract.finished import Finished, file_state, finished_of, video_state
from pipeline.extract.ledger import other_source, stored_clip, what_changed
from pipeline.extract.pieces import Piece, Work, join_pieces, name_of_work, remove_pieces, store_piece
from pipeline.extract.plan import ExtractionPlan, current_labels, lost_clips, nobody_labelled, split_of
from pipeline.inputs.videos import Source
from pose_extraction.drawing.overlay import write_overlay
from pose_extraction.engines.devices import cpu_count
from pose_extraction.errors import SkelpipeError
from pose_extraction.extraction import PoseExtractor, follow, frame_rate
from pose_extraction.formats.annotations import annotation_from, data_set, pack_raw
from pose_extraction.formats.persons import set_person_labels
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.networks.detection import PersonDetector
from pose_extraction.networks.estimators import load_detector, load_estimator
from pose_extraction.poses import FramePoses, VideoPoses
from pose_extraction.remote import fetch
from pose_extraction.tracking.raw_poses import RawPoses
from pose_extraction.video.decoding import VideoJob
from pose_extraction.video.notes import Note
from pose_extraction.video.reader import VideoInfo

log = logging.getLogger(__name__)

# Maximum number of videos that wait for tracking and writing while the networks process the next ones.
FINISHING_AHEAD = 4


@dataclass(frozen=True)
class Outcome:
    """Outcome of one video.

    Args:
        source: The video.
        error: Why there is no result; None on success.
        problems: Limitations of the result, one sentence each.
        persons: Maximum number of persons in one of its clips.
        frames: Number of sampled frames in the video or piece; 0 if nothing was written.
        withdrawn: Whether the outdated result of an earlier run was removed because the video has changed.
        work: What was processed, see `name_of_work`; empty for the video as a whole.
        is_part: Whether it was one of several pieces, and others are missing, so that the video is not done yet.
        digest: Digest of the result; None if nothing was written.
        seconds: Seconds spent in "decoding", "cleaning" and "writing".
        finished: How a later run recognises the result; None if nothing was written.
    """

    source: Source
    error: str | None = None
    problems: tuple[str, ...] = ()
    persons: int = 0
    frames: int = 0
    withdrawn: bool = False
    work: str = ""
    is_part: bool = False
    digest: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    finished: Finished | None = None


@dataclass(eq=False, kw_only=True)
class _ExtractionJob(VideoJob):
    """A video to extract.

    Args:
        source: The video.
        digest: Digest of its result; None if the video cannot be read.
        state: `video_state` before the video was read.
        piece: The piece that is extracted; None for the whole video.
    """

    source: Source
    digest: str | None
    state: str | None
    piece: Piece | None = None

    @property
    def name(self) -> str:
        """Name that is unique within a run; see `name_of_work`."""
        return name_of_work(self.piece or self.source)

    def prepare(self) -> None:
        """Copies a video that is at a URL."""
        if self.source.remote is not None:
            fetch(self.source.remote.url, self.path)


def run_device(
    plan: ExtractionPlan,
    work: Iterable[Work],
    *,
    on_video: Callable[[Outcome], None],
    on_frame: Callable[[], None] = lambda: None,
    on_start: Callable[[str, VideoInfo | None], None] = lambda name, info: None,
    detector: PersonDetector | None = None,
    extractor: PoseExtractor | None = None,
) -> PoseExtractor:
    """Extracts videos on one device, one after the other, and writes their files.

    Args:
        plan: See `ExtractionPlan`.
        work: The videos, or pieces of them.
        on_video: Called after each video or piece, whether it succeeded or failed.
        on_frame: Called for every frame.
        on_start: Called after the first frame of each video or piece has passed the networks, with its name
            (`name_of_work`) and the properties of the video.
        detector: Replaces the detector of the plan.
        extractor: Loaded networks; loaded by this function if None.

    Returns:
        The extractor, with the time spent in each stage.
    """
    extractor = extractor or open_extractor(plan, detector=detector)

    def jobs() -> Iterator[_ExtractionJob]:
        for one in work:
            piece = one if isinstance(one, Piece) else None
            source = one.source if isinstance(one, Piece) else one
            start, end = plan.span_of(source) if piece is None else (piece.start, piece.end)
            digest, state = _identity(plan, source) if piece is None else (piece.digest, piece.state)
            yield _ExtractionJob(
                path=source.path,
                start=start,
                end=end,
                stride=plan.settings.stride,
                fps=plan.settings.fps,
                stream=plan.settings.stream,
                source=source,
                digest=digest,
                state=state,
                piece=piece,
            )

    open_videos: dict[_ExtractionJob, RawPoses] = {}
    finishing: deque[Future[Outcome]] = deque()
    interrupted = Event()
    with ThreadPoolExecutor(1, thread_name_prefix="finish") as pool, closing(extractor.frames(jobs())) as frames:
        try:
            for job, poses in frames:
                if poses is not None:
                    if job not in open_videos:
                        on_start(job.name, job.info)
                    open_videos.setdefault(job, RawPoses()).append(poses)
                    on_frame()
                else:
                    finishing.append(pool.submit(_finish, plan, job, open_videos.pop(job, RawPoses()), interrupted))
                # After each frame, not only at the end of the next video: what hands out the videos may be waiting.
                while finishing and (finishing[0].done() or len(finishing) > FINISHING_AHEAD):
                    on_video(finishing.popleft().result())
            while finishing:
                on_video(finishing.popleft().result())
        except BaseException:
            # Interrupted: cancel pending work, and stop drawing, which may take minutes.
            interrupted.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return extractor


def _identity(plan: ExtractionPlan, source: Source) -> tuple[str | None, str | None]:
    """Returns digest and state of a video; None if it cannot be read."""
    # Computed right before the video is decoded, so that the file is still in the page cache.
    try:
        state = video_state(source)
        return plan.digest_of(source), state
    except OSError as error:
        # The video reader reports the same problem in more detail. Without a digest the result never counts as done.
        log.info("%s: cannot be read (%s)", source.path, error)
        return None, None


def open_extractor(
    plan: ExtractionPlan, *, detector: PersonDetector | None = None, at_once: bool = False
) -> PoseExtractor:
    """Loads the networks of a plan.

    Args:
        plan: See `ExtractionPlan`.
        detector: Replaces the detector of the plan.
        at_once: Whether to process each frame as soon as it arrives, without batches, for low latency.
    """
    options = plan.network_options()
    if at_once:
        options = replace(options, engine=replace(options.engine, batch_size=1), frame_batch=1)
    estimator = load_estimator(plan.estimator, options)
    if detector is None and plan.detector is not None:
        detector = load_detector(plan.detector, options)
    on_cpu = plan.estimator.engine.on_cpu
    chosen = plan.settings.workers
    # On a CPU the networks use all cores. On a GPU decoding is the bottleneck, and the devices share the cores.
    share = cpu_count() // (1 + plan.settings.device.count(","))
    workers = chosen if chosen != "auto" else 1 if on_cpu else min(8, max(1, share - 1))
    return PoseExtractor(estimator, detector, plan.extraction(), workers=workers)


def estimate_step(plan: ExtractionPlan, *, frames: int, persons: int) -> dict[str, Any]:
    """First entry of the history of a clip: the networks and their settings.

    Args:
        plan: See `ExtractionPlan`.
        frames: Number of sampled frames.
        persons: Number of persons in all of them.
    """
    parameters: dict[str, Any] = {"estimator": plan.estimator.record(), **plan.settings.shaping()}
    if plan.detector is not None:
        parameters["detector"] = plan.detector.record()
    return {"step": "estimate", "parameters": parameters, "counts": {"frames": frames, "persons": persons}}


class _Interrupted(Exception):
    """Stops drawing an overlay."""


def _finish(plan: ExtractionPlan, job: _ExtractionJob, frames: Collection[FramePoses], interrupted: Event) -> Outcome:
    """Tracks, cleans and writes one video; after a failure, removes the result if the video has changed since."""
    source, digest = job.source, job.digest
    if interrupted.is_set():
        return Outcome(source, error=f"{source.path}: interrupted", work=job.name)
    try:
        outcome = replace(_attempt(plan, job, frames, interrupted), work=job.name)
    finally:
        if source.remote is not None:
            # Copies of videos that are done would fill the disk.
            source.path.unlink(missing_ok=True)
    if outcome.error is None or digest is None or interrupted.is_set() or not _withdraw(plan, source, digest):
        return outcome
    return replace(
        outcome,
        error=f"{outcome.error} (the video has changed; removed the outdated skeletons of an earlier run)",
        withdrawn=True,
    )


def _withdraw(plan: ExtractionPlan, source: Source, digest: str) -> bool:
    """Removes the result of an earlier run if the video has changed since; returns whether it was removed."""
    stored = stored_clip(plan.file_of(source))
    if (
        stored is None
        or what_changed(stored.get("digest"), digest) != "the video changed"
        or other_source(stored, source, digest) is not None
    ):
        return False
    try:
        _remove_overlay(plan, source)
        plan.withdraw(plan.file_of(source))
    except (OSError, SkelpipeError) as error:
        log.warning("%s: cannot remove the outdated file (%s)", plan.file_of(source), error)
        return False
    return True


def _remove_overlay(plan: ExtractionPlan, source: Source) -> None:
    """Removes the overlay of an earlier run, but never the video itself."""
    path = plan.overlay_of(source)
    if plan.mirror is not None or (path.exists() and not path.samefile(source.path)):
        plan.withdraw(path)


def _attempt(plan: ExtractionPlan, job: _ExtractionJob, frames: Collection[FramePoses], interrupted: Event) -> Outcome:
    source = job.source
    if job.error is not None or job.info is None:
        return Outcome(source, error=job.error or f"{source.path}: no frame could be decoded")
    try:
        if job.piece is None:
            return _write(plan, job, frames, interrupted)
        return _write_piece(plan, job, job.piece, frames, interrupted)
    except (SkelpipeError, OSError) as error:
        return Outcome(source, error=_error_message(source, error))
    except _Interrupted:
        return Outcome(source, error=f"{source.path}: interrupted")
    except Exception as error:
        log.warning("%s", source.path, exc_info=True)
        return Outcome(source, error=f"{source.path}: {type(error).__name__}: {error}; please report this as a bug")


def _error_message(source: Source, error: Exception) -> str:
    """Error message that starts with the path of the video."""
    text = str(error)
    return text if text.startswith(str(source.path)) else f"{source.path}: {text}"


def _write_piece(
    plan: ExtractionPlan, job: _ExtractionJob, piece: Piece, frames: Collection[FramePoses], interrupted: Event
) -> Outcome:
    """Stores the raw poses of a piece; with those of all pieces, writes the result of the video."""
    assert job.info is not None
    complete = store_piece(plan, piece, frames, job.info, job.problems)
    joined = join_pieces(plan, piece) if complete else None
    if joined is None:
        return Outcome(job.source, frames=len(frames), is_part=True, seconds={"decoding": job.seconds})
    every, problems = joined
    outcome = _write(plan, replace(job, piece=None, problems=problems), every, interrupted)
    if outcome.error is None:
        remove_pieces(plan, piece)
    # Those of the other pieces were reported with them.
    return replace(outcome, frames=len(frames)) if outcome.frames else outcome


def _write(plan: ExtractionPlan, job: _ExtractionJob, frames: Collection[FramePoses], interrupted: Event) -> Outcome:
    assert job.info is not None
    source = job.source
    problems = list(dict.fromkeys(job.problems))
    extraction = plan.extraction()
    spans = plan.spans_of(source)
    draws_all = plan.settings.overlay and len(spans) > 1
    started = perf_counter()
    if plan.mirror is not None:
        # Another machine may have stored it, with labels that are kept.
        plan.mirror.fetch(plan.file_of(source))
    # The overlay of a video with several clips shows the whole video: one more span of the same tracks.
    clips = follow(frames, job.info.size, extraction, [*spans, (None, None)] if draws_all else spans)
    shown = (clips.pop() if draws_all else clips[0]).poses
    cleaned = perf_counter()
    fps = frame_rate(frames, job.info.fps)
    step = estimate_step(plan, frames=len(frames), persons=sum(poses.num_persons for poses in frames))
    annotations, written, notes = [], [], list(problems)
    labels, origin = current_labels(plan, source, stored_clip(plan.file_of(source)))
    for label, clip in zip(labels, clips, strict=True):
        if not clip.poses.num_frames:
            # Readers of the data set may divide by the number of frames.
            continue
        clip.poses.history.insert(0, step)
        missing = [] if clip.poses.tracks else [nobody_found(step["counts"]["persons"])]
        notes += missing
        annotations.append(
            annotation_from(
                clip.poses,
                frame_dir=label.frame_dir,
                estimator=plan.estimator.name,
                fps=fps,
                source=source.relative,
                label_name=label.label_name,
                group=label.group,
                problems=[*problems, *missing],
                quality=clip.quality,
            )
        )
        set_person_labels(annotations[-1], label.persons)
        notes += nobody_labelled(annotations[-1])
        written.append(label)
    lost = "; ".join(lost_clips(plan, source, {label.frame_dir for label in written}))
    if not written:
        # The problems of the video explain why it has no clip.
        return Outcome(source, error=f"{source.path}: {'; '.join([*problems, lost])}")
    errors = [f"{source.path}: {lost} (its other clips are written)"] if lost else []
    if not plan.settings.overlay:
        # Before the skeletons are written: if the run is interrupted in between, a later run draws the overlay again.
        _remove_overlay(plan, source)
    else:
        errors += filter(None, [_write_overlay(plan, source, shown, interrupted)])
    extra: dict[str, Any] = {"digest": job.digest, "labels_from": origin, "place": source.place}
    path, content = plan.file_of(source), data_set(annotations, split_of(written), raw=pack_raw(frames), **extra)
    write_pickle(path, content)
    finished = finished_of(plan, source, content, result=file_state(path), video=job.state)
    plan.publish(path)
    persons = max(len(clip.poses.tracks) for clip in clips)
    seconds = {"decoding": job.seconds, "cleaning": cleaned - started, "writing": perf_counter() - cleaned}
    unique = tuple(dict.fromkeys(notes))
    return Outcome(
        source,
        "; ".join(errors) or None,
        unique,
        persons,
        len(frames),
        digest=job.digest,
        seconds=seconds,
        finished=finished,
    )


def nobody_found(poses: int) -> Note:
    """Explains why a clip has no person.

    Args:
        poses: Number of raw poses before cleaning.
    """
    if not poses:
        return Note("no person found")
    return Note(f"no person left of {poses} raw poses after cleaning", "no person left after cleaning")


def _write_overlay(plan: ExtractionPlan, source: Source, poses: VideoPoses, interrupted: Event) -> str | None:
    """Draws the overlay; returns an error message on failure, because the poses must be kept."""

    def on_frame() -> None:
        if interrupted.is_set():
            raise _Interrupted

    path = plan.overlay_of(source)
    try:
        settings = plan.settings
        write_overlay(source.path, poses, path, fps=settings.fps, stream=settings.stream, on_frame=on_frame)
        if plan.mirror is not None:
            plan.publish(path)
            path.unlink()
    except (SkelpipeError, OSError) as error:
        _remove_overlay(plan, source)
        return f"{_error_message(source, error)} (the skeletons are written, but not the overlay)"
    return None
