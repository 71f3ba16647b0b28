"""Networks of stage one as ONNX files that `--estimator` and `--detector` read, with their settings in a YAML file."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pose_extraction.engines.image_networks import Normalisation
from pose_extraction.errors import UsageError
from pose_extraction.files import atomic_write
from pose_extraction.networks.estimators import one_stage_network, topdown_network
from pose_extraction.networks.identity import TORCH_ONLY, NetworkIdentity
from pose_extraction.networks.model_zoo import ModelEntry
from pose_extraction.networks.one_stage import DetectorSpec

if TYPE_CHECKING:
    import torch

# Newest opset that the exporter supports.
OPSET = 17
# Largest size of an ONNX file.
MOST_BYTES = 2**31


def check_exportable(entry: ModelEntry) -> None:
    """Refuse networks that are neither top-down estimators nor one-stage detectors on torch.

    Raises:
        UsageError: The network is of another kind.
    """
    name = entry.name
    if entry.family == "onnx":
        raise UsageError(f"{name}: is an ONNX file already, which needs no torch; pass it as --{entry.kind}")
    if name in TORCH_ONLY:
        raise UsageError(
            f"{name}: its second stage depends on the boxes of the first, which one network cannot express; without "
            "torch, use another detector: an exported rtmdet, or --detector yolox-tiny"
        )
    if entry.family == "blazepose":
        raise UsageError(f"{name}: needs no torch; pass it as --{entry.kind} without exporting it")
    if entry.kind == "estimator" and entry.family != "mmpose" and entry.vitpose is None:
        raise UsageError(
            f"{name}: only top-down estimators can be exported, such as vitpose-b or hrnet; {name} is of the family "
            f"{entry.family}"
        )


def export_network(identity: NetworkIdentity, path: Path) -> None:
    """Write an estimator or a detector, and its settings next to it; any number of images per batch.

    An estimator maps crops to heat maps. A detector maps frames to boxes with the scores of persons (N, cells, 5);
    overlapping boxes remain.

    Args:
        identity: The network, with a row in the model table.
        path: FILE.onnx; FILE.yaml holds the settings.

    Raises:
        UsageError: The network cannot be exported.
        WeightsError: Its weights are unsafe or do not match the network.
        BackendError: A required package is not installed.
    """
    assert identity.entry is not None
    check_exportable(identity.entry)
    if identity.kind == "detector":
        content, notes = _detector(identity)
    else:
        content, notes = _estimator(identity)
    with atomic_write(path.with_suffix(".yaml")) as file:
        file.write(yaml.safe_dump(notes, sort_keys=False).encode())
    with atomic_write(path) as file:
        file.write(content)


def _estimator(identity: NetworkIdentity) -> tuple[bytes, dict[str, Any]]:
    network, normalisation, spec = topdown_network(identity)
    notes = {
        **_colours(normalisation),
        "box_scale": spec.box_scale,
        "codec": spec.codec,
        "shift_flipped": spec.shift_flipped,
        "blur_kernel": spec.blur_kernel,
    }
    axes = {"crops": {0: "persons"}, "heat_maps": {0: "persons"}}
    return _onnx_of(network, identity.name, spec.input_size, axes), notes


def _detector(identity: NetworkIdentity) -> tuple[bytes, dict[str, Any]]:
    assert identity.entry is not None
    network, normalisation, spec = one_stage_network(identity)
    notes = {
        **_colours(normalisation),
        "pad_value": spec.pad_value,
        "letterbox": spec.letterbox,
        "nms_iou": spec.nms_iou,
        "input_size": list(spec.input_size),
        "oblong": True,
        "score_threshold": identity.entry.score_threshold,
    }
    axes = {"frames": {0: "frames", 2: "height", 3: "width"}, "boxes": {0: "frames", 1: "cells"}}
    content = _onnx_of(_person_boxes(network, spec), identity.name, spec.input_size, axes)
    return _with_width(content, 5), notes


def _with_width(content: bytes, width: int) -> bytes:
    """Declare the last dimension of the output of a network, which torch does not know where sizes are free."""
    import onnx

    model = onnx.load_model_from_string(content)
    model.graph.output[0].type.tensor_type.shape.dim[-1].dim_value = width
    return bytes(model.SerializeToString())


def _colours(normalisation: Normalisation) -> dict[str, Any]:
    return {
        "colour": "rgb" if normalisation.to_rgb else "bgr",
        "mean": list(normalisation.mean),
        "std": list(normalisation.std),
    }


def _person_boxes(raw: "torch.nn.Module", spec: DetectorSpec) -> "torch.nn.Module":
    """Return a network that maps images to boxes and scores (N, cells, 5): `decode_rtmdet` without a threshold."""
    import torch

    class PersonBoxes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.raw = raw

        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            outputs = self.raw(frames)
            levels = len(outputs) // 2
            boxes = []
            for logits, sides, stride in zip(outputs[:levels], outputs[levels:], spec.strides, strict=True):
                x = torch.arange(logits.shape[3], device=logits.device) * stride  # (w,)
                y = torch.arange(logits.shape[2], device=logits.device)[:, None] * stride  # (h, 1)
                left, top, right, bottom = sides.unbind(1)  # (N, h, w) each
                score = logits[:, spec.person_class].sigmoid()
                boxes.append(torch.stack([x - left, y - top, x + right, y + bottom, score], -1).flatten(1, 2))
            return torch.cat(boxes, 1)

    return PersonBoxes().eval()


def _onnx_of(
    network: "torch.nn.Module", name: str, input_size: tuple[int, int], axes: Mapping[str, Mapping[int, str]]
) -> bytes:
    """Return a network as the content of an ONNX file.

    Args:
        network: Takes normalised images (N, 3, H, W).
        name: Its name, for messages.
        input_size: (height, width) of its input in pixels.
        axes: Names of the axes of any length, by the names of input and output.

    Raises:
        UsageError: The network is too large.
    """
    import torch

    size = sum(weight.numel() * weight.element_size() for weight in network.parameters())
    if size >= MOST_BYTES:
        raise UsageError(f"{name}: has {size / 2**30:.1f} GiB of weights, but an ONNX file holds 2 GiB at most")
    content = io.BytesIO()
    source, target = axes
    with warnings.catch_warnings(), torch.inference_mode():
        # Tracing warns about every Python branch that depends on a shape.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (torch.zeros(2, 3, *input_size),),
            content,  # type: ignore[arg-type]
            input_names=[source],
            output_names=[target],
            dynamic_axes={key: dict(value) for key, value in axes.items()},
            opset_version=OPSET,
            dynamo=False,
        )
    return content.getvalue()
