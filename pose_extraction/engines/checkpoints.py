"""Load the weights of checkpoints, and copy them into networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from pose_extraction.engines.safe_loading import OPENMMLAB, is_dense, load_safely
from pose_extraction.engines.tensor_file import read_tensors
from pose_extraction.errors import WeightsError

# Buffers that mmdet and mmpose save for some networks, but always set from the configuration.
_HARMLESS_EXTRAS = ("data_preprocessor.mean", "data_preprocessor.std")


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
    state = read_tensors(path) if is_safetensors else _state_dict_in(load_safely(path, OPENMMLAB), path)
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
    content = load_safely(path, OPENMMLAB)
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: contains {type(content).__name__}, expected a dictionary")
    return dict(content.items())


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


def _state_dict_in(content: Any, path: Path) -> dict[str, torch.Tensor]:
    if isinstance(content, dict):
        for key in ("state_dict", "model_pos", "model"):
            if isinstance(content.get(key), dict):
                content = content[key]
                break
        if content and all(isinstance(name, str) and is_dense(value) for name, value in content.items()):
            # Copy the dictionary: the one from the file can have arbitrary attributes.
            return dict(content.items())
    found = ", ".join(map(repr, list(content)[:6])) if isinstance(content, dict) else type(content).__name__
    raise WeightsError(f"{path}: contains no dictionary of tensors by name (found {found or 'nothing'})")


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
