"""Clips as the network takes them: the transforms in order, drawn anew at every access, and batches of the result."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from pose_extraction.errors import UsageError
from pose_extraction.skeleton import COCO17, H36M17, NTU25, Skeleton
from recognition.batches import Batch
from recognition.clips import Clip, ClipSet
from recognition.legacy_reader import LegacyReader
from recognition.perturbations import Perturbation, generator_of, without
from recognition.settings import DataSettings
from recognition.transforms import (
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

AUTO_FLIP = 0.5
# Joints of NTU25 by which skeletons in 3D are placed: spine_middle; spine_base to it; right to left shoulder.
MIDDLE, UPWARDS, ACROSS = 1, (0, 1), (8, 4)
# Where a joint that was seen is put that falls on (0, 0, 0), which the network takes for one that was not.
BESIDE_ORIGIN = np.float32(1e-6)
# Bits of a draw's number that hold the epoch.
REPEAT_BITS = 32


def repeated(epoch: int, times: int) -> int:
    """The number of the draw of a clip that came `times` times before in an epoch: no other epoch's."""
    return epoch + (times << REPEAT_BITS)


@dataclass(frozen=True)
class Sample:
    """One clip as the network takes it.

    Args:
        keypoint: float32 (M, T, V, 3) of the persons that are there: x, y after `crop_scale` and the score, or x, y, z.
            All zero where a joint was not seen, and nowhere else.
        label: Class number, -1 for none.
        index: Place of the clip in its file; behind the last one's where it comes again in an epoch (`repeated`).
        name: Its id.
    """

    keypoint: np.ndarray
    label: int
    index: int
    name: str


def layout_of_model(clips: ClipSet, settings: DataSettings) -> Skeleton:
    """The joint layout that the network sees.

    Raises:
        UsageError: The file's joints cannot be turned into what `model_layout` asks for.
    """
    is_coco = clips.layout.name == COCO17.name and clips.dimensions == 2
    if settings.legacy:
        if not is_coco or settings.model_layout not in ("auto", H36M17.name):
            raise UsageError(
                f"{clips.path}: data.legacy reads coco17 in 2D as h36m17, and not {clips.layout.name} in "
                f"{clips.dimensions}D as {settings.model_layout}; set data.legacy=false"
            )
        return H36M17
    wanted = settings.model_layout
    if wanted in ("auto", clips.layout.name):
        return clips.layout
    if wanted == H36M17.name and is_coco:
        return H36M17
    raise UsageError(
        f"{clips.path}: data.model_layout={wanted!r} cannot be made of {clips.layout.name} in {clips.dimensions}D; "
        "h36m17 is made of coco17 in 2D, and every other layout stays as it is (auto)"
    )


def flip_probability(settings: DataSettings, layout: Skeleton) -> float:
    """How often a clip of a layout is mirrored in training.

    Raises:
        UsageError: It is asked for, and which joints are left and which right is not known.
    """
    if settings.flip == "auto":
        return AUTO_FLIP if layout.flip_pairs and not settings.legacy else 0.0
    if settings.flip > 0 and not layout.flip_pairs:
        raise UsageError(
            f"data.flip={settings.flip}: which joints of {layout.name} are left and right is not known; set "
            "data.flip=0, or name the layout with data.layout"
        )
    return settings.flip


def check_placement(clips: ClipSet, settings: DataSettings) -> None:
    """Refuses ways to place and turn persons that a file's joints do not know.

    Raises:
        UsageError: They are asked for.
    """
    if settings.placement == "frame":
        if clips.dimensions != 2:
            raise UsageError(f"{clips.path}: data.placement=frame is for joints in 2D; set data.placement=box")
    elif settings.placement != "box" and (clips.dimensions != 3 or clips.layout.name != NTU25.name):
        raise UsageError(
            f"{clips.path}: data.placement={settings.placement} is for {NTU25.name} in 3D, and this file has "
            f"{clips.layout.name} in {clips.dimensions}D; set data.placement=box"
        )
    if settings.rotation > 0 and clips.dimensions != 3:
        raise UsageError(
            f"{clips.path}: data.rotation={settings.rotation} turns joints in 3D, and this file's are in 2D; set "
            "data.rotation=0, and data.shear for the variety"
        )


