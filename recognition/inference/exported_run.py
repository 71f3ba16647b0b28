"""The folder of an exported recognizer: what it contains, and what its `labels.json` says.

model.onnx, model.xml and model.bin, or model.pt    the network, from joints to probabilities
labels.json                                         classes, inputs, threshold, and settings of the run
README.md, example.npz, run.py                      model card, an example, and a program that runs it
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pose_extraction.errors import WeightsError
from recognition.confidence.confidence import Confidence
from recognition.runs import EXPORTED as MODELS
from recognition.settings import RunSettings

LABELS, FORMAT = "labels.json", 1


@dataclass(frozen=True)
class ExportedRun:
    """What `labels.json` of an exported recognizer says.

    Args:
        path: The folder.
        format: A key of `MODELS`.
        inputs: Names of the inputs that the network has.
        settings: Settings of the run; only `data` matters.
        label_names: K class names, in the order of the probabilities.
        layout: Joint layout that the network sees after its transforms.
        dimensions: Coordinates per joint.
        estimator: Pose estimator of the training skeletons; None if it is not known.
        extraction: Settings of that estimator.
        confidence: Threshold of the unknown score; the calibration itself is part of the network.
    """

    path: Path
    format: str
    inputs: tuple[str, ...]
    settings: RunSettings
    label_names: tuple[str, ...]
    layout: str
    dimensions: int
    estimator: str | None
    extraction: dict[str, Any] = field(default_factory=dict)
    confidence: Confidence = field(default_factory=Confidence)


def load_exported(folder: Path) -> ExportedRun:
    """Read `labels.json` of an exported recognizer.

    Raises:
        WeightsError: The file is missing or damaged, or the network that it describes is missing.
    """
    path = folder / LABELS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["skelpipe_export"] != FORMAT:
            raise ValueError(f"format {content['skelpipe_export']!r} instead of {FORMAT}")
        if content["format"] not in MODELS:
            raise ValueError(f"format is {content['format']!r}")
        exported = ExportedRun(
            folder,
            content["format"],
            tuple(one["name"] for one in content["inputs"]),
            RunSettings.model_validate({"data": content["data"]}),
            tuple(content["labels"]),
            content["layout"],
            content["dimensions"],
            content["estimator"],
            content["extraction"],
            Confidence(threshold=content["unknown_threshold"], clips=content["calibration_clips"]),
        )
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise WeightsError(f"{path}: cannot be read ({error}); export the recognizer again") from error
    network = folder / MODELS[exported.format]
    if not network.is_file():
        raise WeightsError(f"{network}: does not exist, but {LABELS} describes it; export the recognizer again")
    return exported
