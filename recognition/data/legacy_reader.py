"""Reads clips exactly as the published MotionBERT and MaskCLR code does, for comparison.

Differences from the transforms of this project: computation in the file's precision (half in PYSKL's files) up to the
choice between two persons, or up to the midpoints of H36M with one person, frames drawn once for all epochs, missing
joints that take part at (-1, -1), persons that are exchanged without their scores, H36M joints with the confidences of
the COCO joints of the same index, and an all-zero second person that is moved and scaled together with the first.
"""

import numpy as np

from pose_extraction.errors import UsageError
from recognition.data.clip import ClipFormat
from recognition.data.clips import ClipSet
from recognition.data.transforms.augmentation import ROTATION, SCALE, TRANSLATION
from recognition.data.transforms.placement import FEWEST_JOINTS
from recognition.settings import DataSettings

# The published reader always takes two persons.
PERSONS = 2
# Seed of the published constructor; it does not depend on the run's seed.
SEED = 0


class LegacyReader:
    """Reads clips of one data set in the published way.

    Frames are drawn in the order of the clips with the published seed. If clips are held out of the split, the draws
    differ from those of the published run, which holds out none. `random_move` and `crop_scale` use the generator that
    is passed with each access, whereas the published code uses the global one.

    Args:
        clips: Skeleton file with 2D joints, or the format of clips in memory.
        lengths: int (N,), frames of the data set's clips.
        settings: Settings of the data.
        train: Whether frames are drawn at random, if `random_move` is set.

    Raises:
        UsageError: The settings contain something that the published reader does not support.
    """

    def __init__(
        self, clips: ClipSet | ClipFormat, lengths: np.ndarray, settings: DataSettings, *, train: bool
    ) -> None:
        if settings.num_frames == "own" or settings.flip not in (0, "auto") or clips.dimensions != 2:
            raise UsageError(
                f"{clips.path}: legacy reading supports only a fixed data.num_frames, no data.flip and 2D joints; set "
                "data.legacy=false, or change the other settings accordingly"
            )
        self.settings = settings
        self.train = train
        drawn = np.random.RandomState(SEED)
        self.frames = [
            frozen_frames(int(length), settings.num_frames, drawn if train and settings.random_move else None)
            for length in lengths
        ]

    def read(
        self,
        keypoint: np.ndarray,
        score: np.ndarray,
        size: tuple[int, int] | None,
        position: int,
        rng: np.random.Generator | None,
    ) -> np.ndarray:
        """Read one clip.

        Args:
            keypoint: (M, T, 17, 2), pixels as stored in the file; steps up to H36M keep this precision.
            score: (M, T, 17), as stored in the file. A joint with score 0 takes part at its stored position.
            size: (height, width) of the frame in pixels.
            position: Position of the clip in the data set.
            rng: Random generator of the augmentation; None for no augmentation.

        Returns:
            float32 (2, T, 17, 3).
        """
        assert size is not None  # The joints are in 2D; the constructor has checked that.
        # The published code stores joints that were not seen at (0, 0), never as NaN.
        keypoint, score = np.nan_to_num(keypoint, nan=0), np.nan_to_num(score, nan=0)
        keypoint = _human_tracking(_make_cam(keypoint, size))[:PERSONS]
        frames = self.frames[position]
        motion = np.concatenate([_coco2h36m(keypoint)[:, frames], score[:PERSONS, frames, :, None]], axis=-1)
        motion = motion.astype(np.float32)
        if len(motion) < PERSONS:
            motion = np.concatenate([motion, np.zeros_like(motion)])
        if rng is not None and self.settings.random_move:
            motion = _random_move(motion, rng)
        low, high = self.settings.scale_range_train if rng is not None else self.settings.scale_range_test
        return _crop_scale(motion, float(rng.uniform(low, high)) if rng is not None else (low + high) / 2)


