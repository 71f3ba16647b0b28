"""From a raw clip to the network's input: the transforms of a run, in their order."""

import numpy as np

from pose_extraction.errors import UsageError
from pose_extraction.skeleton import COCO17, H36M17, NTU25, Skeleton
from recognition.data.clip import Clip, ClipFormat
from recognition.data.clips import ClipSet
from recognition.data.descriptors.movement import describe_clip
from recognition.data.perturbations import Perturbation, drop_joints, generator_of
from recognition.data.transforms.augmentation import flip, random_move, random_shear, random_turn
from recognition.data.transforms.joints import coco_to_h36m, follow_two
from recognition.data.transforms.placement import (
    crop_scale,
    to_aligned,
    to_body,
    to_camera,
    to_first_frame,
    to_frame,
    to_upright,
)
from recognition.data.transforms.sampling import (
    at_rate,
    middle_part,
    random_part,
    resample_linear,
    sample_frames,
    times_at_rate,
)
from recognition.settings import DataSettings

AUTO_FLIP = 0.5
# Joints of NTU25 that define the placement in 3D: spine_middle; spine_base to spine_middle; left to right shoulder.
MIDDLE, UPWARDS, ACROSS = 1, (0, 1), (4, 8)
# Replacement of the coordinates (0, 0, 0) of a joint that was seen, because they mark joints that were not.
NEXT_TO_ORIGIN = np.float32(1e-6)

Joints = tuple[np.ndarray, np.ndarray]


