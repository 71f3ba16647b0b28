"""The plan of an extraction: clips of each video, networks, labels, and the digests by which results are recognised."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.extract.ledger import source_digest
from pipeline.extract.mirror import Mirror
from pipeline.extract.settings import ExtractSettings
from pipeline.inputs.labels import ClipLabel, Labels, Origin, settle_labels
from pipeline.inputs.videos import Source
from pose_extraction.engines.engine import Engine
from pose_extraction.extraction import DETECTION_INTERVAL, ExtractionSettings
from pose_extraction.formats.annotations import label_name_of
from pose_extraction.formats.person_labels import person_labels_of
from pose_extraction.formats.persons import unmatched_persons
from pose_extraction.networks.identity import NetworkIdentity, NetworkOptions
from pose_extraction.networks.names import is_blazepose
from pose_extraction.streaming.regions import RESTART_SECONDS, SETTLING_SECONDS
from pose_extraction.tracking.cleaning import CleaningSettings
from pose_extraction.video.notes import Note

# Part of every digest: which poses this code finds, given the same video, settings and weights. A release that finds
# other poses (in decoding, detection, tracking or cleaning) sets a new value: "2", then "3". Other releases leave it,
# so that they extract nothing again. The first value was "0.1.0". "2": display size, frame rate of raw streams, default
# stream, transparency, tracking at low frame rates.
_POSES_FORMAT = "2"


@dataclass(frozen=True)
class ExtractionPlan:
    """Everything that a device needs to process its share; it can be pickled and sent to other processes.

    Args:
        settings: See `ExtractSettings`.
        estimator: Pose estimator.
        detector: Person detector; None for a bottom-up estimator.
        folder: Folder of the skeleton files, `skeletons/<estimator>`.
        clips: Clips of each video, by `frame_dir` of the video.
        labels_from: Origin of the labels.
        mirror: Where results are stored if the output folder is at a URL; `folder` is then in its local copy.
    """

    settings: ExtractSettings
    estimator: NetworkIdentity
    detector: NetworkIdentity | None
    folder: Path
    clips: Mapping[str, Sequence[ClipLabel]]
    labels_from: Origin = "names"
    mirror: Mirror | None = None

    def network_options(self) -> NetworkOptions:
        settings = self.settings
        batch_size = None if settings.batch_size == "auto" else settings.batch_size
        return NetworkOptions(
            Engine(self.estimator.engine.device, settings.backend, settings.precision, batch_size),
            flip_test=settings.flip_test,
            score_threshold=settings.score_threshold,
            oblong=not settings.square_input,
            tiles=settings.tiles,
            builder=settings.builder,
        )

    def extraction(self) -> ExtractionSettings:
        settings = self.settings
        return ExtractionSettings(
            detect_every=None if settings.detect_every == "auto" else settings.detect_every,
            max_persons=settings.max_persons,
            persons=settings.persons,
            cleaning=CleaningSettings(smooth=settings.smooth),
        )

    def decoding_gpu(self) -> str | None:
        """CUDA device that decodes videos, that of the networks if they use one; None for the CPU."""
        if self.settings.decoder == "cpu":
            return None
        engine = self.estimator.engine
        return "cuda:0" if engine.on_cpu else engine.device

    def file_of(self, source: Source) -> Path:
        # Not with_suffix: an id may contain a dot.
        return self.folder / f"{source.frame_dir}.pkl"

    def overlay_of(self, source: Source) -> Path:
        return self.folder / f"{source.frame_dir}.mp4"

    def has_overlay(self, source: Source) -> bool:
        path = self.overlay_of(source)
        return path.exists() if self.mirror is None else self.mirror.exists(path)

    def on_this_machine(self) -> "ExtractionPlan":
        """Returns the plan with the local copy of an output folder at a URL in the cache folder of this machine.

        Raises:
            SkelpipeError: The folder cannot be created.
        """
        if self.mirror is None:
            return self
        mirror = self.mirror.here()
        folder = mirror.folder / self.folder.relative_to(self.mirror.folder)
        return dataclasses.replace(self, mirror=mirror, folder=folder)

    def publish(self, path: Path, on_chunk: Callable[[], None] = lambda: None) -> None:
        """Stores a finished file, if the output folder is at a URL; see `store`.

        Raises:
            SkelpipeError: It cannot be written.
        """
        if self.mirror is not None:
            self.mirror.push(path, on_chunk)

    def withdraw(self, path: Path) -> None:
        """Removes a file, at the URL of the output folder as well.

        Raises:
            OSError: It cannot be removed.
            SkelpipeError: It cannot be removed at the URL.
        """
        if self.mirror is not None:
            self.mirror.remove(path)
        path.unlink(missing_ok=True)

    def spans_of(self, source: Source) -> list[tuple[float | None, float | None]]:
        """(start, end) in seconds of each clip of a video; None for the beginning or end of the video."""
        return [
            (
                self.settings.start if clip.start is None else clip.start,
                self.settings.end if clip.end is None else clip.end,
            )
            for clip in self.clips[source.frame_dir]
        ]

    def empty_spans_of(self, source: Source) -> dict[str, str]:
        """Errors of clips that end before they start, by clip id."""
        return {
            clip.frame_dir: f"{clip.frame_dir}: start {start:g} s is not before end {end:g} s; set both in the "
            "table, or change --start and --end"
            for clip, (start, end) in zip(self.clips[source.frame_dir], self.spans_of(source), strict=True)
            if start is not None and end is not None and start >= end
        }

    def digest_of(self, source: Source) -> str:
        """Digest of a video, "-", and `settings_digest`.

        That of a video at a URL depends on what its storage reports about it, so that it is not read.

        Raises:
            OSError: The video cannot be read.
        """
        video = source_digest(source.path) if source.remote is None else source.remote.key
        return f"{video}-{self.settings_digest(source)}"

    def settings_digest(self, source: Source) -> str:
        """Digest of everything but the video that decides its poses: settings, weights and segments."""
        spans = [(clip.frame_dir, clip.start, clip.end) for clip in self.clips[source.frame_dir]]
        text = json.dumps({"version": _POSES_FORMAT, "spans": spans, **self._facts}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def _facts(self) -> dict[str, Any]:
        """What decides the poses of all videos alike."""
        return {
            "settings": self.settings.shaping(),
            "extraction": dataclasses.asdict(self.extraction()),
            "detection_interval": DETECTION_INTERVAL,
            "estimator": self.estimator.facts(),
            "detector": self.detector.facts() if self.detector else None,
            # Only for the estimator that follows persons: results of the others stay valid.
            **({"restarts": (RESTART_SECONDS, SETTLING_SECONDS)} if is_blazepose(self.settings.estimator) else {}),
        }

    def span_of(self, source: Source) -> tuple[float | None, float | None]:
        """(start, end) in seconds of the part of the video that contains all its clips; None as in `spans_of`."""
        starts, ends = zip(*self.spans_of(source), strict=True)
        return None if None in starts else min(starts), None if None in ends else max(ends)


def lost_clips(plan: ExtractionPlan, source: Source, stored: Collection[str]) -> list[str]:
    """Error messages for the clips of a video that have no frames.

    Args:
        plan: See `ExtractionPlan`.
        source: The video.
        stored: Ids of its clips that have frames.
    """
    reasons = plan.empty_spans_of(source)
    texts = []
    for clip, (start, stop) in zip(plan.clips[source.frame_dir], plan.spans_of(source), strict=True):
        span = f"from {start or 0:g} s" + ("" if stop is None else f" to {stop:g} s")
        none = f"{clip.frame_dir}: no frame {span}; correct start and end in the table"
        if clip.frame_dir not in stored:
            texts.append(reasons.get(clip.frame_dir, none))
    return texts


def notes_of(data: Mapping[str, Any]) -> list[str]:
    """Notes on all clips of a video and on labels that match none of its persons, each once."""
    clips = data["annotations"]
    return list(dict.fromkeys(note for clip in clips for note in (*clip.get("problems", ()), *nobody_labelled(clip))))


def nobody_labelled(annotation: Mapping[str, Any]) -> list[Note]:
    """Notes on labels of persons that match no person in a clip."""
    return [Note(sentence, "the label of a person matches no person") for sentence in unmatched_persons(annotation)]


def current_labels(
    plan: ExtractionPlan, source: Source, stored: dict[str, Any] | None
) -> tuple[list[ClipLabel], Origin]:
    """Combines the labels of this run with stored ones; see `settle_labels`.

    Args:
        plan: See `ExtractionPlan`.
        source: The video.
        stored: Result of an earlier run; None if there is none.
    """
    clips = plan.clips[source.frame_dir]
    if stored is None:
        return list(clips), plan.labels_from
    return settle_labels(clips, plan.labels_from, stored_labels(stored), stored.get("labels_from", "table"))


def stored_labels(data: dict[str, Any]) -> dict[str, ClipLabel]:
    """Returns the labels in a skeleton file, by id of the clip."""
    names = data.get("label_names", [])
    return {
        clip["frame_dir"]: ClipLabel(
            clip["frame_dir"],
            label_name_of(clip, names),
            tuple(name for name, ids in data["split"].items() if clip["frame_dir"] in ids),
            clip.get("group"),
            persons=tuple(person_labels_of(clip, clip["frame_dir"])),
        )
        for clip in data["annotations"]
        if "frame_dir" in clip
    }


def split_of(clips: Sequence[ClipLabel]) -> dict[str, list[str]]:
    split: dict[str, list[str]] = {}
    for clip in clips:
        for name in clip.splits:
            split.setdefault(name, []).append(clip.frame_dir)
    return split


def plan_clips(sources: Sequence[Source], labels: Labels) -> dict[str, list[ClipLabel]]:
    """Clips of each video, by `frame_dir` of the video."""
    return {source.frame_dir: labels.clips_of(source) for source in sources}
