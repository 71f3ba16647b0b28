"""Words for numbers in messages."""

import pytest

from pose_extraction.errors import counted


@pytest.mark.parametrize(("number", "text"), [(0, "0 clips"), (1, "1 clip"), (2, "2 clips")])
def test_a_noun_is_plural_unless_there_is_one(number: int, text: str) -> None:
    assert counted(number, "clip") == text


def test_a_verb_follows_its_noun() -> None:
    words = ("clip has no label", "clips have no label")
    assert [counted(number, *words) for number in (1, 2)] == ["1 clip has no label", "2 clips have no label"]
