"""Protocols for frames: action detection in long sequences, and motion prediction."""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.evaluate import TEST_WORDS
from pipeline.protocol_data import Asked, check_kind, data_of, told_or_none
from pose_extraction.annotations import ALL_CLIPS, read_pickle
from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.validation import clip_identifier
from recognition.clip_checks import numbers_as_names
from recognition.clips import ClipSet, open_clips, split_indices
from recognition.dataset import SkeletonDataset, collate
from recognition.pretraining.encoder import Pretrained
from recognition.protocols.actions import read_actions
from recognition.protocols.detection import Action, actions_of, frame_labels, mean_average_precisions
from recognition.protocols.detector import FILE, save_detector
from recognition.protocols.frame_classifier import fit_frames, score_sequence
from recognition.protocols.motion import MotionDecoder, centred, fit_decoder, mean_joint_error
from recognition.protocols.settings import ProtocolSettings
from recognition.protocols.windows import window_clips, window_settings, window_starts
from recognition.transforms import FEWEST_JOINTS

if TYPE_CHECKING:
    from pipeline.protocols import Place

# Coordinates of NTU and PKU-MMD are in metres.
MILLIMETRES = 1000.0


@dataclass(frozen=True)
class Sequences:
    """An encoder and the sequences that it is evaluated on.

    Args:
        pretrained: The encoder.
        clips: The skeleton file.
        training: int64, indices of clips for training.
        test: int64, indices of clips for testing.
        test_split: Name of the test split.
        usual_split: The default test split; None if the file does not determine it.
        usual_training: The default training split; None if the file does not determine it.
        skip_bad: Whether to skip malformed clips instead of raising an error.
    """

    pretrained: Pretrained
    clips: ClipSet
    training: np.ndarray
    test: np.ndarray
    test_split: str
    usual_split: str | None
    usual_training: str | None
    skip_bad: bool


def open_sequences(pretrained: Pretrained, asked: Asked, *, tell: Callable[[str], None]) -> Sequences:
    """Read the skeleton file and report skipped clips.

    Args:
        pretrained: The encoder.
        asked: Selection of clips.
        tell: Receives messages.

    Raises:
        AnnotationError: The file is malformed.
        UsageError: Its joints are not those of the encoder, or the splits are ambiguous.
    """
    data = data_of(pretrained, asked)
    clips = open_clips(asked.path, data, leave_out_empty=True)
    check_kind(pretrained, clips, clips.layout.name)
    if clips.skipped:
        tell(f"{len(clips.skipped)} clips are skipped; the first: {clips.skipped[0]}")
    trained_on = _train_split(clips, data.train_split)
    usual = told_or_none(lambda: _test_split(clips, trained_on))
    test_split = asked.split if asked.split is not None else _test_split(clips, trained_on)
    return Sequences(
        pretrained,
        clips,
        _clips_of(clips, trained_on),
        _clips_of(clips, test_split),
        test_split,
        usual,
        told_or_none(lambda: _train_split(clips, data_of(pretrained, Asked(asked.path)).train_split)),
        data.skip_bad,
    )


