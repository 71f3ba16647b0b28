"""Load checkpoints without executing code from them.

All files are read with `torch.load(weights_only=True)`, whose unpickler accepts only tensors and plain containers.
Official checkpoints contain further objects, such as training logs or whole pickled networks. Their class names are
allowed one by one, and each is replaced by an inert record that stores its state and does nothing. Therefore no code
of numpy, mmengine, openpifpaf or torch.nn runs on untrusted data, and none of these packages has to be installed.
"""

import importlib
import importlib.util
import pickle
import re
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from pose_extraction.errors import WeightsError

# Non-tensor objects in mmengine checkpoints: the log (its buffers refer to their own methods through getattr), the
# arguments and time of the training run, and data set statistics as numpy values.
_OPENMMLAB_NAMES = (
    "argparse.Namespace",
    "builtins.getattr",
    "datetime.datetime",
    "datetime.timedelta",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
)
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
    *_OPENMMLAB_NAMES,
)
# Buffers that mmdet and mmpose save for some networks, but always set from the configuration.
_HARMLESS_EXTRAS = ("data_preprocessor.mean", "data_preprocessor.std")
_DEEPEST_MODULE = 64
_REFUSED_NAME = re.compile(r"GLOBAL (\S+)")
# torch keeps one process-wide list of allowed names. The lock stops threads from removing each other's entries.
_ADMISSION = threading.Lock()
# An entry of that list: a class or function, or (always, in this module) a substitute with the name in the file.
_Admitted = Callable[..., Any] | tuple[Callable[..., Any], str]


class _Record:
    """Substitute for an allowed class or function. It stores the state and does nothing with it."""

    state: Mapping[str, Any]

    def __new__(cls, *arguments: Any) -> "_Record":
        record = super().__new__(cls)
        record.state = {}
        return record

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.state = state


def _records(names: Sequence[str]) -> list[_Admitted]:
    # One class per name: torch's unpickler sets the state only of objects whose exact class is on its list.
    return [(type(name.rpartition(".")[2], (_Record,), {}), name) for name in names]


_OPENMMLAB = _records(_OPENMMLAB_NAMES)
_OPENPIFPAF = _records(_OPENPIFPAF_NAMES)


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


@dataclass(frozen=True)
class LoadReport:
    """Result of `apply_state_dict`.

    Args:
        loaded: Number of tensors copied into the network.
        ignored: Names of unused tensors in the file, all of which were allowed.
        absent: Names of tensors that the file lacks, all of which were allowed.
    """

    loaded: int
    ignored: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


def load_state_dict(path: Path, *, strip_prefix: str = "") -> dict[str, torch.Tensor]:
    """Load a state dictionary from a PyTorch checkpoint or a safetensors file.

    In a PyTorch checkpoint, the state dictionary is either the top level or under "state_dict", "model_pos" or "model".

    Args:
        path: Checkpoint file.
        strip_prefix: Return only tensors whose names start with this prefix ("backbone.", "module."), and remove it.

    Returns:
        Tensors by name.

    Raises:
        WeightsError: The file is damaged or unsafe, has no state dictionary, or no tensor has the prefix.
    """
    is_safetensors = path.suffix == ".safetensors"
    state = _load_safetensors(path) if is_safetensors else _state_dict_in(_load(path, _OPENMMLAB), path)
    if not strip_prefix:
        return state
    chosen = [name for name in state if name.startswith(strip_prefix)]
    stripped = {name.removeprefix(strip_prefix): state[name] for name in chosen}
    if not stripped:
        raise WeightsError(f"{path}: no tensor name starts with {strip_prefix!r}; the first is {next(iter(state))!r}")
    return stripped


def load_plain(path: Path) -> dict[str, Any]:
    """Load a dictionary of tensors, numbers, text and containers of these, such as the files of a training run.

    Other objects are returned as inert records.

    Args:
        path: Checkpoint file.

    Raises:
        WeightsError: The file is damaged, unsafe or not a dictionary.
    """
    content = _load(path, _OPENMMLAB)
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: contains {type(content).__name__}, expected a dictionary")
    return dict(content.items())


def load_openpifpaf_state_dict(path: Path) -> OpenPifPafCheckpoint:
    """Load tensors and head metadata from an OpenPifPaf checkpoint, which is a pickled network.

    The network is read as a tree of inert records, so neither openpifpaf nor torch.nn is executed.

    Args:
        path: Checkpoint file.

    Raises:
        WeightsError: The file is damaged, unsafe or not an OpenPifPaf network.
    """
    content = _load(path, _OPENPIFPAF)
    network = content.get("model") if isinstance(content, dict) else None
    if not isinstance(network, _Record):
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
            if isinstance(meta, _Record)
        ],
        base_name=base_name if isinstance(base_name, str) else None,
    )


