"""What a skeleton file's classes and splits tell whoever trains on it, before hours are spent."""

import numpy as np

from pose_extraction.annotations import UNLABELLED
from pose_extraction.errors import AnnotationError
from recognition.clips import ClipSet, training_split
from recognition.settings import DataSettings

# What stands in a split's name where its partner for training has "train".
_PARTNERS = ("test", "testing", "val", "valid", "validation", "eval")


def check_classes(clips: ClipSet) -> None:
    """Refuses a file that does not name its classes and has clips of fewer than half of those it would get.

    Classes are then as many as the largest label says, so that one wrong label makes hundreds that nothing is of.

    Raises:
        AnnotationError: It is such a file; the message names the clip with the largest label.
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
        f"{clips.path}: {culprit} with label {largest} makes {num_classes} classes, {num_classes - present} of them "
        "without clips; correct the label with `skelpipe label`, or give the file the names of all classes as "
        '"label_names"'
    )


def notes_on_classes(clips: ClipSet, training: np.ndarray) -> list[str]:
    """A sentence on classes that nothing is trained on, if there are any."""
    num_classes = len(clips.label_names)
    missing = num_classes - len(np.unique(clips.labels[training]))
    if not missing:
        return []
    index = int(clips.labels.argmax())
    return [
        f"{missing} of {num_classes} classes have no clip to train on, so they are not learned; the largest label is "
        f"{clips.labels[index]}, of clip {clips.names[index]!r}"
    ]


def notes_on_splits(clips: ClipSet, settings: DataSettings, training: np.ndarray) -> list[str]:
    """Sentences on splits that are used for what they are not meant for, and on clips that are in two of them.

    Args:
        clips: The file.
        settings: `train_split` and `holdout_split` count here.
        training: Indices of the clips that are trained on.
    """
    trained, held = settings.train_split, settings.holdout_split
    ending = [name for name in clips.splits if name.lower().endswith("train")]
    notes = []
    if trained != "auto" and _has_word(trained, "test", "val") and ending and trained not in ending:
        notes.append(
            f"split {trained!r} is trained on, which looks like one to report on, while the file has {ending[0]!r}"
        )
    if held is not None and _has_word(held, "test"):
        notes.append(
            f"split {held!r} chooses the model, which looks like one to report on; what is measured on it will be too "
            "good: leave data.holdout_split out, or name another"
        )
    split = training_split(clips, settings)
    if split is None:
        return notes
    if held is not None:
        both = np.intersect1d(clips.splits[split], clips.splits[held])
        if len(both):
            notes.append(
                f"{_clips_of(clips, both)} in both split {split!r} and split {held!r}, and held out of training"
            )
    for name in _partners(split, clips):
        both = np.intersect1d(training, clips.splits[name])
        if len(both):
            notes.append(
                f"{_clips_of(clips, both)} in both split {split!r} and split {name!r}, and trained on, so what is "
                f"measured on {name!r} will be too good; take them out of one of the two"
            )
    return notes


def _partners(trained: str, clips: ClipSet) -> list[str]:
    """Splits that are named as the one to train on is, but for what they are for: xsub_val for xsub_train."""
    before, train, after = trained.lower().rpartition("train")
    wanted = {f"{before}{word}{after}" for word in _PARTNERS} if train else set()
    return [name for name in clips.splits if name.lower() in wanted]


def _clips_of(clips: ClipSet, indices: np.ndarray) -> str:
    if len(indices) == 1:
        return f"clip {clips.names[indices[0]]!r} is"
    return f"{len(indices)} clips, the first {clips.names[indices[0]]!r}, are"


def _has_word(split: str, *words: str) -> bool:
    return any(word in split.lower() for word in words)
