"""Plain values and arrays as JSON text, exactly: what a skeleton pickle can hold is read back equal.

JSON has neither tuples, bytes, arrays nor NaN. These become objects with one key that starts with "$": `$tuple`,
`$bytes` and `$array` (base64), `$float`, and `$dict` for a dictionary whose keys are not plain text.
"""

import base64
import binascii
import json
import math
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError

# NumPy's kinds of array that a skeleton file may contain.
_KINDS = "biufcSU"


def to_text(value: Any, place: str) -> str:
    """Write a value as JSON.

    Args:
        value: Dicts, lists, tuples, text, bytes, numbers, None, and arrays of numbers, booleans or text.
        place: Where the value is, for messages.

    Raises:
        AnnotationError: It contains anything else; the message names the place.
    """
    return json.dumps(_tagged(value, place), allow_nan=False, separators=(",", ":"))


def from_text(text: str) -> Any:
    """Read a value that `to_text` has written.

    Raises:
        ValueError: The text is not of this form.
    """
    return _untagged(json.loads(text))


def _tagged(value: Any, place: str) -> Any:
    if isinstance(value, np.generic):
        return _tagged(value.item(), place)
    # Exact types, because members of enumerations are also int or str.
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if kind is list:
        return [_tagged(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if kind is tuple:
        return {"$tuple": [_tagged(item, f"{place}[{index}]") for index, item in enumerate(value)]}
    if kind is bytes:
        return {"$bytes": base64.b64encode(value).decode()}
    if kind is dict:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: _tagged(item, f"{place}[{key!r}]") for key, item in value.items()}
        return {"$dict": [[_tagged(key, place), _tagged(item, f"{place}[{key!r}]")] for key, item in value.items()]}
    if isinstance(value, np.ndarray) and value.dtype.kind in _KINDS:
        data = base64.b64encode(value.tobytes()).decode()
        return {"$array": data, "dtype": value.dtype.str, "shape": list(value.shape)}
    raise AnnotationError(f"{place} has type {kind.__name__}: a skeleton file may contain only arrays and plain data")


def _untagged(value: Any) -> Any:
    if isinstance(value, list):
        return [_untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    if not any(key.startswith("$") for key in value):
        return {key: _untagged(item) for key, item in value.items()}
    if "$tuple" in value:
        return tuple(_untagged(item) for item in value["$tuple"])
    if "$float" in value:
        return float(value["$float"])
    if "$dict" in value:
        return {_untagged(key): _untagged(item) for key, item in value["$dict"]}
    try:
        if "$bytes" in value:
            return base64.b64decode(value["$bytes"], validate=True)
        if "$array" in value:
            return _array(base64.b64decode(value["$array"], validate=True), value["dtype"], value["shape"])
    except (binascii.Error, KeyError, TypeError) as error:
        raise ValueError(f"damaged value ({error})") from error
    raise ValueError(f"unknown kind of value {sorted(value)}")


def _array(data: bytes, dtype: str, shape: list[int]) -> np.ndarray:
    kind = np.dtype(dtype)
    if kind.kind not in _KINDS or kind.fields is not None:
        raise ValueError(f"arrays of {dtype} are not allowed, only numbers, booleans and text")
    if not data:
        return np.zeros(shape, kind)
    # A bytearray, so that the array can be written to.
    return np.frombuffer(bytearray(data), kind).reshape(shape)
