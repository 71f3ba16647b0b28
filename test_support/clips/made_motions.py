"""A skeleton file of easily distinguished motions: the left arm waves overhead, the right one, or neither.

Position, size and start of the motion vary.
"""

from pathlib import Path

import numpy as np

from pose_extraction.formats.pickle_writing import write_pickle

CLASSES = ("left arm", "right arm", "sway")
STANDING = np.array(
    [
        (0, -9), (-0.5, -9.5), (0.5, -9.5), (-1, -9), (1, -9), (-2, -7), (2, -7), (-3, -4.5), (3, -4.5), (-3, -2),
        (3, -2), (-1.2, -2), (1.2, -2), (-1.2, 2), (1.2, 2), (-1.2, 6), (1.2, 6),
    ],
    float,
)  # fmt: skip
LEFT_ARM, RIGHT_ARM = [7, 9], [8, 10]


def made_clip(label: int, rng: np.random.Generator, *, frames: int) -> np.ndarray:
    """Return keypoint, float (1, T, 17, 2), pixels."""
    phase = np.sin(np.linspace(0, 4 * np.pi, frames) + rng.uniform(0, 6))
    body = np.repeat(STANDING[None], frames, axis=0)
    if label == 2:
        body[:, :, 0] += 2 * phase[:, None]
    else:
        arm = LEFT_ARM if label == 0 else RIGHT_ARM
        body[:, arm] += np.stack([3 * phase, np.full(frames, -8.0)], axis=-1)[:, None]
    body = body * rng.uniform(15, 25) + rng.uniform(300, 600, 2) + rng.normal(0, 1, body.shape)
    return body[None]


def write_motions(path: Path, *, clips: int = 48, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> Path:
    """Write a file with the splits train and test (a quarter), two groups per class, float32."""
    rng = np.random.default_rng(seed)
    annotations = []
    for number in range(clips):
        label = number % len(classes)
        frames = int(rng.integers(10, 17))
        annotations.append(
            {
                "frame_dir": f"clip{number:03d}_s{number // len(classes) % 6}_",
                "label": label,
                "label_name": classes[label],
                "total_frames": frames,
                "img_shape": (900, 900),
                "original_shape": (900, 900),
                "keypoint": made_clip(label, rng, frames=frames).astype(np.float32),
                "keypoint_score": np.full((1, frames, 17), 0.9, np.float32),
                "group": f"person{number // len(classes) % 6}",
                "estimator": "made",
            }
        )
    names = [annotation["frame_dir"] for annotation in annotations]
    held = clips // 4
    data = {
        "split": {"train": names[held:], "test": names[:held]},
        "annotations": annotations,
        "label_names": list(classes),
    }
    write_pickle(path, data)
    return path
