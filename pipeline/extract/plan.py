"""The plan of an extraction: clips of each video, networks, which results are up to date, and new labels for those."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.extract.ledger import clip_digest, other_source, stored_clip, what_changed
from pipeline.extract.mirror import Mirror
from pipeline.extract.settings import ExtractSettings
from pipeline.inputs.labels import ClipLabel, Labels, Origin, settle_labels
from pipeline.inputs.videos import Source
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import SkelpipeError
from pose_extraction.extraction import DETECTION_INTERVAL, ExtractionSettings
from pose_extraction.formats.annotations import data_set, label_name_of
from pose_extraction.formats.person_labels import KEY as PERSON_LABELS
from pose_extraction.formats.person_labels import person_labels_of
from pose_extraction.formats.persons import set_person_labels, unmatched_persons
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.networks.identity import NetworkIdentity, NetworkOptions
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

    def file_of(self, source: Source) -> Path:
        # Not with_suffix: an id may contain a dot.
        return self.folder / f"{source.frame_dir}.pkl"

    def overlay_of(self, source: Source) -> Path:
        return self.folder / f"{source.frame_dir}.mp4"

    def has_overlay(self, source: Source) -> bool:
        path = self.overlay_of(source)
        return path.exists() if self.mirror is None else self.mirror.exists(path)

    def publish(self, path: Path) -> None:
        """Stores a finished file, if the output folder is at a URL.

        Raises:
            SkelpipeError: It cannot be written.
        """
        if self.mirror is not None:
            self.mirror.push(path)

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
        """Digest of a video and of everything that decides its poses; see `ledger.clip_digest`.

        Raises:
            OSError: The video cannot be read.
        """
        facts = {
            "version": _POSES_FORMAT,
            "settings": self.settings.shaping(),
            "extraction": dataclasses.asdict(self.extraction()),
            "detection_interval": DETECTION_INTERVAL,
            "estimator": self.estimator.facts(),
            "detector": self.detector.facts() if self.detector else None,
            "spans": [(clip.frame_dir, clip.start, clip.end) for clip in self.clips[source.frame_dir]],
        }
        return clip_digest(source, facts)

    def span_of(self, source: Source) -> tuple[float | None, float | None]:
        """(start, end) in seconds of the part of the video that contains all its clips; None as in `spans_of`."""
        starts, ends = zip(*self.spans_of(source), strict=True)
        return None if None in starts else min(starts), None if None in ends else max(ends)


@dataclass(frozen=True, slots=True)
class ResultState:
    """Whether a video has an up-to-date result.

    Args:
        reason: Why the video has to be extracted; None if its result is up to date.
        stored: The up-to-date result, as read from its file; None if there is none.
    """

    reason: str | None
    stored: dict[str, Any] | None = None


def result_state(plan: ExtractionPlan, source: Source) -> ResultState:
    """Checks whether a video has to be extracted. Writes nothing.

    Raises:
        OSError: The video or its result cannot be read.
        SkelpipeError: The result belongs to another video.
    """
    path = plan.file_of(source)
    if not path.exists():
        return ResultState("new")
    data = stored_clip(path)
    if data is None:
        return ResultState("the stored result is damaged")
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
    if plan.settings.overlay and not plan.has_overlay(source):
        return ResultState("the overlay is missing")
    return ResultState(None, data)


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


def update_labels(plan: ExtractionPlan, source: Source, data: dict[str, Any]) -> int:
    """Rewrites a result file if labels, splits or groups differ from those of this run.

    Args:
        plan: See `ExtractionPlan`.
        source: The video.
        data: Its up-to-date result; see `ResultState`.

    Returns:
        Number of clips that changed.

    Raises:
        SkelpipeError: The file cannot be written.
    """
    before = _stored_labels(data)
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
    if changed or data.get("labels_from") != origin:
        extra = {name: value for name, value in data.items() if name not in ("split", "annotations", "label_names")}
        extra["labels_from"] = origin
        path = plan.file_of(source)
        try:
            write_pickle(path, data_set(data["annotations"], split_of(list(labels.values())), **extra))
            plan.publish(path)
        except OSError as error:
            raise SkelpipeError(
                f"{source.shown}: cannot write its labels to {path} ({error.strerror or error}); check free space and "
                "permissions, and run again"
            ) from error
    return changed


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
    return settle_labels(clips, plan.labels_from, _stored_labels(stored), stored.get("labels_from", "table"))


def _stored_labels(data: dict[str, Any]) -> dict[str, ClipLabel]:
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
