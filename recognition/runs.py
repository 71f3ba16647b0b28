"""Run directories: the files that a training writes, and loading a recognizer from them.

    settings.yaml   all settings, resolved          metrics.jsonl   losses of each step, accuracy of each epoch
    labels.json     class names                     events/         the same for TensorBoard
    split.json      training and held-out clips     last.safetensors  weights and state of the training
    about.json      data, code and network          best.safetensors  weights of the best epoch on the held-out part

Both files of weights are self-contained: a single copied file is a complete recognizer; see `recognition.run_file`.
Earlier versions wrote `last.pt` and `best.pt`, which are read in their place.

The functions that find a run are used to check the command line, so torch is imported only to read or write weights.
"""

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
from recognition import hub
from recognition.confidence.confidence import Confidence, confidence_from
from recognition.packed import EVERYDAY, is_packed, shipped
from recognition.run_file import EARLIER, FORMAT, SUFFIX, is_run_file, load, load_facts
from recognition.settings import RunSettings

if TYPE_CHECKING:
    from recognition.recognizer import Recognizer

# Folder of the run directories.
RUNS = Path("runs")
LAST, BEST = f"last{SUFFIX}", f"best{SUFFIX}"
# Networks in the folder of an exported recognizer, which is no run, by format; see `inference.exported_run`.
EXPORTED = {"onnx": "model.onnx", "openvino": "model.xml", "torch": "model.pt"}
# Action detector that `skelpipe evaluate --protocol detection` trains on a pre-trained encoder.
DETECTOR = f"detector{SUFFIX}"
SETTINGS_NAME, LABELS_NAME, SPLIT_NAME, ABOUT_NAME = "settings.yaml", "labels.json", "split.json", "about.json"
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


def load_run(run: str | Path, which: Literal["best", "last"] = "best") -> Trained:
    """Load a trained recognizer.

    Args:
        run: A run directory, or one of its files of weights.
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
        run: A run directory, one of its files of weights, the name of weights that the package contains, or an
            address on a hub.
        which: For a directory, which of its files.

    Raises:
        WeightsError: The file does not exist.
    """
    path = located(run)
    _refuse_exported(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise WeightsError(f"{path}: no such run; pass a directory of `skelpipe train`, or a file of weights")
    name = BEST if which == "best" else LAST
    file = saved(path, name)
    if file is None:
        there = sorted(found.name for suffix in (SUFFIX, EARLIER) for found in path.glob(f"*{suffix}"))
        hint = f"pass {path / there[0]}" if there else "nothing was saved yet: train it with `skelpipe train`"
        raise WeightsError(f"{path}: does not contain {name}; {hint}")
    return file


def is_exported(path: Path) -> bool:
    """Return whether a path is the folder of an exported recognizer."""
    return path.is_dir() and any((path / name).is_file() for name in EXPORTED.values())


def _refuse_exported(path: Path) -> None:
    """Refuse exported recognizers, which contain neither weights to train further nor the state of a training.

    Raises:
        WeightsError: It is the folder of one, or the network in it.
    """
    if is_exported(path):
        raise WeightsError(
            f"{path}: is an exported recognizer, which only `skelpipe predict` and `skelpipe serve` use; pass the run "
            "that it was exported from"
        )
    if path.name in EXPORTED.values() and (path.parent / LABELS_NAME).is_file():
        raise WeightsError(
            f"{path}: is the network of an exported recognizer; for `skelpipe predict` and `skelpipe serve`, pass the "
            f"folder {path.parent}, and otherwise the run that it was exported from"
        )


def located(run: str | Path) -> Path:
    """Return the path of a run.

    Args:
        run: A path; or, if there is nothing at this path, the name of weights of the package. hf://OWNER/NAME, with or
            without @REVISION, for a run on a hub, which is downloaded into the cache.

    Raises:
        WeightsError: There is no such run on the hub, or it cannot be downloaded.
    """
    address = hub.parse(run)
    if address is not None:
        return hub.fetch(address)
    path = Path(run)
    return path if path.exists() else shipped(str(run)) or path


def recorded(run: str) -> str:
    """Return how settings record a run: its absolute path, or its address on a hub with the revision."""
    path = located(run)
    return str(hub.address_of(path) or path.resolve())


def results_folder(weights: Path) -> Path:
    """Return the folder below which results of a run are stored: its directory; for a run on a hub, one in `RUNS`."""
    address = hub.address_of(weights)
    if address is None:
        return weights.parent
    return RUNS / f"{address.repo.replace('/', '--')}-{(address.revision or '')[:8]}"


def name_of(path: Path) -> str:
    """Return the name of a run from the path of its directory or of one of its files of weights."""
    address = hub.address_of(path)
    if address is not None:
        return address.repo.partition("/")[2]
    # The package's weights have names of their own; files of runs are called alike.
    return path.stem if is_packed(path) else path.parent.name if path.is_file() else path.name


def newest_run(folder: Path = RUNS, *, wanted: Callable[[Path], bool] = lambda _: True) -> Path:
    """Return the run directory that was saved most recently.

    Args:
        folder: Folder that contains the runs.
        wanted: Filter for run directories.

    Raises:
        UsageError: There is no such run.
    """
    found = [path for run in folder.glob("*") if (path := saved(run, LAST)) is not None and wanted(run)]
    if not found:
        raise UsageError(f"no run in {folder}/; train one with `skelpipe train`, or specify one")
    return max(found, key=lambda path: path.stat().st_mtime_ns).parent


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
        run: A run directory, or one of its files of weights.

    Raises:
        WeightsError: The file does not exist.
    """
    path = located(run)
    return run_file(path, "last" if path.is_dir() and saved(path, BEST) is None else "best")


def detector_file(run: Path) -> Path | None:
    """Return the detector file of a run directory, or the file itself if it is a detector; None otherwise.

    Raises:
        WeightsError: The file is damaged.
    """
    if run.is_dir():
        return saved(run, DETECTOR)
    if run.suffix not in (SUFFIX, EARLIER) or not run.is_file():
        return None
    return run if run.stem == Path(DETECTOR).stem or (is_run_file(run) and "detector" in load_facts(run)) else None


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