def frozen_frames(length: int, target: int, drawn: np.random.RandomState | None) -> np.ndarray:
    """Return indices of `target` frames of a clip, int64 (target,): step 1."""
    even = np.linspace(0, length, num=target, endpoint=False)
    if drawn is None:
        return even.astype(np.int64)
    if length < target:
        down = drawn.randint(2, size=target)
        chosen = np.sort(down * np.floor(even) + (1 - down) * np.ceil(even))
    else:
        chosen = drawn.random_sample(target) * (even[1] - even[0]) + even
    return np.clip(chosen, 0, length - 1).astype(np.int64)


def _make_cam(keypoint: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Step 2: a missing joint, at pixel (0, 0), moves to (-1, -1)."""
    return keypoint / np.float16(max(size)) * np.float16(2) - np.float16(1)


def _human_tracking(keypoint: np.ndarray) -> np.ndarray:
    """Step 3: exchange persons if the first one is closer to the previous position of the second; scores stay."""
    if len(keypoint) < PERSONS:
        return keypoint
    moved = np.linalg.norm(keypoint[0, 1:] - keypoint[0, :-1], axis=-1).sum(axis=-1)
    crossed = np.linalg.norm(keypoint[0, 1:] - keypoint[1, :-1], axis=-1).sum(axis=-1)
    swapped = np.concatenate([[False], np.logical_xor.accumulate(moved > crossed)])
    # From here on, clips of two persons have double precision, those of one person the file's.
    return np.where(swapped[:, None, None], keypoint[1::-1], keypoint[:2]).astype(np.float64)


def _coco2h36m(keypoint: np.ndarray) -> np.ndarray:
    """Step 4: COCO to H36M; joints that were not seen contribute to midpoints."""
    half = np.float16(0.5)
    # Only the mean of two joints is in the precision of these, not the mean of two means.
    mapped = np.empty(keypoint.shape, np.float64)
    mapped[..., (1, 2, 3, 4, 5, 6), :] = keypoint[..., (12, 14, 16, 11, 13, 15), :]
    mapped[..., (9, 11, 12, 13, 14, 15, 16), :] = keypoint[..., (0, 5, 7, 9, 6, 8, 10), :]
    mapped[..., 0, :] = (keypoint[..., 11, :] + keypoint[..., 12, :]) * half
    mapped[..., 8, :] = (keypoint[..., 5, :] + keypoint[..., 6, :]) * half
    mapped[..., 7, :] = (mapped[..., 0, :] + mapped[..., 8, :]) * half
    mapped[..., 10, :] = (keypoint[..., 1, :] + keypoint[..., 2, :]) * half
    return mapped


def _random_move(motion: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Step 6: random rotation, scale and shift; an absent person is moved too."""
    ends = [rng.uniform(-ROTATION, ROTATION, 2), rng.uniform(*SCALE, 2)]
    ends += [rng.uniform(-TRANSLATION, TRANSLATION, 2) for _ in range(2)]
    angle, scale, shift_x, shift_y = (np.linspace(first, last, motion.shape[1])[:, None] for first, last in ends)
    moved = motion.copy()
    x, y = motion[..., 0], motion[..., 1]
    moved[..., 0] = np.cos(angle) * scale * x - np.sin(angle) * scale * y + shift_x
    moved[..., 1] = np.sin(angle) * scale * x + np.cos(angle) * scale * y + shift_y
    return moved


def _crop_scale(motion: np.ndarray, ratio: float) -> np.ndarray:
    """Step 7: the box contains only joints with confidence, but all joints are scaled by it, seen or not."""
    valid = motion[motion[..., 2] != 0][:, :2]
    if len(valid) < FEWEST_JOINTS:
        return np.zeros_like(motion)
    low, high = valid.min(axis=0), valid.max(axis=0)
    scale = float((high - low).max()) * ratio
    if scale == 0:
        return np.zeros_like(motion)
    placed = motion.copy()
    placed[..., :2] = ((motion[..., :2] - (low + high - scale) / 2) / scale - 0.5) * 2
    return np.clip(placed, -1, 1)
