"""Where the results of an evaluation are stored."""

import itertools
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from pose_extraction.errors import UsageError
from recognition.hub import WEIGHTS
from recognition.run_folder import BEST
from recognition.run_names import results_folder

FOLDER, JSON_NAME, SCORES_NAME = "evaluation", "evaluation.json", "scores.npz"


def folder_for(weights: Path, data: Path, what: str, *, call: Mapping[str, str] | None = None) -> Path:
    """Create the folder of an evaluation below its run: another for other weights, files or names of classes.

    Args:
        weights: The run's file of weights.
        data: The skeleton file.
        what: Subject of the measurement, such as the split.
        call: Names of the run's classes by names of the file's classes, for those that differ.

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
        if not (folder / JSON_NAME).is_file() or _is_of(folder / JSON_NAME, data, call or {}):
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


def _is_of(evaluation: Path, data: Path, call: Mapping[str, str]) -> bool:
    """Whether an evaluation belongs to a skeleton file whose classes have these names in the run."""
    try:
        before = json.loads(evaluation.read_text(encoding="utf-8"))
        path = Path(before["data"])
    except (ValueError, KeyError, TypeError):
        # The file was not written by this program, so it may be overwritten.
        return True
    # Protocols and earlier versions call no class otherwise.
    return path.resolve() == data.resolve() and before.get("call", {}) == call
