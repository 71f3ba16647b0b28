"""Where the results of an evaluation are stored."""

import itertools
import json
import os
import re
from pathlib import Path

from pose_extraction.errors import UsageError
from recognition.hub import WEIGHTS
from recognition.run_folder import BEST
from recognition.run_names import results_folder

FOLDER, JSON_NAME, SCORES_NAME = "evaluation", "evaluation.json", "scores.npz"


def folder_for(weights: Path, data: Path, what: str) -> Path:
    """Create the folder of an evaluation below its run; different weights and files get different folders.

    Args:
        weights: The run's file of weights.
        data: The skeleton file.
        what: Subject of the measurement, such as the split.

    Returns:
        The folder.

    Raises:
        UsageError: The folder is not writable.
    """
    other = "" if weights.name == WEIGHTS or weights.stem == Path(BEST).stem else f"-{weights.stem}"
    name = re.sub(r"[^\w.-]", "_", f"{data.stem}-{what}{other}")
    parent = results_folder(weights)
    for number in itertools.count(1):
        folder = parent / FOLDER / (name if number == 1 else f"{name}-{number}")
        if not (folder / JSON_NAME).is_file() or _is_of(folder / JSON_NAME, data):
            break
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
        reason = "it is read-only"
    except OSError as error:
        writable, reason = False, str(error.strerror)
    if not writable:
        raise UsageError(
            f"{folder}: cannot write results there ({reason}); copy {parent} to a writable location and "
            "evaluate the copy"
        )
    return folder


def _is_of(evaluation: Path, data: Path) -> bool:
    """Whether an evaluation belongs to a skeleton file."""
    try:
        before = json.loads(evaluation.read_text(encoding="utf-8"))["data"]
    except (ValueError, KeyError, TypeError):
        # The file was not written by this program, so it may be overwritten.
        return True
    return Path(before).resolve() == data.resolve()
