"""Load networks from ONNX files, with an optional YAML file for settings that ONNX cannot express.

The settings of `model.onnx` are in `model.yaml` next to it; all keys have defaults. Estimators are top-down COCO-17
networks that return heat maps (N, K, h, w) or SimCC vectors (N, K, w'), (N, K, h'), such as RTMPose. Detectors are
YOLOX exports.
"""

import logging
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pose_extraction.engines.engine import Engine
from pose_extraction.engines.image_networks import IMAGENET_MEAN, IMAGENET_STD, ImageNetwork, Normalisation, from_onnx
from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.networks.model_zoo import SCORE_THRESHOLD
from pose_extraction.networks.one_stage import DetectorSpec, OneStageDetector
from pose_extraction.networks.topdown import TopdownEstimator, TopdownSpec
from pose_extraction.skeleton import COCO17
from pose_extraction.yaml_text import read_yaml, yaml_reason

log = logging.getLogger(__name__)


class EstimatorNotes(BaseModel):
    """Keys of the YAML file of an estimator."""

    model_config = ConfigDict(extra="forbid")

    colour: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    box_scale: float = 1.25
    codec: Literal["auto", "msra", "udp", "simcc"] = "auto"
    shift_flipped: bool | None = None
    blur_kernel: int = 11
    split_ratio: float | None = None
    # By which the output is divided to obtain scores in [0, 1].
    score_scale: float = Field(1.0, gt=0)
    # Index of the output channel for each joint of COCO-17.
    joints: list[int] | None = None


class DetectorNotes(BaseModel):
    """Keys of the YAML file of a detector."""

    model_config = ConfigDict(extra="forbid")

    colour: Literal["rgb", "bgr"] = "bgr"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    pad_value: float = 114.0
    letterbox: Literal["corner", "centre", "stretch"] = "corner"
    nms_iou: float = 0.65
    strides: tuple[int, ...] = (8, 16, 32)
    person_class: int = 0
    # (height, width) in pixels, if the file accepts several sizes.
    input_size: tuple[int, int] | None = None
    # Whether a square input may be cut to the part that the frame needs; the file must accept several sizes.
    oblong: bool = False
    # Minimum score of a person, unless the user chooses another one.
    score_threshold: float = Field(SCORE_THRESHOLD, ge=0, lt=1)


Notes = TypeVar("Notes", bound=BaseModel)


def _read_notes(path: Path, kind: type[Notes]) -> Notes:
    notes = path.with_suffix(".yaml")
    if not notes.is_file():
        return kind()
    try:
        return kind.model_validate(read_yaml(notes.read_text(encoding="utf-8")) or {})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        known = ", ".join(kind.model_fields)
        raise UsageError(f"{notes}: {place}: {first['msg']}; known keys are {known}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{notes}: not valid YAML ({yaml_reason(error)}); fix or remove the file") from error


def detector_notes(path: Path) -> DetectorNotes:
    """Return the settings of a detector in an ONNX file.

    Args:
        path: The ONNX file.

    Raises:
        UsageError: Its YAML file is malformed.
    """
    return _read_notes(path, DetectorNotes)


def onnx_files(path: Path) -> list[Path]:
    """Return all files that determine the output of an ONNX network: the file, external weights, and the YAML file.

    Args:
        path: ONNX file.

    Raises:
        WeightsError: The file is not a readable ONNX network.
    """
    import onnx
    from onnx.external_data_helper import uses_external_data

    files = [path]
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception as error:
        raise WeightsError(f"{path}: not a readable ONNX network ({error}); export or download it again") from error
    for tensor in graph.initializer:
        if uses_external_data(tensor):
            files += [path.parent / entry.value for entry in tensor.external_data if entry.key == "location"]
    notes = path.with_suffix(".yaml")
    return [*dict.fromkeys(file for file in files if file.is_file()), *([notes] if notes.is_file() else [])]


def _load(path: Path) -> Any:
    """Load and check the file. The graph is data, so loading it executes nothing."""
    import onnx

    if not path.is_file():
        raise WeightsError(f"ONNX file {path} does not exist; check the path, or use a name from `skelpipe models`")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:
        raise WeightsError(f"{path}: not a readable ONNX network ({error}); export or download it again") from error
    return model


