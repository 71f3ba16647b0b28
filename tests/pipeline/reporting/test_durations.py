"""Durations in messages."""

import pytest

from pipeline.reporting.durations import rounded_duration


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "a minute"), (80, "a minute"), (100, "2 min"), (3600, "1 h 0 min"), (7500, "2 h 5 min")]
)
def test_durations_are_rounded_to_the_minute(seconds: float, text: str) -> None:
    assert rounded_duration(seconds) == text
