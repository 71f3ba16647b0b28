"""Networks converted for OpenVINO, kept on disk: converting HRNet takes longer than extracting a short clip."""

import contextlib
import hashlib
import importlib.metadata
import logging
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pose_extraction.weights import default_cache_dir

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


def converted(network: "torch.nn.Module", example: "torch.Tensor") -> Any:
    """A torch network as an OpenVINO model of fixed input shape, from the cache folder when it has been there before.

    Args:
        network: In evaluation mode.
        example: An input of the shape and type that the model will take.

    Returns:
        An `openvino.Model` in fp32; the precision of its arithmetic is chosen when it is compiled.
    """
    import openvino

    place = default_cache_dir() / "openvino" / _key(network, example)
    if (place / "model.xml").is_file():
        try:
            return openvino.Core().read_model(place / "model.xml")
        except RuntimeError as error:
            log.info("%s: cannot be read (%s), so the network is converted again", place, error)
            shutil.rmtree(place, ignore_errors=True)
    model = _convert(network, example)
    # A cache that cannot be written costs time, nothing else; another process may have been first.
    with contextlib.suppress(OSError, RuntimeError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".") as folder:
            openvino.save_model(model, Path(folder) / "new" / "model.xml", compress_to_fp16=False)
            # Model and weights are two files: the folder that holds both appears at once.
            (Path(folder) / "new").rename(place)
    # What is read back is compiled a little differently: the first run must not differ from later ones.
    return openvino.Core().read_model(place / "model.xml") if (place / "model.xml").is_file() else model


def _key(network: "torch.nn.Module", example: "torch.Tensor") -> str:
    """Names a network by all that decides its conversion: layers, weights, shapes and the versions of the tools."""
    digest = hashlib.sha256()
    tools = [f"{package} {importlib.metadata.version(package)}" for package in ("skelpipe", "torch", "openvino")]
    digest.update("\n".join([*tools, str(network), str(tuple(example.shape)), str(example.dtype)]).encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.numpy()).data)
    return digest.hexdigest()[:32]


def _convert(network: "torch.nn.Module", example: "torch.Tensor") -> Any:
    import openvino
    import torch

    with warnings.catch_warnings(), torch.inference_mode():
        # Tracing warns of every Python branch on a shape; shapes are fixed here.
        warnings.simplefilter("ignore")
        return openvino.convert_model(network, example_input=example, input=[openvino.PartialShape(example.shape)])
