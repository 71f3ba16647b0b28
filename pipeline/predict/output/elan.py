"""Predictions as annotations of ELAN (.eaf): one tier per person."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.predict.answers import Answer
from pipeline.predict.output.frames import ClipFrames
from pipeline.predict.output.spans import spans_of
from pose_extraction.exchange.reading import library


def as_elan(clip: str, answers: Sequence[Answer], frames: ClipFrames | None) -> str:
    """Return the predictions of a clip as XML of ELAN.

    Raises:
        BackendError: pympi-ling is not installed.
    """
    document = library("pympi", "elan").Elan.Eaf(author="skelpipe")
    document.remove_tier("default")
    spans = spans_of(answers)
    for who in dict.fromkeys(span.who for span in spans):
        document.add_tier(who)
    # Annotations of a tier do not overlap: the next one ends the one before.
    for span, after in zip(spans, _next_starts([(span.who, span.start) for span in spans]), strict=True):
        start, end = round(1000 * span.start), round(1000 * min(span.end, after))
        document.add_annotation(span.who, start, max(end, start + 1), span.label)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.eaf"
        document.to_file(str(path))
        return path.read_text(encoding="utf-8")


def _next_starts(spans: Sequence[tuple[str, float]]) -> list[float]:
    """Return for each (tier, start), in the order of the starts, the start of the next one in its tier."""
    after: dict[str, float] = {}
    found = []
    for who, start in reversed(spans):
        found.append(after.get(who, float("inf")))
        after[who] = start
    return found[::-1]
