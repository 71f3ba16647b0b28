"""Run directories: the files that a training writes, and where its weights are.

    settings.yaml   all settings, resolved          metrics.jsonl   losses of each step, accuracy of each epoch
    labels.json     class names                     events/         the same for TensorBoard
    split.json      training and held-out clips     last.safetensors  weights and state of the training
    about.json      data, code and network          best.safetensors  weights of the best epoch on the held-out part

Both files of weights are self-contained: a single copied file is a complete recognizer; see `recognition.run_file`.
Earlier versions wrote `last.pt` and `best.pt`, which are read in their place.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from pose_extraction._version import __version__
from pose_extraction.errors import UsageError
from pose_extraction.files import atomic_write
from recognition.run_file import EARLIER, FORMAT, SUFFIX, load_facts

LAST, BEST = f"last{SUFFIX}", f"best{SUFFIX}"
# Action detector that `skelpipe evaluate --protocol detection` trains on a pre-trained encoder.
DETECTOR = f"detector{SUFFIX}"
SETTINGS_NAME, LABELS_NAME, SPLIT_NAME, ABOUT_NAME = "settings.yaml", "labels.json", "split.json", "about.json"


def begin_run(
    folder: Path,
    settings: BaseModel,
    *,
    label_names: Sequence[str],
    split: Mapping[str, Sequence[str]],
    about: Mapping[str, Any],
) -> None:
    """Create the directory and write everything that is known before the first step.

    Args:
        folder: The run directory.
        settings: Resolved settings.
        label_names: Class names, in the order of the logits.
        split: Names of the clips under "training" and "held_out"; sentences about the others under "left_out".
        about: Description of data, code and network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / LABELS_NAME) as file:
        file.write(json.dumps(list(label_names), indent=1, ensure_ascii=False).encode())
    with atomic_write(folder / SPLIT_NAME) as file:
        file.write(json.dumps({name: list(clips) for name, clips in split.items()}, indent=1).encode())
    with atomic_write(folder / ABOUT_NAME) as file:
        file.write(json.dumps(about, indent=1, ensure_ascii=False).encode())
    with atomic_write(folder / SETTINGS_NAME) as file:
        file.write(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False).encode())


def identity_of(
    settings: BaseModel,
    *,
    label_names: Sequence[str],
    layout: str,
    num_joints: int,
    channels: int,
    dimensions: int,
    estimator: str | None,
    extraction: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the content of a run file in addition to the weights, so that the file is self-contained."""
    return {
        "skelpipe_run": FORMAT,
        "settings": settings.model_dump(mode="json"),
        "label_names": list(label_names),
        "layout": layout,
        "num_joints": num_joints,
        "channels": channels,
        "dimensions": dimensions,
        "estimator": estimator,
        "extraction": dict(extraction),
        "version": __version__,
        "commit": _commit(),
    }


def is_begun(folder: Path) -> bool:
    """Return whether a directory contains a run with at least one step; earlier failures do not count.

    Raises:
        WeightsError: Its last checkpoint is damaged.
    """
    last = saved(folder, LAST)
    return last is not None and load_facts(last)["step"] > 0


def saved(folder: Path, name: str) -> Path | None:
    """Return a file of weights of a run directory; None if it has not been saved.

    Args:
        folder: The run directory.
        name: `LAST`, `BEST` or `DETECTOR`; the same file of an earlier version, with the suffix .pt, takes its place.
    """
    path = folder / name
    return next((found for found in (path, path.with_suffix(EARLIER)) if found.is_file()), None)


def refuse_begun(folder: Path) -> None:
    """Refuse to start a run in a directory that already contains one.

    Raises:
        UsageError: The directory contains a run with at least one step.
        WeightsError: Its last checkpoint is damaged.
    """
    if is_begun(folder):
        raise UsageError(
            f"{folder}: already contains a run; continue it with --resume {folder}, or choose another --out"
        )


def is_encoder(run: Path) -> bool:
    """Return whether a run directory belongs to a pre-training, according to its `about.json`."""
    try:
        about = json.loads((run / ABOUT_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and "method" in about


def _commit() -> str | None:
    """Return the commit of the code in a checkout, with `-dirty` for modified files; None if installed as a package."""
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            cwd=checkout,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
