"""Weights of an exported recognizer in 8 bits, if its accuracy on labelled clips stays the same."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError, WeightsError
from recognition.data.clip import Clip
from recognition.inference.exported import ExportedPredictor
from recognition.inference.exported_run import MODELS, load_exported
from recognition.inference.prediction import matched_labels
from recognition.inference.skeleton_clips import clips_for
from recognition.run_folder import SPLIT_NAME
from recognition.runs import Trained

# Share of the clips by which the accuracy may fall.
MOST_LOST = 0.01


@dataclass(frozen=True)
class _Measured:
    correct: int
    answers: np.ndarray
    size: int


def quantise(folder: Path, trained: Trained, skeletons: Path) -> str:
    """Replace the network of a folder by one with 8-bit weights.

    The weights of linear layers become 8-bit integers, and their inputs are rounded to 8 bits when the network runs
    (dynamic quantisation). Transforms, descriptors and calibration stay as they are.

    Args:
        folder: The folder of an exported recognizer in ONNX.
        trained: The run.
        skeletons: Labelled skeletons to measure the accuracy on; clips that the run was trained on do not count.

    Returns:
        A sentence with the accuracy before and after, for the model card.

    Raises:
        UsageError: The file has no further labelled clips of the run's classes, or too much accuracy would be lost.
        WeightsError: The network has no weights to quantise.
    """
    clips, labels = _labelled(trained, skeletons)
    before = _measure(folder, clips, labels)
    write_in_8_bits(folder / MODELS["onnx"])
    after = _measure(folder, clips, labels)
    count = len(clips)
    agreeing = int((before.answers == after.answers).sum())
    found = (
        f"{after.correct} of {count} clips of {skeletons.name} are correct with 8-bit weights, {before.correct} with "
        f"those of the run; {agreeing} answers agree; {after.size / 2**20:.1f} MiB instead of {before.size / 2**20:.1f}"
    )
    if before.correct - after.correct > MOST_LOST * count:
        raise UsageError(
            f"--int8: {trained.path} would lose more than {MOST_LOST:.0%} of the clips ({found}); export it without "
            "--int8"
        )
    return found


def _labelled(trained: Trained, skeletons: Path) -> tuple[list[Clip], np.ndarray]:
    clips = clips_for(trained, skeletons, skip_bad=True)
    labels = matched_labels(clips, np.asarray(clips.labels, np.int64), trained)
    known = _trained_on(trained.path)
    chosen = [
        number
        for number in np.flatnonzero(labels >= 0)
        if clips.names[number] not in known and (clips[int(number)].score > 0).any()
    ]
    if not chosen:
        raise UsageError(
            f"--int8 {skeletons}: has no labelled clips that {trained.path} was not trained on; choose another file"
        )
    return [clips[int(number)] for number in chosen], labels[chosen]


def _trained_on(path: Path) -> set[str]:
    """Return the names of the clips that a run was trained on; empty if its directory does not record them."""
    try:
        return set(json.loads((path.parent / SPLIT_NAME).read_text(encoding="utf-8"))["training"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _measure(folder: Path, clips: list[Clip], labels: np.ndarray) -> _Measured:
    exported = load_exported(folder)
    dimensions = clips[0].keypoint.shape[-1]
    from recognition.inference.predictor import input_format

    predictor = ExportedPredictor(exported, Engine("cpu"), layout=input_format(exported).layout, dimensions=dimensions)
    answers = predictor.classify(clips).probabilities.argmax(axis=1)
    size = (folder / MODELS["onnx"]).stat().st_size
    return _Measured(int((answers == labels).sum()), answers, size)


def write_in_8_bits(path: Path) -> None:
    """Replace an ONNX file by one whose linear layers have 8-bit weights.

    Raises:
        WeightsError: It has none.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(path)
    weights = {
        tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims
    }
    chosen = [
        node.name
        for node in model.graph.node
        if node.op_type in ("MatMul", "Gemm") and len(node.input) > 1 and node.input[1] in weights
    ]
    # The library replaces Gemm by MatMul and Add, and only then looks for the names.
    chosen += [f"{node.name}_MatMul" for node in model.graph.node if node.op_type == "Gemm" and node.name in chosen]
    if not chosen:
        raise WeightsError(f"--int8: {path.name} has no linear layers to quantise; export the run without --int8")
    part = path.with_name("quantised.onnx")
    quantize_dynamic(
        path, part, nodes_to_quantize=chosen, weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": 1}
    )
    part.replace(path)
