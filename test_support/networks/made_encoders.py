"""Shared by the tests of pre-training and its protocols: small runs with the command line, and long sequences."""

from pathlib import Path

import numpy as np
from typer.testing import CliRunner, Result

from pipeline.cli import app
from pose_extraction.formats.pickle_writing import write_pickle
from test_support.clips.made_motions import made_clip

SMALL = {
    "mamp": ("mamp/custom", "model.dim=16", "model.depth=2", "model.heads=2", "decoder_depth=1", "warmup_epochs=1"),
    "pcm3": ("pcm3/custom", "pcm3.hidden=32", "decoder_hidden=8", "queue=32", "prompt_size=4", "lr_steps=[2]"),
}
# No mirroring: the classes differ by the moving side.
LOOP = ("num_frames=16", "part_min_frames=8", "max_persons=1", "flip=0", "epochs=3", "batch_size=16", "--device", "cpu")


def skelpipe(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def pretrain(method: str, data: Path, out: Path, *words: object) -> Result:
    loop = (*LOOP, "--precision", "fp32")
    return skelpipe("pretrain", *SMALL[method], "--data", data, "--out", out, *loop, *words)


def write_long(path: Path, *, splits: tuple[str, str], actions: bool = True) -> Path:
    """Write eight sequences in which the left or the right arm waves for a while; two of them are for tests."""
    rng = np.random.default_rng(0)
    clips = []
    for number in range(8):
        parts = [made_clip(label, rng, frames=20) for label in (2, number % 2, 2)]
        keypoint = np.concatenate(parts, axis=1).astype(np.float32)
        clip = {"frame_dir": f"long{number}", "label": -1, "total_frames": 60, "img_shape": (900, 900)}
        clip |= {"keypoint": keypoint, "keypoint_score": np.full(keypoint.shape[:3], 0.9, np.float32)}
        clips.append(clip | ({"actions": [[number % 2, 20, 40]]} if actions else {}))
    names = [clip["frame_dir"] for clip in clips]
    # A third split, which is measured only on request.
    split = {"other": names[:1], **dict(zip(splits, (names[2:], names[:2]), strict=True))}
    write_pickle(path, {"split": split, "annotations": clips, "label_names": ["left arm", "right arm"]})
    return path
