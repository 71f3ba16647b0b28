"""Data set of clips after all transforms, with new random draws at every access, and their collation to batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from pose_extraction.errors import UsageError
from recognition.data.batches import Batch, as_batch
from recognition.data.clip_transforms import ClipTransforms
from recognition.data.clips import ClipSet
from recognition.data.legacy_reader import LegacyReader
from recognition.data.perturbations import Perturbation
from recognition.settings import DataSettings

# Position of the repeat count in the number of a draw; the bits below hold the epoch.
REPEAT_BITS = 32


def repeated(epoch: int, times: int) -> int:
    """Return the number of the draw for a clip that has already occurred `times` times in an epoch; always unique."""
    return epoch + (times << REPEAT_BITS)


@dataclass(frozen=True)
class Sample:
    """One clip as input of the network.

    Args:
        keypoint: float32 (M, T, V, C) of the persons that are present: x, y after `crop_scale` and the score, or x, y,
            z. All zero where a joint was not seen, and nowhere else.
        label: Class number; -1 for unlabelled clips.
        index: Index of the clip in its file; beyond the last index for repeats within an epoch (`repeated`).
        name: The clip's id.
        descriptor: float32 (D,), the descriptor of its movement; None if the run does not use them, and in training.
    """

    keypoint: np.ndarray
    label: int
    index: int
    name: str
    descriptor: np.ndarray | None = None


class SkeletonDataset(Dataset[Sample]):
    """Clips of a file with the transforms of a run.

    Args:
        clips: The skeleton file.
        indices: int64 (N,), indices of the data set's clips.
        settings: Settings of the transforms.
        train: Whether to apply random augmentation.
        seed: Random seed.
        perturbation: Perturbation for measuring robustness; None for none.

    Raises:
        UsageError: The file's joints do not support the settings.
    """

    def __init__(
        self,
        clips: ClipSet,
        indices: np.ndarray,
        settings: DataSettings,
        *,
        train: bool,
        seed: int = 0,
        perturbation: Perturbation | None = None,
    ) -> None:
        self.clips = clips
        self.indices = np.asarray(indices, np.int64)
        self.settings = settings
        self.train = train
        self.seed = seed
        self._transforms = ClipTransforms(clips, settings, seed=seed, perturbation=perturbation)
        self.layout = self._transforms.layout
        if settings.legacy and perturbation is not None:
            raise UsageError("data.legacy: clips read in the published way cannot be perturbed; set it to false")
        if settings.legacy and settings.scores != "given":
            raise UsageError("data.legacy: the published way uses scores as they are; set data.scores=given")
        frames = clips.lengths[self.indices]
        self.lengths = self._transforms.lengths(frames, clips.seconds[self.indices])
        self._legacy = LegacyReader(clips, frames, settings, train=train) if settings.legacy else None

    @property
    def labels(self) -> np.ndarray:
        """int64 (N,), class of each clip; -1 for unlabelled clips."""
        return self.clips.labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """Return a clip by position, or by (draw, position); the draw is the epoch or a result of `repeated`.

        Random draws depend only on the seed, the epoch and the clip, not on the process or on earlier accesses.
        """
        epoch, position = key if isinstance(key, tuple) else (0, key)
        index = int(self.indices[position])
        clip = self.clips[index]
        rng = np.random.default_rng([self.seed, epoch, index]) if self.train else None
        if self._legacy is None:
            keypoint = self._transforms(clip, rng)
        else:
            keypoint = self._legacy.read(*self.clips.stored(index), clip.size, position, rng)
        # Random masks are seeded by this index, so that a repeated clip gets a different mask.
        again = epoch >> REPEAT_BITS
        described = self.settings.descriptors and not self.train
        descriptor = self._transforms.descriptor(clip) if described else None
        return Sample(keypoint, clip.label, index + again * len(self.clips), clip.name, descriptor)


def collate(samples: Sequence[Sample]) -> Batch:
    """Combine clips to a batch; persons and frames are padded to the maximum within the batch."""
    return as_batch(
        [sample.keypoint for sample in samples],
        labels=[sample.label for sample in samples],
        indices=[sample.index for sample in samples],
        names=[sample.name for sample in samples],
        descriptors=[sample.descriptor for sample in samples if sample.descriptor is not None] or None,
    )
