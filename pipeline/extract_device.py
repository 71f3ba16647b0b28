"""One device's share of `skelpipe extract`: videos become skeleton files, whole or not at all."""

import dataclasses
import importlib.metadata
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.inputs import Source
from pipeline.labels import ClipLabel, Labels
from pipeline.ledger import clip_digest, stored_clip
from pipeline.settings import ExtractSettings
from pose_extraction.annotations import annotation_from, data_set, pack_raw
from pose_extraction.backends import cpu_count
from pose_extraction.cleaning import CleaningSettings
from pose_extraction.decoding import VideoJob
from pose_extraction.detection import Detector
from pose_extraction.errors import SkelpipeError
from pose_extraction.estimators import Identity, Request, load_detector, load_estimator
from pose_extraction.extraction import ExtractionSettings, PoseExtractor, follow
from pose_extraction.overlay import write_overlay
from pose_extraction.pickles import write_pickle
from pose_extraction.poses import FramePoses

log = logging.getLogger(__name__)

# Finished videos whose tracking and writing may wait while the networks go on.
FINISHING_AHEAD = 4


@dataclass(frozen=True)
class Outcome:
    """What became of one video.

    Args:
        source: The video.
        error: Why there is no result; None if there is one.
        problems: What is missing from the result, one sentence each.
        persons: Number of persons in its clips, at the most.
        frames: Number of sampled frames.
    """

    source: Source
    error: str | None = None
    problems: tuple[str, ...] = ()
    persons: int = 0
    frames: int = 0


@dataclass(frozen=True)
class Plan:
    """Everything that one device needs to know to do its share; sent to other processes as it is.

    Args:
        settings: What was asked for.
        estimator: Which network.
        detector: Which network; None for a bottom-up estimator.
        folder: Where the skeleton files go, `skeletons/<estimator>`.
        clips: The clips that each video makes, by `frame_dir` of the video.
    """

    settings: ExtractSettings
    estimator: Identity
    detector: Identity | None
    folder: Path
    clips: Mapping[str, Sequence[ClipLabel]]

    def request(self) -> Request:
        settings = self.settings
        return Request(
            device=self.estimator.placement.device,
            backend=settings.backend,
            precision=settings.precision,
            batch_size=None if settings.batch_size == "auto" else settings.batch_size,
            flip_test=settings.flip_test,
            score_threshold=settings.detection_threshold,
            oblong=not settings.square_input,
        )

    def extraction(self) -> ExtractionSettings:
        settings = self.settings
        return ExtractionSettings(
            detect_every=None if settings.detect_every == "auto" else settings.detect_every,
            max_persons=settings.max_persons,
            persons=settings.persons,
            cleaning=CleaningSettings(smooth=settings.smooth),
        )

    def file_of(self, source: Source) -> Path:
        # Not with_suffix: an id may hold a dot of its own.
        return self.folder / f"{source.frame_dir}.pkl"

    def overlay_of(self, source: Source) -> Path:
        return self.folder / f"{source.frame_dir}.mp4"

    def digest_of(self, source: Source) -> str:
        """See `ledger.clip_digest`."""
        facts = {
            "version": importlib.metadata.version("skelpipe"),
            "settings": self.settings.shaping(),
            "extraction": dataclasses.asdict(self.extraction()),
            "estimator": self.estimator.facts(),
            "detector": self.detector.facts() if self.detector else None,
            "spans": [(clip.frame_dir, clip.start, clip.end) for clip in self.clips[source.frame_dir]],
        }
        return clip_digest(source, facts)

    def span_of(self, source: Source) -> tuple[float | None, float | None]:
        """The part of the video that has to be read: from its first clip's start to its last one's end."""
        clips = self.clips[source.frame_dir]
        starts = [clip.start if clip.start is not None else self.settings.start for clip in clips]
        ends = [clip.end if clip.end is not None else self.settings.end for clip in clips]
        known_starts = [start for start in starts if start is not None]
        known_ends = [end for end in ends if end is not None]
        return (
            min(known_starts) if len(known_starts) == len(starts) else None,
            max(known_ends) if len(known_ends) == len(ends) else None,
        )


def is_done(plan: Plan, source: Source, digest: str) -> bool:
    """Whether an earlier run left this very result; its labels are brought up to date if they changed."""
    path = plan.file_of(source)
    data = stored_clip(path)
    if data is None or data.get("digest") != digest:
        if data is not None:
            log.info(
                "%s: settings, weights or the video changed since the last run, so it is done again", source.relative
            )
        return False
    if plan.settings.overlay and not plan.overlay_of(source).exists():
        return False
    _update_labels(path, data, plan.clips[source.frame_dir])
    return True


def _update_labels(path: Path, data: dict[str, Any], clips: Sequence[ClipLabel]) -> None:
    labels = {clip.frame_dir: clip for clip in clips}
    split = _split_of(clips)
    changed = data["split"] != {name: sorted(ids) for name, ids in split.items()}
    for annotation in data["annotations"]:
        clip = labels[annotation["frame_dir"]]
        if (annotation["label_name"], annotation["group"]) != (clip.label_name, clip.group):
            annotation["label_name"], annotation["group"] = clip.label_name, clip.group
            changed = True
    if changed:
        extra = {name: data[name] for name in ("raw", "digest")}
        write_pickle(path, data_set(data["annotations"], split, **extra))


