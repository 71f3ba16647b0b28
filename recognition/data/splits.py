"""Which clips of a skeleton file are for training, for validation and for testing: for all commands."""

import re

import numpy as np

from pose_extraction.errors import UsageError
from pose_extraction.formats.annotations import ALL_CLIPS, UNLABELLED
from recognition.data.clip import LeftOut
from recognition.data.clips import ClipSet
from recognition.data.holdout import held_out_clips, held_out_groups
from recognition.settings import DataSettings

# Names of the test split that belongs to a training split, the most likely first.
TEST_WORDS = ("test", "val", "valid", "validation", "eval")

# With data.holdout=auto: the share that is held out, and the number of clips from which on.
AUTO_HOLDOUT, FEWEST_TO_HOLD_OUT = 0.1, 200


def split_indices(clips: ClipSet, name: str | None) -> np.ndarray:
    """Return the indices of a split's clips in ascending order, with or without labels.

    Args:
        clips: The skeleton file.
        name: Name of the split. `all` selects the split with that name if there is one, otherwise every clip; None
            always selects every clip.

    Raises:
        UsageError: The split does not exist or is empty.
    """
    if _is_every_clip(clips, name):
        return np.arange(len(clips))
    assert name is not None
    if name not in clips.splits:
        known = ", ".join(repr(split) for split in clips.splits) or "no splits at all"
        raise UsageError(f"{clips.path}: there is no split {name!r}; the file has {known}")
    if not len(clips.splits[name]):
        raise UsageError(f"{clips.path}: split {name!r} has no usable clips; choose another")
    return clips.splits[name]


def left_out_of(clips: ClipSet, name: str | None) -> list[LeftOut]:
    """Return the clips of a split that were left out when the file was read; `name` as in `split_indices`."""
    return [clip for clip in clips.left_out if _is_every_clip(clips, name) or name in clip.splits]


def _is_every_clip(clips: ClipSet, name: str | None) -> bool:
    return name is None or (name == ALL_CLIPS and name not in clips.splits)


def training_split(clips: ClipSet, settings: DataSettings) -> str | None:
    """Return the name of the training split; None for every clip of a file without splits.

    Raises:
        UsageError: "auto" is ambiguous: not exactly one name ends in "train", and there is no split of all clips alone.
    """
    if settings.train_split != "auto":
        return settings.train_split
    if not clips.splits:
        return None
    if list(clips.splits) == [ALL_CLIPS]:
        return ALL_CLIPS
    ending = splits_for_training(clips)
    if len(ending) == 1:
        return ending[0]
    choice = ", ".join(map(repr, ending or clips.splits))
    raise UsageError(
        f"{clips.path}: cannot tell which of the splits {choice} is for training; choose one with --split "
        "(--train-split in `evaluate --protocol`)"
    )


def splits_for_training(clips: ClipSet) -> list[str]:
    """Return the names of all splits that end in "train"."""
    return [name for name in clips.splits if name.lower().endswith("train")]


def training_indices(clips: ClipSet, settings: DataSettings) -> np.ndarray:
    """Return the indices of the labelled training clips, int64, in ascending order.

    Raises:
        UsageError: `train_split` does not exist, "auto" is ambiguous, or no clip of the split has a label.
    """
    indices = split_indices(clips, training_split(clips, settings))
    labelled = indices[clips.labels[indices] != UNLABELLED]
    if not len(labelled):
        raise UsageError(f"{clips.path}: no training clip has a label; add labels with `skelpipe label`")
    return labelled


def matching_test_split(clips: ClipSet, settings: DataSettings, *, labelled: bool = True) -> str:
    """Return the test split that matches the training split, such as xsub_val for xsub_train.

    Args:
        clips: The skeleton file.
        settings: Data settings of the run.
        labelled: Whether only the labelled clips of the training split were used for training.

    Raises:
        UsageError: The match is ambiguous, or there is none.
    """
    if not clips.splits or set(clips.splits) == {ALL_CLIPS}:
        return ALL_CLIPS
    known = ", ".join(repr(name) for name in clips.splits)
    try:
        if labelled:
            trained_indices = training_indices(clips, settings)
        else:
            trained_indices = split_indices(clips, training_split(clips, settings))
    except UsageError as error:
        # The file is not that of the run; it may contain a single split.
        if len(clips.splits) == 1:
            return next(iter(clips.splits))
        raise UsageError(
            f"{clips.path}: cannot tell which of the splits {known} to use; choose one with --split"
        ) from error
    # Find the training split by its clips, because the setting may be "auto".
    training = [name for name, indices in clips.splits.items() if np.isin(trained_indices, indices).all()]
    named = [name for name in training if "train" in name.lower()] or training
    for word in TEST_WORDS:
        for name in named:
            other = re.sub("train", word, name, flags=re.IGNORECASE)
            if other != name and other in clips.splits and other != settings.holdout_split:
                return other
    rest = [name for name in clips.splits if name not in (*training, settings.holdout_split)]
    if len(rest) == 1:
        return rest[0]
    raise UsageError(f"{clips.path}: cannot tell which of the splits {known} to use; choose one with --split")


def hold_out(clips: ClipSet, indices: np.ndarray, settings: DataSettings, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide clips into training clips and held-out clips for choosing the best epoch. Groups are not divided.

    Args:
        clips: The skeleton file.
        indices: int (N,), indices of the labelled clips.
        settings: `holdout_split` names the held-out part. Without it, about `holdout` of the clips are drawn: whole
            groups if there are any (a clip without a group is a group of its own), in proportion to the sizes of the
            classes. Every class keeps some training clips.
        seed: Random seed.

    Returns:
        Indices of training clips and of held-out clips, in ascending order. No clip is held out if `holdout` is 0, or
        if that would remove all clips of a class.

    Raises:
        UsageError: `holdout_split` leaves one of the two parts empty.
    """
    if settings.holdout_split is not None:
        held = split_indices(clips, settings.holdout_split)
        held = held[clips.labels[held] != UNLABELLED]
        rest = np.setdiff1d(indices, held)
        if not len(rest) or not len(held):
            raise UsageError(
                f"{clips.path}: holding out split {settings.holdout_split!r} leaves {len(rest)} clips for training and "
                f"{len(held)} labelled clips to choose the best epoch; set another data.holdout_split"
            )
        return rest, held
    share = settings.holdout
    if share == "auto":
        share = AUTO_HOLDOUT if len(indices) >= FEWEST_TO_HOLD_OUT else 0.0
    if share == 0:
        return indices, indices[:0]
    labels, rng = clips.labels[indices], np.random.default_rng(seed)
    names = [clips.groups[index] for index in indices]
    if any(name is not None for name in names):
        alone = [("group", name) if name is not None else ("clip", str(place)) for place, name in enumerate(names)]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(alone))}
        groups = np.array([numbers[name] for name in alone])
        chosen = held_out_groups(labels, groups, share, rng)
    else:
        chosen = held_out_clips(labels, share, rng)
    return indices[~chosen], indices[chosen]
