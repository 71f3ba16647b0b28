"""Predictions with a time span, in the order of their beginning."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.predict.answers import Answer

# Spans are at least this long, in seconds, because annotation programs refuse empty ones.
SHORTEST = 0.001


@dataclass(frozen=True, slots=True)
class Span:
    """A prediction and the time that it covers.

    Args:
        person: Track id; None for all persons together.
        start: Seconds.
        end: Seconds, later than `start`.
        label: The action, or "unknown".
        probability: Probability of the most probable action.
        closest: The most probable action, also where the label is "unknown"; None if it is not known.
    """

    person: int | None
    start: float
    end: float
    label: str
    probability: float
    closest: str | None

    @property
    def rejected(self) -> str | None:
        """The action that the probability belongs to, where the label is "unknown" instead; None elsewhere."""
        return None if self.closest == self.label else self.closest

    @property
    def who(self) -> str:
        """The person in words."""
        return "all persons" if self.person is None else f"person {self.person}"


def spans_of(answers: Sequence[Answer]) -> list[Span]:
    """Return the predictions that have a label and a time; a stream's clock may begin before 0, a file's does not."""
    spans = [
        Span(
            one.person,
            start := max(one.start, 0.0),
            max(one.end, start + SHORTEST),
            one.label,
            one.probability or 0.0,
            one.closest,
        )
        for one in answers
        if one.label is not None and one.start is not None and one.end is not None
    ]
    return sorted(spans, key=lambda span: (span.start, -1 if span.person is None else span.person))
