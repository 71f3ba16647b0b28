"""The data of a retraining: the corrected segments, and the clips that the earlier run was trained on."""

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.corrections.document import Corrections
from pipeline.corrections.rows import label_rows, with_lessons
from pipeline.inputs.label_table import TableRow
from pose_extraction.errors import AnnotationError, counted
from pose_extraction.formats.annotations import class_names, data_set, label_name_of
from pose_extraction.formats.person_clips import PART_OF, PART_PLACE, with_person_clips
from pose_extraction.formats.person_labels import KEY
from pose_extraction.formats.validation import read_data_set
from recognition.data.holdout import held_out_groups

TRAINING, HELD_OUT = "train", "held_out"
# Ids of corrected videos begin with this, so that they differ from those of the earlier run.
PREFIX = "corrections/"
# Fields of their clips: what tells their video from others, whatever its name, and whether a clip is a repetition.
SOURCE, IS_COPY = "corrected_source", "is_copy"
# Clips of the earlier run that are used again: enough to remember its classes.
MOST_EARLIER = 3000
# Corrected segments are repeated until they are this share of the training clips, but not more often than this.
SHARE_OF_LESSONS, MOST_COPIES = 0.2, 20
# Share of the corrected segments that is held out, and the fewest segments and videos of which any are.
HELD_OUT_SHARE, FEWEST_SEGMENTS, FEWEST_VIDEOS = 0.2, 20, 5


@dataclass(frozen=True)
class CorrectedVideo:
    """A video with its corrections.

    Args:
        name: Unique name of the video, for ids of clips and the label table.
        skeletons: Skeleton file with the one clip of the result.
        corrections: The corrections.
        offset: Seconds to add to times of the corrections to get times of the stream.
        source: The same for all results of one video, such as a digest of its file; None if only its name is known.
    """

    name: str
    skeletons: Path
    corrections: Corrections
    offset: float = 0.0
    source: str | None = None


@dataclass(frozen=True)
class Lessons:
    """Data of a retraining.

    Args:
        data: The data set, with the splits `train` and, if anything is held out, `held_out`.
        rows: The corrections as rows of a label table.
        corrected: Ids of the corrected videos, without copies, that are trained on.
        earlier: Number of clips of the earlier run; 0 if they are not available.
        notes: What is missing, one sentence each.
    """

    data: dict[str, Any]
    rows: list[TableRow]
    corrected: frozenset[str]
    earlier: int
    notes: tuple[str, ...]


def lessons_of(
    videos: Sequence[CorrectedVideo], label_names: Sequence[str], earlier_data: Path, earlier_run: Path
) -> Lessons:
    """Collect the clips to retrain on.

    A video stays on the side on which it was in the earlier run: what that run was trained on is trained on again, and
    what it held out is held out again. So neither run was trained on what is held out. Only videos that are new to the
    earlier run may be held out in addition.

    Args:
        videos: The corrected videos; those without a lesson are left out.
        label_names: Classes of the earlier run, in order; classes of the corrections are added.
        earlier_data: Skeleton file of the earlier run; it need not exist any more.
        earlier_run: Its directory, or a file of weights.

    Raises:
        AnnotationError: A skeleton file is malformed, or corrections do not fit it.
    """
    clips: list[dict[str, Any]] = []
    rows: list[TableRow] = []
    for video in videos:
        if not video.corrections.lessons:
            continue
        annotation = _clip_of(video.skeletons)
        rows += label_rows(annotation, video.corrections, file=video.name, offset=video.offset)
        clip = with_lessons(annotation, video.corrections, name=PREFIX + video.name, offset=video.offset)
        clips.append({**clip, SOURCE: video.source or video.name})
    earlier = _earlier(earlier_data, earlier_run, {clip[SOURCE] for clip in clips})
    held = _held_out(clips, earlier)
    training = [clip for clip in clips if clip[SOURCE] not in held]
    taught = sum(len(clip.get("person_labels", ())) for clip in training)
    copies = _copies(taught, len(earlier.split[TRAINING]))
    repeated = [
        {**clip, "frame_dir": f"{clip['frame_dir']}~{number}", IS_COPY: True}
        for clip in training
        for number in range(2, copies + 1)
    ]
    corrected = frozenset(clip["frame_dir"] for clip in training)
    split = {
        TRAINING: [*earlier.split[TRAINING], *sorted(corrected), *(clip["frame_dir"] for clip in repeated)],
        HELD_OUT: [*earlier.split[HELD_OUT], *(clip["frame_dir"] for clip in clips if clip[SOURCE] in held)],
    }
    every = [*earlier.clips, *clips, *repeated]
    names = [*label_names, *sorted(class_names(every) - set(label_names))]
    content = data_set(every, {name: ids for name, ids in split.items() if ids}, names)
    return Lessons(content, rows, corrected, len(earlier.clips), earlier.notes)


