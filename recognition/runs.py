"""Finding the weights of a run, and loading a recognizer from them.

The functions that find a run are used to check the command line, so torch is imported only to read weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pose_extraction.errors import WeightsError
from recognition.confidence.confidence import Confidence, confidence_from
from recognition.run_file import EARLIER, SUFFIX, is_run_file, load, load_facts
from recognition.run_folder import BEST, DETECTOR, LABELS_NAME, LAST, saved
from recognition.run_names import located, no_such_run
from recognition.settings import RunSettings

if TYPE_CHECKING:
    from recognition.recognizer import Recognizer

# Networks in the folder of an exported recognizer, which is no run, by format; see `inference.exported_run`.
EXPORTED = {"onnx": "model.onnx", "openvino": "model.xml", "torch": "model.pt"}
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
        estimator: Pose estimator of the skeletons that it was trained on; for weights of the package, the one that
            predictions use. None if their file does not record it.
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
            movement_shape=_movement_shape(content["model"]),
        )
        weights = {
            name.removeprefix(_RECOGNIZER): tensor
            for name, tensor in content["model"].items()
            if name.startswith(_RECOGNIZER)
        }
        apply_state_dict(recognizer, weights, source=path, ignore=())
        confidence = confidence_from(content.get("confidence"))
        if confidence.of_descriptors and (recognizer.movement is None or not recognizer.movement.is_fitted):
            raise ValueError("confidence.of_descriptors is true, but there is no classifier of descriptors")
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
            confidence=confidence,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: is incomplete ({error}); train again, or use another file of the run") from (error)


def _movement_shape(weights: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the shape of the training descriptors in weights, see `Recognizer`; None if they contain none."""
    centres = weights.get(f"{_RECOGNIZER}movement.centres")
    if centres is None:
        return None
    rows, numbers = centres.shape
    return rows, numbers


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
        raise WeightsError(f"{path}: no such run; {no_such_run(path)}")
    name = BEST if which == "best" else LAST
    file = saved(path, name)
    if file is None:
        there = sorted(found.name for suffix in (SUFFIX, EARLIER) for found in path.glob(f"*{suffix}"))
        hint = f"pass {path / there[0]}" if there else "nothing was saved yet: train it with `skelpipe train`"
        raise WeightsError(f"{path}: does not contain {name}; {hint}")
    return file


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
