"""`skelpipe export-model`: writes the folder of an exported recognizer, whole or not at all."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.export_model.card import export_section
from pipeline.export_model.runner import program_for
from pipeline.sharing.card import card_of
from pipeline.sharing.run_facts import facts_of
from pose_extraction.engines.engine import Engine, has_module
from pose_extraction.errors import BackendError, UsageError, installing
from pose_extraction.files import part_path
from recognition.inference.arrays import arrays_of
from recognition.inference.exported import INPUTS, ExportedPredictor
from recognition.inference.exported_run import FORMAT, LABELS, MODELS, load_exported
from recognition.run_names import located
from recognition.runs import Trained, detector_file, load_run

if TYPE_CHECKING:
    from recognition.data.clip import Clip
    from recognition.exporting.graph import ClipsToActions

# Largest difference between the exported network and the run, in probabilities.
TOLERANCE = {"onnx": 1e-4, "openvino": 1e-3, "torch": 1e-4}
# Share of a frame by which positions between frames may be rounded; OpenVINO computes in single precision.
ROUNDING = {"onnx": 0.0, "openvino": 1e-3, "torch": 0.0}
# Formats whose package is an extra of the same name.
_EXTRAS = ("openvino",)


def export_run(run: Path, kind: str, out: Path, *, int8: Path | None = None) -> Path:
    """Export stage two of a run.

    Args:
        run: Run directory, or one of its files.
        kind: "onnx", "openvino" or "torch".
        out: Folder to create.
        int8: Labelled skeletons; with them, the weights become 8-bit integers if the accuracy on these clips stays the
            same. None for the weights of the run.

    Returns:
        The folder.

    Raises:
        UsageError: The run cannot be exported, the format is unknown, or the folder exists.
        BackendError: A package for the format is not installed.
        WeightsError: The run cannot be read, or the exported network differs from it.
    """
    check_kind(kind)
    if int8 is not None and kind != "onnx":
        raise UsageError(f"--int8: only --format onnx has 8-bit weights, not {kind}")
    refuse_existing(out)
    found = located(run)
    if found.exists() and detector_file(found) is not None:
        raise UsageError(f"{run}: is an action detector, which classifies frames; only recognizers can be exported")
    trained = load_run(run)
    from recognition.exporting.graph import ClipsToActions, check_exportable

    check_exportable(trained, kind)
    with _whole(out) as folder:
        write_folder(folder, trained, ClipsToActions(trained, rounding=ROUNDING[kind]), kind, int8=int8)
    return out


def check_kind(kind: str) -> None:
    """Refuse unknown formats, and those whose packages are missing.

    Raises:
        UsageError: The format is unknown.
        BackendError: A package for the format is not installed.
    """
    if kind not in MODELS:
        raise UsageError(f"--format {kind}: must be one of {', '.join(MODELS)}")
    if kind in _EXTRAS and not has_module(kind):
        raise BackendError(f"--format {kind} needs the package {kind}; run {installing(kind)}")


def refuse_existing(out: Path) -> None:
    """Refuse to write to a folder that exists.

    Raises:
        UsageError: It exists.
    """
    if out.exists():
        raise UsageError(f"--out {out}: already exists; choose another folder, or delete it first")


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """Give a folder that becomes `out` when the block succeeds, and is removed when it raises."""
    part = part_path(out)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        part.rename(out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def write_folder(
    folder: Path, trained: Trained, graph: "ClipsToActions", kind: str, *, int8: Path | None = None
) -> None:
    """Write all files of an exported recognizer, and compare it with the run.

    Args:
        folder: An empty folder.
        trained: The run.
        graph: Its graph.
        kind: Format of the network.
        int8: See `export_run`.

    Raises:
        UsageError: 8-bit weights would lose accuracy.
        WeightsError: The exported network differs from the run.
    """
    from recognition.exporting.files import example_clips

    facts = facts_of(trained.path)
    names = _write_network(folder, graph, kind)
    network = sorted(folder.iterdir())
    labels = _labels_of(trained, graph, kind, _described_inputs(graph, names))
    (folder / LABELS).write_text(json.dumps(labels, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "run.py").write_text(program_for(kind), encoding="utf-8")
    (clip,) = example_clips(graph, persons=(2,), frames=(60,))
    _write_example(folder / "example.npz", trained, clip)
    difference = _difference(folder, trained, graph)
    if not difference <= TOLERANCE[kind]:
        from pose_extraction.errors import WeightsError

        raise WeightsError(
            f"{trained.path}: the exported network differs from the run by {difference:.2g} in a probability, more "
            f"than {TOLERANCE[kind]:g}; report this run's settings.yaml, or try another --format"
        )
    notes = [f"The largest difference from the run on test clips was {difference:.1e} in a probability."]
    if int8 is not None:
        from pipeline.export_model.quantising import quantise

        notes.append(quantise(folder, trained, int8))
    card = card_of(facts, address="FOLDER", sections=[export_section(labels, network, notes)])
    (folder / "README.md").write_text(card, encoding="utf-8")


def _write_network(folder: Path, graph: "ClipsToActions", kind: str) -> list[str]:
    """Write the network; return the names of its inputs."""
    from recognition.exporting import files

    path = folder / MODELS[kind]
    if kind == "torch":
        path.write_bytes(files.torchscript_of(graph))
        return list(INPUTS)
    content = files.onnx_of(graph)
    if kind == "openvino":
        files.write_openvino(content, path)
    else:
        path.write_bytes(content)
    return files.input_names(content)


def _described_inputs(graph: "ClipsToActions", names: list[str]) -> list[dict[str, Any]]:
    from recognition.exporting.graph import inputs_of

    known = {one.name: one for one in inputs_of(graph.layout, graph.dimensions)}
    return [asdict(known[name]) for name in names]


def _labels_of(trained: Trained, graph: "ClipsToActions", kind: str, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "skelpipe_export": FORMAT,
        "format": kind,
        "labels": list(trained.label_names),
        "unknown_threshold": trained.confidence.threshold,
        "calibration_clips": trained.confidence.clips,
        "input_layout": graph.layout.name,
        "joints": list(graph.layout.joints),
        "layout": trained.layout,
        "dimensions": graph.dimensions,
        "inputs": inputs,
        "outputs": [
            {"name": "probabilities", "type": "float32", "shape": ["N", len(trained.label_names)]},
            {"name": "unknown", "type": "float32", "shape": ["N"]},
        ],
        "estimator": trained.estimator,
        "extraction": trained.extraction,
        "data": trained.settings.data.model_dump(mode="json"),
    }


def _write_example(path: Path, trained: Trained, clip: "Clip") -> None:
    from recognition.inference.predictor import Predictor

    found = Predictor(trained, Engine("cpu", "torch", "fp32")).classify([clip])
    arrays = {name: array[0] for name, array in zip(INPUTS, arrays_of([clip]), strict=True) if name != "frames"}
    np.savez_compressed(path, **arrays, probabilities=found.probabilities[0], unknown=found.unknown[0])


def _difference(folder: Path, trained: Trained, graph: "ClipsToActions") -> float:
    """Return the largest difference in a probability between the exported network and the run."""
    from recognition.exporting.files import example_clips
    from recognition.inference.predictor import Predictor

    clips = example_clips(graph, persons=(1, 2, 3, 1, 2), frames=(60, 7, 33, 1, 250))
    expected = Predictor(trained, Engine("cpu", "torch", "fp32")).classify(clips).probabilities
    exported = ExportedPredictor(load_exported(folder), Engine("cpu"), layout=graph.layout, dimensions=graph.dimensions)
    together = exported.classify(clips).probabilities
    alone = np.concatenate([exported.classify([clip]).probabilities for clip in clips])
    return float(max(np.abs(together - expected).max(), np.abs(alone - expected).max()))
