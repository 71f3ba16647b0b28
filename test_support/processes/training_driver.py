"""Trains a small network on a file in a separate process, so that a test can kill it."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.config import override, read_words
from pose_extraction.errors import SkelpipeError
from recognition.settings import RunSettings
from recognition.training.run import train

SMALL = {
    "data": {"num_frames": "own", "holdout": 0.25, "skip_bad": False},
    "model": {"dim": 16, "depth": 1, "heads": 2, "dim_representation": 16, "hidden": 32},
    "maskclr": {},
    "training": {
        "phase1_epochs": 2,
        "phase2_epochs": 2,
        "batch_size": 8,
        "backbone_lr": 3e-3,
        "head_lr": 3e-3,
        "device": "cpu",
        # The same result on every CPU.
        "precision": "fp32",
        "seed": 1,
    },
}


def small_settings(file: Path, out: Path, *words: str) -> RunSettings:
    """Settings of a run that takes seconds."""
    return RunSettings.model_validate(
        override(SMALL, {"data.file": str(file), "out": str(out), **read_words(words)}, RunSettings)
    )


def run_to_end(file: Path, out: Path, words: Sequence[str], resume: bool) -> None:
    """Train as the command does; an error that stops it is written to OUT.txt."""
    torch.set_num_threads(1)
    try:
        train(small_settings(file, out, *words), resume=out if resume else None)
    except SkelpipeError as error:
        out.with_suffix(".txt").write_text(str(error))
        sys.exit(1)
