"""`skelpipe extract`: selects the videos, distributes them over the devices and reports progress and failures."""

import logging
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from pipeline.datasets.merging import KINDS, merged_path
from pipeline.extract import defaults
from pipeline.extract.data_set import data_sets_of, merge_results, records_in
from pipeline.extract.executors import Executor, opened_executor
from pipeline.extract.ledger import ErrorLog, NoteLog
from pipeline.extract.messages import Failures, Notes
from pipeline.extract.mirror import Mirror, mirror_of, states
from pipeline.extract.settings import ExtractSettings
from pipeline.extract.share import Share
from pipeline.inputs.labels import Labels, load_labels
from pipeline.inputs.videos import Inputs, Source, survey
from pipeline.reporting.progress import RunProgress
from pose_extraction.errors import SkelpipeError, UsageError
from pose_extraction.networks.names import check_exists, detector_of, display_name
from pose_extraction.remote import is_url

if TYPE_CHECKING:
    from pipeline.cluster.options import ClusterOptions
    from pipeline.extract.plan import ExtractionPlan
    from pipeline.extract.results.finished import FinishedLog
    from pipeline.extract.results.jobs import Outcome
    from pose_extraction.networks.detection import PersonDetector


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """The result of an extraction.

    Args:
        folder: Folder of the skeleton files, `skeletons/<estimator>`.
        data_set: Path of the merged data set; None if none was written.
        done: Number of videos that this run extracted.
        skipped: Number of videos with an up-to-date result from an earlier run.
        failed: Reasons for failures, by video path.
        frames_per_second: Frames extracted per second.
        url: Where the data set, or the folder if there is none, is stored if the output folder is at a URL; the paths
            are then those of a local copy.
    """

    folder: Path
    data_set: Path | None
    done: int
    skipped: int
    failed: dict[str, str]
    frames_per_second: float
    url: str | None = None


def extract(
    videos: Sequence[str | Path],
    out: str | Path = defaults.OUT,
    *,
    settings: ExtractSettings | None = None,
    labels: str = defaults.LABELS,
    share: Share | None = None,
    console: Console | None = None,
    detector: "PersonDetector | None" = None,
    cluster: "ClusterOptions | None" = None,
) -> Report:
    """Extracts tracked, cleaned COCO-17 skeletons from videos.

    Args:
        videos: Files, folders and glob patterns; also URLs, such as s3://bucket/videos.
        out: Output folder or its URL: `out/<estimator>/<clip>.pkl`, and `out/<estimator>.pkl` with all clips.
        settings: See `ExtractSettings`.
        labels: "auto", "none", or the path of a CSV file.
        share: The share of the videos to process.
        console: Console for progress; standard error if None.
        detector: Person detector that replaces the one named in `settings`.
        cluster: How to use a Ray cluster; None for the devices of this machine.

    Raises:
        UsageError: There is no video, or the options contradict each other.
        SkelpipeError: A network cannot be loaded, or the data set cannot be written.
    """
    settings, share = settings or ExtractSettings(), share or Share()
    console = console or Console(stderr=True)
    mirror = mirror_of(out, share.shard) if isinstance(out, str) and is_url(out) else None
    inputs = survey(videos, urls=True)
    if settings.chunk is not None and (mirror is not None or any(source.remote for source in inputs.sources)):
        raise UsageError(
            f"--chunk {settings.chunk:g}: works on files and folders, not at URLs; copy long videos to this machine or "
            "to storage that all nodes share, and give folders for the videos and for --out"
        )
    if inputs.skipped:
        kinds = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in sorted(inputs.skipped.items()))
        log.info("skipped files that are not videos: %s", kinds)
    known = load_labels(labels, inputs.sources)
    for warning in known.warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False)

    check_exists(settings.estimator, "estimator")
    detector_name = detector_of(settings.estimator, settings.detector)
    if detector is None and detector_name is not None:
        check_exists(detector_name, "detector")
    with opened_executor(settings, detector, cluster, share.shard) as (executor, settings):
        folder = Path(out) if mirror is None else mirror.folder
        return _extract(executor, inputs, folder, mirror, settings=settings, known=known, share=share, console=console)


