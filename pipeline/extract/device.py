"""Extraction on one device: each video yields a complete skeleton file or an error."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from threading import Event

from pipeline.extract.pieces import Piece, Work
from pipeline.extract.plan import ExtractionPlan
from pipeline.extract.results.finished import video_state
from pipeline.extract.results.jobs import ExtractionJob, Outcome
from pipeline.extract.results.writing import finish
from pipeline.inputs.copies import Copies
from pipeline.inputs.videos import Source
from pose_extraction.engines.devices import cpu_count
from pose_extraction.extraction import PoseExtractor
from pose_extraction.networks.detection import PersonDetector
from pose_extraction.networks.estimators import load_detector, load_estimator
from pose_extraction.tracking.raw_poses import RawPoses
from pose_extraction.video.reader import VideoInfo

log = logging.getLogger(__name__)

# Maximum number of videos that wait for tracking and writing while the networks process the next ones.
FINISHING_AHEAD = 4


def run_device(
    plan: ExtractionPlan,
    work: Iterable[Work],
    *,
    on_video: Callable[[Outcome], None],
    on_frame: Callable[[], None] = lambda: None,
    on_start: Callable[[str, VideoInfo | None], None] = lambda name, info: None,
    on_copy: Callable[[], None] = lambda: None,
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
        on_copy: Called for each chunk that is copied from or to a URL, by several threads.
        detector: Replaces the detector of the plan.
        extractor: Loaded networks; loaded by this function if None.

    Returns:
        The extractor, with the time spent in each stage.
    """
    extractor = extractor or open_extractor(plan, detector=detector)
    copies = Copies()
    open_videos: dict[ExtractionJob, RawPoses] = {}
    finishing: deque[Future[Outcome]] = deque()
    interrupted = Event()
    with (
        closing(copies),
        ThreadPoolExecutor(1, thread_name_prefix="finish") as pool,
        closing(extractor.frames(_jobs(plan, work, copies, on_copy))) as frames,
    ):
        try:
            for job, poses in frames:
                if poses is not None:
                    if job not in open_videos:
                        on_start(job.name, job.info)
                    open_videos.setdefault(job, RawPoses()).append(poses)
                    on_frame()
                else:
                    finishing.append(pool.submit(finish, plan, job, open_videos.pop(job, RawPoses()), interrupted))
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


def _jobs(
    plan: ExtractionPlan, work: Iterable[Work], copies: Copies, on_copy: Callable[[], None]
) -> Iterator[ExtractionJob]:
    """Yields what is decoded for each video or piece; arguments as `run_device`."""
    for one in work:
        piece = one if isinstance(one, Piece) else None
        source = one.source if isinstance(one, Piece) else one
        start, end = plan.span_of(source) if piece is None else (piece.start, piece.end)
        digest, state = _identity(plan, source) if piece is None else (piece.digest, piece.state)
        yield ExtractionJob(
            path=copies.place_of(source),
            start=start,
            end=end,
            stride=plan.settings.stride,
            fps=plan.settings.fps,
            stream=plan.settings.stream,
            gpu=plan.decoding_gpu(),
            source=source,
            digest=digest,
            state=state,
            copies=copies,
            on_copy=on_copy,
            draws=plan.settings.overlay,
            piece=piece,
        )


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
    # On a CPU the networks leave no core idle that other stages could use.
    overlap = not on_cpu and not at_once
    return PoseExtractor(estimator, detector, plan.extraction(), workers=workers, overlap=overlap)
