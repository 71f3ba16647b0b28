"""Counts in messages."""


def counted(number: int, noun: str) -> str:
    """A number with its noun in singular or plural: "1 clip", "2 clips"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
