"""A trained recognizer that is asked again and again: of clips in memory, of one person, of a stretch of time.

The network is made ready once; `inference.scores_of`, which is for whole files, makes it ready at every call.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pose_extraction.errors import WeightsError
from pose_extraction.skeleton import COCO17, Skeleton
from recognition.batches import Batch
from recognition.clips import ClipSet, name_of
from recognition.dataset import SkeletonDataset, collate, first_persons
from recognition.explanation import Explanation, explain
from recognition.inference import CPU_BATCH, GPU_BATCH, Network, network_for, place, softmax
from recognition.recognizer import Recognizer
from recognition.stored_joints import StoredJoints

if TYPE_CHECKING:
    from recognition.protocols.detector import Detector
    from recognition.runs import Trained

# Frames in which somebody must be seen before anything is said of what they do: fewer show a pose, not a movement.
FEWEST_FRAMES = 5


def clips_in_memory(
    annotations: Sequence[Mapping[str, Any]],
    *,
    path: Path,
    score_threshold: float,
    label_names: Sequence[str] = (),
    layout: Skeleton = COCO17,
) -> ClipSet:
    """Clips that lie in no file, as `open_clips` would give them.

    Args:
        annotations: Of `annotation_from`, or cut from such; without a label of their own.
        path: What they are of, for messages.
        score_threshold: A joint is seen when its score is above this.
        label_names: Names of the classes.
        layout: Of their joints.
    """
    joints = [StoredJoints(annotation["keypoint"], annotation["keypoint_score"]) for annotation in annotations]
    dimensions = int(joints[0].keypoint.shape[-1]) if joints else 2
    kept = [{"label": -1, **annotation} for annotation in annotations]
    return ClipSet(path, joints, kept, {}, list(label_names), layout, dimensions, score_threshold, [])


def frames_seen(keypoint_score: np.ndarray, threshold: float) -> int:
    """Number of frames in which a joint of somebody was seen, of scores (M, T, V)."""
    return int((keypoint_score > threshold).any(axis=(0, 2)).sum())


class Asker:
    """A recognizer that is ready to be asked of clips in memory.

    Args:
        trained: The recognizer; stays as it is.
        layout: Of the joints of the clips.
        device: As for `scores_of`, like the three that follow.
        batch_size: Clips at once.
        precision: Of the arithmetic.
        backend: What runs the network.

    Raises:
        BackendError: Device, backend and precision do not go together on this machine.
    """

    def __init__(
        self,
        trained: "Trained | Detector",
        *,
        layout: Skeleton = COCO17,
        device: str = "auto",
        batch_size: int | None = None,
        precision: str = "auto",
        backend: str = "auto",
    ) -> None:
        self.trained: Trained | Detector = trained
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
        """Score above which a joint counts as seen."""
        return self.trained.settings.data.score_threshold

    def prepare(self) -> None:
        """Makes the network ready now, not at the first question."""
        if self._network is None:
            self._network = network_for(self._recognizer, self.placement)

    def probabilities(self, annotations: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """float32 (N, K) of N clips in which somebody is seen.

        Args:
            annotations: See `clips_in_memory`.

        Raises:
            WeightsError: The network's output is not a number.
        """
        self.prepare()
        assert self._network is not None
        dataset = self._dataset(annotations)
        result = np.zeros((len(dataset), len(self.trained.label_names)), np.float32)
        # Clips of like length together: little padding.
        order = np.argsort(dataset.lengths, kind="stable")
        for first in range(0, len(order), self._batch_size):
            rows = order[first : first + self._batch_size]
            _, logits = self._network(self._batch(dataset, rows))
            wrong = ~np.isfinite(logits).all(axis=1)
            if wrong.any():
                name = name_of(dict(annotations[int(rows[int(wrong.argmax())])]))
                raise WeightsError(
                    f"{self.trained.path}: its output for {name} is not a number; train it again, or try "
                    "--precision fp32"
                )
            result[rows] = softmax(logits)
        return result

    def shares(self, annotations: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
        """Probabilities of each clip: of its frames, (T, K), or of all of them together, (1, K)."""
        return list(self.probabilities(annotations)[:, None])

    def explanations(self, annotations: Sequence[Mapping[str, Any]]) -> list[Explanation]:
        """How much each joint of each clip counted; see `explain`."""
        dataset = self._dataset(annotations)
        return [explain(self._recognizer, dataset, position) for position in range(len(dataset))]

    def persons_seen(self, annotation: Mapping[str, Any]) -> np.ndarray:
        """int64, which of a clip's persons the network looks at: the first in whom something is seen."""
        score = np.asarray(annotation["keypoint_score"])
        return first_persons(np.where(score > self.threshold, score, 0), self.trained.settings.data.max_persons)

    def best(self, probabilities: np.ndarray, count: int = 5) -> tuple[tuple[str, float], ...]:
        """Names and probabilities of the likeliest classes of one clip (K,), the likeliest first."""
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