def _shape(value: Any) -> list[int | None]:
    """Return the dimensions of an ONNX input or output; None for dynamic ones."""
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]


def _picture_input(model: Any, path: Path, wanted: tuple[int, int] | None = None) -> tuple[int | None, tuple[int, int]]:
    """Return the batch size (None if dynamic) and (height, width) of the only input; `wanted` if that is dynamic."""
    initialisers = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initialisers]
    shape = _shape(inputs[0]) if inputs else []
    if wanted is not None and shape[2:] in ([None, None], list(wanted)):
        shape[2:] = wanted
    if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or shape[2] is None or shape[3] is None:
        shapes = [_shape(value) for value in inputs]
        raise WeightsError(
            f"{path}: inputs have shapes {shapes}, expected one input [N, 3, height, width]; "
            "export the network with a fixed image size"
        )
    return shape[0], (shape[2], shape[3])


def _with_dynamic_batch(model: Any, size: tuple[int, int], path: Path) -> bytes | None:
    """Make the batch size of a network dynamic. Return None if this changes its output."""
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    graph = rewritten.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            constants[node.output[0]] = node.attribute[0].t
    for node in graph.node:
        if node.op_type == "Reshape" and node.input[1] in constants:
            tensor = constants[node.input[1]]
            target = numpy_helper.to_array(tensor).copy()
            if len(target) and target[0] == 1:
                # 0 copies the dimension from the input, which keeps the batch size.
                target[0] = 0
                tensor.CopyFrom(numpy_helper.from_array(target, tensor.name))
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:]

    pictures = np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    name = graph.input[0].name
    try:
        content = rewritten.SerializeToString()
        together = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        one_by_one = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        joint = together.run(None, {name: pictures})
        alone = [one_by_one.run(None, {name: pictures[row : row + 1]}) for row in range(2)]
    except Exception as error:  # noqa: BLE001  (onnxruntime's exceptions have no public base class)
        log.debug("%s: the modified network does not run: %s", path, error)
        return None
    for output, parts in zip(joint, zip(*alone, strict=True), strict=True):
        single = np.concatenate(parts)
        if output.shape != single.shape or not np.allclose(output, single, rtol=1e-3, atol=1e-4 * np.abs(single).max()):
            return None
    return content


def _batchable(model: Any, batch: int | None, size: tuple[int, int], path: Path, batch_size: int) -> tuple[int, bytes]:
    """Return the batch size with which the network can run, and its serialised form.

    Args:
        model: The network.
        batch: Its batch size; None if dynamic.
        size: (height, width) of its input in pixels.
        path: Its file, for messages.
        batch_size: The wanted batch size.
    """
    if batch is None or batch == batch_size:
        return batch_size, model.SerializeToString()
    if batch == 1 and (content := _with_dynamic_batch(model, size, path)) is not None:
        return batch_size, content
    log.warning(
        "%s has a fixed batch size of %d that cannot be changed, so it runs with %d at a time; "
        "export it with a dynamic batch size for more speed",
        path,
        batch,
        batch,
    )
    return batch, model.SerializeToString()