def _extract(
    executor: Executor,
    inputs: Inputs,
    out: Path,
    mirror: Mirror | None,
    *,
    settings: ExtractSettings,
    known: Labels,
    share: Share,
    console: Console,
) -> Report:
    # Only now, because this loads the libraries for videos and networks.
    from pipeline.extract.plan import ExtractionPlan, plan_clips
    from pipeline.extract.results.checking import open_work
    from pipeline.extract.results.finished import FinishedLog

    estimator, detector_identity = executor.identify(console)
    folder = out / display_name(settings.estimator)
    _refuse_unwritable(folder)
    if mirror is not None:
        mirror.refuse_unwritable()
        mirror.pull(folder.name)
    before = states([*records_in(folder), *data_sets_of(folder)]) if mirror is not None else {}
    plan = ExtractionPlan(
        settings, estimator, detector_identity, folder, plan_clips(inputs.sources, known), known.origin, mirror
    )

    chosen = share.of(inputs.sources)
    failures = Failures(ErrorLog(folder, share.shard), console)
    for place, reason in inputs.unreadable:
        failures.add(str(place), f"{place}: cannot list the folder ({reason}); check its permissions")
    notes = Notes(NoteLog(folder, share.shard), failures)
    finished = FinishedLog(folder, share.shard)
    work, skipped = open_work(plan, chosen, share, finished, failures, notes, console)
    try:
        rate = _run(executor, plan, work, finished, failures, notes, console, overwrite=share.overwrite)
    finally:
        notes.close()
        finished.close()
        if mirror is not None:
            mirror.push_changed(records_in(folder), {})
    failed_work = sum(source.relative in failures.failed for source in work)
    _settle(failures, folder, [*work, *skipped], chosen, share)
    if mirror is not None and executor.is_elsewhere:
        # Other machines have stored the results.
        mirror.push_changed(records_in(folder), before)
        mirror.pull(folder.name)
    with closing(finished):
        data_set = merge_results(folder, finished, failures) if share.shard is None else None
    url = None
    if mirror is not None:
        mirror.push_changed([*records_in(folder), *data_sets_of(folder)], before)
        url = mirror.url_of(data_set or folder)
    return Report(folder, data_set, len(work) - failed_work, len(skipped), failures.failed, rate, url)


def _settle(
    failures: Failures, folder: Path, processed: Sequence[Source], chosen: Sequence[Source], share: Share
) -> None:
    """Removes errors of earlier runs that this run has made obsolete from the log."""
    # A folder that could not be listed before, but contains videos now, counts as tried as well.
    tried = {source.relative for source in processed}
    tried |= {str(parent) for source in chosen for parent in source.path.parents}
    if share.shard is None:
        # The merge that follows reads every skeleton file and reports the damaged ones again.
        failures.settle(tried | {str(merged_path(folder, to)) for to in KINDS}, below=folder.absolute())
    else:
        failures.settle(tried)


def _refuse_unwritable(folder: Path) -> None:
    """Fails before the work starts if the output folder cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SkelpipeError(
            f"{folder}: cannot create the folder ({error.strerror}); choose another one with --out"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SkelpipeError(f"{folder}: no write permission; choose another folder with --out")


def _run(
    executor: Executor,
    plan: "ExtractionPlan",
    work: Sequence[Source],
    finished: "FinishedLog",
    failures: Failures,
    notes: Notes,
    console: Console,
    *,
    overwrite: bool,
) -> float:
    """Extracts the videos; returns the frames extracted per second."""
    if not work:
        return 0.0
    from pipeline.extract.pieces import in_pieces, left_to_join

    # The outcome of a piece that completes a video may arrive before those of others, and two may complete it.
    in_parts: set[Source] = set()
    ended: set[Source] = set()
    sizes = executor.sizes(work)
    with RunProgress(len(work), console, size=sum(sizes.values())) as shown:

        def on_video(outcome: "Outcome") -> None:
            failures.withdrawn |= outcome.withdrawn
            if outcome.error is not None:
                failures.add(outcome.source.relative, outcome.error)
            if outcome.is_part or outcome.source in ended:
                in_parts.add(outcome.source)
                return
            ended.add(outcome.source)
            if outcome.finished is not None:
                finished.add(outcome.source.frame_dir, outcome.finished)
            notes.add(outcome.source.relative, list(outcome.problems))
            shown.video(sizes[outcome.source])

        works = in_pieces(plan, work, overwrite=overwrite)
        executor.run(plan, works, sizes, shown, on_video, rest=lambda: left_to_join(plan, in_parts - ended))
        for source in in_parts - ended:
            _end_joined(plan, source, finished, failures, notes, overwrite=overwrite)
            shown.video(sizes[source])
        return shown.rate()


def _end_joined(
    plan: "ExtractionPlan",
    source: Source,
    finished: "FinishedLog",
    failures: Failures,
    notes: Notes,
    *,
    overwrite: bool,
) -> None:
    """Reports a video whose pieces nobody seems to have joined.

    A process that was killed after it had joined them did not report that, and its piece was extracted once more.
    """
    from pipeline.extract.pieces import remove_pieces_of
    from pipeline.extract.results.checking import result_state, tell_finished

    try:
        state = result_state(plan, source, finished)
    except (SkelpipeError, OSError) as error:
        failures.add(source.relative, f"{source.shown}: cannot check its result ({error}); run the command again")
        return
    # A result that was to be replaced may be that of the earlier run.
    if state.finished is None or overwrite:
        reason = "its pieces are not all visible on this machine yet; run the command again to join them"
        failures.add(source.relative, f"{source.shown}: {reason}")
        return
    finished.add(source.frame_dir, state.finished)
    tell_finished(plan, source, state.finished, failures, notes.add)
    remove_pieces_of(plan, source)
