"""Occluded clips: unseen body parts, or an unseen block of frames (section 4.3 of PCM3)."""

import zlib
from typing import Literal

import numpy as np
from torch.utils.data import Dataset

from recognition.data.dataset import Sample, SkeletonDataset
from recognition.pretraining.views import body_parts

SHARES = (0.3, 0.7)


class OccludedDataset(Dataset[Sample]):
    """Clips with an occlusion that depends only on the seed and the clip's name.

    Args:
        dataset: The clips.
        kind: "spatial": body parts are unseen in all frames; "temporal": a contiguous block of frames is unseen.
        seed: Random seed.

    Raises:
        UsageError: The layout has no body parts.
    """

    def __init__(self, dataset: SkeletonDataset, kind: Literal["spatial", "temporal"], *, seed: int) -> None:
        self.dataset = dataset
        self.kind = kind
        self.seed = seed
        self.parts = body_parts(dataset.layout) if kind == "spatial" else ()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        sample = self.dataset[key]
        rng = np.random.default_rng([self.seed, zlib.crc32(sample.name.encode())])
        share = rng.uniform(*SHARES)
        keypoint = sample.keypoint.copy()
        if self.kind == "spatial":
            for part in rng.permutation(len(self.parts))[: max(1, round(share * len(self.parts)))]:
                keypoint[:, :, list(self.parts[part])] = 0
        else:
            frames = keypoint.shape[1]
            length = max(1, round(share * frames))
            start = int(rng.integers(frames - length + 1))
            keypoint[:, start : start + length] = 0
        return Sample(keypoint, sample.label, sample.index, sample.name)
