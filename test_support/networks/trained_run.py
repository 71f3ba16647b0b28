"""A small skeleton file with clearly different movements, and a run trained on it."""

from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.formats.pickle_writing import write_pickle
from recognition.settings import DataSettings, MaskCLRSettings, ModelSettings, RunSettings, TrainingSettings
from recognition.training.run import train

LABEL_NAMES = ["wave", "jump", "squat"]
# The joints that move, and their displacement to the right and down, in pixels.
MOVES = {"wave": ((7, 8, 9, 10), (60, 0)), "jump": (range(17), (0, 90)), "squat": (range(11), (0, 90))}
# A constant pose per class: arms to the side, arms overhead, upper body low. Every single frame shows the class,
# so that a few steps of training suffice on any processor.
POSES = {"wave": ((7, 8, 9, 10), (110, 0)), "jump": ((7, 8, 9, 10), (0, -130)), "squat": (range(11), (0, 90))}


def made_clip(name: str, label: str | None, rng: np.random.Generator, *, frames: int = 16, **extra: Any) -> dict:
    """Return a clip of a standing COCO-17 person at a random position whose movement depends on the label."""
    standing = np.stack([rng.normal(0, 6, 17), np.linspace(0, 250, 17)], axis=-1) + rng.uniform(150, 200, 2)
    keypoint = np.tile(standing, (1, frames, 1, 1)) + rng.normal(0, 2, (1, frames, 17, 2))
    joints, offset = POSES[label or "wave"]
    keypoint[0, :, list(joints)] += np.array(offset)
    joints, far = MOVES[label or "wave"]
    swing = np.sin(2 * np.pi * (2 * np.arange(frames) / frames + rng.uniform()))
    keypoint[0, :, list(joints)] += (swing[:, None] * np.array(far))[None]
    return {
        "frame_dir": name,
        "label": LABEL_NAMES.index(label) if label is not None else -1,
        "label_name": label,
        "total_frames": frames,
        "img_shape": (480, 640),
        "original_shape": (480, 640),
        "keypoint": keypoint.astype(np.float32),
        "keypoint_score": np.full((1, frames, 17), 0.9, np.float32),
        "estimator": "made",
        **extra,
    }


def without_persons(clip: dict[str, Any]) -> dict[str, Any]:
    """Return the clip without its person."""
    return clip | {"keypoint": clip["keypoint"] * 0, "keypoint_score": clip["keypoint_score"] * 0}


def write_data(path: Path, clips: list[dict[str, Any]], split: dict[str, list[str]], **extra: Any) -> Path:
    write_pickle(path, {"split": split, "annotations": clips, "label_names": LABEL_NAMES} | extra)
    return path


def made_data(path: Path) -> Path:
    """Write a file with 36 clips in one_train and 12 in one_test."""
    rng = np.random.default_rng(0)
    clips = [made_clip(f"clip{n}", LABEL_NAMES[n % 3], rng, frames=12 + n % 5) for n in range(48)]
    split = {"one_train": [f"clip{n}" for n in range(36)], "one_test": [f"clip{n}" for n in range(36, 48)]}
    return write_data(path, clips, split)


def made_run(folder: Path, *, seed: int = 0) -> tuple[Path, Path]:
    """Train for a few seconds; return the run directory and the skeleton file.

    The cosine schedule ends near zero, so that the running statistics of batch normalisation belong to the final
    weights; with a constant rate, their lag made the accuracy of such a short run unpredictable.
    """
    data = made_data(folder / "made.pkl")
    settings = RunSettings(
        out=str(folder / "runs" / "made"),
        data=DataSettings(file=str(data), num_frames="own", max_frames=16, holdout=0.2, random_move=False),
        model=ModelSettings(dim=16, depth=1, heads=2, dim_representation=16, hidden=32, max_frames=16, dropout=0.1),
        maskclr=MaskCLRSettings(),
        training=TrainingSettings(
            phase1_epochs=8,
            phase2_epochs=4,
            batch_size=5,
            backbone_lr=3e-3,
            head_lr=3e-3,
            schedule="cosine",
            device="cpu",
            precision="fp32",
            seed=seed,
        ),
    )
    return train(settings), data
