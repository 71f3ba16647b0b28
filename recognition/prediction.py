"""What a trained recognizer takes clips for, labelled or not, and whether it can be asked at all."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pose_extraction.errors import UsageError
from recognition.clips import ClipSet, open_clips
from recognition.dataset import SkeletonDataset, layout_of_model
from recognition.inference import scores_of
from recognition.settings import DataSettings

if TYPE_CHECKING:
    from recognition.protocols.detector import Detector
    from recognition.runs import Trained

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one clip is taken for.

    Args:
        name: The clip's id.
        best: Up to five names of classes with their probabilities, the likeliest first; empty where nothing can be
            said of the clip.
        reason: Why nothing can be said; None where something is.
    """

    name: str
    best: tuple[tuple[str, float], ...]
    reason: str | None = None


def clips_for(
    trained: "Trained | Detector", path: Path, *, skip_bad: bool = False, keypoint_files: Path | None = None
) -> ClipSet:
    """Opens a skeleton file for a recognizer, and warns where its skeletons come from another estimator.

    Args:
        trained: The recognizer.
        path: A file of `skelpipe extract` or of PYSKL.
        skip_bad: Whether malformed clips are left out, and named in `left_out`. Clips in which nobody was found are so
            always.
        keypoint_files: Folder of Kinetics-400's keypoint files; None for that of the run.

    Raises:
        AnnotationError: The file is malformed, or without `skip_bad` a clip.
        UsageError: Its joints are not those that the recognizer was trained on.
    """
    folder = str(keypoint_files) if keypoint_files is not None else trained.settings.data.keypoint_files
    changes = {"skip_bad": skip_bad, "group_pattern": None, "keypoint_files": folder}
    clips = open_clips(path, trained.settings.data.model_copy(update=changes), leave_out_empty=True)
    check_layout(trained, clips)
    if trained.estimator and clips.estimator and trained.estimator != clips.estimator:
        log.warning(
            "%s holds skeletons of %s, but %s was trained on those of %s; expect it to be less accurate",
            path,
            clips.estimator,
            trained.path,
            trained.estimator,
        )
    return clips


def check_layout(trained: "Trained | Detector", clips: ClipSet) -> None:
    """Refuses skeletons whose joints are not those that a recognizer was trained on.

    Raises:
        UsageError: They are not, and cannot be turned into them.
    """
    settings: DataSettings = trained.settings.data
    try:
        fits = layout_of_model(clips, settings).name == trained.layout
    except UsageError:
        fits = False
    if fits and trained.dimensions not in (None, clips.dimensions):
        raise UsageError(
            f"{clips.path}: has joints in {clips.dimensions}D, but {trained.path} was trained on joints in "
            f"{trained.dimensions}D; give it skeletons of that kind, or train a recognizer on skeletons like these"
        )
    if not fits:
        raise UsageError(
            f"{clips.path}: has joints as in {clips.layout.name}, but {trained.path} was trained on {trained.layout}; "
            "give it skeletons of that layout, or train a recognizer on skeletons like these"
        )


def predict_clips(
    trained: "Trained",
    clips: ClipSet,
    indices: np.ndarray | Sequence[int],
    *,
    count: int = 5,
    device: str = "auto",
    batch_size: int | None = None,
    precision: str = "auto",
    backend: str = "auto",
    progress: Callable[[int], None] | None = None,
) -> list[Prediction]:
    """The likeliest classes of each clip.

    Args:
        trained: The recognizer.
        clips: A skeleton file that fits it, of `clips_for`.
        indices: Which clips.
        count: Classes to tell.
        device: As for `scores_of`, like the four that follow.
        batch_size: Clips at once.
        precision: Of the arithmetic.
        backend: What runs the network.
        progress: Told the number of clips of every batch.

    Returns:
        One for each of `indices`, in their order. A clip in which nobody is seen has a reason in place of classes.

    Raises:
        BackendError: Device, backend and precision do not go together on this machine.
    """
    chosen = np.asarray(indices, np.int64)
    seen = with_someone(clips, chosen)
    result = [Prediction(clips.names[index], (), "nobody is seen in any frame") for index in chosen]
    if not seen.any():
        return result
    dataset = SkeletonDataset(clips, chosen[seen], trained.settings.data, train=False)
    scores = scores_of(
        trained,
        dataset,
        device=device,
        batch_size=batch_size,
        precision=precision,
        backend=backend,
        progress=progress,
    )
    best = np.argsort(-scores.probabilities, axis=1, kind="stable")[:, :count]
    for row, place in enumerate(np.flatnonzero(seen)):
        pairs = tuple((trained.label_names[k], float(scores.probabilities[row, k])) for k in best[row])
        result[place] = Prediction(scores.names[row], pairs)
    return result


def with_someone(clips: ClipSet, indices: np.ndarray) -> np.ndarray:
    """bool (N,), which clips have a joint that was seen.

    A threshold on scores can leave nobody in a clip that the file's own check passes.
    """
    return np.array([(clips[int(index)].score > 0).any() for index in indices], bool)
