"""The data of a retraining: the corrected segments, and the clips that the earlier run was trained on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.corrections.document import Corrections
from pipeline.corrections.rows import label_rows, with_lessons
from pipeline.inputs.label_table import TableRow
from pose_extraction.errors import AnnotationError
from pose_extraction.formats.annotations import class_names, data_set, label_name_of
from pose_extraction.formats.person_clips import PART_OF, PART_PLACE, with_person_clips
from pose_extraction.formats.person_labels import KEY
from pose_extraction.formats.validation import read_data_set
from recognition.data.holdout import held_out_groups

TRAINING, HELD_OUT = "train", "held_out"
# Ids of corrected videos begin with this, so that they differ from those of the earlier run.
PREFIX = "corrections/"
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
    """

    name: str
    skeletons: Path
    corrections: Corrections
    offset: float = 0.0


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
        clips.append(with_lessons(annotation, video.corrections, name=PREFIX + video.name, offset=video.offset))
    held = _held_out(clips)
    earlier, split, notes = _earlier(earlier_data, earlier_run)
    training = [clip for clip in clips if clip["frame_dir"] not in held]
    taught = sum(len(clip.get("person_labels", ())) for clip in training)
    copies = _copies(taught, len(split[TRAINING]))
    repeated = [
        {**clip, "frame_dir": f"{clip['frame_dir']}~{number}"} for clip in training for number in range(2, copies + 1)
    ]
    corrected = frozenset(clip["frame_dir"] for clip in training)
    split[TRAINING] += [*corrected, *(clip["frame_dir"] for clip in repeated)]
    split[HELD_OUT] += sorted(held)
    every = [*earlier, *clips, *repeated]
    names = [*label_names, *sorted(class_names(every) - set(label_names))]
    content = data_set(every, {name: ids for name, ids in split.items() if ids}, names)
    return Lessons(content, rows, corrected, len(earlier), tuple(notes))


def _clip_of(path: Path) -> dict[str, Any]:
    clips = read_data_set(path)["annotations"]
    if len(clips) != 1:
        raise AnnotationError(
            f"{path}: contains {len(clips)} clips, but the result of a video has one; extract it again"
        )
    clip: dict[str, Any] = clips[0]
    return clip


def _copies(taught: int, earlier: int) -> int:
    """Return how often each corrected segment occurs in the training data, which must have two clips at least."""
    wanted = max(SHARE_OF_LESSONS / (1 - SHARE_OF_LESSONS) * earlier, 2 - earlier)
    return int(np.clip(np.ceil(wanted / max(taught, 1)), 1, MOST_COPIES))


def _held_out(clips: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the ids of corrected videos to hold out; none of a few, because every one is needed for training."""
    labels = [label["label_name"] for clip in clips for label in clip.get("person_labels", ())]
    if len(labels) < FEWEST_SEGMENTS or len(clips) < FEWEST_VIDEOS:
        return set()
    numbers = np.unique(labels, return_inverse=True)[1]
    videos = np.repeat(np.arange(len(clips)), [len(clip.get("person_labels", ())) for clip in clips])
    chosen = held_out_groups(numbers, videos, HELD_OUT_SHARE, np.random.default_rng(0))
    return {clips[place]["frame_dir"] for place in videos[chosen]}


def _earlier(data: Path, run: Path) -> tuple[list[dict[str, Any]], dict[str, list[str]], list[str]]:
    """Return training clips and held-out clips of the earlier run, their splits, and notes on what is missing."""
    nothing: dict[str, list[str]] = {TRAINING: [], HELD_OUT: []}
    listing = (run if run.is_dir() else run.parent) / "split.json"
    # Data in shards are a folder.
    missing = next((path for path in (data, listing) if not path.exists()), None)
    if missing is not None:
        reason = "its training data are not on this machine" if missing == data else f"{listing} does not exist"
        return [], nothing, [f"the clips of the earlier run are not used again: {reason}"]
    content, _ = with_person_clips(read_data_set(data), data, skip_bad=True)
    names = content.get("label_names", [])
    there = {clip["frame_dir"]: clip for clip in content["annotations"] if clip.get("keypoint") is not None}
    parts = json.loads(listing.read_text(encoding="utf-8"))
    training = [name for name in parts["training"] if name in there]
    if len(training) > MOST_EARLIER:
        training = sorted(np.random.default_rng(0).choice(training, MOST_EARLIER, replace=False).tolist())
    held_out = [name for name in parts["held_out"] if name in there]
    clips = []
    for name in (*training, *held_out):
        # Clips of persons keep their ids; the files of this run have nothing to cut them from.
        clip = {key: value for key, value in there[name].items() if key not in (KEY, PART_OF, PART_PLACE)}
        clips.append({**clip, "label_name": label_name_of(clip, names)})
    return clips, {TRAINING: training, HELD_OUT: held_out}, []