def estimator_from_onnx(path: Path, engine: Engine, *, batch_size: int, flip_test: bool) -> TopdownEstimator:
    """Load a top-down COCO-17 network.

    Args:
        path: ONNX file.
        engine: Where it runs.
        batch_size: Number of crops per batch; a fixed batch size in the file takes precedence.
        flip_test: See `TopdownEstimator`.

    Returns:
        The estimator.

    Raises:
        WeightsError: The file is missing, damaged or not such a network.
        UsageError: Its YAML file is malformed.
    """
    model = _load(path)
    notes = _read_notes(path, EstimatorNotes)
    own_batch, size = _picture_input(model, path)
    outputs = [_shape(value) for value in model.graph.output]
    codec = notes.codec
    if codec == "auto":
        codec = "simcc" if len(outputs) == 2 and all(len(shape) == 3 for shape in outputs) else "msra"
    wanted = 3 if codec == "simcc" else 4
    if any(len(shape) != wanted for shape in outputs[: 2 if codec == "simcc" else 1]):
        raise WeightsError(
            f"{path}: outputs {outputs} are neither heat maps [N, K, h, w] nor SimCC vectors "
            "[N, K, w], [N, K, h]; use a top-down COCO-17 network"
        )
    channels = outputs[0][1]
    joints = notes.joints or list(range(COCO17.num_joints))
    if notes.joints is None and channels != COCO17.num_joints:
        raise WeightsError(
            f"{path}: returns {channels} joints, expected {COCO17.num_joints}; specify the channels of COCO-17 "
            f"under `joints:` in {path.with_suffix('.yaml').name}"
        )
    if len(joints) != COCO17.num_joints or not all(0 <= joint < (channels or 1 << 30) for joint in joints):
        raise UsageError(
            f"{path.with_suffix('.yaml')}: joints: {joints} must be {COCO17.num_joints} channels below {channels}"
        )
    split_ratio = notes.split_ratio or (outputs[0][2] / size[1] if codec == "simcc" and outputs[0][2] else 2.0)
    spec = TopdownSpec(
        input_size=size,
        codec=codec,
        box_scale=notes.box_scale,
        shift_flipped=notes.shift_flipped if notes.shift_flipped is not None else codec == "msra",
        blur_kernel=notes.blur_kernel,
        split_ratio=split_ratio,
        score_scale=notes.score_scale,
        joints=tuple(joints),
    )
    normalisation = Normalisation(notes.mean, notes.std, to_rgb=notes.colour == "rgb")
    batch, content = _batchable(model, own_batch, size, path, batch_size)
    network = from_onnx(path, content, normalisation, engine, input_size=size, batch_size=batch)
    return TopdownEstimator(network, spec, flip_test=flip_test)


def detector_from_onnx(
    path: Path, engine: Engine, *, batch_size: int, score_threshold: float | None, oblong: bool = True
) -> OneStageDetector:
    """Load a YOLOX export, or any detector whose export returns boxes, such as RTMDet.

    The output of the first is (N, cells, 5 + classes), decoded or relative to the grid; that of the second boxes with
    scores (N, boxes, 5), and the class of each (N, boxes) if there are several.

    Args:
        path: ONNX file.
        engine: Where it runs.
        batch_size: Number of frames per batch; a fixed batch size in the file takes precedence.
        score_threshold: Minimum score of a person, in [0, 1]; None for that of the YAML file.
        oblong: Whether a file that accepts several sizes may run on the part of its square input that the frame needs.

    Returns:
        The detector.

    Raises:
        WeightsError: The file is missing, damaged or not such a network.
        UsageError: Its YAML file is malformed.
    """
    model = _load(path)
    notes = detector_notes(path)
    own_batch, size = _picture_input(model, path, notes.input_size)
    outputs = [_shape(value) for value in model.graph.output]
    cells = sum((size[0] // stride) * (size[1] // stride) for stride in notes.strides)
    finished = len(outputs[0]) == 3 and outputs[0][2] == 5 and [len(shape) for shape in outputs[1:]] in ([], [2])
    if not finished and (len(outputs) != 1 or len(outputs[0]) != 3 or outputs[0][1] not in (cells, None)):
        raise WeightsError(
            f"{path}: output {outputs} is neither YOLOX's [N, {cells}, 5 + classes] for an input of "
            f"{size[0]}x{size[1]} nor boxes [N, boxes, 5] with their classes [N, boxes]; use such an export, or "
            f"specify its strides in {path.with_suffix('.yaml').name}"
        )
    spec = DetectorSpec(
        input_size=size,
        decoder="finished" if finished else "yolox",
        pad_value=notes.pad_value,
        nms_iou=notes.nms_iou,
        strides=notes.strides,
        person_class=notes.person_class,
        letterbox=notes.letterbox,
        oblong=oblong and notes.oblong,
    )
    normalisation = Normalisation(notes.mean, notes.std, to_rgb=notes.colour == "rgb")
    batch, content = _batchable(model, own_batch, size, path, batch_size)

    def make_network(input_size: tuple[int, int]) -> ImageNetwork:
        return from_onnx(path, content, normalisation, engine, input_size=input_size, batch_size=batch)

    threshold = notes.score_threshold if score_threshold is None else score_threshold
    return OneStageDetector(make_network, spec, score_threshold=threshold, batch_size=batch)
