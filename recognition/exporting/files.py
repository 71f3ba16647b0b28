"""A run's graph as ONNX, OpenVINO or TorchScript.

All three come from one trace: the graph has data-dependent shapes (numbers of persons and frames), which `torch.export`
cannot express without changes to the networks.
"""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from recognition.data.clip import Clip, clip_from_arrays
from recognition.exporting.graph import OUTPUTS, ClipsToActions, inputs_of
from recognition.exporting.symbolics import OPSET, sizes_unknown
from recognition.inference.arrays import arrays_of


def example_clips(
    graph: ClipsToActions, *, persons: Sequence[int] = (2, 1), frames: Sequence[int] = (40, 1)
) -> list[Clip]:
    """Return clips of people whose joints swing, some of which are not seen, for tracing and as an example.

    Args:
        graph: The network.
        persons: Number of persons of each clip.
        frames: Number of frames of each clip.
    """
    rng = np.random.default_rng(0)
    clips = []
    for number, (most, length) in enumerate(zip(persons, frames, strict=True)):
        shape = (most, length, graph.layout.num_joints, graph.dimensions)
        time = np.arange(length) / 25
        swing = np.sin(2 * np.pi * (time[:, None, None] + rng.random(shape[2])[:, None]))
        keypoint = rng.uniform(200, 300, (most, 1, 1, 1)) + rng.normal(0, 60, (most, 1, *shape[2:]))
        keypoint = keypoint + swing * rng.normal(0, 20, (most, 1, *shape[2:]))
        score = rng.uniform(0.5, 1, shape[:-1])
        score[rng.random(score.shape) < 0.1] = 0
        size = (480, 640) if graph.dimensions == 2 else None
        clips.append(clip_from_arrays(keypoint, score, size, name=f"example{number}", time=time))
    return clips


def onnx_of(graph: ClipsToActions) -> bytes:
    """Return the network as an ONNX file with any numbers of clips, persons and frames."""
    content = io.BytesIO()
    inputs = inputs_of(graph.layout, graph.dimensions)
    names = {"N": "clips", "M": "persons", "T": "frames"}
    axes = {
        value.name: {axis: names[word] for axis, word in enumerate(value.shape) if isinstance(word, str)}
        for value in inputs
    }
    with warnings.catch_warnings(), torch.inference_mode(), sizes_unknown():
        # Tracing warns about every Python branch that depends on a shape.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.eval(),
            _example(graph),
            content,  # type: ignore[arg-type]
            input_names=[value.name for value in inputs],
            output_names=list(OUTPUTS),
            dynamic_axes=axes | {name: {0: "clips"} for name in OUTPUTS},
            opset_version=OPSET,
            dynamo=False,
        )
    return content.getvalue()


def torchscript_of(graph: ClipsToActions) -> bytes:
    """Return the network as TorchScript, which needs torch but none of this project's code."""
    content = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        # torch would compare a second trace with the first, which differ in the order of constants.
        traced = torch.jit.trace(graph.eval(), _example(graph), check_trace=False)
        torch.jit.save(traced, content)
    return content.getvalue()


def write_openvino(content: bytes, path: Path) -> None:
    """Write an ONNX network as an OpenVINO model: `path`, an .xml file, and the .bin file of its weights.

    Args:
        content: The ONNX network.
        path: The .xml file.
    """
    import openvino

    model = openvino.Core().read_model(content)
    openvino.save_model(model, path, compress_to_fp16=False)


def _example(graph: ClipsToActions) -> tuple[torch.Tensor, ...]:
    # One clip has a single frame, so that it is shorter for every run: otherwise tracing would follow the branch for
    # batches without padding.
    return tuple(torch.from_numpy(array) for array in arrays_of(example_clips(graph)))


def input_names(content: bytes) -> list[str]:
    """Return the names of the inputs of an ONNX network; it lacks those that do not affect the result."""
    import onnx

    graph = onnx.load_from_string(content).graph
    return [value.name for value in graph.input]
