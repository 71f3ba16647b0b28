"""Data set of clips after all transforms, with new random draws at every access, and their collation to batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from pose_extraction.errors import UsageError
from pose_extraction.skeleton import COCO17, H36M17, NTU25, Skeleton
from recognition.data.batches import Batch
from recognition.data.clips import Clip, ClipSet
from recognition.data.legacy_reader import LegacyReader
from recognition.data.perturbations import Perturbation, generator_of, without
from recognition.data.transforms import (
    coco_to_h36m,
    crop_scale,
    flip,
    follow_two,
    middle_part,
    random_move,
    random_part,
    random_shear,
    random_turn,
    resample_linear,
    sample_frames,
    to_aligned,
    to_body,
    to_camera,
    to_first_frame,
    to_frame,
)
from recognition.settings import DataSettings

AUTO_FLIP = 0.5
# Joints of NTU25 that define the placement in 3D: spine_middle; spine_base to spine_middle; right to left shoulder.
MIDDLE, UPWARDS, ACROSS = 1, (0, 1), (8, 4)
# Replacement of the coordinates (0, 0, 0) of a joint that was seen, because they mark joints that were not.
BESIDE_ORIGIN = np.float32(1e-6)
# Position of the repeat count in the number of a draw; the bits below hold the epoch.
REPEAT_BITS = 32


def repeated(epoch: int, times: int) -> int:
    """Return the number of the draw for a clip that has already occurred `times` times in an epoch; always unique."""
    return epoch + (times << REPEAT_BITS)


@dataclass(frozen=True)
class Sample:
    """One clip as input of the network.

    Args:
        keypoint: float32 (M, T, V, 3) of the persons that are present: x, y after `crop_scale` and the score, or x, y,
            z. All zero where a joint was not seen, and nowhere else.
        label: Class number; -1 for unlabelled clips.
        index: Index of the clip in its file; beyond the last index for repeats within an epoch (`repeated`).
        name: The clip's id.
    """

    keypoint: np.ndarray
    label: int
    index: int
    name: str


def layout_of_model(clips: ClipSet, settings: DataSettings) -> Skeleton:
    """Return the joint layout that the network sees.

    Args:
        clips: The skeleton file.
        settings: `model_layout` and `legacy` are used.

    Raises:
        UsageError: The file's joints cannot be converted to `model_layout`.
    """
    is_coco = clips.layout.name == COCO17.name and clips.dimensions == 2
    if settings.legacy:
        if not is_coco or settings.model_layout not in ("auto", H36M17.name):
            raise UsageError(
                f"{clips.path}: data.legacy reads coco17 in 2D as h36m17, not {clips.layout.name} in "
                f"{clips.dimensions}D as {settings.model_layout}; set data.legacy=false"
            )
        return H36M17
    wanted = settings.model_layout
    if wanted in ("auto", clips.layout.name):
        return clips.layout
    if wanted == H36M17.name and is_coco:
        return H36M17
    raise UsageError(
        f"{clips.path}: data.model_layout={wanted!r} cannot be derived from {clips.layout.name} in "
        f"{clips.dimensions}D; h36m17 requires coco17 in 2D, and all other layouts are used unchanged (auto)"
    )


def flip_probability(settings: DataSettings, layout: Skeleton) -> float:
    """Return the probability of mirroring a clip in training, in [0, 1].

    Args:
        settings: `flip` and `legacy` are used.
        layout: Joint layout that the network sees.

    Raises:
        UsageError: Mirroring is enabled, but the layout does not define left and right joints.
    """
    if settings.flip == "auto":
        return AUTO_FLIP if layout.flip_pairs and not settings.legacy else 0.0
    if settings.flip > 0 and not layout.flip_pairs:
        raise UsageError(
            f"data.flip={settings.flip}: layout {layout.name} does not define left and right joints; set "
            "data.flip=0, or name the layout with data.layout"
        )
    return settings.flip


def check_placement(clips: ClipSet, settings: DataSettings) -> None:
    """Refuse placements and rotations that the joints of a file do not support.

    Args:
        clips: The skeleton file.
        settings: `placement` and `rotation` are used.

    Raises:
        UsageError: The file's joints do not support them.
    """
    if settings.placement == "frame":
        if clips.dimensions != 2:
            raise UsageError(f"{clips.path}: data.placement=frame requires 2D joints; set data.placement=box")
    elif settings.placement != "box" and (clips.dimensions != 3 or clips.layout.name != NTU25.name):
        raise UsageError(
            f"{clips.path}: data.placement={settings.placement} requires {NTU25.name} in 3D, but this file has "
            f"{clips.layout.name} in {clips.dimensions}D; set data.placement=box"
        )
    if settings.rotation > 0 and clips.dimensions != 3:
        raise UsageError(
            f"{clips.path}: data.rotation={settings.rotation} requires 3D joints, but this file has 2D joints; set "
            "data.rotation=0, and use data.shear instead"
        )


def first_persons(score: np.ndarray, most: int) -> np.ndarray:
    """Return the indices of the first persons, at most `most`, with a joint that was seen; score is (M, T, V)."""
    return np.flatnonzero((score > 0).any(axis=(1, 2)))[:most]


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
        self.perturbation = perturbation
        self.layout = layout_of_model(clips, settings)
        self._flip = flip_probability(settings, self.layout)
        check_placement(clips, settings)
        if settings.legacy and perturbation is not None:
            raise UsageError("data.legacy: clips read in the published way cannot be perturbed; set it to false")
        if settings.legacy and settings.scores != "given":
            raise UsageError("data.legacy: the published way uses scores as they are; set data.scores=given")
        # Number of frames of every item; with own lengths, the maximum.
        self._frames = settings.max_frames if settings.num_frames == "own" else settings.num_frames
        self.lengths = np.full(len(self.indices), self._frames)
        if settings.num_frames == "own":
            self.lengths = np.minimum(clips.lengths[self.indices], self._frames)
        self._legacy = LegacyReader(clips, self.indices, settings, train=train) if settings.legacy else None

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
            keypoint = self._read(clip, rng)
        else:
            keypoint = self._legacy.read(*self.clips.stored(index), clip.size, position, rng)
        # Random masks are seeded by this index, so that a repeated clip gets a different mask.
        again = epoch >> REPEAT_BITS
        return Sample(keypoint, clip.label, index + again * len(self.clips), clip.name)

    def _read(self, clip: Clip, rng: np.random.Generator | None) -> np.ndarray:
        settings = self.settings
        there = first_persons(clip.score, settings.max_persons)
        if not len(there):
            # Nobody scores above the threshold, but the network requires a person: use one without any seen joint.
            there = np.zeros(1, np.int64)
        keypoint, score = clip.keypoint[there], clip.score[there]
        keypoint, score = self._place(keypoint, score, clip)
        keypoint, score = self._perturb("camera", keypoint, score, clip)
        if len(there) == 2 and not clip.tracked:
            keypoint, score = follow_two(keypoint, score)
        if self.layout.name != self.clips.layout.name:
            keypoint, score = coco_to_h36m(keypoint, score)
        part = self._part(score.shape[1], rng)
        # Skip parts without any person, which contain nothing to learn.
        if part is not None and (score[:, part] > 0).any():
            keypoint, score = keypoint[:, part], score[:, part]
        if settings.num_frames != "own" or score.shape[1] > self._frames:
            if settings.resample == "linear":
                keypoint, score = resample_linear(keypoint, score, self._frames)
            else:
                frames = sample_frames(score.shape[1], self._frames, rng)
                keypoint, score = keypoint[:, frames], score[:, frames]
        ratio = float(np.mean(settings.scale_range_test))
        if rng is not None:
            if self._flip > 0 and rng.random() < self._flip:
                # After `to_camera`, the centre of an upright frame is left of 0; 3D skeletons are mirrored about 0.
                middle = 0.0 if clip.size is None else clip.size[1] / max(clip.size) - 1
                keypoint, score = flip(keypoint, score, self.layout.flip_indices, middle=middle)
            if settings.random_move:
                keypoint = random_move(keypoint, rng, nodes=settings.move_nodes, translation=settings.move_translation)
            if settings.shear > 0:
                keypoint = random_shear(keypoint, settings.shear, rng)
            if settings.rotation > 0:
                keypoint = random_turn(keypoint, settings.rotation, rng)
            ratio = rng.uniform(*settings.scale_range_train)
        if settings.placement == "box":
            placed = crop_scale(keypoint, score, ratio)
        elif settings.placement == "frame" and clip.size is not None:
            placed = to_frame(keypoint, score, clip.size)
        else:
            placed = np.where((score > 0)[..., None], keypoint, np.float32(0))
        placed, score = self._perturb("model", placed, score, clip)
        # Persons that are absent from all sampled frames are dropped, but every clip keeps at least one.
        kept = np.flatnonzero((score > 0).any(axis=(1, 2)))
        if not len(kept):
            kept = np.zeros(1, np.int64)
        placed, score = placed[kept], score[kept]
        if clip.size is None:
            placed[(score > 0) & (placed == 0).all(axis=-1), 0] = BESIDE_ORIGIN
        if clip.size is None:
            return placed
        told = np.clip(score, 0, 1) if settings.scores == "given" else (score > 0).astype(np.float32)
        return np.concatenate([placed, told[..., None]], axis=-1)

    def _place(self, keypoint: np.ndarray, score: np.ndarray, clip: Clip) -> tuple[np.ndarray, np.ndarray]:
        """Transform positions according to `data.placement`, before random augmentation."""
        if clip.size is not None:
            return to_camera(keypoint, clip.size), score
        if self.settings.placement == "first_frame":
            return to_first_frame(keypoint, MIDDLE), score
        if self.settings.placement == "aligned":
            return to_aligned(keypoint, score, joint=MIDDLE, upwards=UPWARDS, across=ACROSS)
        return to_body(keypoint), score

    def _part(self, length: int, rng: np.random.Generator | None) -> slice | None:
        """Return the frames to use; None for all."""
        settings = self.settings
        if rng is None:
            return (
                middle_part(length, settings.part_test, fewest=settings.part_min_frames)
                if settings.part_test < 1
                else None
            )
        if settings.part_range_train[0] == 1:
            return None
        return random_part(length, settings.part_range_train, rng, fewest=settings.part_min_frames)

    def _perturb(
        self, space: str, keypoint: np.ndarray, score: np.ndarray, clip: Clip
    ) -> tuple[np.ndarray, np.ndarray]:
        if self.perturbation is None or self.perturbation.space != space:
            return keypoint, score
        keypoint, score = self.perturbation(keypoint, score, generator_of(self.seed, clip.name), clip.size)
        if space == "model":
            return keypoint, score
        # Perturbations can lower scores. As when reading a file, joints not above the threshold count as not seen.
        return without(keypoint, score, ~(score > self.settings.score_threshold), np.nan)


def collate(samples: Sequence[Sample]) -> Batch:
    """Combine clips to a batch; persons and frames are padded to the maximum within the batch."""
    persons = max(sample.keypoint.shape[0] for sample in samples)
    frames = max(sample.keypoint.shape[1] for sample in samples)
    keypoint = torch.zeros(len(samples), persons, frames, *samples[0].keypoint.shape[2:])
    person_mask = torch.zeros(len(samples), persons, dtype=torch.bool)
    frame_mask = torch.zeros(len(samples), frames, dtype=torch.bool)
    for row, sample in enumerate(samples):
        own_persons, own_frames = sample.keypoint.shape[:2]
        keypoint[row, :own_persons, :own_frames] = torch.from_numpy(sample.keypoint)
        person_mask[row, :own_persons] = True
        frame_mask[row, :own_frames] = True
    return Batch(
        keypoint=keypoint,
        person_mask=person_mask,
        frame_mask=frame_mask,
        label=torch.tensor([sample.label for sample in samples], dtype=torch.int64),
        index=torch.tensor([sample.index for sample in samples], dtype=torch.int64),
        names=tuple(sample.name for sample in samples),
    )
