"""Files in the safetensors format: tensors by name and one text, without code.

The library reads from memory rather than from a mapped file, so that a file can be replaced while its tensors are in
use. Its headers list several texts in random order, so files here have one, which makes equal content equal bytes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from pose_extraction.errors import WeightsError
from pose_extraction.files import atomic_write

if TYPE_CHECKING:
    import torch

SUFFIX = ".safetensors"


def write_tensors(path: Path, tensors: Mapping[str, "torch.Tensor"], text: tuple[str, str] | None = None) -> None:
    """Write tensors to a file, atomically. Equal tensors give equal bytes.

    Args:
        path: The file.
        tensors: Tensors by name.
        text: Name and content of an entry of the header.

    Raises:
        OSError: The disk is full, or the file cannot be written for another reason.
    """
    import torch
    from safetensors.torch import save

    # Copies, because the library refuses tensors that share memory.
    apart = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format).contiguous()
        for name, tensor in tensors.items()
    }
    content = save(apart, None if text is None else dict([text]))
    with atomic_write(path) as file:
        file.write(content)


def read_tensors(path: Path) -> dict[str, "torch.Tensor"]:
    """Read the tensors of a file.

    Args:
        path: A safetensors file.

    Raises:
        WeightsError: The file is missing, damaged, or has a type of numbers that torch lacks.
    """
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _unreadable(path, error) from error


def read_text(path: Path, name: str) -> str | None:
    """Read an entry of the header of a file; None if it has no such entry. Neither torch nor the tensors are loaded.

    Raises:
        WeightsError: The file is missing or damaged.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get(name)
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> WeightsError:
    reason = str(error).removeprefix("Error while deserializing: ")
    return WeightsError(f"{path}: not a readable safetensors file ({reason}); copy or download it again")