def _split_of(clips: Sequence[ClipLabel]) -> dict[str, list[str]]:
    split: dict[str, list[str]] = {}
    for clip in clips:
        for name in clip.splits:
            split.setdefault(name, []).append(clip.frame_dir)
    return split


def run_device(
    plan: Plan,
    work: Iterable[tuple[Source, str]],
    *,
    on_video: Callable[[Outcome], None],
    on_frame: Callable[[], None] = lambda: None,
    detector: Detector | None = None,
) -> PoseExtractor:
    """Extracts videos on one device, one after the other, and writes their files.

    Args:
        plan: See `Plan`.
        work: Videos with their digests.
        on_video: Called when a video is done, well or not.
        on_frame: Called for every frame.
        detector: Used in place of the plan's.

    Returns:
        The extractor, with the times of its stages.
    """
    request = plan.request()
    estimator = load_estimator(plan.estimator, request)
    if detector is None and plan.detector is not None:
        detector = load_detector(plan.detector, request)
    on_cpu = plan.estimator.placement.device == "cpu"
    chosen = plan.settings.workers
    # On a CPU the networks take all there is; on a GPU decoding is what limits.
    workers = chosen if chosen != "auto" else 1 if on_cpu else min(8, max(1, cpu_count() - 1))
    extractor = PoseExtractor(estimator, detector, plan.extraction(), workers=workers)

    def jobs() -> Iterator[VideoJob]:
        for source, digest in work:
            start, end = plan.span_of(source)
            yield VideoJob(source.path, start, end, plan.settings.stride, payload=(source, digest))

    open_videos: dict[VideoJob, list[FramePoses]] = {}
    finishing: deque[Future[Outcome]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="finish") as pool:
        try:
            for job, poses in extractor.frames(jobs()):
                if poses is not None:
                    open_videos.setdefault(job, []).append(poses)
                    on_frame()
                    continue
                finishing.append(pool.submit(_finish, plan, job, open_videos.pop(job, [])))
                while finishing and (finishing[0].done() or len(finishing) > FINISHING_AHEAD):
                    on_video(finishing.popleft().result())
            while finishing:
                on_video(finishing.popleft().result())
        except BaseException:
            # Interrupted: what has not begun is not begun.
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return extractor


def _finish(plan: Plan, job: VideoJob, frames: list[FramePoses]) -> Outcome:
    """Tracks, cleans and writes one video, or says why not."""
    source, digest = job.payload
    if job.error is not None or job.info is None:
        return Outcome(source, error=job.error or f"{source.path}: gave no frame")
    try:
        return _write(plan, job, frames, source, digest)
    except (SkelpipeError, OSError) as error:
        return Outcome(source, error=f"{source.path}: {error}")


def _write(plan: Plan, job: VideoJob, frames: list[FramePoses], source: Source, digest: str) -> Outcome:
    assert job.info is not None
    labels = plan.clips[source.frame_dir]
    extraction = plan.extraction()
    clips = follow(frames, job.info.size, extraction, [(clip.start, clip.end) for clip in labels])
    parameters: dict[str, Any] = {"estimator": plan.estimator.facts(), **plan.settings.shaping()}
    if plan.detector is not None:
        parameters["detector"] = plan.detector.facts()
    counts = {"frames": len(frames), "persons": sum(poses.num_persons for poses in frames)}
    annotations, problems = [], list(dict.fromkeys(job.problems))
    for label, clip in zip(labels, clips, strict=True):
        clip.poses.history.insert(0, {"step": "estimate", "parameters": parameters, "counts": counts})
        missing = [] if clip.poses.tracks else ["no person found"]
        annotations.append(
            annotation_from(
                clip.poses,
                frame_dir=label.frame_dir,
                estimator=plan.estimator.name,
                fps=job.info.fps,
                source=source.relative,
                label_name=label.label_name,
                group=label.group,
                problems=problems + missing,
                quality=clip.quality,
            )
        )
    if plan.settings.overlay:
        shown = clips[0].poses if len(clips) == 1 else follow(frames, job.info.size, extraction)[0].poses
        write_overlay(source.path, shown, plan.overlay_of(source))
    write_pickle(plan.file_of(source), data_set(annotations, _split_of(labels), raw=pack_raw(frames), digest=digest))
    persons = max((len(clip.poses.tracks) for clip in clips), default=0)
    if not persons:
        problems.append("no person found")
    return Outcome(source, problems=tuple(problems), persons=persons, frames=len(frames))


def plan_clips(sources: Sequence[Source], labels: Labels) -> dict[str, list[ClipLabel]]:
    """The clips that each video makes, by the video's `frame_dir`."""
    return {source.frame_dir: labels.clips_of(source) for source in sources}
