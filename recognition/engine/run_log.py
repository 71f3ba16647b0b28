"""Log of a run: `metrics.jsonl`, with one line per step and per epoch, and the same values for TensorBoard."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from pose_extraction.errors import TrainingError

METRICS_NAME = "metrics.jsonl"
EVENTS_NAME = "events"


class RunLog:
    """Writes both logs. TensorBoard events are created from the lines, so that the two always agree.

    Args:
        folder: The run directory.
        size: Bytes of `metrics.jsonl` to keep when a run is resumed. Lines that a killed run wrote after its last
            checkpoint are removed, and the events are written again.

    Raises:
        TrainingError: `metrics.jsonl` is shorter than `size`.
    """

    def __init__(self, folder: Path, size: int = 0) -> None:
        path = folder / METRICS_NAME
        found = path.stat().st_size if path.is_file() else 0
        if found < size:
            raise TrainingError(
                f"{path}: has {found} bytes, but had {size} when the run was last saved; restore the complete file, or "
                "start a new run with --init"
            )
        # Unbuffered: each line is one step, and programs that follow the file see it immediately.
        self._file = path.open("ab", buffering=0)
        self._file.truncate(size)
        self._file.seek(size)
        shutil.rmtree(folder / EVENTS_NAME, ignore_errors=True)
        self._events = SummaryWriter(str(folder / EVENTS_NAME))
        for line in read_metrics(folder):
            self._add_events(line)

    def write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Append a line.

        Args:
            kind: "step" or "epoch".
            step: Number of optimiser steps so far.
            values: Numbers and strings, by name.
        """
        line = {"kind": kind, "step": step, **values}
        self._file.write(json.dumps(line).encode() + b"\n")
        self._add_events(line)

    def size(self) -> int:
        """Flush both logs to disk, and return the size of `metrics.jsonl` in bytes, which a checkpoint stores."""
        os.fsync(self._file.fileno())
        self._events.flush()
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        self._events.close()

    def _add_events(self, line: dict[str, Any]) -> None:
        for name, value in line.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and name != "step":
                self._events.add_scalar(f"{line['kind']}/{name}", value, line["step"])


def read_metrics(folder: Path) -> Iterator[dict[str, Any]]:
    """Iterate over the lines of a run's `metrics.jsonl`, in order; empty if the file does not exist."""
    path = folder / METRICS_NAME
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            for line in file:
                # A killed run can leave an incomplete last line.
                if line.endswith("\n"):
                    yield json.loads(line)
