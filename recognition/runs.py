"""Run directories: the files that a training writes, and loading a recognizer from them.

    settings.yaml   all settings, resolved          metrics.jsonl   losses of each step, accuracy of each epoch
    labels.json     class names                     events/         the same for TensorBoard
    split.json      training and held-out clips     last.pt         weights and state of the training
    about.json      data, code and network          best.pt         weights of the best epoch on the held-out part

`last.pt` and `best.pt` are self-contained: a single copied file is a complete recognizer.

The functions that find a run are used to check the command line, so torch is imported only to read or write weights.
"""

import io
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel

from pose_extraction._version import __version__
from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.files import atomic_write
from recognition.confidence.confidence import Confidence, confidence_from
from recognition.packed import EVERYDAY, SUFFIX, is_packed, read_packed, shipped
from recognition.settings import RunSettings

if TYPE_CHECKING:
    from recognition.recognizer import Recognizer

# Folder of the run directories.
RUNS = Path("runs")
LAST, BEST = "last.pt", "best.pt"
# Action detector that `skelpipe evaluate --protocol detection` trains on a pre-trained encoder.
DETECTOR = "detector.pt"
SETTINGS_NAME, LABELS_NAME, SPLIT_NAME, ABOUT_NAME = "settings.yaml", "labels.json", "split.json", "about.json"
# Format number of run files; any other value was written by an older or newer version.
FORMAT = 1
_RECOGNIZER = "recognizer."


@dataclass(frozen=True)
class Trained:
    """A trained recognizer with its metadata.

    Args:
        recognizer: In evaluation mode, on the CPU, in float32.
        settings: Resolved settings of the run.
        label_names: K class names, in the order of the logits.
        layout: Name of the joint layout that the network sees.
        channels: C of its input.
        estimator: Pose estimator of the skeletons that it was trained on; None if their file does not record it.
        held_out: Measures on the held-out part: top1, mean_class, loss, clips; empty if nothing was held out.
        epoch: Number of completed epochs.
        path: The file.
        phase: Phase of the last epoch: 1, cross-entropy only; 2, both pathways; None if the file does not record it.
        dimensions: Coordinates per joint of the training skeletons, 2 or 3; None if the file does not record it.
        extraction: Settings of that estimator, as recorded in the skeleton file; see `extraction_of`.
        confidence: Calibration of its probabilities, and when an action is unknown.
    """

    recognizer: "Recognizer"
    settings: RunSettings
    label_names: tuple[str, ...]
    layout: str
    channels: int
    estimator: str | None
    held_out: dict[str, float]
    epoch: int
    path: Path
    phase: int | None = None
    dimensions: int | None = None
    extraction: dict[str, Any] = field(default_factory=dict)
    confidence: Confidence = field(default_factory=Confidence)


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


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write a run file atomically.

    Args:
        path: The file.
        content: Content of the file, plain data and tensors.

    Raises:
        OSError: The disk is full, or the file cannot be written for another reason.
    """
    import torch

    written = io.BytesIO()
    # Not directly to the file, because torch replaces operating system errors by its own.
    torch.save(dict(content), written)
    with atomic_write(path) as file:
        file.write(written.getbuffer())


def is_begun(folder: Path) -> bool:
    """Return whether a directory contains a run with at least one step; earlier failures do not count.

    Raises:
        WeightsError: Its last checkpoint is damaged.
    """
    last = folder / LAST
    return last.is_file() and load(last)["step"] > 0


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


def load(path: Path) -> dict[str, Any]:
    """Read a run file without executing any code in it.

    Raises:
        WeightsError: The file is missing, damaged, or not a run file.
    """
    from pose_extraction.engines.checkpoints import load_plain

    content = read_packed(path) if is_packed(path) else load_plain(path)
    if content.get("skelpipe_run") != FORMAT:
        raise WeightsError(
            f"{path}: not a run file of this version of skelpipe; pass a run directory of `skelpipe train`, or its "
            f"{BEST}"
        )
    _keep_behaviour(content.get("settings", {}))
    return content


def _keep_behaviour(settings: dict[str, Any]) -> None:
    """Complete the settings of runs that were saved before a setting existed with the behaviour that they had."""
    model, data, pcm3 = (settings.get(name) for name in ("model", "data", "pcm3"))
    if isinstance(model, dict):
        model.setdefault("unseen", "embed")
        if "variant" not in model and isinstance(data, dict) and data.get("placement") == "aligned":
            # Saved before `variant`, when "aligned" was what is now "upright".
            data["placement"] = "upright"
    if isinstance(pcm3, dict):
        pcm3.setdefault("bones", "layout")
        pcm3.setdefault("prompt_start", "zeros")


def is_run_file(path: Path) -> bool:
    """Return whether a file of weights belongs to a run, rather than to another project.

    Raises:
        WeightsError: The file is damaged.
    """
    from pose_extraction.engines.checkpoints import load_plain

    return is_packed(path) or (path.suffix != SUFFIX and "skelpipe_run" in load_plain(path))


def load_run(run: str | Path, which: Literal["best", "last"] = "best") -> Trained:
    """Load a trained recognizer.

    Args:
        run: A run directory, or one of its .pt files.
        which: For a directory: "best", weights of the best epoch on the held-out part; "last", the most recent ones.

    Raises:
        WeightsError: The run does not exist, or its file is damaged.
    """
    path = run_file(run, which)
    from pose_extraction.engines.checkpoints import apply_state_dict
    from recognition.recognizer import build_recognizer

    content = load(path)
    if "method" in content:
        raise WeightsError(
            f"{path}: contains an encoder pre-trained with {content['method']}, not a recognizer; train a recognizer "
            f"with `skelpipe train --init {run}`, or measure it with `skelpipe evaluate {run} --protocol linear`"
        )
    try:
        settings = RunSettings.model_validate(content["settings"])
        recognizer = build_recognizer(
            settings.model,
            num_joints=content["num_joints"],
            channels=content["channels"],
            num_classes=len(content["label_names"]),
            movement_rows=_movement_rows(content["model"]),
        )
        weights = {
            name.removeprefix(_RECOGNIZER): tensor
            for name, tensor in content["model"].items()
            if name.startswith(_RECOGNIZER)
        }
        apply_state_dict(recognizer, weights, source=path, ignore=())
        return Trained(
            recognizer=recognizer.eval(),
            settings=settings,
            label_names=tuple(content["label_names"]),
            layout=content["layout"],
            channels=content["channels"],
            estimator=content["estimator"],
            held_out=dict(content["held_out"] or {}),
            epoch=content["epoch"],
            path=path,
            phase=content.get("phase"),
            dimensions=content.get("dimensions"),
            extraction=content.get("extraction", {}),
            confidence=confidence_from(content.get("confidence")),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: is incomplete ({error}); train again, or use another file of the run") from (error)


def _movement_rows(weights: Mapping[str, Any]) -> int | None:
    """Return the size of the classifier of descriptors in weights; None if they contain none."""
    centres = weights.get(f"{_RECOGNIZER}movement.centres")
    return None if centres is None else len(centres)


def run_file(run: str | Path, which: Literal["best", "last"] = "best") -> Path:
    """Return the file with a run's weights.

    Args:
        run: A run directory, one of its .pt files, or the name of weights that the package contains.
        which: For a directory, which of its files.

    Raises:
        WeightsError: The file does not exist.
    """
    path = located(run)
    if path.is_file():
        return path
    if not path.is_dir():
        raise WeightsError(f"{path}: no such run; pass a directory of `skelpipe train`, or a .pt file")
    file = path / (BEST if which == "best" else LAST)
    if not file.is_file():
        there = sorted(found.name for found in path.glob("*.pt"))
        hint = f"pass {path / there[0]}" if there else "nothing was saved yet: train it with `skelpipe train`"
        raise WeightsError(f"{path}: does not contain {file.name}; {hint}")
    return file


def located(run: str | Path) -> Path:
    """Return the path of a run; if there is none of this name, that of the package's weights with this name."""
    path = Path(run)
    return path if path.exists() else shipped(str(run)) or path


