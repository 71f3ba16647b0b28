"""The README.md of an exported recognizer: what it is, what it was trained on, how to run it."""

import json
from pathlib import Path
from typing import Any

from recognition.inference.exported_run import LABELS, MODELS
from recognition.runs import ABOUT_NAME, Trained, name_of

_LIBRARIES = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch"}


def card_of(trained: Trained, kind: str, inputs: list[dict[str, Any]], notes: list[str]) -> str:
    """Return the model card as Markdown.

    Args:
        trained: The run.
        kind: Format of the network.
        inputs: Those of `labels.json`.
        notes: Further sentences, such as the accuracy of a quantised network.
    """
    rows = [f"| `{one['name']}` | {one['type']} | {_shape(one['shape'])} | {one['meaning']} |" for one in inputs]
    parts = [
        f"# {name_of(trained.path)}",
        f"A recognizer of {len(trained.label_names)} actions from skeletons, exported by skelpipe. The network "
        "contains all steps from joints to probabilities: the choice of persons, resampling, normalisation, the "
        "classifier of descriptors if the run has one, calibration and the unknown score.",
        "## Actions",
        ", ".join(f"`{name}`" for name in trained.label_names),
        "## Training",
        "\n".join(f"- {line}" for line in _training(trained)),
        "## Running it",
        f"`pip install numpy {_LIBRARIES[kind]}`, then `python run.py` classifies `example.npz`, and `python run.py "
        f"CLIP.npz` another clip; `classify` in `run.py` is the function to copy. The inputs of `{MODELS[kind]}`, for "
        "N clips of up to M persons and T frames:",
        "\n".join(["| input | type | shape | meaning |", "|---|---|---|---|", *rows]),
        f"Outputs: `probabilities` (N, {len(trained.label_names)}), in the order of `{LABELS}`, and `unknown` (N), "
        "which is larger for clips that are less like the actions above. " + _threshold(trained),
    ]
    if notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(parts) + "\n"


def _shape(shape: list[Any]) -> str:
    return "(" + ", ".join(str(size) for size in shape) + ")"


def _threshold(trained: Trained) -> str:
    limit = trained.confidence.threshold
    if limit is None:
        return "The run has no threshold for it."
    kept = trained.confidence.kept
    share = "" if kept is None else f", which {kept:.0%} of clips of these actions are expected to stay below"
    return f"Above {limit:.4g}{share}, an action is reported as unknown."


def _training(trained: Trained) -> list[str]:
    data, model = trained.settings.data, trained.settings.model
    lines = [
        f"network: {model.backbone}, {sum(weight.numel() for weight in trained.recognizer.parameters()):,} weights",
        f"joints: {trained.layout}, {trained.dimensions or 2}D, at most {data.max_persons} persons per clip",
        f"skeletons: {trained.estimator or 'estimator not recorded'}",
        f"epochs: {trained.epoch}",
    ]
    data_file = _about(trained.path).get("data")
    if isinstance(data_file, str):
        # Its name without the folder, which belongs to the machine of the training.
        lines.append(f"data: {Path(data_file).name}")
    if trained.held_out:
        measures = trained.held_out
        lines.append(
            f"accuracy on {int(measures['clips'])} held-out clips: {measures['top1']:.1%}, mean over the classes "
            f"{measures['mean_class']:.1%}"
        )
    else:
        lines.append("accuracy: not measured in the training, because no clips were held out")
    if trained.confidence.clips:
        lines.append(
            f"calibration: temperature {trained.confidence.temperature:.3f}, from {trained.confidence.clips} clips"
        )
    return lines


def _about(path: Path) -> dict[str, Any]:
    """Return the content of the run's `about.json`; empty without."""
    try:
        content = json.loads((path.parent / ABOUT_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
