"""Clips of rendered people that no network was trained on, with ground truth, and the results of extraction."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from pose_extraction.formats.annotations import unpack_raw
from pose_extraction.formats.validation import read_data_set
from pose_extraction.networks.model_zoo import lookup
from pose_extraction.networks.weights import cached_path
from pose_extraction.poses import FramePoses
from synthetic.demo.plan import CLEAR_JOINTS, is_plain
from synthetic.networks.measuring import shown_persons
from synthetic.networks.packing import SHORT
from synthetic.rendering.actions import ACTIONS
from synthetic.rendering.clips import Clip, write_clips
from synthetic.rendering.family import TEST
from synthetic.rendering.interactions import INTERACTIONS
from synthetic.rendering.scene import OUTSIDE, FrameTruth, Scene

DETECTOR = "rtmdet-nano-rendered"
# Number of people and action of the first person in each clip. The seeds follow from the position in this list, which
# was chosen before looking at any clip.
PERSONS = (1, 2, 1, 3, 2, 1, 2, 1, 1, 2, 1, 1)
ALONE = tuple(sorted(ACTIONS)[5 * number % len(ACTIONS)] for number in range(len(PERSONS)))
# Interactions, in which people touch or hide one another.
TOGETHER = tuple(sorted(INTERACTIONS))
# Seeds above those of training (below 2**40), of the demonstration and of measuring.
FIRST_SEED = 2**43
SIZE, FRAMES, FPS = (360, 480), 24, 16.0
# Two poses match if half of their joints are closer than this share of the longer side of the true box.
SAME_PERSON = 0.2

Truths = Mapping[str, Sequence[FrameTruth]]


def needs(*names: str, good: Sequence[str] = ()) -> pytest.MarkDecorator:
    """Skip a test if small networks have no weights, or if those in `good` are below their target accuracy."""
    files = {name: cached_path(lookup(name)) for name in names}
    missing = [name for name, file in files.items() if not file.is_file()]
    short = [
        name
        for name, file in files.items()
        if name in good and name not in missing and SHORT in file.with_suffix(".md").read_text(encoding="utf-8")
    ]
    reasons = [f"the weights of {', '.join(missing)} are not in the package"] if missing else []
    reasons += [f"{', '.join(short)}: below the target accuracy, see the card"] if short else []
    return pytest.mark.skipif(bool(reasons), reason="; ".join(reasons))


def draw_plain(folder: Path) -> Truths:
    """Render clips of people who are apart and clearly visible; return the ground truth of their frames."""
    return _draw((_first_plain(number) for number in range(len(PERSONS))), folder)


def draw_together(folder: Path) -> Truths:
    """Render clips of two people who interact; return the ground truth of their frames."""
    return _draw((_scene(1000 * (100 + number), action, 2) for number, action in enumerate(TOGETHER)), folder)


def _scene(seed: int, action: str, persons: int) -> Scene:
    return Scene(TEST, FIRST_SEED + seed, size=SIZE, frames=FRAMES, fps=FPS, action=action, persons=persons)


def _first_plain(number: int) -> Scene:
    scenes = (_scene(1000 * number + seed, ALONE[number], PERSONS[number]) for seed in count())
    return next(scene for scene in scenes if is_plain(scene, joints=CLEAR_JOINTS))


def _draw(scenes: Iterator[Scene], folder: Path) -> Truths:
    truth = write_clips((Clip(f"clip_{number:02d}", scene) for number, scene in enumerate(scenes)), folder)
    return {clip["frame_dir"]: frame_truths(clip) for clip in read_data_set(truth)["annotations"]}


def frame_truths(clip: Mapping[str, Any]) -> list[FrameTruth]:
    """Return the ground truth of each frame of a rendered clip."""
    return [
        FrameTruth(clip["keypoint"][:, frame], clip["visibility"][:, frame], clip["box"][:, frame])
        for frame in range(clip["total_frames"])
    ]


def raw_frames(folder: Path, name: str) -> list[FramePoses]:
    """Return the estimator's raw results of each frame, before tracking and cleaning."""
    return unpack_raw(read_data_set(folder / f"{name}.pkl")["raw"])


def cleaned_clip(folder: Path, name: str) -> dict[str, Any]:
    """Return the tracked and cleaned clip."""
    (clip,) = read_data_set(folder / f"{name}.pkl")["annotations"]
    return clip


def cleaned_frames(keypoint: np.ndarray, keypoint_score: np.ndarray) -> Iterator[np.ndarray]:
    """Yield each frame's poses (M, 17, 2) from arrays (M, T, 17, 2) and (M, T, 17), NaN for unseen joints."""
    yield from np.where(keypoint_score[..., None] > 0, keypoint, np.nan).swapaxes(0, 1)


def same_persons(keypoint: np.ndarray, truth: FrameTruth) -> tuple[np.ndarray, np.ndarray]:
    """Match poses with true persons; return the indices of matching persons and poses.

    Args:
        keypoint: (M, 17, 2), NaN for unseen joints.
        truth: Ground truth of the frame.
    """
    size = (truth.box[:, 2:] - truth.box[:, :2]).max(-1)
    inside = np.where((truth.visibility != OUTSIDE)[..., None], truth.keypoint, np.nan)
    distance = np.linalg.norm(inside[:, None] - keypoint[None], axis=-1)
    # Without any common joint the median is infinite.
    none = np.isnan(distance).all(-1)
    cost = np.nanmedian(np.where(none[..., None], np.inf, distance), axis=-1) / np.maximum(size, 1)[:, None]
    persons, poses = linear_sum_assignment(np.minimum(cost, 1.0))
    near = cost[persons, poses] <= SAME_PERSON
    return persons[near], poses[near]


def identities(clip: Mapping[str, Any], truths: Sequence[FrameTruth], offset: int) -> tuple[list, list]:
    """Return true and found identities of a clip's frames for `idf1`; missed persons count as well.

    Args:
        clip: Tracked and cleaned clip.
        truths: Ground truth of its frames.
        offset: Added to all identities, so that those of different clips differ.
    """
    true, found = [], []
    frames = list(cleaned_frames(clip["keypoint"], clip["keypoint_score"]))
    for keypoint, truth in zip(frames, truths, strict=True):
        there = np.flatnonzero(np.isfinite(keypoint).any((1, 2)))
        persons, poses = same_persons(keypoint[there], truth)
        shown = shown_persons(truth)
        # A barely visible person need not be found, and finding them is no error.
        counted = np.isin(persons, shown)
        missed = np.setdiff1d(shown, persons)
        spurious = np.setdiff1d(np.arange(len(there)), poses)
        ids = np.asarray(clip["track_id"])[there]
        nobody = -1 - offset
        true.append(offset + np.concatenate([persons[counted], missed, np.full(len(spurious), nobody)]))
        found.append(offset + np.concatenate([ids[poses[counted]], np.full(len(missed), nobody), ids[spurious]]))
    return true, found
