"""Clips of skeletons: seeded, so that a clip depends only on the seed and its number."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from pose_extraction.errors import UsageError
from pose_extraction.formats.annotations import with_zeros
from synthetic.motions.actions import Action, actions_of
from synthetic.motions.estimating import draw_quality, estimated
from synthetic.motions.performing import Performance, perform
from synthetic.motions.rhythm import Pace, draw_pace
from synthetic.motions.views import draw_camera
from synthetic.rendering.body import draw_body
from synthetic.rendering.family import TRAIN
from synthetic.rendering.style import draw_style

# Frames per second, and seconds per clip.
RATES, SECONDS = (8, 10, 12, 12.5, 15, 20, 24, 25, 30), (1.0, 8.0)
# Name of the split that contains all clips.
SPLIT = "train"
ESTIMATOR = "synthetic motions"


def draw_performance(random: np.random.Generator, seconds: float) -> Performance:
    """Draw the person and the way of moving of a clip."""
    pace = draw_pace(random, seconds)
    paces: dict[str, Pace] = {"legs": pace, "arms": pace, "trunk": pace}
    # In half of the clips the parts have their own rhythm.
    if random.random() < 0.5:
        paces |= {"arms": draw_pace(random, seconds), "trunk": draw_pace(random, seconds)}
    return Performance(
        body=draw_body(TRAIN, random),
        style=draw_style(TRAIN, random),
        paces=paces,
        mirrored=bool(random.random() < 0.5),
        settling=float(random.uniform(0.4, 0.5 * seconds)) if random.random() < 0.5 else 0.0,
    )


def draw_times(random: np.random.Generator) -> tuple[np.ndarray, float]:
    """Draw the times (T,) of a clip's frames in seconds, and its frames per second."""
    fps = float(RATES[int(random.integers(len(RATES)))])
    seconds = float(np.exp(random.uniform(*np.log(SECONDS))))
    return np.arange(max(round(seconds * fps), 8)) / fps, fps


def make_clip(action: Action, number: int, *, seed: int = 0) -> dict[str, Any]:
    """Make one clip as an annotation in PYSKL's format, without its number of the class.

    Args:
        action: The action.
        number: Number of the clip in the data set.
        seed: Random seed of the data set.
    """
    random = np.random.default_rng([seed, 3, number])
    time, fps = draw_times(random)
    point = perform(action, draw_performance(random, float(time[-1])), time)[:, :17]
    camera = draw_camera(random, point, time)
    seen = camera.seen(point)
    keypoint, score = estimated(random, draw_quality(random), camera.pixels(seen), seen[..., 2], camera.size)
    keypoint, score = with_zeros(keypoint[None], score[None])
    return {
        "frame_dir": f"motion_{seed}_{number:06d}",
        "label": -1,
        "label_name": action.name,
        "total_frames": len(time),
        "img_shape": camera.size,
        "original_shape": camera.size,
        "keypoint": keypoint.astype(np.float16),
        "keypoint_score": score.astype(np.float16),
        "track_id": np.zeros(1, np.int64),
        "fps": fps,
        "estimator": ESTIMATOR,
    }


def clips_of(classes: int, clips: int, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield annotations of clips with numbers of their classes; all classes have the same number, plus or minus one.

    Args:
        classes: Number of actions.
        clips: Number of clips, at least one per action.
        seed: Random seed.

    Raises:
        UsageError: There are fewer clips than actions, or too many actions.
    """
    if clips < classes:
        raise UsageError(f"--clips {clips}: at least one per class is required, which are {classes}")
    actions = actions_of(classes, seed)
    for number in range(clips):
        label = number % classes
        yield make_clip(actions[label], number, seed=seed) | {"label": label}


def motion_set(classes: int, clips: int, *, seed: int = 0) -> dict[str, Any]:
    """Return a whole data set in PYSKL's format with one split, "train"; see `clips_of`."""
    annotations = list(clips_of(classes, clips, seed=seed))
    return {
        "split": {SPLIT: [annotation["frame_dir"] for annotation in annotations]},
        "annotations": annotations,
        "label_names": [action.name for action in actions_of(classes, seed)],
    }
