"""Weights that travel with the package: tensors, most in half precision, in a safetensors file, the rest as JSON.

NAME.safetensors   the weights of a run file        NAME.json   the rest of it: settings, classes, digests
NAME.md            the model card
"""

import json
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from pose_extraction.engines.tensor_file import SUFFIX, read_tensors, write_tensors
from pose_extraction.errors import WeightsError
from pose_extraction.files import atomic_write, sha256_of

# Initial weights of the package for small networks of the config `custom`.
BASE = "base"
# Recognizer of the package that predictions use where there is no run.
EVERYDAY = "everyday"
# Weights of the package, by name of the file.
FOLDER = Path(__file__).with_name("weights")
# Key of the digest of the weights in the JSON file.
_DIGEST = "weights_sha256"


def write_packed(path: Path, content: Mapping[str, Any], *, prefix: str, exact: Container[str] = ()) -> None:
    """Write the network of a run file as NAME.safetensors and NAME.json.

    Args:
        path: NAME.safetensors.
        content: Content of the run file; of its state only the names of tensors that start with `prefix` are kept.
        prefix: Start of the names of the network's tensors.
        exact: Names of tensors that keep their precision.
    """
    tensors = {
        name: tensor.half() if tensor.dtype.is_floating_point and name not in exact else tensor
        for name, tensor in content["model"].items()
        if name.startswith(prefix)
    }
    write_tensors(path, tensors)
    digest = sha256_of(path)
    rest = {name: value for name, value in content.items() if name != "model" and _is_plain(value)}
    described = rest | {_DIGEST: digest}
    with atomic_write(path.with_suffix(".json")) as file:
        # One line for each entry: lists of thousands of numbers would take as many lines.
        lines = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in described.items()]
        file.write(("{\n" + ",\n".join(lines) + "\n}\n").encode())


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def is_packed(path: Path) -> bool:
    """Return whether a file is one of `write_packed`, rather than safetensors of another project."""
    return path.suffix == SUFFIX and path.with_suffix(".json").is_file()


def read_packed(path: Path) -> dict[str, Any]:
    """Read what `write_packed` wrote, as the content of a run file, in single precision.

    Raises:
        WeightsError: One of both files is missing or damaged, or they do not belong together.
    """
    tensors = read_tensors(path)
    model = {name: tensor.float() if tensor.dtype.is_floating_point else tensor for name, tensor in tensors.items()}
    return read_described(path) | {"model": model}


def read_described(path: Path) -> dict[str, Any]:
    """Read the JSON file of `write_packed`, without the weights.

    Raises:
        WeightsError: One of both files is missing or damaged, or they do not belong together.
    """
    described = path.with_suffix(".json")
    try:
        content = json.loads(described.read_text(encoding="utf-8"))
        digest = sha256_of(path)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{described}: cannot be read ({error}); it describes {path.name}, copy both") from error
    if not isinstance(content, dict) or content.get(_DIGEST) != digest:
        raise WeightsError(f"{path}: does not belong to {described.name}; copy both files from one place")
    return content


def card_of_packed(path: Path) -> str | None:
    """Return the model card next to a file of `write_packed`, Markdown; None if there is none."""
    card = path.with_suffix(".md")
    return card.read_text(encoding="utf-8").strip() if is_packed(path) and card.is_file() else None


def shipped(name: str) -> Path | None:
    """Return the file of the package's weights with a name, such as "base"; None if it has none with that name."""
    path = FOLDER / f"{name}{SUFFIX}"
    return path if name and Path(name).name == name and path.is_file() else None


def shipped_names() -> list[str]:
    """Return the names of the package's weights, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))
