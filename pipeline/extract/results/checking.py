"""Which videos of a run have up-to-date results, and new labels for these."""

import logging
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from rich.console import Console

from pipeline.extract.ledger import other_source, stored_clip, what_changed
from pipeline.extract.messages import Failures, Notes
from pipeline.extract.plan import ExtractionPlan, current_labels, lost_clips, split_of, stored_labels
from pipeline.extract.results.finished import Finished, FinishedLog, file_state, finished_of, video_state
from pipeline.extract.share import Share
from pipeline.inputs.videos import Source
from pipeline.reporting import progress
from pose_extraction.errors import SkelpipeError, counted
from pose_extraction.formats.annotations import data_set
from pose_extraction.formats.person_labels import KEY as PERSON_LABELS
from pose_extraction.formats.persons import set_person_labels
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.queues import map_ahead

# Number of videos that are checked at once: storage on a network answers many questions as fast as one. Each may hold
# a whole skeleton file in memory.
CHECKS_AT_ONCE = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ResultState:
    """Whether a video has an up-to-date result.

    Args:
        reason: Why the video has to be extracted; None if its result is up to date.
        finished: What is known of the result; None if it is not up to date, or changes now.
        is_known: Whether an earlier run has noted `finished`.
        relabelled: Number of clips with other labels than in the result.
        content: What the skeleton file has to contain to have the labels of this run; None if it has them.
    """

    reason: str | None
    finished: Finished | None = None
    is_known: bool = False
    relabelled: int = 0
    content: dict[str, Any] | None = None


def open_work(
    plan: ExtractionPlan,
    chosen: Sequence[Source],
    share: Share,
    log_of_finished: FinishedLog,
    failures: Failures,
    notes: Notes,
    console: Console,
) -> tuple[list[Source], list[Source]]:
    """Compares results with their videos, and gives up-to-date results new labels.

    Args:
        plan: See `ExtractionPlan`.
        chosen: The videos.
        share: See `Share`.
        log_of_finished: What earlier runs found out; takes what this run finds out.
        failures: Takes what cannot be read or written.
        notes: Takes the notes on finished videos.
        console: Console for progress.

    Returns:
        The videos to extract, and those with an up-to-date result.
    """
    work: list[Source] = []
    skipped: list[Source] = []
    reasons: Counter[str] = Counter()
    relabelled = 0
    every = counted(len(chosen), "video")
    last_message = monotonic()
    states = _states(plan, chosen, log_of_finished, overwrite=share.overwrite)
    with closing(states):
        for checked, (source, state) in enumerate(states):
            if monotonic() - last_message >= progress.LINE_INTERVAL:
                last_message = monotonic()
                console.print(f"checked {checked} of {every} for existing results", highlight=False)
            if share.limit is not None and len(work) + len(skipped) >= share.limit:
                break
            if isinstance(state, ResultState) and state.reason is not None:
                work.append(source)
                reasons[state.reason] += 1
                log.info("%s: to be extracted (%s)", source.relative, state.reason)
                continue
            try:
                finished = _settled(plan, source, state)
            except SkelpipeError as error:
                failures.add(source.relative, str(error))
                continue
            except OSError as error:
                text = f"{error.strerror or error} ({error.filename or source.shown}); check its permissions"
                failures.add(source.relative, f"{source.shown}: {text}")
                continue
            skipped.append(source)
            relabelled += _note(plan, source, state, finished, log_of_finished, failures, notes)
    if skipped:
        console.print(f"{len(skipped)} of {len(chosen)} videos are already done", highlight=False)
    if relabelled:
        console.print(f"updated labels, splits or groups of {counted(relabelled, 'clip')}", highlight=False)
    _tell_reasons(reasons, every, console)
    return work, skipped


def _tell_reasons(reasons: Counter[str], every: str, console: Console) -> None:
    """Prints why videos are extracted again."""
    for reason, count in sorted(reasons.items()):
        if reason not in ("new", "overwrite"):
            console.print(f"extracting {count} of {every} again: {reason}", highlight=False, markup=False)


def _states(
    plan: ExtractionPlan, chosen: Sequence[Source], log_of_finished: FinishedLog, *, overwrite: bool
) -> Generator[tuple[Source, ResultState | Exception], None, None]:
    """Yields the videos with what the comparison of their results gave, or with the error; several at once."""

    def state_of(source: Source) -> tuple[Source, ResultState | Exception]:
        try:
            empty_spans = plan.empty_spans_of(source)
            if len(empty_spans) == len(plan.clips[source.frame_dir]):
                raise SkelpipeError(f"{source.shown}: {'; '.join(empty_spans.values())}")
            return source, ResultState("overwrite") if overwrite else result_state(plan, source, log_of_finished)
        except (SkelpipeError, OSError) as error:
            return source, error

    return map_ahead(state_of, chosen, workers=CHECKS_AT_ONCE, name="checking")


