"""Checks of a skeleton file's classes and splits that point out likely mistakes before a long training starts."""

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.formats.annotations import UNLABELLED
from recognition.data.clips import ClipSet
from recognition.data.splits import split_indices, splits_for_training, training_split
from recognition.settings import DataSettings

# For a training split whose name contains "train", the same name with one of these words is its counterpart.
_PARTNERS = ("test", "testing", "val", "valid", "validation", "eval")


def check_classes(clips: ClipSet) -> None:
    """Refuse a file that does not name its classes and in which fewer than half of the classes have clips.

    Without names, the number of classes follows from the largest label, so a single wrong label creates hundreds of
    empty classes.

    Args:
        clips: The skeleton file.

    Raises:
        AnnotationError: Fewer than half of the classes have clips; the message names the clip with the largest label.
    """
    num_classes = len(clips.label_names)
    left_out = [clip.label for clip in clips.left_out]
    present = len({*clips.labels.tolist(), *left_out} - {UNLABELLED})
    if clips.names_given or 2 * present >= num_classes:
        return
    largest = num_classes - 1
    names = [name for name, label in zip(clips.names, clips.labels, strict=True) if label == largest]
    names += [clip.name for clip in clips.left_out if clip.label == largest]
    culprit = f"clip {names[0]!r}" if names else "a clip that is left out,"
    raise AnnotationError(
        f"{clips.path}: {culprit} with label {largest} implies {num_classes} classes, but {num_classes - present} of "
        "them have no clips; correct the label with `skelpipe label`, or list the names of all classes in the file's "
        '"label_names"'
    )


def notes_on_classes(clips: ClipSet, training: np.ndarray) -> list[str]:
    """Return a note about classes without training clips, or an empty list.

    Args:
        clips: The skeleton file.
        training: int (N,), indices of the training clips.
    """
    num_classes = len(clips.label_names)
    missing = num_classes - len(np.unique(clips.labels[training]))
    if not missing:
        return []
    index = int(clips.labels.argmax())
    return [
        f"{missing} of {num_classes} classes have no training clips and will not be learned; the largest label is "
        f"{clips.labels[index]} (clip {clips.names[index]!r})"
    ]


def notes_on_splits(clips: ClipSet, settings: DataSettings, training: np.ndarray) -> list[str]:
    """Return notes about splits that are used for an unusual purpose, and about clips that are in two splits.

    Args:
        clips: The skeleton file.
        settings: `train_split` and `holdout_split` are used.
        training: int (N,), indices of the training clips.
    """
    trained, held = settings.train_split, settings.holdout_split
    ending = splits_for_training(clips)
    notes = []
    if trained != "auto" and _has_word(trained, "test", "val") and ending and trained not in ending:
        notes.append(
            f"training on split {trained!r}, which looks like a test split, although the file has {ending[0]!r}"
        )
    if held is not None and _has_word(held, "test"):
        notes.append(
            f"split {held!r} selects the best epoch, but it looks like a test split; results on it will be too "
            "optimistic: omit data.holdout_split, or choose another split"
        )
    split = training_split(clips, settings)
    if split is None:
        return notes
    if held is not None:
        both = np.intersect1d(split_indices(clips, split), split_indices(clips, held))
        if len(both):
            notes.append(
                f"{_clips_of(clips, both)} in both split {split!r} and split {held!r}, and held out of training"
            )
    for name in _partners(split, clips):
        both = np.intersect1d(training, clips.splits[name])
        if len(both):
            notes.append(
                f"{_clips_of(clips, both)} in both split {split!r} and split {name!r}, and used for training, so "
                f"results on {name!r} will be too optimistic; remove them from one of the two"
            )
    return notes


def _partners(trained: str, clips: ClipSet) -> list[str]:
    """Counterparts of the training split, by name: for example xsub_val for xsub_train."""
    before, train, after = trained.lower().rpartition("train")
    wanted = {f"{before}{word}{after}" for word in _PARTNERS} if train else set()
    return [name for name in clips.splits if name.lower() in wanted]


def _clips_of(clips: ClipSet, indices: np.ndarray) -> str:
    if len(indices) == 1:
        return f"clip {clips.names[indices[0]]!r} is"
    return f"{len(indices)} clips (the first: {clips.names[indices[0]]!r}) are"


def _has_word(split: str, *words: str) -> bool:
    return any(word in split.lower() for word in words)
