"""Random stretches of sequences, whose last frames motion prediction has to predict from the first ones."""

from dataclasses import dataclass

import numpy as np
import torch

from recognition.data.batches import Batch
from recognition.data.clips import ClipSet
from recognition.data.dataset import SkeletonDataset, collate
from recognition.data.transforms.placement import FEWEST_JOINTS
from recognition.protocols.motion import centred
from recognition.protocols.windows import window_clips
from recognition.settings import DataSettings


@dataclass(frozen=True)
class Stretches:
    """A batch of stretches.

    Args:
        seen: The input frames.
        poses: float32 (N, 1 + predicted, V, D), the last input pose and those to predict, of the first person; relative
            to the centre of the last input pose, in units of its extent, NaN where unseen.
        extents: float64 (N,), extent of each last input pose, in the unit of the file.
    """

    seen: Batch
    poses: np.ndarray
    extents: np.ndarray


class StretchSampler:
    """Draws stretches from sequences; they start at random frames.

    Args:
        clips: The sequences.
        indices: int64, indices of sequences to draw from.
        data: Data settings of windows, see `window_settings`.
        seen: Number of input frames.
        predicted: Number of frames to predict.
    """

    def __init__(self, clips: ClipSet, indices: np.ndarray, data: DataSettings, *, seen: int, predicted: int) -> None:
        self.clips, self.data = clips, data
        self.seen, self.predicted = seen, predicted
        starts = {int(index): self._starts(int(index)) for index in indices}
        # First frames of the stretches of each sequence that has any.
        self.starts = {index: own for index, own in starts.items() if own}

    @property
    def length(self) -> int:
        """Frames per stretch."""
        return self.seen + self.predicted

    @property
    def indices(self) -> np.ndarray:
        """Indices of the sequences that are long enough and show a pose at the end of the input, int64."""
        return np.array(list(self.starts), np.int64)

    def _starts(self, index: int) -> list[int]:
        """Return first frames of stretches whose last input pose has enough joints to measure its extent."""
        keypoint = self.clips[index].keypoint[0]
        known = np.isfinite(keypoint).all(axis=-1).sum(axis=1) >= FEWEST_JOINTS
        return [start for start in range(len(known) - self.length + 1) if known[start + self.seen - 1]]

    def draw(self, rng: np.random.Generator, count: int) -> Stretches:
        """Draw stretches of random sequences.

        Args:
            rng: Random numbers.
            count: N, number of stretches.
        """
        return self._cut([(index, self._start(rng, index)) for index in rng.choice(self.indices, count).tolist()])

    def draw_from(self, rng: np.random.Generator, index: int) -> Stretches:
        """Draw a single stretch of one sequence.

        Args:
            rng: Random numbers.
            index: Index of the sequence.
        """
        return self._cut([(index, self._start(rng, index))])

    def _start(self, rng: np.random.Generator, index: int) -> int:
        return int(rng.choice(self.starts[index]))

    def _cut(self, origins: list[tuple[int, int]]) -> Stretches:
        clips, last = self.clips, self.seen - 1
        seen = window_clips(clips, origins, length=self.seen, score_threshold=self.data.score_threshold)
        dataset = SkeletonDataset(seen, np.arange(len(origins)), self.data, train=False)
        poses, extents = [], []
        for index, start in origins:
            moved, _, extent = centred(clips[index].keypoint[0, start : start + self.length], self.seen)
            poses.append(moved[last:])
            extents.append(extent)
        batch = collate([dataset[row] for row in range(len(origins))])
        return Stretches(batch, np.stack(poses), np.array(extents))


def flat_poses(stretches: Stretches, device: str) -> torch.Tensor:
    """Return the poses of stretches on a device, float32 (N, 1 + predicted, V * D), NaN where unseen."""
    return torch.as_tensor(stretches.poses).flatten(2).to(device)
