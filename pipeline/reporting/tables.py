"""Tables as CSV, JSON and Markdown text."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows with the same keys as CSV; values of a list are separated by spaces."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: " ".join(map(str, value)) if isinstance(value, list) else value for key, value in row.items()}
        for row in rows
    )
    return text.getvalue()


def as_json(summary: Mapping[str, Any]) -> str:
    """Return a summary as JSON with one table row per line: compact, but readable."""

    def written(value: Any) -> str:
        def line(one: Any) -> str:
            return json.dumps(one, ensure_ascii=False, allow_nan=False)

        if isinstance(value, list) and value and isinstance(value[0], dict):
            return "[\n  " + ",\n  ".join(map(line, value)) + "\n ]"
        return line(value)

    return "{\n " + ",\n ".join(f"{json.dumps(name)}: {written(value)}" for name, value in summary.items()) + "\n}\n"


def as_markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, with a newline at its end."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, ""])