def _clip_of(path: Path) -> dict[str, Any]:
    clips = read_data_set(path)["annotations"]
    if len(clips) != 1:
        raise AnnotationError(
            f"{path}: contains {counted(len(clips), 'clip')}, but the result of a video has one; extract it again"
        )
    clip: dict[str, Any] = clips[0]
    return clip


def _copies(taught: int, earlier: int) -> int:
    """Return how often each corrected segment occurs in the training data, which must have two clips at least."""
    wanted = max(SHARE_OF_LESSONS / (1 - SHARE_OF_LESSONS) * earlier, 2 - earlier)
    return int(np.clip(np.ceil(wanted / max(taught, 1)), 1, MOST_COPIES))


@dataclass(frozen=True)
class _Earlier:
    """What the earlier run was trained and measured on.

    Args:
        clips: Its clips, without those of videos that are corrected now.
        split: Ids of its training clips and of its held-out clips.
        trained: Corrected videos that it was trained on.
        held_out: Corrected videos that it held out.
        notes: What is missing.
    """

    clips: list[dict[str, Any]]
    split: dict[str, list[str]]
    trained: frozenset[str] = frozenset()
    held_out: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def _held_out(clips: Sequence[Mapping[str, Any]], earlier: _Earlier) -> set[str]:
    """Return the corrected videos to hold out; no new ones of a few, because every one is needed for training."""
    labels = [(clip[SOURCE], label["label_name"]) for clip in clips for label in clip.get("person_labels", ())]
    sources = {clip[SOURCE] for clip in clips}
    kept = sources & earlier.held_out
    free = [one for one in labels if one[0] not in earlier.trained | earlier.held_out]
    if not free or len(labels) < FEWEST_SEGMENTS or len(sources) < FEWEST_VIDEOS:
        return kept
    names, videos = np.unique([source for source, _ in free], return_inverse=True)
    numbers = np.unique([label for _, label in free], return_inverse=True)[1]
    chosen = held_out_groups(numbers, videos, HELD_OUT_SHARE, np.random.default_rng(0))
    return kept | set(names[videos[chosen]].tolist())


def _earlier(data: Path, run: Path, corrected: Set[str]) -> _Earlier:
    """Return what the earlier run was trained and measured on.

    Args:
        data: Its skeleton file.
        run: Its directory, or a file of weights.
        corrected: The videos that are corrected now, whose clips are made again.
    """
    listing = (run if run.is_dir() else run.parent) / "split.json"
    # Data in shards are a folder.
    missing = next((path for path in (data, listing) if not path.exists()), None)
    if missing is not None:
        reason = "its training data are not on this machine" if missing == data else f"{listing} does not exist"
        notes = (f"the clips of the earlier run are not used again: {reason}",)
        return _Earlier([], {TRAINING: [], HELD_OUT: []}, notes=notes)
    content, _ = with_person_clips(read_data_set(data), data, skip_bad=True)
    names = content.get("label_names", [])
    there = {clip["frame_dir"]: clip for clip in content["annotations"] if clip.get("keypoint") is not None}
    parts = json.loads(listing.read_text(encoding="utf-8"))
    known = {part: [name for name in parts[part] if name in there] for part in ("training", "held_out")}
    sources = {part: frozenset(there[name].get(SOURCE) for name in names_of) for part, names_of in known.items()}

    def kept(part: str) -> list[str]:
        clips = ((name, there[name]) for name in known[part])
        return [name for name, clip in clips if clip.get(SOURCE) not in corrected and not clip.get(IS_COPY)]

    training, held_out = kept("training"), kept("held_out")
    if len(training) > MOST_EARLIER:
        training = sorted(np.random.default_rng(0).choice(training, MOST_EARLIER, replace=False).tolist())
    clips = []
    for name in (*training, *held_out):
        # Clips of persons keep their ids; the files of this run have nothing to cut them from.
        clip = {key: value for key, value in there[name].items() if key not in (KEY, PART_OF, PART_PLACE)}
        clips.append({**clip, "label_name": label_name_of(clip, names)})
    split = {TRAINING: training, HELD_OUT: held_out}
    return _Earlier(clips, split, sources["training"] - {None}, sources["held_out"] - {None})
