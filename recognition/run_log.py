"""What a run tells about itself: `metrics.jsonl`, a line a step and a line an epoch, and the same for TensorBoard."""

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
    """Writes both; TensorBoard's events are made from the lines, so that the two cannot disagree.

    Args:
        folder: The run directory.
        size: Bytes of `metrics.jsonl` to keep, for a run that goes on; what a killed run wrote after its checkpoint is
            cut off, and the events are written anew.

    Raises:
        TrainingError: `metrics.jsonl` is shorter than that.
    """

    def __init__(self, folder: Path, size: int = 0) -> None:
        path = folder / METRICS_NAME
        found = path.stat().st_size if path.is_file() else 0
        if found < size:
            raise TrainingError(
                f"{path}: has {found} bytes, but had {size} when the run was last saved; put the whole file back, or "
                "begin a new run with --init"
            )
        # Unbuffered: a line is a step, and whoever follows the file sees it at once.
        self._file = path.open("ab", buffering=0)
        self._file.truncate(size)
        self._file.seek(size)
        shutil.rmtree(folder / EVENTS_NAME, ignore_errors=True)
        self._events = SummaryWriter(str(folder / EVENTS_NAME))
        for line in read_metrics(folder):
            self._tell_events(line)

    def write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Adds a line.

        Args:
            kind: "step" or "epoch".
            step: Steps of the optimiser that the run has made.
            values: Numbers and names.
        """
        line = {"kind": kind, "step": step, **values}
        self._file.write(json.dumps(line).encode() + b"\n")
        self._tell_events(line)

    def size(self) -> int:
        """Bytes so far, all of them on the disk: what a checkpoint has to remember."""
        os.fsync(self._file.fileno())
        self._events.flush()
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        self._events.close()

    def _tell_events(self, line: dict[str, Any]) -> None:
        for name, value in line.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and name != "step":
                self._events.add_scalar(f"{line['kind']}/{name}", value, line["step"])


def read_metrics(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`, in their order; none where there is no such file."""
    path = folder / METRICS_NAME
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            for line in file:
                # The last line of a run that was killed may be a part of one.
                if line.endswith("\n"):
                    yield json.loads(line)
