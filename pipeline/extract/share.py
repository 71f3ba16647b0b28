"""The share of the videos that one run processes: `--shard`, `--limit` and `--overwrite`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.inputs.videos import Source
from pose_extraction.errors import UsageError


@dataclass(frozen=True)
class Share:
    """The share of the videos that this machine processes.

    Args:
        shard: (I, N), the I-th of N equal shares, counted from 1; None for all videos, which are merged at the end.
        limit: Maximum number of videos; None for no limit.
        overwrite: Whether existing results are replaced.
    """

    shard: tuple[int, int] | None = None
    limit: int | None = None
    overwrite: bool = False

    def of(self, sources: Sequence[Source]) -> Sequence[Source]:
        """Returns the videos of the shard."""
        if self.shard is None:
            return sources
        # By position in the sorted list, so that every machine that sees the same folder splits it in the same way.
        return sorted(sources, key=lambda source: source.frame_dir)[self.shard[0] - 1 :: self.shard[1]]


def parse_shard(text: str) -> tuple[int, int]:
    """Parses a shard: `2/8` -> (2, 8); `auto` is the position of this task in its Slurm array.

    Raises:
        UsageError: The text is not I/N with 1 <= I <= N, or there is no Slurm array.
    """
    if text == "auto":
        return slurm_shard(os.environ)
    first, _, last = text.partition("/")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise UsageError(f"shard {text!r}: give I/N with I from 1 to N, for example 2/8, or auto in a Slurm array")
    return int(first), int(last)


def slurm_shard(environment: Mapping[str, str]) -> tuple[int, int]:
    """Returns the shard of a task of a Slurm array: (position of the task, number of tasks).

    Args:
        environment: Environment variables.

    Raises:
        UsageError: The process is not a task of an array, or the numbers of the array have gaps.
    """
    names = ("TASK_ID", "TASK_MIN", "TASK_MAX", "TASK_COUNT", "TASK_STEP")
    values = {name: environment.get(f"SLURM_ARRAY_{name}", "1" if name == "TASK_STEP" else "") for name in names}
    if not all(value.isdecimal() for value in values.values()):
        raise UsageError(
            "--shard auto: SLURM_ARRAY_TASK_ID is not set, so this is no task of a Slurm array; submit the job with "
            "sbatch --array=1-N, or give --shard I/N"
        )
    task, first, last, count, step = (int(value) for value in values.values())
    if step < 1 or (last - first) // step + 1 != count or (task - first) % step:
        raise UsageError(
            f"--shard auto: the Slurm array has {count} tasks from {first} to {last}, so its numbers have gaps; submit "
            "it with sbatch --array=1-N, in which finished videos are skipped, or give --shard I/N"
        )
    return (task - first) // step + 1, count
