"""What `skelpipe extract` is to do: which clips of which videos, with which networks, and what is done already."""

import dataclasses
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.inputs import Source
from pipeline.labels import ClipLabel, Labels
from pipeline.ledger import clip_digest, stored_clip, what_changed
from pipeline.settings import ExtractSettings
from pose_extraction.annotations import data_set
from pose_extraction.cleaning import CleaningSettings
from pose_extraction.estimators import Identity, Request
from pose_extraction.extraction import DETECTION_INTERVAL, ExtractionSettings
from pose_extraction.pickles import write_pickle


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

    def spans_of(self, source: Source) -> list[tuple[float | None, float | None]]:
        """(start, end) in seconds of each clip of a video; None for the video's own beginning or end."""
        return [
            (
                self.settings.start if clip.start is None else clip.start,
                self.settings.end if clip.end is None else clip.end,
            )
            for clip in self.clips[source.frame_dir]
        ]

    def digest_of(self, source: Source) -> str:
        """See `ledger.clip_digest`.

        Raises:
            OSError: The video cannot be read.
        """
        facts = {
            "version": importlib.metadata.version("skelpipe"),
            "settings": self.settings.shaping(),
            "extraction": dataclasses.asdict(self.extraction()),
            "detection_interval": DETECTION_INTERVAL,
            "estimator": self.estimator.facts(),
            "detector": self.detector.facts() if self.detector else None,
            "spans": [(clip.frame_dir, clip.start, clip.end) for clip in self.clips[source.frame_dir]],
        }
        return clip_digest(source, facts)

    def span_of(self, source: Source) -> tuple[float | None, float | None]:
        """The part of the video that has to be read: from its first clip's start to its last one's end."""
        starts, ends = zip(*self.spans_of(source), strict=True)
        return None if None in starts else min(starts), None if None in ends else max(ends)


def why_open(plan: Plan, source: Source) -> str | None:
    """Why a video has to be extracted; None if an earlier run left this very result.

    The labels of a result that stays are brought up to date.

    Raises:
        OSError: The video, or its result, cannot be read, or the labels cannot be written.
    """
    path = plan.file_of(source)
    if not path.exists():
        return "new"
    data = stored_clip(path)
    if data is None:
        return "the stored result is damaged"
    change = what_changed(data.get("digest"), plan.digest_of(source))
    if change is not None:
        return change
    if plan.settings.overlay and not plan.overlay_of(source).exists():
        return "the overlay is missing"
    _update_labels(path, data, plan.clips[source.frame_dir])
    return None


def _update_labels(path: Path, data: dict[str, Any], clips: Sequence[ClipLabel]) -> None:
    labels = {clip.frame_dir: clip for clip in clips}
    # Segments without a frame are in the table, but not in the file.
    split = split_of([labels[annotation["frame_dir"]] for annotation in data["annotations"]])
    changed = data["split"] != {name: sorted(ids) for name, ids in split.items()}
    for annotation in data["annotations"]:
        clip = labels[annotation["frame_dir"]]
        if (annotation["label_name"], annotation["group"]) != (clip.label_name, clip.group):
            annotation["label_name"], annotation["group"] = clip.label_name, clip.group
            changed = True
    if changed:
        extra = {name: data[name] for name in ("raw", "digest")}
        write_pickle(path, data_set(data["annotations"], split, **extra))


def split_of(clips: Sequence[ClipLabel]) -> dict[str, list[str]]:
    split: dict[str, list[str]] = {}
    for clip in clips:
        for name in clip.splits:
            split.setdefault(name, []).append(clip.frame_dir)
    return split


def plan_clips(sources: Sequence[Source], labels: Labels) -> dict[str, list[ClipLabel]]:
    """The clips that each video makes, by the video's `frame_dir`."""
    return {source.frame_dir: labels.clips_of(source) for source in sources}