def layout_of_model(clips: ClipSet | ClipFormat, settings: DataSettings) -> Skeleton:
    """Return the joint layout that the network sees.

    Args:
        clips: The skeleton file, or the format of clips in memory.
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


def check_placement(clips: ClipSet | ClipFormat, settings: DataSettings) -> None:
    """Refuse placements and rotations that the joints of a file do not support.

    Args:
        clips: The skeleton file, or the format of clips in memory.
        settings: `placement` and `rotation` are used.

    Raises:
        UsageError: The file's joints do not support them.
    """
    if settings.placement == "frame":
        if clips.dimensions != 2:
            raise UsageError(f"{clips.path}: data.placement=frame requires 2D joints; set data.placement=box")
    elif settings.placement == "raw":
        if clips.dimensions != 3:
            raise UsageError(f"{clips.path}: data.placement=raw requires 3D joints; set data.placement=box")
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


def times_after(clip: Clip, frames: int) -> np.ndarray:
    """Return the times of a clip's frames in seconds, float64 (T,), after a perturbation that may have removed some.

    If frames were removed, the others are spread evenly.
    """
    time = clip.seconds
    return time if len(time) == frames else np.linspace(time[0], time[-1], frames)


def first_persons(score: np.ndarray, most: int) -> np.ndarray:
    """Return the indices of the first persons, at most `most`, with a joint that was seen; score is (M, T, V)."""
    return np.flatnonzero((score > 0).any(axis=(1, 2)))[:most]


class ClipTransforms:
    """The transforms of a run, for clips of one format.

    Args:
        clips: The skeleton file, or the format of clips in memory.
        settings: Settings of the transforms.
        seed: Random seed of the perturbation.
        perturbation: Perturbation for measuring robustness; None for none.

    Attributes:
        layout: Joint layout that the network sees.
        converts: Whether that differs from the layout of the clips.

    Raises:
        UsageError: The joints do not support the settings.
    """

    def __init__(
        self,
        clips: ClipSet | ClipFormat,
        settings: DataSettings,
        *,
        seed: int = 0,
        perturbation: Perturbation | None = None,
    ) -> None:
        self.settings = settings
        self.layout = layout_of_model(clips, settings)
        self.converts = self.layout.name != clips.layout.name
        self._seed = seed
        self._perturbation = perturbation
        self._flip = flip_probability(settings, self.layout)
        check_placement(clips, settings)
        # Number of frames of every result; with own lengths, the maximum.
        self._frames = settings.max_frames if settings.num_frames == "own" else settings.num_frames

    def lengths(self, frames: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        """Return the number of frames of each result, int64 (N,), for clips of these frames (N,) and seconds (N,)."""
        if self.settings.num_frames == "own":
            if self.settings.frame_rate is not None:
                frames = np.round(seconds * self.settings.frame_rate).astype(np.int64) + 1
            return np.minimum(frames, self._frames)
        return np.full(len(frames), self._frames)

    def __call__(self, clip: Clip, rng: np.random.Generator | None = None) -> np.ndarray:
        """Transform a clip.

        Args:
            clip: Joints that count as not seen are NaN with score 0.
            rng: Random generator of the augmentation; None for no augmentation.

        Returns:
            float32 (M, T, V, 3): x, y and score in 2D, x, y, z in 3D. All zero where a joint was not seen, and nowhere
            else.
        """
        keypoint, score = self._normalised(clip)
        keypoint, score = self._resampled(keypoint, score, times_after(clip, score.shape[1]), rng)
        ratio = float(np.mean(self.settings.scale_range_test))
        if rng is not None:
            keypoint, score, ratio = self._augmented(keypoint, score, clip, rng)
        return self._network_input(keypoint, score, clip, ratio)

    def descriptor(self, clip: Clip) -> np.ndarray:
        """Describe the movement of a clip, float32 (D,); perturbations apply as to the network's input.

        Args:
            clip: Joints that count as not seen are NaN with score 0.
        """
        return describe_clip(*self.described_joints(clip))

    def described_joints(self, clip: Clip) -> tuple[np.ndarray, np.ndarray]:
        """Return joints float32 (M, T, V, 2), NaN where unseen, and times (T,) in seconds, to be described."""
        keypoint, score = self._normalised(clip)
        if self._perturbation is not None and self._perturbation.space == "model":
            placed = crop_scale(keypoint, score, float(np.mean(self.settings.scale_range_test)))
            keypoint, score = self._perturbed("model", placed, score, clip)
            keypoint = np.where((score > 0)[..., None], keypoint, np.float32(np.nan))
        return keypoint, times_after(clip, score.shape[1])

    def _normalised(self, clip: Clip) -> Joints:
        """Select persons, and convert their joints to the network's layout and a common scale."""
        persons = first_persons(clip.score, self.settings.max_persons)
        if not len(persons):
            # Nobody scores above the threshold, but the network requires a person: use one without any seen joint.
            persons = np.zeros(1, np.int64)
        keypoint, score = self._placed(clip.keypoint[persons], clip.score[persons], clip)
        keypoint, score = self._perturbed("camera", keypoint, score, clip)
        if len(persons) == 2 and not clip.tracked:
            keypoint, score = follow_two(keypoint, score)
        return coco_to_h36m(keypoint, score) if self.converts else (keypoint, score)

    def _placed(self, keypoint: np.ndarray, score: np.ndarray, clip: Clip) -> Joints:
        """Transform positions according to `data.placement`, before random augmentation."""
        if clip.size is not None:
            return to_camera(keypoint, clip.size), score
        placement = self.settings.placement
        if placement == "raw":
            return keypoint, score
        if placement == "first_frame":
            return to_first_frame(keypoint, MIDDLE), score
        if placement in ("aligned", "upright"):
            turn = to_aligned if placement == "aligned" else to_upright
            return turn(keypoint, score, joint=MIDDLE, upwards=UPWARDS, across=ACROSS)
        return to_body(keypoint), score

    def frames_of(self, clip: Clip) -> np.ndarray:
        """Return the frame of a clip that each frame of its result shows or is next to, int64 (T',)."""
        length, rate = clip.num_frames, self.settings.frame_rate
        if rate is not None:
            time = times_after(clip, length)
            new = times_at_rate(time, rate)
            if len(new) > self._frames:
                new = new[self._window(at_rate(clip.keypoint, clip.score, time, rate)[1], None)]
            return np.abs(new[:, None] - time).argmin(axis=1)
        return sample_frames(length, int(self.lengths(np.array([length]), np.zeros(1))[0]))

    def _resampled(
        self, keypoint: np.ndarray, score: np.ndarray, time: np.ndarray, rng: np.random.Generator | None
    ) -> Joints:
        """Select a part of the clip, and frames within it."""
        settings = self.settings
        if settings.frame_rate is not None:
            keypoint, score, _ = at_rate(keypoint, score, time, settings.frame_rate)
        part = self._part(score.shape[1], rng)
        # Skip parts without any person, which contain nothing to learn.
        if part is not None and (score[:, part] > 0).any():
            keypoint, score = keypoint[:, part], score[:, part]
        if settings.num_frames == "own" and score.shape[1] <= self._frames:
            return keypoint, score
        if settings.frame_rate is not None and settings.num_frames == "own":
            window = self._window(score, rng)
            return keypoint[:, window], score[:, window]
        if settings.resample == "linear":
            return resample_linear(keypoint, score, self._frames)
        frames = sample_frames(score.shape[1], self._frames, rng)
        return keypoint[:, frames], score[:, frames]

    def _window(self, score: np.ndarray, rng: np.random.Generator | None) -> slice:
        """Choose the longest window that the network accepts: from the middle, or at random; one that shows someone."""
        spare = score.shape[1] - self._frames
        there = np.flatnonzero((score > 0).any(axis=(0, 2)))
        start = spare // 2 if rng is None else int(rng.integers(spare + 1))
        if len(there) and not ((there >= start) & (there < start + self._frames)).any():
            start = min(spare, max(0, int(there[len(there) // 2]) - self._frames // 2))
        return slice(start, start + self._frames)

    def _part(self, length: int, rng: np.random.Generator | None) -> slice | None:
        """Return the frames to use; None for all."""
        settings = self.settings
        if rng is not None:
            if settings.part_range_train[0] == 1:
                return None
            return random_part(length, settings.part_range_train, rng, fewest=settings.part_min_frames)
        if settings.part_test < 1:
            return middle_part(length, settings.part_test, fewest=settings.part_min_frames)
        return None

    def _augmented(
        self, keypoint: np.ndarray, score: np.ndarray, clip: Clip, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Apply random augmentation; also return the scale of the box."""
        settings = self.settings
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
        return keypoint, score, rng.uniform(*settings.scale_range_train)

    def _network_input(self, keypoint: np.ndarray, score: np.ndarray, clip: Clip, ratio: float) -> np.ndarray:
        """Scale the joints, replace those that were not seen by zeros, and append the scores in 2D."""
        settings = self.settings
        if settings.placement == "box":
            placed = crop_scale(keypoint, score, ratio)
        elif settings.placement == "frame" and clip.size is not None:
            placed = to_frame(keypoint, score, clip.size)
        else:
            placed = np.where((score > 0)[..., None], keypoint, np.float32(0))
        placed, score = self._perturbed("model", placed, score, clip)
        # Persons that are absent from all sampled frames are dropped, but every clip keeps at least one.
        kept = np.flatnonzero((score > 0).any(axis=(1, 2)))
        if not len(kept):
            kept = np.zeros(1, np.int64)
        placed, score = placed[kept], score[kept]
        if clip.size is None:
            placed[(score > 0) & (placed == 0).all(axis=-1), 0] = NEXT_TO_ORIGIN
            return placed
        confidence = np.clip(score, 0, 1) if settings.scores == "given" else (score > 0).astype(np.float32)
        return np.concatenate([placed, confidence[..., None]], axis=-1)

    def _perturbed(self, space: str, keypoint: np.ndarray, score: np.ndarray, clip: Clip) -> Joints:
        if self._perturbation is None or self._perturbation.space != space:
            return keypoint, score
        keypoint, score = self._perturbation(keypoint, score, generator_of(self._seed, clip.name), clip.size)
        if space == "model":
            return keypoint, score
        # Perturbations can lower scores. As when reading a file, joints not above the threshold count as not seen.
        return drop_joints(keypoint, score, ~(score > self.settings.score_threshold), np.nan)
