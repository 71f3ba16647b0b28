"""Sequences with their labelled actions, for training and testing detectors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.protocols.sequences import Sequences
from pose_extraction.errors import AnnotationError, UsageError, counted
from pose_extraction.formats.clip_times import rate_of
from pose_extraction.formats.foreign import read_converted
from pose_extraction.formats.validation import clip_identifier
from recognition.data.clip_checks import numbers_as_names
from recognition.data.clips import ClipSet
from recognition.protocols.actions import read_actions
from recognition.protocols.detection import Action


@dataclass(frozen=True)
class LabelledSequences:
    """Sequences whose actions are known.

    Args:
        clips: The skeleton file.
        training: int64, indices of the sequences for training.
        test: int64, indices of the sequences for testing.
        actions: Actions of each sequence, by its name.
        label_names: K class names; numbers if the file has no names.
        frame_seconds: Duration of a frame in seconds; None if it is unknown or differs between sequences.
    """

    clips: ClipSet
    training: np.ndarray
    test: np.ndarray
    actions: dict[str, list[Action]]
    label_names: Sequence[str]
    frame_seconds: float | None

    @property
    def num_classes(self) -> int:
        """Number of classes K, without the background."""
        return len(self.label_names)

    def actions_of(self, index: int) -> list[Action]:
        """Return the actions of the sequence with this index."""
        return self.actions[self.clips.names[index]]


def read_labelled_sequences(sequences: Sequences, tell: Callable[[str], None]) -> LabelledSequences:
    """Read the actions of sequences from their skeleton file.

    Args:
        sequences: The sequences.
        tell: Receives messages about skipped sequences.

    Raises:
        UsageError: The file contains no actions, or a split has no usable sequence.
        AnnotationError: The actions of a sequence are malformed, and malformed clips are not to be skipped.
    """
    clips = sequences.clips
    annotations = read_converted(clips.path)["annotations"]
    actions = _read_actions(clips, annotations, skip_bad=sequences.skip_bad, tell=tell)
    if not any(actions.values()):
        raise UsageError(
            f"{clips.path}: contains no actions within its clips; create such a file with "
            "`skelpipe convert pkummd FOLDER --untrimmed`"
        )
    training, test = (
        np.array([index for index in part if clips.names[index] in actions], np.int64)
        for part in (sequences.training, sequences.test)
    )
    if not len(training) or not len(test):
        raise UsageError(f"{clips.path}: a split has no usable clips; fix the clips that were skipped")
    largest = max(action.label for own in actions.values() for action in own)
    label_names = clips.label_names if clips.names_given else numbers_as_names(largest + 1)
    return LabelledSequences(clips, training, test, actions, label_names, _frame_seconds(annotations))


def _read_actions(
    clips: ClipSet, annotations: Sequence[dict[str, Any]], *, skip_bad: bool, tell: Callable[[str], None]
) -> dict[str, list[Action]]:
    """Return the actions of each usable sequence, by its name; with `skip_bad`, malformed ones are only reported."""
    names = clips.label_names if clips.names_given else None
    indices = {name: index for index, name in enumerate(clips.names)}
    found: dict[str, list[Action]] = {}
    bad: list[str] = []
    for position, annotation in enumerate(annotations):
        try:
            name = clip_identifier(annotation, position, clips.path)
        except AnnotationError:
            # Skipped and reported when the file was opened.
            continue
        if name not in indices:
            continue
        frames = int(clips.lengths[indices[name]])
        try:
            found[name] = read_actions(annotation, name, clips.path, num_frames=frames, label_names=names)
        except AnnotationError as error:
            if not skip_bad:
                raise AnnotationError(f"{error}, or skip the clip (--skip-bad)") from error
            bad.append(str(error))
    if bad:
        tell(f"skipped {counted(len(bad), 'clip')} with malformed actions; the first: {bad[0]}")
    return found


def _frame_seconds(annotations: Sequence[dict[str, Any]]) -> float | None:
    """Return the duration of a frame in seconds if it is the same in all clips; else None."""
    rates = {rate_of(clip) for clip in annotations} - {None}
    (rate,) = rates if len(rates) == 1 else (None,)
    return None if rate is None else 1 / rate
