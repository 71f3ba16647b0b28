"""Repeated predictions of a trained recognizer for clips in memory, such as single persons or time windows.

The network is prepared once, whereas `inference.scores_of`, which processes whole files, prepares it in every call.
"""

from collections.abc import Sequence

import numpy as np

from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from pose_extraction.skeleton import LAYOUTS, Skeleton, layout_by_shape
from recognition.data.batches import Batch, as_batch
from recognition.data.clip import Clip, ClipFormat, clip_from_arrays, refuse_other_units
from recognition.data.clip_transforms import ClipTransforms, first_persons
from recognition.data.legacy_reader import LegacyReader
from recognition.inference.answers import answers
from recognition.inference.clip_networks import ClipNetwork, resolve_clip_engine, steady_network_for
from recognition.inference.clip_predictor import Classified, best_of, frames_seen
from recognition.inference.explanation import Explanation, explain
from recognition.inference.skeleton_clips import check_layout
from recognition.inference.trained_network import DescribedRun, TrainedNetwork
from recognition.recognizer import Recognizer


class Predictor:
    """A recognizer that is ready for predictions on clips in memory.

    Args:
        trained: The recognizer; not modified.
        engine: See `scores_of`.
        layout: Joint layout of the clips; None for that of the recognizer's training skeletons.
        dimensions: Coordinates per joint, 2 or 3; None for those of the training skeletons.

    Raises:
        BackendError: Device, backend and precision cannot be combined on this machine.
        UsageError: The joints do not support the recognizer's settings.
    """

    def __init__(
        self,
        trained: TrainedNetwork,
        engine: Engine | None = None,
        *,
        layout: Skeleton | None = None,
        dimensions: int | None = None,
    ) -> None:
        self.trained: TrainedNetwork = trained
        self.engine = resolve_clip_engine(engine or Engine())
        assert self.engine.batch_size is not None
        self._batch_size = self.engine.batch_size
        if layout is None or dimensions is None:
            usual = input_format(trained)
            layout, dimensions = layout or usual.layout, dimensions or usual.dimensions
        self.format = ClipFormat(trained.path, layout, dimensions)
        check_layout(trained, self.format)
        self._transforms = ClipTransforms(self.format, trained.settings.data)
        self._network: ClipNetwork | None = None

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
            self._network = steady_network_for(self._recognizer, self.engine)

    def __call__(
        self,
        keypoint: np.ndarray,
        score: np.ndarray | None = None,
        size: tuple[int, int] | None = None,
        time: np.ndarray | None = None,
    ) -> tuple[tuple[str, ...], np.ndarray, float]:
        """Classify one clip that is given as arrays.

        Args:
            keypoint: (M, T, V, D), or (T, V, D) for one person; D = 2 in pixels or D = 3 in any unit. NaN where a joint
                was not seen.
            score: (M, T, V), or (T, V), in [0, 1]; None: 1 where a joint was seen.
            size: (height, width) of the frame in pixels; required in 2D, unused in 3D.
            time: (T,), times of the frames in seconds; None if they are not known.

        Returns:
            Names of the K classes and their probabilities, float32 (K,), the most probable first; the unknown score.

        Raises:
            UsageError: The arrays do not match each other or the recognizer, or no joint was seen.
            WeightsError: The output of the network is not finite.
        """
        clip = clip_from_arrays(keypoint, score, size, time=time)
        joints, dimensions = clip.keypoint.shape[2:]
        if (joints, dimensions) != (self.format.layout.num_joints, self.format.dimensions):
            flat = dimensions > self.format.dimensions
            hint = "; pass x and y only, and a third number that is a score as `score`" if flat else ""
            raise UsageError(
                f"keypoint has {joints} joints in {dimensions}D, but {self.trained.path} requires "
                f"{self.format.layout.num_joints} ({self.format.layout.name}) in {self.format.dimensions}D{hint}"
            )
        refuse_other_units(clip)
        if not frames_seen(clip.score, self.threshold):
            raise UsageError(f"no joint of the clip has a score above {self.threshold:g}, so nothing can be classified")
        found = self.classify([clip])
        (probabilities,), (unknown,) = found.probabilities, found.unknown.tolist()
        order = np.argsort(-probabilities, kind="stable")
        return tuple(self.trained.label_names[number] for number in order), probabilities[order], unknown

    def classify(self, clips: Sequence[Clip]) -> Classified:
        """Classify N clips; the result of each is the same, to the last bit, whatever the others are.

        Args:
            clips: In each, at least one joint was seen.

        Raises:
            WeightsError: The output of the network is not finite.
        """
        self.prepare()
        assert self._network is not None
        movement = self._recognizer.movement
        probabilities = np.zeros((len(clips), len(self.trained.label_names)), np.float32)
        unknown = np.zeros(len(clips))
        # Group clips of similar length to keep padding small.
        frames = np.array([clip.num_frames for clip in clips], np.int64)
        lengths = self._transforms.lengths(frames, np.array([np.ptp(clip.seconds) for clip in clips]))
        order = np.argsort(lengths, kind="stable")
        for first in range(0, len(order), self._batch_size):
            rows = order[first : first + self._batch_size]
            batch = self._batch_of([clips[row] for row in rows])
            features, logits = self._network(batch)
            probabilities[rows], unknown[rows] = answers(self.trained, movement, batch, features, logits)
        return Classified(probabilities, unknown)

    def classify_frames(self, clips: Sequence[Clip]) -> list[Classified]:
        """Return the results of each clip: one per frame (N = T), or one for the whole clip (N = 1)."""
        return self.classify(clips).rows()

    def explanations(self, clips: Sequence[Clip]) -> list[Explanation]:
        """Return the importance of each joint of each clip; see `explain`."""
        return [
            explain(self._recognizer, clip.above(self.threshold), self._network_input(clip), self._transforms)
            for clip in clips
        ]

    def persons_used(self, clip: Clip) -> np.ndarray:
        """Return the indices of the persons that the network uses: the first ones with a joint that was seen; int64."""
        score = np.where(clip.score > self.threshold, clip.score, 0)
        return first_persons(score, self.trained.settings.data.max_persons)

    def best(self, probabilities: np.ndarray, count: int = 5) -> tuple[tuple[str, float], ...]:
        """Return the most probable classes of one clip (K,) as (name, probability), the most probable first."""
        return best_of(self.trained.label_names, probabilities, count)

    def _batch_of(self, clips: Sequence[Clip]) -> Batch:
        described = None
        if self.trained.settings.data.descriptors:
            described = [self._transforms.descriptor(clip.above(self.threshold)) for clip in clips]
        names = [clip.name for clip in clips]
        return as_batch([self._network_input(clip) for clip in clips], names=names, descriptors=described)

    def _network_input(self, clip: Clip) -> np.ndarray:
        """Return a clip as the network sees it, float32 (M, T, V, 3)."""
        settings = self.trained.settings.data
        if settings.legacy:
            reader = LegacyReader(self.format, np.array([clip.num_frames]), settings, train=False)
            return reader.read(clip.keypoint, clip.score, clip.size, 0, None)
        return self._transforms(clip.above(self.threshold))


def input_format(trained: DescribedRun) -> ClipFormat:
    """Return the format of a recognizer's training skeletons, before their conversion to the network's layout."""
    dimensions, network_layout = trained.dimensions or 2, trained.layout
    if network_layout in LAYOUTS:
        joints = LAYOUTS[network_layout].num_joints
    else:
        # See `layout_by_shape`.
        joints = int(network_layout.removeprefix("joints"))
    # As when reading a file: h36m17 in 2D is converted from coco17, unless the file's layout was specified.
    layout = LAYOUTS.get(trained.settings.data.layout) or layout_by_shape(joints, dimensions)
    return ClipFormat(trained.path, layout, dimensions)
