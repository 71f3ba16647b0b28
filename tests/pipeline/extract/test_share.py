"""`--shard I/N` and `--shard auto`."""

import pytest

from pipeline.extract.share import parse_shard, slurm_shard
from pose_extraction.errors import UsageError


def array(task: int, first: int, last: int, count: int, step: int = 1) -> dict[str, str]:
    values = {"ID": task, "MIN": first, "MAX": last, "COUNT": count, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        (array(1, 1, 8, 8), (1, 8)),
        (array(8, 1, 8, 8), (8, 8)),
        (array(0, 0, 7, 8), (1, 8)),
        (array(20, 10, 30, 3, step=10), (2, 3)),
        (array(5, 5, 5, 1), (1, 1)),
    ],
)
def test_each_task_of_a_slurm_array_has_its_shard(environment, shard):
    assert slurm_shard(environment) == shard


def test_the_tasks_of_an_array_cover_all_shards():
    assert [slurm_shard(array(task, 3, 15, 5, step=3)) for task in range(3, 16, 3)] == [(i, 5) for i in range(1, 6)]


def test_an_array_with_gaps_is_refused():
    """Its shards would not cover all videos."""
    with pytest.raises(UsageError, match="3 tasks from 1 to 7, so its numbers have gaps"):
        slurm_shard(array(3, 1, 7, 3))


def test_outside_an_array_auto_is_refused(monkeypatch):
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    with pytest.raises(UsageError, match="SLURM_ARRAY_TASK_ID is not set"):
        parse_shard("auto")


def test_auto_reads_the_environment(monkeypatch):
    for name, value in array(2, 1, 4, 4).items():
        monkeypatch.setenv(name, value)
    assert parse_shard("auto") == (2, 4)
