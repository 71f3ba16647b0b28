"""Read OpenPifPaf's checkpoints, which are pickled networks, without OpenPifPaf."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pose_extraction.engines.safe_loading import OPENMMLAB_NAMES, Record, is_dense, load_safely, records
from pose_extraction.errors import WeightsError

# Modules of OpenPifPaf's ShuffleNetV2K networks with composite fields.
_OPENPIFPAF_NAMES = (
    "openpifpaf.headmeta.Caf",
    "openpifpaf.headmeta.Cif",
    "openpifpaf.network.basenetworks.InvertedResidualK",
    "openpifpaf.network.basenetworks.ShuffleNetV2K",
    "openpifpaf.network.heads.CompositeField3",
    "openpifpaf.network.heads.CompositeField4",
    "openpifpaf.network.nets.Shell",
    "torch.nn.modules.activation.ReLU",
    "torch.nn.modules.batchnorm.BatchNorm2d",
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.dropout.Dropout",
    "torch.nn.modules.dropout.Dropout2d",
    "torch.nn.modules.pixelshuffle.PixelShuffle",
    *OPENMMLAB_NAMES,
)
_OPENPIFPAF = records(_OPENPIFPAF_NAMES)
_DEEPEST_MODULE = 64


@dataclass(frozen=True)
class OpenPifPafCheckpoint:
    """Content of a pickled OpenPifPaf network.

    Args:
        state_dict: Tensors by dotted name, as `state_dict()` of the network would return them.
        head_metas: One dictionary per head, in order, with its "class" ("Cif", "Caf") and the plain fields of its
            metadata ("name", "dataset", "keypoints", "skeleton", "base_stride", "upsample_stride", ...).
        base_name: Name of the base network, for example "shufflenetv2k16"; None if the file does not contain it.
    """

    state_dict: dict[str, torch.Tensor]
    head_metas: list[dict[str, Any]]
    base_name: str | None


def load_openpifpaf_state_dict(path: Path) -> OpenPifPafCheckpoint:
    """Load tensors and head metadata from an OpenPifPaf checkpoint, which is a pickled network.

    The network is read as a tree of inert records, so neither openpifpaf nor torch.nn is executed.

    Args:
        path: Checkpoint file.

    Raises:
        WeightsError: The file is damaged, unsafe or not an OpenPifPaf network.
    """
    content = load_safely(path, _OPENPIFPAF)
    network = content.get("model") if isinstance(content, dict) else None
    if not isinstance(network, Record):
        raise WeightsError(f"{path}: not an OpenPifPaf checkpoint, which has a network under the key 'model'")
    state = dict(_tensors(network, "", path))
    if not state:
        raise WeightsError(f"{path}: the network under the key 'model' has no tensors")
    modules = _children(network)
    base = modules.get("base_net")
    base_name = base.state.get("name") if base is not None else None
    heads = modules.get("head_nets") or modules.get("_head_nets")
    metas = [head.state.get("meta") for head in _children(heads).values()] if heads is not None else []
    return OpenPifPafCheckpoint(
        state_dict=state,
        head_metas=[
            {"class": type(meta).__name__, **{key: value for key, value in meta.state.items() if _is_plain(value)}}
            for meta in metas
            if isinstance(meta, Record)
        ],
        base_name=base_name if isinstance(base_name, str) else None,
    )


def _tensors(module: Record, prefix: str, path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Traverse a pickled network in the order of `state_dict()`: parameters, persistent buffers, then children."""
    if prefix.count(".") > _DEEPEST_MODULE:
        raise WeightsError(f"{path}: modules are nested more than {_DEEPEST_MODULE} levels deep; the file is damaged")
    fleeting = module.state.get("_non_persistent_buffers_set") or ()
    for kind in ("_parameters", "_buffers"):
        for name, tensor in _dictionary(module, kind).items():
            if is_dense(tensor) and not (kind == "_buffers" and name in fleeting):
                yield f"{prefix}{name}", tensor.detach()
    for name, child in _children(module).items():
        yield from _tensors(child, f"{prefix}{name}.", path)


def _children(module: Record) -> dict[str, Record]:
    return {name: child for name, child in _dictionary(module, "_modules").items() if isinstance(child, Record)}


def _dictionary(module: Record, key: str) -> dict[str, Any]:
    value = module.state.get(key)
    return value if isinstance(value, dict) else {}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, str | int | float | bool)
