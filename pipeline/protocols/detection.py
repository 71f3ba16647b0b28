"""The detection protocol: actions with start and end in untrimmed sequences."""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.protocols.sequences import Sequences
from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.formats.validation import clip_identifier
from recognition.data.clip_checks import numbers_as_names
from recognition.data.clips import ClipSet
from recognition.data.dataset import SkeletonDataset
from recognition.protocols.actions import read_actions
from recognition.protocols.detection import Action, actions_of, frame_labels, mean_average_precisions
from recognition.protocols.detector import FILE, save_detector
from recognition.protocols.frame_classifier import fit_frames, score_sequence
from recognition.protocols.settings import ProtocolSettings
from recognition.protocols.windows import window_clips, window_settings, window_starts

if TYPE_CHECKING:
    from pipeline.protocols.recipe import Place


def _detect(
    sequences: Sequences,
    settings: ProtocolSettings,
    place: "Place",
    scratch: bool,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    pretrained, clips = sequences.pretrained, sequences.clips
    truths, label_names = _truths(clips, skip_bad=sequences.skip_bad, tell=tell)
    training, test = (
        np.array([index for index in part if clips.names[index] in truths], np.int64)
        for part in (sequences.training, sequences.test)
    )
    if not len(training) or not len(test):
        raise UsageError(f"{clips.path}: a split has no usable clips; fix the clips that were skipped")
    length = int(pretrained.settings.data.num_frames)
    chosen, classes = settings.detection, len(label_names)
    data = window_settings(pretrained.settings.data, length)
    windows = {index: window_starts(int(clips.lengths[index]), length, chosen.stride) for index in (*training, *test)}

    def set_of(indices: np.ndarray, *, train: bool) -> tuple[SkeletonDataset, list[tuple[int, int]]]:
        listed = [(int(index), start) for index in indices for start in windows[index]]
        made = window_clips(clips, listed, length=length, score_threshold=data.score_threshold)
        return SkeletonDataset(made, np.arange(len(listed)), data, train=train, seed=settings.seed), listed

    train_set, listed = set_of(training, train=True)
    labels = np.full((len(listed), length), classes, np.int64)
    for row, (index, start) in enumerate(listed):
        of_video = frame_labels(truths[clips.names[index]], int(clips.lengths[index]), classes)[start : start + length]
        labels[row, : len(of_video)] = of_video
    recipe = settings.finetune.model_copy(update={"layer_decay": 1.0}) if scratch else settings.finetune
    where: dict[str, Any] = {"device": place.device, "bf16": place.bf16}
    tell(f"{len(listed)} windows of {length} frames for training")
    classifier = fit_frames(
        copy.deepcopy(pretrained.encoder).to(place.device),
        train_set,
        labels,
        classes,
        recipe,
        seed=settings.seed,
        tell=tell,
        **where,
    )
    kept: dict[str, Any] = {}
    if not scratch:
        seconds = _frame_seconds(clips)
        if (before := pretrained.path.parent / FILE).is_file():
            tell(f"{before}: replacing an earlier detector")
        kept["detector"] = str(
            save_detector(
                pretrained,
                classifier,
                label_names,
                estimator=clips.estimator,
                extraction=clips.extraction,
                seconds=None if seconds is None else length * seconds,
            )
        )
    test_set, listed = set_of(test, train=False)
    found: list[Action] = []
    for index in test:
        places = [row for row, (owner, _) in enumerate(listed) if owner == index]
        starts = [listed[row][1] for row in places]
        scores = score_sequence(classifier, test_set, places, starts, int(clips.lengths[index]), **where)
        found += actions_of(clips.names[index], scores, smooth=chosen.smooth, fewest=chosen.fewest)
    wanted = [truth for index in test for truth in truths[clips.names[index]]]
    by_action, by_video = mean_average_precisions(found, wanted, classes, overlap=chosen.overlap)
    counts = {"clips": len(test), "actions": len(wanted), "proposals": len(found)}
    return {**counts, "mAP_a": by_action, "mAP_v": by_video, **kept}


def _frame_seconds(clips: ClipSet) -> float | None:
    """Return the duration of a frame in seconds if it is the same in all clips; else None."""
    rates = {clip.get("fps") for clip in read_pickle(clips.path)["annotations"] if clip.get("fps")}
    return 1 / float(rates.pop()) if len(rates) == 1 else None


def _truths(
    clips: ClipSet, *, skip_bad: bool, tell: Callable[[str], None]
) -> tuple[dict[str, list[Action]], list[str]]:
    """Return the actions of each sequence and the class names (numbers if the file has no names).

    Raises:
        UsageError: The file contains no actions.
        AnnotationError: The actions of a clip are malformed; with `skip_bad` the clip is skipped and reported.
    """
    names = clips.label_names if clips.names_given else None
    places = {name: index for index, name in enumerate(clips.names)}
    truths: dict[str, list[Action]] = {}
    bad: list[str] = []
    for position, annotation in enumerate(read_pickle(clips.path)["annotations"]):
        try:
            name = clip_identifier(annotation, position, clips.path)
        except AnnotationError:
            # Skipped and reported when the file was opened.
            continue
        if name not in places:
            continue
        frames = int(clips.lengths[places[name]])
        try:
            truths[name] = read_actions(annotation, name, clips.path, num_frames=frames, label_names=names)
        except AnnotationError as error:
            if not skip_bad:
                raise AnnotationError(f"{error}, or skip the clip (--skip-bad)") from error
            bad.append(str(error))
    if bad:
        tell(f"{len(bad)} clips with malformed actions are skipped; the first: {bad[0]}")
    if not any(truths.values()):
        raise UsageError(
            f"{clips.path}: contains no actions within its clips; create such a file with "
            "`skelpipe convert pkummd FOLDER --untrimmed`"
        )
    largest = max(action.label for actions in truths.values() for action in actions)
    return truths, names or numbers_as_names(largest + 1)
