"""Predictions of a trained recognizer for the clips of a skeleton file, and the check that the two fit together."""

import logging
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from recognition.data.class_names import listed
from recognition.data.clips import ClipSet
from recognition.data.dataset import SkeletonDataset
from recognition.inference.clip_networks import resolve_clip_engine, steady_network_for
from recognition.inference.scores import scores_of
from recognition.run_names import shown

if TYPE_CHECKING:
    from recognition.runs import Trained

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Prediction for one clip.

    Args:
        name: The clip's id.
        best: Up to five (class name, probability) pairs, the most probable first; empty if there is no prediction.
        unknown: Unknown score; larger is less like the known actions. NaN if there is no prediction.
        reason: Why there is no prediction; None if there is one.
    """

    name: str
    best: tuple[tuple[str, float], ...]
    unknown: float = math.nan
    reason: str | None = None


def predict_clips(
    trained: "Trained",
    clips: ClipSet,
    indices: np.ndarray | Sequence[int],
    *,
    count: int = 5,
    engine: Engine | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Prediction]:
    """Predict the most probable classes of each clip.

    Args:
        trained: The recognizer.
        clips: A skeleton file opened with `clips_for`.
        indices: int (N,), indices of the clips.
        count: Number of classes to return per clip.
        engine: See `scores_of`.
        progress: Called with the number of clips of every batch.

    Returns:
        One prediction per index, in the same order. A clip without persons has a reason instead of classes.

    Raises:
        BackendError: Device, backend and precision cannot be combined on this machine.
    """
    chosen = np.asarray(indices, np.int64)
    seen = visible_clips(clips, chosen)
    result = [Prediction(clips.names[index], (), reason="no person is visible in any frame") for index in chosen]
    if not seen.any():
        return result
    dataset = SkeletonDataset(clips, chosen[seen], trained.settings.data, train=False)
    engine = resolve_clip_engine(engine or Engine())
    # A clip gets the same result as alone, and as in `Predictor`.
    network = steady_network_for(trained.recognizer, engine)
    scores = scores_of(trained, dataset, engine, network=network, progress=progress)
    best = np.argsort(-scores.probabilities, axis=1, kind="stable")[:, :count]
    for row, place in enumerate(np.flatnonzero(seen)):
        pairs = tuple((trained.label_names[k], float(scores.probabilities[row, k])) for k in best[row])
        result[place] = Prediction(scores.names[row], pairs, float(scores.unknown[row]))
    return result


def visible_clips(clips: ClipSet, indices: np.ndarray) -> np.ndarray:
    """Return which clips have a joint that was seen, bool (N,).

    With a score threshold, a clip that passes the checks of the file can be without any visible person.

    Args:
        clips: The skeleton file.
        indices: int (N,), indices of the clips.
    """
    return np.array([(clips[int(index)].score > 0).any() for index in indices], bool)


def matched_labels(
    clips: ClipSet, labels: np.ndarray, trained: "Trained", *, call: Mapping[str, str] | None = None
) -> np.ndarray:
    """Map labels of the file to the recognizer's class numbers, by name if the file has class names.

    Args:
        clips: The skeleton file.
        labels: int64, labels of clips as numbered in the file; -1 for none.
        trained: The recognizer.
        call: Names of the recognizer's classes by names of the file's classes, for those that differ; None if the
            command has no option for that.

    Returns:
        int64, labels as numbered in the recognizer; -1 for none.

    Raises:
        UsageError: The recognizer does not have one of the classes.
    """
    numbers = {name: number for number, name in enumerate(trained.label_names)}
    own, renamed = clips.label_names, call or {}
    unnamed = own == [str(number) for number in range(len(own))]
    translated = np.array(
        [
            number
            if unnamed and number < len(numbers) and name not in renamed
            else numbers.get(renamed.get(name, name), -1)
            for number, name in enumerate(own)
        ],
        np.int64,
    )
    unknown = [own[label] for label in np.unique(labels[labels >= 0]) if translated[label] < 0]
    if unknown:
        raise UsageError(_other_classes(clips, unknown, trained, with_call=call is not None))
    return np.where(labels >= 0, translated[labels], -1) if len(own) else labels


def _other_classes(clips: ClipSet, unknown: Sequence[str], trained: "Trained", *, with_call: bool) -> str:
    """Return the message about classes of a file that the recognizer does not have."""
    classes = ("class " if len(unknown) == 1 else "classes ") + listed([repr(name) for name in unknown])
    calling = (
        f"If the run knows these actions by other names, say so, as in --call {shlex.quote(f'{unknown[0]}=NAME')}; "
        "otherwise train"
        if with_call
        else "Train"
    )
    return (
        f"{clips.path}: contains clips of {classes}, but the classes of {shown(trained.path)} are "
        f"{listed(trained.label_names)}. {calling} the run on these classes (`skelpipe train --init`), or relabel the "
        "clips with `skelpipe label`"
    )