def result_state(plan: ExtractionPlan, source: Source, log_of_finished: FinishedLog) -> ResultState:
    """Checks whether a video has to be extracted. Writes nothing.

    Raises:
        OSError: The video or its result cannot be read.
        SkelpipeError: The result belongs to another video.
    """
    known = log_of_finished.get(source.frame_dir)
    if known is not None and known.holds(plan, source):
        state = ResultState(None, known, is_known=True)
    else:
        state = _compared(plan, source)
    if state.reason is None and plan.settings.overlay and not plan.has_overlay(source):
        return ResultState("the overlay is missing")
    return state


def _compared(plan: ExtractionPlan, source: Source) -> ResultState:
    """Reads a result and its video, and compares them."""
    path = plan.file_of(source)
    if not path.exists():
        return ResultState("new")
    result = file_state(path)
    data = stored_clip(path)
    if data is None:
        return ResultState("the stored result is damaged")
    video = video_state(source)
    digest = plan.digest_of(source)
    other = other_source(data, source, digest)
    if other is not None:
        raise SkelpipeError(
            f"{source.shown}: its id {source.frame_dir!r} is already used by {other}; extract both from a common "
            "parent folder (ids are then paths relative to it), rename one, choose another --out, or replace the "
            "result with --overwrite"
        )
    change = what_changed(data.get("digest"), digest)
    if change is not None:
        return ResultState(change)
    relabelled, content = _relabelled(plan, source, data)
    finished = finished_of(plan, source, data, result=result, video=video)
    return ResultState(None, finished, relabelled=relabelled, content=content)


def _relabelled(plan: ExtractionPlan, source: Source, data: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
    """Gives a result the labels, splits and groups of this run.

    Args:
        plan: See `ExtractionPlan`.
        source: The video.
        data: Its up-to-date result; changed in place.

    Returns:
        Number of clips that changed, and what its file has to contain; None if that is the same as before.
    """
    before = stored_labels(data)
    clips, origin = current_labels(plan, source, data)
    # Segments without frames are in the table but not in the file.
    labels = {clip.frame_dir: clip for clip in clips if clip.frame_dir in before}
    changed = 0
    for annotation in data["annotations"]:
        old, new = before[annotation["frame_dir"]], labels[annotation["frame_dir"]]
        persons = annotation.get(PERSON_LABELS, [])
        set_person_labels(annotation, new.persons)
        wanted = (new.label_name, set(new.splits), new.group, annotation.get(PERSON_LABELS, []))
        if (old.label_name, set(old.splits), old.group, persons) != wanted:
            annotation["label_name"], annotation["group"] = new.label_name, new.group
            changed += 1
    if not changed and data.get("labels_from") == origin:
        return 0, None
    extra = {name: value for name, value in data.items() if name not in ("split", "annotations", "label_names")}
    extra["labels_from"] = origin
    return changed, data_set(data["annotations"], split_of(list(labels.values())), **extra)


def _settled(plan: ExtractionPlan, source: Source, state: ResultState | Exception) -> Finished:
    """Writes a result that has new labels, and returns what is known of it then.

    Raises:
        OSError: The comparison raised it.
        SkelpipeError: The comparison raised it, or the file cannot be written.
    """
    if isinstance(state, Exception):
        raise state
    assert state.finished is not None
    if state.content is None:
        return state.finished
    path = plan.file_of(source)
    try:
        write_pickle(path, state.content)
        plan.publish(path)
        return replace(state.finished, result=file_state(path))
    except OSError as error:
        raise SkelpipeError(
            f"{source.shown}: cannot write its labels to {path} ({error.strerror or error}); check free space and "
            "permissions, and run again"
        ) from error


def _note(
    plan: ExtractionPlan,
    source: Source,
    state: ResultState | Exception,
    finished: Finished,
    log_of_finished: FinishedLog,
    failures: Failures,
    notes: Notes,
) -> int:
    """Reports what is known of a finished video; returns the number of clips with new labels."""
    assert isinstance(state, ResultState)
    if not state.is_known:
        log_of_finished.add(source.frame_dir, finished)
    # A label without its person is likely a mistake in the table, so it is reported every time.
    tell_finished(plan, source, finished, failures, notes.add if finished.mistaken else notes.keep)
    return state.relabelled


def tell_finished(
    plan: ExtractionPlan,
    source: Source,
    finished: Finished,
    failures: Failures,
    tell: Callable[[str, list[str]], None],
) -> None:
    """Reports the notes on a finished video, and the clips that its result lacks.

    Args:
        plan: See `ExtractionPlan`.
        source: The video.
        finished: What is known of its result.
        failures: Takes the lost clips.
        tell: Takes the notes: a method of `Notes`.
    """
    tell(source.relative, list(finished.notes))
    planned = {clip.frame_dir for clip in plan.clips[source.frame_dir]}
    lost = lost_clips(plan, source, planned - set(finished.missing))
    if lost:
        failures.add(source.relative, f"{source.shown}: {'; '.join(lost)} (its other clips are written)")
