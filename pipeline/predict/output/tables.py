"""Predictions as a table of events for BORIS. BORIS exports such tables, and imports none."""

import csv
import io
from collections.abc import Mapping, Sequence

from pipeline.predict.answers import Answer
from pipeline.predict.output.frames import ClipFrames
from pipeline.predict.output.spans import spans_of

# Columns of BORIS's aggregated events.
COLUMNS = (
    "Observation id", "Media file", "FPS", "Subject", "Behavior", "Behavior type", "Start (s)", "Stop (s)",
    "Duration (s)", "Comment start",
)  # fmt: skip


def as_boris(answers: Mapping[str, Sequence[Answer]], frames: Mapping[str, ClipFrames]) -> str:
    """Return one row per prediction of all clips, separated by tabs. The probability is in the comment."""
    output = io.StringIO()
    writer = csv.writer(output, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    for clip, of_clip in answers.items():
        rate = frames[clip].rate if clip in frames else 0.0
        for span in spans_of(of_clip):
            times = (f"{seconds:.3f}" for seconds in (span.start, span.end, span.end - span.start))
            known = f"{rate:.3f}" if rate else ""
            comment = f"probability {span.probability:.4f}"
            if span.rejected is not None:
                comment += f" of {span.rejected}"
            writer.writerow([clip, clip, known, span.who, span.label, "STATE", *times, comment])
    return output.getvalue()