def newest_run(folder: Path = RUNS, *, wanted: Callable[[Path], bool] = lambda _: True) -> Path:
    """Return the run directory that was saved most recently.

    Args:
        folder: Folder that contains the runs.
        wanted: Filter for run directories.

    Raises:
        UsageError: There is no such run.
    """
    saved = [path for path in folder.glob(f"*/{LAST}") if path.is_file() and wanted(path.parent)]
    if not saved:
        raise UsageError(f"no run in {folder}/; train one with `skelpipe train`, or specify one")
    return max(saved, key=lambda path: path.stat().st_mtime_ns).parent


def newest_or_shipped_run(folder: Path = RUNS, *, wanted: Callable[[Path], bool] = lambda _: True) -> Path:
    """Return the newest run; without any, the recognizer of everyday actions that the package contains.

    Args:
        folder: Folder that contains the runs.
        wanted: Filter for run directories.

    Raises:
        UsageError: There is neither.
    """
    try:
        return newest_run(folder, wanted=wanted)
    except UsageError:
        everyday = shipped(EVERYDAY)
        if everyday is None:
            raise
        return everyday


def is_encoder(run: Path) -> bool:
    """Return whether a run directory belongs to a pre-training, according to its `about.json`."""
    try:
        about = json.loads((run / ABOUT_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and "method" in about


def saved_file(run: str | Path) -> Path:
    """Return the file of a run's best epoch or, if it has none yet, its last checkpoint.

    Args:
        run: A run directory, or one of its .pt files.

    Raises:
        WeightsError: The file does not exist.
    """
    path = located(run)
    return run_file(path, "last" if path.is_dir() and not (path / BEST).is_file() else "best")


def detector_file(run: Path) -> Path | None:
    """Return the detector file of a run directory, or the file itself if it is a detector; None otherwise.

    Raises:
        WeightsError: The file is damaged.
    """
    path = run / DETECTOR if run.is_dir() else run
    if not path.is_file() or path.suffix != ".pt":
        return None
    if path.name == DETECTOR:
        return path
    from pose_extraction.engines.checkpoints import load_plain

    return path if "detector" in load_plain(path) else None


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
