"""Top-down estimators as ONNX files that `--estimator FILE.onnx` reads, with their settings in a YAML file."""

import io
import warnings
from pathlib import Path

import yaml

from pose_extraction.errors import UsageError
from pose_extraction.files import atomic_write
from pose_extraction.networks.estimators import topdown_network
from pose_extraction.networks.identity import NetworkIdentity

# Newest opset that the exporter supports.
OPSET = 17
# Largest size of an ONNX file.
MOST_BYTES = 2**31


def check_exportable(identity: NetworkIdentity) -> None:
    """Refuse networks that are not top-down estimators on torch.

    Raises:
        UsageError: The network is of another kind.
    """
    name, entry = identity.name, identity.entry
    if entry is None or entry.family == "onnx":
        raise UsageError(f"{name}: is an ONNX file already, which needs no torch; pass it as --{identity.kind}")
    if identity.kind == "detector":
        raise UsageError(
            f"{name}: detectors of mmdet choose their boxes outside the network; without torch, use a detector that is "
            "published as ONNX, such as --detector yolox-tiny (`skelpipe models`)"
        )
    if entry.family != "mmpose" and entry.vitpose is None:
        raise UsageError(
            f"{name}: only top-down estimators can be exported, such as vitpose-b or hrnet; {name} is of the family "
            f"{entry.family}"
        )


def export_estimator(identity: NetworkIdentity, path: Path) -> None:
    """Write the network of a top-down estimator, and its settings next to it; any number of crops per batch.

    Args:
        identity: The network.
        path: FILE.onnx; FILE.yaml holds the settings.

    Raises:
        UsageError: The network cannot be exported.
        WeightsError: Its weights are unsafe or do not match the network.
        BackendError: A required package is not installed.
    """
    check_exportable(identity)
    import torch

    network, normalisation, spec = topdown_network(identity)
    size = sum(weight.numel() * weight.element_size() for weight in network.parameters())
    if size >= MOST_BYTES:
        raise UsageError(
            f"{identity.name}: has {size / 2**30:.1f} GiB of weights, but an ONNX file holds 2 GiB at most"
        )
    content = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        # Tracing warns about every Python branch that depends on a shape.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (torch.zeros(2, 3, *spec.input_size),),
            content,  # type: ignore[arg-type]
            input_names=["crops"],
            output_names=["heat_maps"],
            dynamic_axes={"crops": {0: "persons"}, "heat_maps": {0: "persons"}},
            opset_version=OPSET,
            dynamo=False,
        )
    notes = {
        "colour": "rgb" if normalisation.to_rgb else "bgr",
        "mean": list(normalisation.mean),
        "std": list(normalisation.std),
        "box_scale": spec.box_scale,
        "codec": spec.codec,
        "shift_flipped": spec.shift_flipped,
        "blur_kernel": spec.blur_kernel,
    }
    with atomic_write(path.with_suffix(".yaml")) as file:
        file.write(yaml.safe_dump(notes, sort_keys=False).encode())
    with atomic_write(path) as file:
        file.write(content.getvalue())
