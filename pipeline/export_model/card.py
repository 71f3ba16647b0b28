"""The section about the export in the model card of an exported recognizer; the rest is the card of the run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.sharing.markdown import table
from recognition.inference.exported_run import LABELS

TITLE = "## Exported network"
_LIBRARIES = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch"}
_FORMATS = {"onnx": "ONNX", "openvino": "OpenVINO", "torch": "TorchScript"}


def export_section(labels: Mapping[str, Any], files: Sequence[Path], notes: Sequence[str]) -> str:
    """Return the section as Markdown.

    Args:
        labels: Content of `labels.json`.
        files: Files of the network.
        notes: Further sentences, such as the accuracy of a quantised network.
    """
    kind = labels["format"]
    contents = [
        (f"`{path.name}`", f"network, {_FORMATS[kind]}, {path.stat().st_size / 2**20:.1f} MiB") for path in files
    ]
    contents += [
        (f"`{LABELS}`", "actions, joints, inputs and outputs, threshold of the unknown score"),
        ("`example.npz`", "a clip, and the probabilities that the run predicts for it"),
        ("`run.py`", "classifies a clip without skelpipe; `classify` in it is the function to copy"),
    ]
    parts = [
        TITLE,
        "This folder (`FOLDER` above) is the recognizer as one network with all steps from joints to probabilities: "
        "the choice of persons, resampling, normalisation, the classifier of descriptors if the run has one, "
        "calibration and the unknown score.",
        table(("file", "content"), contents),
        f"Without skelpipe: `pip install numpy {_LIBRARIES[kind]}`, then `python run.py` classifies `example.npz`, and "
        "`python run.py CLIP.npz` another clip.",
        "Inputs, for N clips of up to M persons and T frames:",
        table(
            ("input", "type", "shape", "meaning"),
            [(f"`{one['name']}`", one["type"], _shape(one["shape"]), one["meaning"]) for one in labels["inputs"]],
        ),
        table(
            ("output", "type", "shape", "meaning"),
            [
                (f"`{one['name']}`", one["type"], _shape(one["shape"]), meaning)
                for one, meaning in zip(labels["outputs"], _meanings(labels["unknown_threshold"]), strict=True)
            ],
        ),
        "\n".join(f"- {note}" for note in notes),
    ]
    return "\n\n".join(parts)


def _shape(shape: Sequence[Any]) -> str:
    return "(" + ", ".join(str(size) for size in shape) + ")"


def _meanings(threshold: float | None) -> tuple[str, str]:
    limit = (
        "the run has no threshold for it"
        if threshold is None
        else f"above {threshold:.4g} the action is reported as unknown"
    )
    return (
        f"calibrated, in the order of the actions in `{LABELS}`",
        f"larger for clips that are less like these actions; {limit}",
    )
