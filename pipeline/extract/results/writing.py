"""The end of a video: tracking, cleaning, and writing its skeleton file and overlay."""

import logging
from collections.abc import Collection
from dataclasses import replace
from threading import Event
from time import perf_counter
from typing import Any

from pipeline.extract.ledger import other_source, stored_clip, what_changed
from pipeline.extract.pieces import Piece, join_pieces, remove_pieces, store_piece
from pipeline.extract.plan import ExtractionPlan, current_labels, lost_clips, nobody_labelled, split_of
from pipeline.extract.results.finished import file_state, finished_of
from pipeline.extract.results.jobs import ExtractionJob, Outcome
from pipeline.inputs.labels import ClipLabel
from pipeline.inputs.videos import Source
from pose_extraction.drawing.overlay import write_overlay
from pose_extraction.errors import SkelpipeError
from pose_extraction.extraction import ExtractedClip, follow, frame_rate
from pose_extraction.formats.annotations import annotation_from, data_set, pack_raw
from pose_extraction.formats.persons import set_person_labels
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.poses import FramePoses, VideoPoses
from pose_extraction.video.notes import Note

log = logging.getLogger(__name__)


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


def finish(plan: ExtractionPlan, job: ExtractionJob, frames: Collection[FramePoses], interrupted: Event) -> Outcome:
    """Tracks, cleans and writes one video or piece; after a failure, removes the result if the video has changed since.

    Args:
        plan: See `ExtractionPlan`.
        job: The video or piece, decoded to its end.
        frames: Raw poses of its frames.
        interrupted: Set to stop drawing, which may take minutes.
    """
    source, digest = job.source, job.digest
    if interrupted.is_set():
        return Outcome(source, error=f"{source.shown}: interrupted", work=job.name)
    try:
        outcome = replace(_attempt(plan, job, frames, interrupted), work=job.name)
    finally:
        job.copies.remove(source, job.path)
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
    if plan.mirror is not None or (path.exists() and (source.remote is not None or not path.samefile(source.path))):
        plan.withdraw(path)


def _attempt(plan: ExtractionPlan, job: ExtractionJob, frames: Collection[FramePoses], interrupted: Event) -> Outcome:
    source = job.source
    if job.error is not None or job.info is None:
        return Outcome(source, error=_error_message(job, job.error or "no frame could be decoded"))
    try:
        if job.piece is None:
            return _write(plan, job, frames, interrupted)
        return _write_piece(plan, job, job.piece, frames, interrupted)
    except (SkelpipeError, OSError) as error:
        return Outcome(source, error=_error_message(job, error))
    except _Interrupted:
        return Outcome(source, error=f"{source.shown}: interrupted")
    except Exception as error:
        log.warning("%s", source.path, exc_info=True)
        return Outcome(source, error=f"{source.shown}: {type(error).__name__}: {error}; please report this as a bug")


def _error_message(job: ExtractionJob, error: Exception | str) -> str:
    """Error message that starts with the path of the video, or with its URL instead of the path of its copy."""
    shown = job.source.shown
    text = str(error).replace(str(job.path), shown)
    return text if text.startswith(shown) else f"{shown}: {text}"


def _write_piece(
    plan: ExtractionPlan, job: ExtractionJob, piece: Piece, frames: Collection[FramePoses], interrupted: Event
) -> Outcome:
    """Stores the raw poses of a piece; with those of all pieces, writes the result of the video."""
    assert job.info is not None
    complete = piece.joins or store_piece(plan, piece, frames, job.info, job.problems)
    joined = join_pieces(plan, piece) if complete else None
    if joined is None:
        return Outcome(job.source, frames=len(frames), is_part=True, seconds={"decoding": job.seconds})
    every, problems = joined
    outcome = _write(plan, replace(job, piece=None, problems=problems), every, interrupted)
    if outcome.error is None:
        remove_pieces(plan, piece)
    # Those of the other pieces were reported with them.
    return replace(outcome, frames=len(frames)) if outcome.frames else outcome


def _write(plan: ExtractionPlan, job: ExtractionJob, frames: Collection[FramePoses], interrupted: Event) -> Outcome:
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
    labels, origin = current_labels(plan, source, stored_clip(plan.file_of(source)))
    # Readers of the data set may divide by the number of frames.
    pairs = [(label, clip) for label, clip in zip(labels, clips, strict=True) if clip.poses.num_frames]
    written = [label for label, _ in pairs]
    annotations, notes = [], list(problems)
    for label, clip in pairs:
        annotation, found = _annotation(plan, source, label, clip, step=step, fps=fps, problems=problems)
        annotations.append(annotation)
        notes += found
    lost = "; ".join(lost_clips(plan, source, {label.frame_dir for label in written}))
    if not written:
        # The problems of the video explain why it has no clip.
        return Outcome(source, error=f"{source.shown}: {'; '.join([*problems, lost])}")
    errors = [f"{source.shown}: {lost} (its other clips are written)"] if lost else []
    if not plan.settings.overlay:
        # Before the skeletons are written: if the run is interrupted in between, a later run draws the overlay again.
        _remove_overlay(plan, source)
    else:
        errors += filter(None, [_write_overlay(plan, job, shown, interrupted)])
    extra: dict[str, Any] = {"digest": job.digest, "labels_from": origin, "place": source.place}
    path, content = plan.file_of(source), data_set(annotations, split_of(written), raw=pack_raw(frames), **extra)
    write_pickle(path, content)
    finished = finished_of(plan, source, content, result=file_state(path), video=job.state)
    plan.publish(path, job.on_copy)
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


def _annotation(
    plan: ExtractionPlan,
    source: Source,
    label: ClipLabel,
    clip: ExtractedClip,
    *,
    step: dict[str, Any],
    fps: float,
    problems: list[str],
) -> tuple[dict[str, Any], list[str]]:
    """Returns a clip as in a skeleton file, and notes on its persons.

    Args:
        plan: See `ExtractionPlan`.
        source: Its video.
        label: Its id and its labels.
        clip: Its persons; their history gets its first entry.
        step: See `estimate_step`.
        fps: Frames per second.
        problems: Notes on the video.
    """
    clip.poses.history.insert(0, step)
    missing = [] if clip.poses.tracks else [nobody_found(step["counts"]["persons"])]
    annotation = annotation_from(
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
    set_person_labels(annotation, label.persons)
    return annotation, [*missing, *nobody_labelled(annotation)]


def nobody_found(poses: int) -> Note:
    """Explains why a clip has no person.

    Args:
        poses: Number of raw poses before cleaning.
    """
    if not poses:
        return Note("no person found")
    return Note(f"no person left of {poses} raw poses after cleaning", "no person left after cleaning")


def _write_overlay(plan: ExtractionPlan, job: ExtractionJob, poses: VideoPoses, interrupted: Event) -> str | None:
    """Draws the overlay; returns an error message on failure, because the poses must be kept."""
    source = job.source

    def on_frame() -> None:
        if interrupted.is_set():
            raise _Interrupted

    path = plan.overlay_of(source)
    try:
        settings = plan.settings
        job.copies.fetch(source, job.path, job.on_copy)
        write_overlay(job.path, poses, path, fps=settings.fps, stream=settings.stream, on_frame=on_frame)
        if plan.mirror is not None:
            plan.publish(path, job.on_copy)
            path.unlink()
    except (SkelpipeError, OSError) as error:
        _remove_overlay(plan, source)
        return f"{_error_message(job, error)} (the skeletons are written, but not the overlay)"
    return None
