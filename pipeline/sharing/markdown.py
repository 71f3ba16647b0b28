"""Markdown of model cards."""

from collections.abc import Iterable, Sequence
from typing import Any


def stem(path: str) -> str:
    """Return the name of a data set from its path, which is no business of readers."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2].rpartition(".")[0] or path


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table; bars in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", r"\|") for cell in line) + " |" for line in lines)
