"""Run directories: what a training leaves behind, and how a recognizer comes back from it.

    settings.yaml   all settings, resolved          metrics.jsonl   losses of each step, accuracy of each epoch
    labels.json     names of the classes            events/         the same for TensorBoard
    split.json      clips trained on and held out   last.pt         weights, and the state of the training
    about.json      data, code and network          best.pt         weights that were best on the held-out part

`last.pt` and `best.pt` are whole in themselves: one of them, copied anywhere, is a recognizer.
"""

import importlib.metadata
import io
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from pydantic import BaseModel, ValidationError

from pose_extraction.checkpoints import apply_state_dict, load_plain
from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.files import atomic_write
from recognition.recognizer import Recognizer, build_recognizer
from recognition.settings import RunSettings

LAST, BEST = "last.pt", "best.pt"
SETTINGS_NAME, LABELS_NAME, SPLIT_NAME, ABOUT_NAME = "settings.yaml", "labels.json", "split.json", "about.json"
# The first number of a run file; another one means that an older or newer program wrote it.
FORMAT = 1
_RECOGNIZER = "recognizer."


@dataclass(frozen=True)
class Trained:
    """A recognizer that is ready to be asked.

    Args:
        recognizer: In evaluation mode, on the CPU, in float32.
        settings: Of the run, resolved.
        label_names: K names, in the order of the logits.
        layout: Name of the joint layout that the network sees.
        channels: C of its input.
        estimator: Pose estimator of the skeletons that it was trained on; None where their file did not say.
        held_out: Measures on the held-out part: top1, mean_class, loss, clips; empty where nothing was held out.
        epoch: Epochs that were trained.
        path: The file.
        phase: Of the last epoch: 1, cross-entropy alone; 2, both pathways; None where the file does not say.
        dimensions: Coordinates of a joint, 2 or 3, in the skeletons that it was trained on; None as with `phase`.
        extraction: How that estimator was set, as far as the skeletons' file said; see `extraction_of`.
    """

    recognizer: Recognizer
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


def begin_run(
    folder: Path,
    settings: BaseModel,
    *,
    label_names: Sequence[str],
    split: Mapping[str, Sequence[str]],
    about: Mapping[str, Any],
) -> None:
    """Makes the directory with what is known before the first step.

    Args:
        folder: The run directory.
        settings: Resolved.
        label_names: In the order of the logits.
        split: Names of the clips, "training" and "held_out"; sentences about those "left_out".
        about: What data, code and network the run is of.
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
    """What a run file says beside its weights, so that it needs no other file."""
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
        "version": importlib.metadata.version("skelpipe"),
        "commit": _commit(),
    }


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a run file, whole or not at all.

    Raises:
        OSError: The disk is full, or the file cannot be written for another reason.
    """
    written = io.BytesIO()
    # Not to the file: torch makes something of its own of the disk's errors.
    torch.save(dict(content), written)
    with atomic_write(path) as file:
        file.write(written.getbuffer())


def is_begun(folder: Path) -> bool:
    """Whether a directory holds a run that has made a step: one that failed before is in nobody's way.

    Raises:
        WeightsError: Its last checkpoint is damaged.
    """
    last = folder / LAST
    return last.is_file() and load(last)["step"] > 0


def refuse_begun(folder: Path) -> None:
    """Refuses to begin a run where there is one.

    Raises:
        UsageError: It has made a step.
        WeightsError: Its last checkpoint is damaged.
    """
    if is_begun(folder):
        raise UsageError(f"{folder}: holds a run already; go on with --resume {folder}, or give another --out")


def load(path: Path) -> dict[str, Any]:
    """Reads a run file without running anything in it.

    Raises:
        WeightsError: It is missing, damaged, or none of ours.
    """
    content = load_plain(path)
    if content.get("skelpipe_run") != FORMAT:
        raise WeightsError(
            f"{path}: is no run file of this version of skelpipe; give a run directory of `skelpipe train`, or its "
            f"{BEST}"
        )
    model = content.get("settings", {}).get("model")
    if isinstance(model, dict):
        # What a run did before it could say so.
        model.setdefault("unseen", "embed")
    return content


def is_run_file(path: Path) -> bool:
    """Whether a file of weights is one of a run, and not somebody else's.

    Raises:
        WeightsError: It is damaged.
    """
    return path.suffix != ".safetensors" and "skelpipe_run" in load_plain(path)


def load_run(run: str | Path, which: Literal["best", "last"] = "best") -> Trained:
    """A trained recognizer.

    Args:
        run: A run directory, or one of its .pt files.
        which: Of a directory: the weights that were best on the held-out part, or the last ones.

    Raises:
        WeightsError: There is no such run, or its file is damaged.
    """
    path = run_file(run, which)
    content = load(path)
    if "method" in content:
        raise WeightsError(
            f"{path}: holds an encoder that was pre-trained by {content['method']}, and no recognizer; make one of it "
            f"with `skelpipe train --init {run}`, or measure it with `skelpipe evaluate {run} --protocol linear`"
        )
    try:
        settings = RunSettings.model_validate(content["settings"])
        recognizer = build_recognizer(
            settings.model,
            num_joints=content["num_joints"],
            channels=content["channels"],
            num_classes=len(content["label_names"]),
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
        )
    except (KeyError, TypeError, ValidationError) as error:
        raise WeightsError(f"{path}: is incomplete ({error}); train again, or take another of the run's files") from (
            error
        )


def run_file(run: str | Path, which: Literal["best", "last"] = "best") -> Path:
    """The .pt file of a run.

    Raises:
        WeightsError: There is none.
    """
    path = Path(run)
    if path.is_file():
        return path
    if not path.is_dir():
        raise WeightsError(f"{path}: there is no such run; give a directory of `skelpipe train`, or a .pt file")
    file = path / (BEST if which == "best" else LAST)
    if not file.is_file():
        there = sorted(found.name for found in path.glob("*.pt"))
        hint = f"give {path / there[0]}" if there else "nothing was saved yet: train it with `skelpipe train`"
        raise WeightsError(f"{path}: holds no {file.name}; {hint}")
    return file


def newest_run(folder: Path = Path("runs"), *, wanted: Callable[[Path], bool] = lambda _: True) -> Path:
    """The run directory that was saved last.

    Args:
        folder: Of the runs.
        wanted: Which of them count.

    Raises:
        UsageError: There is none.
    """
    saved = [path for path in folder.glob(f"*/{LAST}") if path.is_file() and wanted(path.parent)]
    if not saved:
        raise UsageError(f"there is no run in {folder}/; train one with `skelpipe train`, or name one")
    return max(saved, key=lambda path: path.stat().st_mtime_ns).parent


def is_encoder(run: Path) -> bool:
    """Whether a run directory is that of a pre-training, by what it says of itself."""
    try:
        about = json.loads((run / ABOUT_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and "method" in about


def _commit() -> str | None:
    """The commit of the code where it runs from a checkout, `-dirty` if files differ; None where it is installed."""
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
