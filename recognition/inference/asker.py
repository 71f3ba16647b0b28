"""Repeated predictions of a trained recognizer for clips in memory, such as single persons or time windows.

The network is prepared once, whereas `inference.scores_of`, which processes whole files, prepares it in every call.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import WeightsError
from pose_extraction.skeleton import COCO17, Skeleton
from recognition.data.batches import Batch
from recognition.data.clips import ClipSet, name_of
from recognition.data.dataset import SkeletonDataset, collate, first_persons
from recognition.data.stored_joints import StoredJoints
from recognition.inference.answering import Answering
from recognition.inference.explanation import Explanation, explain
from recognition.inference.scores import CPU_BATCH, GPU_BATCH, Network, network_for, place, softmax
from recognition.recognizer import Recognizer

# Minimum number of frames with a person for a prediction: fewer show a pose rather than a movement.
FEWEST_FRAMES = 5


def clips_in_memory(
    annotations: Sequence[Mapping[str, Any]],
    *,
    path: Path,
    score_threshold: float,
    label_names: Sequence[str] = (),
    layout: Skeleton = COCO17,
) -> ClipSet:
    """Create a `ClipSet` from annotations in memory, equivalent to `open_clips` for a file.

    Args:
        annotations: Annotations as returned by `annotation_from`, or parts of them; without labels.
        path: Name of the source, for messages.
        score_threshold: A joint counts as seen if its score is above this, in [0, 1].
        label_names: Names of the K classes.
        layout: Joint layout of the annotations.
    """
    joints = [StoredJoints(annotation["keypoint"], annotation["keypoint_score"]) for annotation in annotations]
    dimensions = int(joints[0].keypoint.shape[-1]) if joints else 2
    kept = [{"label": -1, **annotation} for annotation in annotations]
    return ClipSet(path, joints, kept, {}, list(label_names), layout, dimensions, score_threshold, [])


def frames_seen(keypoint_score: np.ndarray, threshold: float) -> int:
    """Return the number of frames with at least one joint that was seen, given scores (M, T, V)."""
    return int((keypoint_score > threshold).any(axis=(0, 2)).sum())


class Asker:
    """A recognizer that is ready for predictions on clips in memory.

    Args:
        trained: The recognizer; not modified.
        layout: Joint layout of the clips.
        device: See `scores_of`, also for the following three.
        batch_size: Clips per batch.
        precision: Compute precision.
        backend: Library that runs the network.

    Raises:
        BackendError: Device, backend and precision cannot be combined on this machine.
    """

    def __init__(
        self,
        trained: Answering,
        *,
        layout: Skeleton = COCO17,
        device: str = "auto",
        batch_size: int | None = None,
        precision: str = "auto",
        backend: str = "auto",
    ) -> None:
        self.trained: Answering = trained
        self.layout = layout
        self.placement = place(device, backend, precision)
        self._batch_size = batch_size or (CPU_BATCH if self.placement.device == "cpu" else GPU_BATCH)
        self._network: Network | None = None

    @property
    def _recognizer(self) -> Recognizer:
        assert isinstance(self.trained.recognizer, Recognizer)
        return self.trained.recognizer

    @property
    def threshold(self) -> float:
        """Score above which a joint counts as seen, in [0, 1]."""
        return self.trained.settings.data.score_threshold

    def prepare(self) -> None:
        """Prepare the network now instead of at the first prediction."""
        if self._network is None:
            self._network = network_for(self._recognizer, self.placement)

    def probabilities(self, annotations: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Return the class probabilities of N clips, float32 (N, K).

        Args:
            annotations: See `clips_in_memory`. In each clip, at least one joint was seen.

        Raises:
            WeightsError: The output of the network is not finite.
        """
        self.prepare()
        assert self._network is not None
        dataset = self._dataset(annotations)
        result = np.zeros((len(dataset), len(self.trained.label_names)), np.float32)
        # Group clips of similar length to keep padding small.
        order = np.argsort(dataset.lengths, kind="stable")
        for first in range(0, len(order), self._batch_size):
            rows = order[first : first + self._batch_size]
            _, logits = self._network(self._batch(dataset, rows))
            wrong = ~np.isfinite(logits).all(axis=1)
            if wrong.any():
                name = name_of(dict(annotations[int(rows[int(wrong.argmax())])]))
                raise WeightsError(
                    f"{self.trained.path}: its output for {name} is not finite; train it again, or try --precision fp32"
                )
            result[rows] = softmax(logits)
        return result

    def shares(self, annotations: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
        """Return the probabilities of each clip: (T, K) per frame, or (1, K) for the whole clip."""
        return list(self.probabilities(annotations)[:, None])

    def explanations(self, annotations: Sequence[Mapping[str, Any]]) -> list[Explanation]:
        """Return the importance of each joint of each clip; see `explain`."""
        dataset = self._dataset(annotations)
        return [explain(self._recognizer, dataset, position) for position in range(len(dataset))]

    def persons_seen(self, annotation: Mapping[str, Any]) -> np.ndarray:
        """Return the indices of the persons that the network uses: the first ones with a joint that was seen; int64."""
        score = np.asarray(annotation["keypoint_score"])
        return first_persons(np.where(score > self.threshold, score, 0), self.trained.settings.data.max_persons)

    def best(self, probabilities: np.ndarray, count: int = 5) -> tuple[tuple[str, float], ...]:
        """Return the most probable classes of one clip (K,) as (name, probability), the most probable first."""
        order = np.argsort(-probabilities, kind="stable")[:count]
        return tuple((self.trained.label_names[k], float(probabilities[k])) for k in order)

    def _dataset(self, annotations: Sequence[Mapping[str, Any]]) -> SkeletonDataset:
        clips = clips_in_memory(
            annotations,
            path=self.trained.path,
            score_threshold=self.threshold,
            label_names=self.trained.label_names,
            layout=self.layout,
        )
        return SkeletonDataset(clips, np.arange(len(clips)), self.trained.settings.data, train=False)

    @staticmethod
    def _batch(dataset: SkeletonDataset, rows: np.ndarray) -> Batch:
        return collate([dataset[int(row)] for row in rows])