def first_persons(score: np.ndarray, most: int) -> np.ndarray:
    """int64 numbers of the first persons, up to `most`, of whom something was seen, of scores (M, T, V)."""
    return np.flatnonzero((score > 0).any(axis=(1, 2)))[:most]


class SkeletonDataset(Dataset[Sample]):
    """Clips of a file under the transforms of a run.

    Args:
        clips: The file.
        indices: int64 (N,) which of its clips.
        settings: What becomes of them.
        train: Whether transforms are drawn at random.
        seed: Of what is drawn.
        perturbation: Disturbance to measure robustness with.

    Raises:
        UsageError: The settings ask for what cannot be had of the file's joints.
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
            raise UsageError("data.legacy: clips read the published way cannot be perturbed; set it to false")
        if settings.legacy and settings.scores != "given":
            raise UsageError("data.legacy: the published way reads scores as they are; set data.scores=given")
        # Frames of every item; with own lengths, the most that one has.
        self._frames = settings.max_frames if settings.num_frames == "own" else settings.num_frames
        self.lengths = np.full(len(self.indices), self._frames)
        if settings.num_frames == "own":
            self.lengths = np.minimum(clips.lengths[self.indices], self._frames)
        self._legacy = LegacyReader(clips, self.indices, settings, train=train) if settings.legacy else None

    @property
    def labels(self) -> np.ndarray:
        """int64 (N,) class of each clip, -1 for none."""
        return self.clips.labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """A clip by its position, or by (draw, position), the draw being the epoch or what `repeated` makes of it.

        What is drawn depends on the seed, the epoch and the clip alone: not on the process that reads it, nor on what
        was read before.
        """
        epoch, position = key if isinstance(key, tuple) else (0, key)
        index = int(self.indices[position])
        clip = self.clips[index]
        rng = np.random.default_rng([self.seed, epoch, index]) if self.train else None
        if self._legacy is None:
            keypoint = self._read(clip, rng)
        else:
            keypoint = self._legacy.read(*self.clips.stored(index), clip.size, position, rng)
        # Masks are keyed to the index, so that a clip that comes again is masked in other places, too.
        again = epoch >> REPEAT_BITS
        return Sample(keypoint, clip.label, index + again * len(self.clips), clip.name)

    def _read(self, clip: Clip, rng: np.random.Generator | None) -> np.ndarray:
        settings = self.settings
        there = first_persons(clip.score, settings.max_persons)
        if not len(there):
            # Nobody scores above the threshold. The network still needs someone: a person of whom nothing was seen.
            there = np.zeros(1, np.int64)
        keypoint, score = clip.keypoint[there], clip.score[there]
        keypoint, score = self._place(keypoint, score, clip)
        keypoint, score = self._perturb("camera", keypoint, score, clip)
        if len(there) == 2 and not clip.tracked:
            keypoint, score = follow_two(keypoint, score)
        if self.layout.name != self.clips.layout.name:
            keypoint, score = coco_to_h36m(keypoint, score)
        part = self._part(score.shape[1], rng)
        # A part in which nobody is seen shows nothing to learn from.
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
                # After `to_camera` an upright frame's middle is left of 0; skeletons in 3D turn about their own.
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
        # Someone who is in none of the frames that were drawn is not there; but a clip is never without anybody.
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
        """Where the persons lie before anything is drawn, by `data.placement`."""
        if clip.size is not None:
            return to_camera(keypoint, clip.size), score
        if self.settings.placement == "first_frame":
            return to_first_frame(keypoint, MIDDLE), score
        if self.settings.placement == "aligned":
            return to_aligned(keypoint, score, joint=MIDDLE, upwards=UPWARDS, across=ACROSS)
        return to_body(keypoint), score

    def _part(self, length: int, rng: np.random.Generator | None) -> slice | None:
        """The frames that are looked at; None for all."""
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
        # Damage may have lowered scores. As when a file is read, what is not above the threshold is not seen.
        return without(keypoint, score, ~(score > self.settings.score_threshold), np.nan)


def collate(samples: Sequence[Sample]) -> Batch:
    """Puts clips together, with persons and frames padded to the most that one of them has."""
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
