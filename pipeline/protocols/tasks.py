"""The clips and classes that a protocol trains and tests on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.protocols.clips import ClipSelection, check_joints, labelled_clips
from pose_extraction.errors import UsageError
from recognition.data.clip_transforms import layout_of_model
from recognition.data.clips import ClipSet, open_clips
from recognition.data.dataset import SkeletonDataset
from recognition.data.splits import training_split
from recognition.pretraining.encoder import Pretrained
from recognition.protocols.settings import ProtocolSettings
from recognition.settings import DataSettings


@dataclass(frozen=True)
class ClassificationTask:
    """An encoder and the clips that it is evaluated on.

    Args:
        pretrained: The encoder.
        settings: Recipe of its method, with the requested changes.
        clips: The skeleton file.
        training: int64, indices of labelled clips for training a classifier.
        test: int64, indices of labelled clips for testing.
        train_split: Name of the training split; None for all clips of a file without splits.
        test_split: Name of the test split.
        train_set: The training clips, with new random augmentation at every access.
        test_set: The test clips.
    """

    pretrained: Pretrained
    settings: ProtocolSettings
    clips: ClipSet
    training: np.ndarray
    test: np.ndarray
    train_split: str | None
    test_split: str
    train_set: SkeletonDataset
    test_set: SkeletonDataset

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.clips.label_names)


def classification_tasks(
    encoders: Sequence[Pretrained], recipes: Sequence[ProtocolSettings], selection: ClipSelection
) -> list[ClassificationTask]:
    """Return the evaluation tasks of the encoders: the same clips, in the splits given by the first run.

    Args:
        encoders: The encoders.
        recipes: Settings of the protocol for each encoder.
        selection: Selection of clips.

    Raises:
        AnnotationError: The file is malformed.
        UsageError: It does not fit the encoders, or they do not use the same clips.
    """
    first = _task(encoders[0], recipes[0], selection)
    same = replace(selection, split=first.test_split, train_split=first.train_split)
    tasks = [first, *(_task(one, own, same) for one, own in zip(encoders[1:], recipes[1:], strict=True))]
    for task in tasks[1:]:
        check_same_clips(first, task)
    return tasks


def _task(pretrained: Pretrained, settings: ProtocolSettings, selection: ClipSelection) -> ClassificationTask:
    data = selection.data_settings(pretrained.settings.data)
    data = data.model_copy(
        update={
            "part_range_train": settings.parts,
            "part_test": data.part_test if settings.part_test is None else settings.part_test,
        }
    )
    clips = open_clips(selection.path, data, leave_out_empty=True)
    check_joints(pretrained, clips, _layout_name(clips, data))
    training, test, test_split = labelled_clips(clips, data, selection.split)
    return ClassificationTask(
        pretrained,
        settings,
        clips,
        training,
        test,
        training_split(clips, data),
        test_split,
        SkeletonDataset(clips, training, data, train=True, seed=settings.seed),
        SkeletonDataset(clips, test, data, train=False),
    )


def _layout_name(clips: ClipSet, data: DataSettings) -> str | None:
    """Return the joint layout that a network receives; None if the file's joints cannot be converted."""
    try:
        return layout_of_model(clips, data).name
    except UsageError:
        return None


def check_same_clips(first: ClassificationTask, other: ClassificationTask) -> None:
    """Check that two encoders are evaluated on the same clips.

    Args:
        first: Task of the first encoder.
        other: Task of another encoder.

    Raises:
        UsageError: One encoder uses clips that the other does not.
    """
    for mine, theirs in ((first.training, other.training), (first.test, other.test)):
        names, others = ([task.clips.names[index] for index in part] for task, part in ((first, mine), (other, theirs)))
        if names != others:
            odd = sorted(set(names).symmetric_difference(others))
            raise UsageError(
                f"--fuse {other.pretrained.path.parent}: does not use the same clips of {first.clips.path} as "
                f"{first.pretrained.path.parent}{f', for example {odd[0]!r}' if odd else ''}; fuse runs with the same "
                "data settings"
            )
