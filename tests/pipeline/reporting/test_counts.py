"""Counts and durations in messages."""

import pytest

from pipeline.reporting.counts import counted, rounded_duration


@pytest.mark.parametrize(("number", "text"), [(0, "0 clips"), (1, "1 clip"), (2, "2 clips")])
def test_a_noun_is_plural_unless_there_is_one(number: int, text: str) -> None:
    assert counted(number, "clip") == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "a minute"), (80, "a minute"), (100, "2 min"), (3600, "1 h 0 min"), (7500, "2 h 5 min")]
)
def test_durations_are_rounded_to_the_minute(seconds: float, text: str) -> None:
    assert rounded_duration(seconds) == text
