"""Checks of a skeleton file's classes and splits that point out likely mistakes before a long training starts."""

import numpy as np

from pose_extraction.errors import AnnotationError, counted
from pose_extraction.formats.annotations import ALL_CLIPS, UNLABELLED
from recognition.data.clips import ClipSet
from recognition.data.splits import split_indices, splits_for_training, training_split
from recognition.settings import DataSettings

# Comparison of test clips with training clips: number of frames of each, the share of joints that must be seen in them,
# the maximum deviation relative to that of the joints of a body, and the maximum number of pairs.
COMPARED_FRAMES, LEAST_SEEN = 8, 0.3
SAME_MOTION = 0.03
MOST_PAIRS = 20_000_000
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


def notes_on_labels(clips: ClipSet, settings: DataSettings, training: np.ndarray, held_out: np.ndarray) -> list[str]:
    """Return notes about unlabelled clips, and about classes with too few clips to learn from.

    Args:
        clips: The skeleton file.
        settings: `train_split` and `holdout` are used.
        training: int (N,), indices of the training clips.
        held_out: int (M,), indices of the clips that choose the best epoch.
    """
    notes = []
    candidates = split_indices(clips, training_split(clips, settings))
    unlabelled = candidates[clips.labels[candidates] == UNLABELLED]
    if len(unlabelled):
        notes.append(
            f"not used for training, because without a label: {len(unlabelled)} of {counted(len(candidates), 'clip')} "
            f"(the first: {clips.names[unlabelled[0]]!r}); label them with `skelpipe label`"
        )
    numbers, counts = np.unique(clips.labels[training], return_counts=True)
    if len(numbers) == 1:
        notes.append(
            f"all {len(training)} training clips are of one class, {clips.label_names[numbers[0]]!r}, so it will be "
            "the answer to every clip; add clips of other classes"
        )
    rare = [clips.label_names[number] for number in numbers[counts == 1]]
    if rare:
        notes.append(
            f"{_classes(rare)} a single training clip, which is hardly enough to recognise other persons; add clips"
        )
    if settings.holdout not in (0, "auto") and not len(held_out):
        notes.append(
            "no clip is held out to choose the best epoch, because a class would lose all its clips; the last epoch is "
            "the result"
        )
    return notes


def _classes(names: list[str]) -> str:
    if len(names) == 1:
        return f"class {names[0]!r} has"
    return f"{len(names)} classes ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}) have"


def notes_on_test_clips(clips: ClipSet, settings: DataSettings, training: np.ndarray) -> list[str]:
    """Return notes on what makes the results on a test split too good, or impossible.

    Args:
        clips: The skeleton file.
        settings: `train_split` and `holdout_split` are used.
        training: int (N,), indices of the training clips.
    """
    split = training_split(clips, settings)
    notes: list[str] = []
    for name in _partners(split, clips, settings) if split is not None else ():
        test = np.setdiff1d(clips.splits[name], training)
        unknown = np.setdiff1d(clips.labels[test], [*clips.labels[training], UNLABELLED])
        if len(unknown):
            first = next(index for index in test if clips.labels[index] == unknown[0])
            notes.append(
                f"{_classes([clips.label_names[number] for number in unknown])} clips in split {name!r}, but none for "
                f"training, so these are never recognised (the first: {clips.names[first]!r})"
            )
        groups = ({clips.groups[index] for index in indices} - {None} for indices in (training, test))
        shared = sorted(set.intersection(*groups), key=str)
        if shared:
            notes.append(
                f"{counted(len(shared), 'group has', 'groups have')} clips both for training and in split {name!r} "
                f"(the first: {shared[0]!r}), so its results will be too optimistic; move each group to one side"
            )
        alike = near_duplicates(clips, training, test)
        if alike:
            ours, theirs = alike[0]
            differ = "hardly differs" if len(alike) == 1 else "hardly differ"
            notes.append(
                f"{counted(len(alike), 'clip')} of split {name!r} {differ} from a training clip (the first: "
                f"{clips.names[theirs]!r} and {clips.names[ours]!r}), so its results will be too optimistic; remove "
                "them from one of the two"
            )
    return notes


def near_duplicates(clips: ClipSet, training: np.ndarray, test: np.ndarray) -> list[tuple[int, int]]:
    """Return (training clip, test clip) for each test clip that shows almost the same motion as a training clip.

    Clips are compared in eight frames, by the joints of their first person relative to the body. Nothing is compared if
    there are more than `MOST_PAIRS` pairs.

    Args:
        clips: The skeleton file.
        training: int (N,), indices.
        test: int (M,), indices.
    """
    if not len(training) or not len(test) or len(training) * len(test) > MOST_PAIRS:
        return []
    ours = np.stack([_motion(clips, int(index)) for index in training])
    found = []
    for index in test:
        motion = _motion(clips, int(index))
        if not np.isfinite(motion).all():
            continue
        error = np.mean((ours - motion) ** 2, axis=1)
        nearest = int(error.argmin())
        if error[nearest] < SAME_MOTION**2:
            found.append((int(training[nearest]), int(index)))
    return found


def _motion(clips: ClipSet, index: int) -> np.ndarray:
    """Return the joints of eight frames of the first person, centred, with deviation 1; infinite if none was seen."""
    keypoint, score = clips.stored(index)
    rows = np.linspace(0, keypoint.shape[1] - 1, COMPARED_FRAMES).round().astype(int)
    joints = np.where(score[0, rows, :, None] > 0, keypoint[0, rows].astype(np.float32), np.nan)
    seen = np.isfinite(joints).all(axis=-1)
    if seen.mean() < LEAST_SEEN:
        return np.full(joints.size, np.inf, np.float32)
    joints -= joints[seen].mean(axis=0)
    return np.nan_to_num(joints / max(float(joints[seen].std()), 1e-6)).ravel()


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
    for name in _partners(split, clips, settings):
        both = np.intersect1d(training, clips.splits[name])
        if len(both):
            notes.append(
                f"{_clips_of(clips, both)} in both split {split!r} and split {name!r}, and used for training, so "
                f"results on {name!r} will be too optimistic; remove them from one of the two"
            )
    return notes


def _partners(trained: str, clips: ClipSet, settings: DataSettings) -> list[str]:
    """Counterparts of the training split, by name: for example xsub_val for xsub_train; or the only other split."""
    before, train, after = trained.lower().rpartition("train")
    wanted = {f"{before}{word}{after}" for word in _PARTNERS} if train else set()
    partners = [name for name in clips.splits if name.lower() in wanted]
    others = [
        name
        for name in clips.splits
        if name not in (trained, settings.holdout_split, ALL_CLIPS) and "train" not in name.lower()
    ]
    return partners or (others if len(others) == 1 else [])


def _clips_of(clips: ClipSet, indices: np.ndarray) -> str:
    if len(indices) == 1:
        return f"clip {clips.names[indices[0]]!r} is"
    return f"{len(indices)} clips (the first: {clips.names[indices[0]]!r}) are"


def _has_word(split: str, *words: str) -> bool:
    return any(word in split.lower() for word in words)
