"""Disk cache of networks converted for OpenVINO: converting HRNet takes longer than extracting a short clip."""

import contextlib
import hashlib
import importlib.metadata
import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pose_extraction.cache import default_cache_dir
from pose_extraction.engines.openvino_core import openvino_core
from pose_extraction.files import sha256_of

if TYPE_CHECKING:
    import torch

MODEL, WEIGHTS, DIGESTS = "model.xml", "model.bin", "sha256"
# Part of every key: how this code converts networks. Set a new value ("2", then "3") when a conversion changes without
# a change of layers, weights, torch or OpenVINO. The first value is the version of the package that the keys had before
# this constant existed, so that networks converted then are still found.
_CONVERSION_FORMAT = "0.1.0"
UNFINISHED, UNFINISHED_SECONDS = ".unfinished-", 3600


def converted(network: "torch.nn.Module", example: "torch.Tensor") -> Any:
    """Convert a torch network into an OpenVINO model of fixed input shape, or read it from the cache.

    Args:
        network: Network in evaluation mode.
        example: Input with the shape and type of the model's input.

    Returns:
        An `openvino.Model` in fp32. The compute precision is selected when it is compiled.
    """
    import openvino

    place = default_cache_dir() / "openvino" / _key(network, example)
    if _is_whole(place):
        return openvino_core().read_model(place / MODEL)
    shutil.rmtree(place, ignore_errors=True)
    model = _convert(network, example)
    # A cache that is not writable only costs time. Another process may have written the entry first.
    with contextlib.suppress(OSError, RuntimeError):
        place.parent.mkdir(parents=True, exist_ok=True)
        _sweep(place.parent)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=UNFINISHED) as folder:
            new = Path(folder) / "new"
            openvino.save_model(model, new / MODEL, compress_to_fp16=False)
            (new / DIGESTS).write_text(_digests(new))
            # The model consists of two files, so rename the folder that contains both.
            new.rename(place)
    # A model read from disk compiles slightly differently, so use it for the first run, too.
    return openvino_core().read_model(place / MODEL) if _is_whole(place) else model


def _digests(place: Path) -> str:
    return "\n".join(sha256_of(place / name) for name in (MODEL, WEIGHTS))


def _is_whole(place: Path) -> bool:
    """Return whether both files are unchanged. A flipped bit could silently move every joint."""
    try:
        return (place / DIGESTS).read_text() == _digests(place)
    except (OSError, UnicodeDecodeError):
        return False


def _sweep(folder: Path) -> None:
    """Remove incomplete entries of killed runs, but not recent ones, which another process may be writing."""
    for left in folder.glob(f"{UNFINISHED}*"):
        if time.time() - left.stat().st_mtime > UNFINISHED_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def _key(network: "torch.nn.Module", example: "torch.Tensor") -> str:
    """Return a key that identifies layers, weights, shapes and versions of the tools."""
    digest = hashlib.sha256()
    versions = [f"{package} {importlib.metadata.version(package)}" for package in ("torch", "openvino")]
    tools = [f"skelpipe {_CONVERSION_FORMAT}", *versions]
    digest.update("\n".join([*tools, str(network), str(tuple(example.shape)), str(example.dtype)]).encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.numpy()).data)
    return digest.hexdigest()[:32]


def _convert(network: "torch.nn.Module", example: "torch.Tensor") -> Any:
    import openvino
    import torch

    with warnings.catch_warnings(), torch.inference_mode():
        # Tracing warns about Python branches that depend on a shape, but shapes are fixed here.
        warnings.simplefilter("ignore")
        return openvino.convert_model(network, example_input=example, input=[openvino.PartialShape(example.shape)])
