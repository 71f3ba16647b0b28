"""The format of run files: tensors in the safetensors format, everything else as JSON in the header of the same file.

One file rather than two, because only one file can be replaced at once: weights, the state of an unfinished training
and their description always belong together. Tensors keep the names that lead to them in the content, such as
`model.recognizer.head.fc2.weight`, so that any program that reads safetensors finds the weights.

Files of earlier versions (.pt) are read. Saving a run file replaces the earlier one.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pose_extraction.engines.tensor_file import SUFFIX, read_tensors, read_text, write_tensors
from pose_extraction.errors import WeightsError
from recognition.packed import is_packed, read_described, read_packed

if TYPE_CHECKING:
    import torch

# Suffix of the run files of versions before 0.2.
EARLIER = ".pt"
# Format number of run files; any other value was written by an older or newer version.
FORMAT = 1
# Entry of the header with the JSON.
_ENTRY = "skelpipe"
# Keys of objects that stand for what JSON lacks.
_TENSOR, _TUPLE, _ITEMS = "$tensor", "$tuple", "$items"


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write a run file atomically, in place of one of an earlier version.

    Args:
        path: The file, with the suffix .safetensors.
        content: Content of the file: tensors, text, numbers, None, and lists, tuples and dictionaries of these.

    Raises:
        OSError: The disk is full, or the file cannot be written for another reason.
    """
    tensors: dict[str, torch.Tensor] = {}
    described = _as_json(dict(content), "", tensors)
    write_tensors(path, tensors, (_ENTRY, json.dumps(described, ensure_ascii=False)))
    path.with_suffix(EARLIER).unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any]:
    """Read a run file without executing any code in it.

    Raises:
        WeightsError: The file is missing, damaged, or not a run file.
    """
    if is_packed(path):
        return _checked(path, read_packed(path))
    if path.suffix != SUFFIX:
        from pose_extraction.engines.checkpoints import load_plain

        return _checked(path, load_plain(path))
    return _checked(path, _decoded(path, read_tensors(path)))


def load_facts(path: Path) -> dict[str, Any]:
    """Read a run file without `model` and `training`. Neither torch nor tensors are loaded, except for a .pt file.

    Raises:
        WeightsError: The file is missing, damaged, or not a run file.
    """
    if is_packed(path):
        return _checked(path, read_described(path))
    content = _decoded(path, None) if path.suffix == SUFFIX else load(path)
    return _checked(path, {name: value for name, value in content.items() if name not in ("model", "training")})


def is_run_file(path: Path) -> bool:
    """Return whether a file of weights belongs to a run, rather than to another project.

    Raises:
        WeightsError: The file is damaged.
    """
    if path.suffix == SUFFIX:
        return is_packed(path) or read_text(path, _ENTRY) is not None
    from pose_extraction.engines.checkpoints import load_plain

    return "skelpipe_run" in load_plain(path)


def portable(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a run file without the state of the training, and without what describes this machine.

    Paths and devices of the machine are no property of the weights.
    """
    settings = dict(content["settings"])
    settings |= {"out": "auto", "data": {**settings["data"], "file": "auto", "keypoint_files": None}}
    settings["training"] = {**settings["training"], "device": "auto", "precision": "auto"}
    if "init" in settings:
        settings["init"] = None
    extraction = {name: value for name, value in content.get("extraction", {}).items() if not name.endswith("_file")}
    rest = {name: value for name, value in content.items() if name != "training"}
    return rest | {"settings": settings, "extraction": extraction}


def _checked(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    if content.get("skelpipe_run") != FORMAT:
        raise WeightsError(
            f"{path}: not a run file of this version of skelpipe; pass a run directory of `skelpipe train`, or its "
            f"best{SUFFIX}"
        )
    _keep_behaviour(content.get("settings", {}))
    return content


def _keep_behaviour(settings: dict[str, Any]) -> None:
    """Complete the settings of runs that were saved before a setting existed with the behaviour that they had."""
    model, data, pcm3 = (settings.get(name) for name in ("model", "data", "pcm3"))
    if isinstance(model, dict):
        model.setdefault("unseen", "embed")
        if "variant" not in model and isinstance(data, dict) and data.get("placement") == "aligned":
            # Saved before `variant`, when "aligned" was what is now "upright".
            data["placement"] = "upright"
    if isinstance(pcm3, dict):
        pcm3.setdefault("bones", "layout")
        pcm3.setdefault("prompt_start", "zeros")


def _as_json(value: Any, name: str, tensors: dict[str, "torch.Tensor"]) -> Any:
    """Return a value for JSON, and add its tensors to `tensors` by name."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):
        return {_TUPLE: [_as_json(part, f"{name}.{place}", tensors) for place, part in enumerate(value)]}
    if isinstance(value, list):
        return [_as_json(part, f"{name}.{place}", tensors) for place, part in enumerate(value)]
    if isinstance(value, Mapping):
        parts = {key: _as_json(part, f"{name}.{key}" if name else f"{key}", tensors) for key, part in value.items()}
        if all(isinstance(key, str) and not key.startswith("$") for key in parts):
            return parts
        return {_ITEMS: [[key, part] for key, part in parts.items()]}
    if not hasattr(value, "untyped_storage"):
        raise TypeError(f"{name}: a run file cannot contain {type(value).__name__}")
    while name in tensors:
        name += "'"
    tensors[name] = value
    return {_TENSOR: name}


def _decoded(path: Path, tensors: Mapping[str, "torch.Tensor"] | None) -> dict[str, Any]:
    """Return the content of a file, with the given tensors; with None in place of each, if `tensors` is None."""
    text = read_text(path, _ENTRY)
    if text is None:
        return {}
    try:
        content = _from_json(json.loads(text), tensors)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: its description is damaged ({error}); use another file of the run") from error
    return content if isinstance(content, dict) else {}


def _from_json(value: Any, tensors: Mapping[str, "torch.Tensor"] | None) -> Any:
    if isinstance(value, list):
        return [_from_json(part, tensors) for part in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_TENSOR}:
        return None if tensors is None else tensors[value[_TENSOR]]
    if value.keys() == {_TUPLE}:
        return tuple(_from_json(part, tensors) for part in value[_TUPLE])
    if value.keys() == {_ITEMS}:
        return {key: _from_json(part, tensors) for key, part in value[_ITEMS]}
    return {key: _from_json(part, tensors) for key, part in value.items()}
