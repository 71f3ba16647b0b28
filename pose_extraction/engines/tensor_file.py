"""Files in the safetensors format: tensors by name and text, without code.

Layout: the length of the header as a little-endian 64-bit number, the header as JSON, then the bytes of all tensors.
Reading and writing it directly needs no other package.
"""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pose_extraction.errors import WeightsError
from pose_extraction.files import atomic_write

_LENGTH = struct.Struct("<Q")
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
# Longest header that is read; the format's own limit.
_LONGEST = 100_000_000
_TEXT = "__metadata__"


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], text: Mapping[str, str] | None = None) -> None:
    """Write tensors to a file, atomically. Equal tensors give equal bytes.

    Args:
        path: The file.
        tensors: Tensors by name, of the types that the format has.
        text: Further entries of the header.
    """
    header: dict[str, Any] = {} if text is None else {_TEXT: dict(text)}
    parts, place = [], 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        data = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [place, place + len(data)]
        }  # fmt: skip
        parts.append(data)
        place += len(data)
    written = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    # The tensors begin at a multiple of eight bytes.
    written += b" " * (-len(written) % 8)
    with atomic_write(path) as file:
        file.write(_LENGTH.pack(len(written)) + written + b"".join(parts))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a file.

    Args:
        path: A safetensors file.

    Raises:
        WeightsError: The file is missing, damaged, or has a type of numbers that torch tensors here do not have.
    """
    try:
        content = path.read_bytes()
        (length,) = _LENGTH.unpack_from(content)
        if length > min(_LONGEST, len(content) - _LENGTH.size):
            raise ValueError(f"its header has {length} bytes")
        start = _LENGTH.size + length
        header = json.loads(content[_LENGTH.size : start])
        # A copy that may be written to, unlike `content`.
        data = memoryview(bytearray(content[start:]))
        return {name: _tensor(entry, data) for name, entry in header.items() if name != _TEXT}
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error})") from error


def _tensor(entry: Mapping[str, Any], data: memoryview) -> torch.Tensor:
    dtype, shape = _DTYPES[entry["dtype"]], [int(size) for size in entry["shape"]]
    first, last = entry["data_offsets"]
    if not 0 <= first <= last <= len(data) or last - first != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"a tensor of shape {shape} lies at bytes {first} to {last} of {len(data)}")
    if first == last:
        return torch.empty(shape, dtype=dtype)
    # Copied, because tensors of a file need not lie at multiples of their size.
    return torch.frombuffer(bytearray(data[first:last]), dtype=dtype).reshape(shape)