def apply_state_dict(
    module: torch.nn.Module,
    state: Mapping[str, torch.Tensor],
    *,
    source: Path | str,
    ignore: Sequence[str] = _HARMLESS_EXTRAS,
) -> LoadReport:
    """Copy tensors into a network: all of them, or none if they do not match.

    Args:
        module: Network to change.
        state: Tensors by name.
        source: Origin of the tensors, used in error messages.
        ignore: Patterns (`*`, `?`) of tensor names that may exist on one side only.

    Returns:
        Which tensors were loaded, ignored or absent.

    Raises:
        WeightsError: Tensors are missing, unexpected or have another shape. The network is not changed.
    """
    wanted = module.state_dict()
    extra = [name for name in state if name not in wanted]
    ignored = [name for name in extra if any(fnmatchcase(name, pattern) for pattern in ignore)]
    lacking = [name for name in wanted if name not in state]
    # Number of training steps. Files from before 2018 lack it, and inference does not use it.
    absent = [name for name in lacking if name.endswith("num_batches_tracked") or name in ignore]
    problems = {
        "missing": [name for name in lacking if name not in absent],
        "unexpected": [name for name in extra if name not in ignored],
        "with another shape": [
            f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
            for name, tensor in wanted.items()
            if name in state and state[name].shape != tensor.shape
        ],
    }
    if any(problems.values()):
        summary = "; ".join(f"{len(names)} {kind} ({_some(names)})" for kind, names in problems.items() if names)
        raise WeightsError(
            f"{source}: does not match {type(module).__name__}: {summary}. The checkpoint belongs to another network; "
            "select the model that it was trained for"
        )
    # Not module.load_state_dict(): names and shapes already match, and mmpose's hooks would rename old tensors.
    with torch.no_grad():
        for name in state.keys() & wanted.keys():
            wanted[name].copy_(state[name])
    return LoadReport(loaded=len(wanted) - len(lacking), ignored=ignored, absent=absent)


def _load(path: Path, admitted: list[_Admitted]) -> Any:
    try:
        with _ADMISSION, torch.serialization.safe_globals(admitted):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    # Exceptions that damaged or hostile pickles raise in the unpickler.
    except (
        pickle.UnpicklingError,
        RuntimeError,
        LookupError,
        ArithmeticError,
        AssertionError,
        AttributeError,
        EOFError,
        MemoryError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        refused = _REFUSED_NAME.search(str(error))
        if refused is not None:
            raise WeightsError(
                f"{path}: refused because the file refers to {refused[1]}, which these networks do not use. Nothing in "
                "the file was executed; get the official file, or save only its state_dict() again"
            ) from error
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise WeightsError(
            f"{path}: not a checkpoint that can be loaded safely ({reason}); it may be damaged"
        ) from error


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    if importlib.util.find_spec("safetensors") is None:
        raise WeightsError(f"{path}: safetensors files require the package safetensors: `pip install safetensors`")
    safetensors = importlib.import_module("safetensors")
    try:
        return dict(importlib.import_module("safetensors.torch").load_file(path))
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error})") from error


def _state_dict_in(content: Any, path: Path) -> dict[str, torch.Tensor]:
    if isinstance(content, dict):
        for key in ("state_dict", "model_pos", "model"):
            if isinstance(content.get(key), dict):
                content = content[key]
                break
        if content and all(isinstance(name, str) and _is_dense(value) for name, value in content.items()):
            # Copy the dictionary: the one from the file can have arbitrary attributes.
            return dict(content.items())
    found = ", ".join(map(repr, list(content)[:6])) if isinstance(content, dict) else type(content).__name__
    raise WeightsError(f"{path}: contains no dictionary of tensors by name (found {found or 'nothing'})")


def _is_dense(value: Any) -> bool:
    # A meta tensor has a shape but no data.
    return isinstance(value, torch.Tensor) and value.layout == torch.strided and value.device.type == "cpu"


def _tensors(module: _Record, prefix: str, path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Traverse a pickled network in the order of `state_dict()`: parameters, persistent buffers, then children."""
    if prefix.count(".") > _DEEPEST_MODULE:
        raise WeightsError(f"{path}: modules are nested more than {_DEEPEST_MODULE} levels deep; the file is damaged")
    fleeting = module.state.get("_non_persistent_buffers_set") or ()
    for kind in ("_parameters", "_buffers"):
        for name, tensor in _dictionary(module, kind).items():
            if _is_dense(tensor) and not (kind == "_buffers" and name in fleeting):
                yield f"{prefix}{name}", tensor.detach()
    for name, child in _children(module).items():
        yield from _tensors(child, f"{prefix}{name}.", path)


def _children(module: _Record) -> dict[str, _Record]:
    return {name: child for name, child in _dictionary(module, "_modules").items() if isinstance(child, _Record)}


def _dictionary(module: _Record, key: str) -> dict[str, Any]:
    value = module.state.get(key)
    return value if isinstance(value, dict) else {}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, str | int | float | bool)


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
