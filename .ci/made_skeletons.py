"""Writes a skeleton file with one made clip, with an installed skelpipe: `python .ci/made_skeletons.py FILE`."""

import sys

import numpy as np

import skelpipe

FRAMES = 30


def main(path: str) -> None:
    """Write a person who stands and waves with one arm."""
    standing = np.stack([np.linspace(90, 110, 17), np.linspace(20, 220, 17)], axis=-1)
    keypoint = np.tile(standing, (1, FRAMES, 1, 1)).astype(np.float32)
    keypoint[0, :, 9, 0] += 40 * np.sin(np.linspace(0, 6 * np.pi, FRAMES))
    clip = {
        "frame_dir": "wave",
        "label": -1,
        "total_frames": FRAMES,
        "img_shape": (240, 320),
        "original_shape": (240, 320),
        "keypoint": keypoint,
        "keypoint_score": np.full((1, FRAMES, 17), 0.9, np.float32),
    }
    skelpipe.write_skeletons(path, {"split": {"all": ["wave"]}, "annotations": [clip], "label_names": []})


if __name__ == "__main__":
    main(sys.argv[1])