def run_dense_protocol(
    name: str,
    sequences: Sequences,
    settings: ProtocolSettings,
    *,
    place: "Place",
    scratch: bool,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Run action detection or motion prediction; arguments as for `pipeline.protocols.run_protocol`.

    Raises:
        UsageError: The file lacks data that the protocol needs.
        AnnotationError: Its actions are malformed.
    """
    run = _detect if name == "detection" else _predict
    return {"split": sequences.test_split, **run(sequences, settings, place, scratch, tell)}


def _clips_of(clips: ClipSet, split: str) -> np.ndarray:
    """Return the indices of a split's clips; `all` selects every clip, unless a split has that name."""
    if split == ALL_CLIPS and split not in clips.splits:
        return np.arange(len(clips))
    return split_indices(clips, split)


def _train_split(clips: ClipSet, wanted: str) -> str:
    if wanted != "auto":
        return wanted
    ending = [name for name in clips.splits if name.lower().endswith("train")]
    if len(ending) != 1:
        known = ", ".join(map(repr, clips.splits)) or "none"
        raise UsageError(
            f"{clips.path}: cannot tell which of the splits {known} is for training; choose one with --train-split"
        )
    return ending[0]


def _test_split(clips: ClipSet, trained_on: str) -> str:
    """Return the test split that matches the training split; sequences need no label of their own."""
    named = [re.sub("train", word, trained_on, flags=re.IGNORECASE) for word in TEST_WORDS]
    rest = [name for name in clips.splits if name != trained_on]
    found = [name for name in named if name in rest] or (rest if len(rest) == 1 else [])
    if not found:
        known = ", ".join(map(repr, clips.splits))
        raise UsageError(f"{clips.path}: cannot tell which of the splits {known} to use; choose one with --split")
    return found[0]


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


def _predict(
    sequences: Sequences,
    settings: ProtocolSettings,
    place: "Place",
    scratch: bool,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    pretrained, clips, training, test = sequences.pretrained, sequences.clips, sequences.training, sequences.test
    chosen = settings.motion
    whole = chosen.seen + chosen.predicted
    starts = {int(index): _starts(clips, int(index), chosen.seen, whole) for index in (*training, *test)}
    usable = [np.array([index for index in indices if starts[int(index)]], np.int64) for indices in (training, test)]
    if min(map(len, usable)) == 0:
        raise UsageError(
            f"{clips.path}: each split needs a clip with {whole} frames and a pose at the start of the prediction; "
            "reduce motion.seen with --set"
        )
    data = window_settings(pretrained.settings.data, int(pretrained.settings.data.num_frames))
    encoder = copy.deepcopy(pretrained.encoder).to(place.device)

    def batch_of(listed: list[tuple[int, int]]) -> tuple[Any, np.ndarray, np.ndarray]:
        seen = window_clips(clips, listed, length=chosen.seen, score_threshold=data.score_threshold)
        dataset = SkeletonDataset(seen, np.arange(len(listed)), data, train=False)
        poses, extents = [], []
        for index, start in listed:
            keypoint = clips[index].keypoint[0, start : start + whole]
            moved, _, extent = centred(keypoint, chosen.seen)
            poses.append(moved[chosen.seen - 1 :])
            extents.append(extent)
        return (
            collate([dataset[row] for row in range(len(listed))]).to(place.device),
            np.stack(poses),
            np.array(extents),
        )

    def drawn(indices: np.ndarray, rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
        owners = [int(index) for index in rng.choice(indices, count)]
        return [(index, int(rng.choice(starts[index]))) for index in owners]

    def draw(rng: np.random.Generator, count: int) -> tuple[Any, torch.Tensor]:
        batch, poses, _ = batch_of(drawn(usable[0], rng, count))
        return batch, torch.as_tensor(poses).flatten(2).to(place.device)

    torch.manual_seed(settings.seed)
    values = clips.layout.num_joints * clips.dimensions
    decoder = MotionDecoder(encoder.width, values, chosen.hidden).to(place.device)
    fit_decoder(encoder, draw, decoder, chosen, seed=settings.seed, tell=tell)
    # The same stretch of each test clip for all encoders.
    rng = np.random.default_rng(settings.seed)
    told, truth, units, still = [], [], [], []
    for index in usable[1]:
        batch, poses, extents = batch_of(drawn(np.array([index]), rng, 1))
        first = torch.as_tensor(poses).flatten(2).to(place.device)
        with torch.no_grad():
            answer = decoder(encoder(batch), torch.nan_to_num(first[:, 0]), chosen.predicted)
        told.append(answer.cpu().numpy().reshape(1, chosen.predicted, *poses.shape[2:]))
        truth.append(poses[:, 1:])
        still.append(np.repeat(np.nan_to_num(poses[:, :1]), chosen.predicted, axis=1))
        units.append(extents)
    unit = np.concatenate(units) * (MILLIMETRES if clips.dimensions == 3 else 1.0)
    joined = np.concatenate(truth)
    return {
        "clips": len(joined),
        "unit": "mm" if clips.dimensions == 3 else "pixels",
        "MPJPE": mean_joint_error(np.concatenate(told), joined, unit),
        "MPJPE_of_standing_still": mean_joint_error(np.concatenate(still), joined, unit),
    }


def _starts(clips: ClipSet, index: int, seen: int, whole: int) -> list[int]:
    """Start frames of stretches with `whole` frames whose last observed frame shows enough of the first person to
    measure a body size.
    """
    keypoint = clips[index].keypoint[0]
    known = np.isfinite(keypoint).all(axis=-1).sum(axis=1) >= FEWEST_JOINTS
    return [start for start in range(len(known) - whole + 1) if known[start + seen - 1]]
