"""Progress of long runs."""

import io

import pytest
from rich.console import Console

from pipeline.reporting import progress
from pipeline.reporting.progress import RunProgress


@pytest.mark.parametrize(("size", "left"), [(None, "0:01:30 left"), (10.0, "0:00:10 left")])
def test_the_time_left_follows_the_sizes_of_the_videos(monkeypatch, size, left):
    """The first of two videos took 90 s; if it is nine tenths of all, 10 s are left."""
    now = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    output = io.StringIO()
    shown = RunProgress(2, Console(file=output, width=200), size=size)
    now[0] = 90.0
    shown.video(1.0 if size is None else 9.0)
    assert output.getvalue().strip() == f"1 of 2 videos, 0.0 frames/s, {left}"
