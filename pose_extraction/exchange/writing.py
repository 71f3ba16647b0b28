"""Writing text files for other programs: whole or not at all, with the shortest numbers that are read back equal."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.files import atomic_write


@contextmanager
def file_of_library(path: Path) -> Iterator[Path]:
    """Yield a path for a library that opens files itself; what it writes there replaces `path` when the block succeeds.

    The temporary file is in the same folder, with the same name, because libraries choose the format by the suffix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.") as folder:
        part = Path(folder) / path.name
        yield part
        part.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 atomically."""
    with atomic_write(path) as file:
        file.write(text.encode())


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def plain(values: np.ndarray) -> list[float]:
    """Return an array as a flat list of the shortest numbers that are equal in float32.

    Args:
        values: float, any shape; NaN and infinite values become 0.
    """
    flat = np.nan_to_num(np.asarray(values, np.float32).ravel(), nan=0.0, posinf=0.0, neginf=0.0)
    return [float(text) for text in flat.astype(str)]


def triples(keypoint: np.ndarray, score: np.ndarray) -> list[float]:
    """Return the joints of a pose as x, y, score one after the other, with zeros for unseen joints.

    Args:
        keypoint: float (V, 2), NaN for unseen joints.
        score: float (V,).
    """
    return plain(np.concatenate([keypoint[:, :2], score[:, None]], axis=1))


def corner_box(box: np.ndarray) -> list[float]:
    """Return a box (4,), x1, y1, x2, y2 in pixels, as x, y, width and height."""
    return plain(np.concatenate([box[:2], box[2:] - box[:2]]))
