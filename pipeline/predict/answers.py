"""Output of `skelpipe predict` as a table, JSON lines or CSV."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from recognition.confidence.confidence import Rejection
from recognition.inference.windows import UNKNOWN

BEST = 5


@dataclass(frozen=True)
class Answer:
    """Prediction for a clip, one of its persons, or a time range.

    Args:
        clip: Id of the clip.
        person: Track id; None for all persons together.
        start: Time in seconds of the first frame; None if the clip has no timestamps.
        end: Time in seconds of the end of the last frame.
        label: The most probable action, or "unknown"; None if there is no prediction.
        probability: Probability of the most probable action.
        unknown_score: How unlike the known actions it is; larger is less like them.
        best: Up to five actions with their probabilities, in descending order.
        reason: Why there is no prediction.
        failed: Whether the clip could not be read.
        attention: Attention per joint name, where 1 is the mean over joints. Empty if it was not requested.
        delay: Seconds between the newest frame and the prediction, for a live source; else None.
        run: Address of the recognizer with its revision, if it is on a hub; else None.
    """

    clip: str
    person: int | None = None
    start: float | None = None
    end: float | None = None
    label: str | None = None
    probability: float | None = None
    unknown_score: float | None = None
    best: tuple[tuple[str, float], ...] = ()
    reason: str | None = None
    failed: bool = False
    attention: dict[str, float] = field(default_factory=dict)
    delay: float | None = None
    run: str | None = None


def label_of(best: Sequence[tuple[str, float]], unknown_score: float, rejection: Rejection) -> str:
    """Return the label of a prediction.

    Args:
        best: The most probable actions with their probabilities, in descending order.
        unknown_score: How unlike the known actions it is.
        rejection: When the label is "unknown".
    """
    name, share = best[0]
    return UNKNOWN if rejection.applies_to(share, unknown_score) else name


def as_dictionary(answer: Answer) -> dict[str, Any]:
    """Return a prediction as a dictionary for JSON output."""
    values: dict[str, Any] = {
        "clip": answer.clip,
        "person": answer.person,
        "start": _seconds(answer.start),
        "end": _seconds(answer.end),
        "label": answer.label,
        "probability": answer.probability,
        "unknown_score": answer.unknown_score,
        "predictions": [{"label": name, "probability": share} for name, share in answer.best] or None,
        "reason": answer.reason,
    }
    if answer.attention:
        values["attention"] = answer.attention
    if answer.delay is not None:
        values["delay"] = _seconds(answer.delay)
    if answer.run is not None:
        values["run"] = answer.run
    return values


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def as_json_lines(answers: Sequence[Answer]) -> str:
    """Return one JSON object per line, each ending with a line break."""
    return "".join(json.dumps(as_dictionary(answer), ensure_ascii=False) + "\n" for answer in answers)


def as_csv(answers: Sequence[Answer], *, header: bool = True) -> str:
    """Return one CSV row per prediction, with an optional header row.

    Args:
        answers: The predictions.
        header: Whether to begin with a row of column names.
    """
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    if header:
        ranks = [name for rank in range(1, BEST + 1) for name in (f"label_{rank}", f"probability_{rank}")]
        writer.writerow(
            ["clip", "person", "start", "end", "label", "probability", "unknown_score", *ranks, "delay", "reason"]
        )
    for answer in answers:
        rest = [value for name, share in answer.best for value in (name, f"{share:.6f}")]
        rest += [""] * (2 * BEST - len(rest))
        numbers = ["" if one is None else f"{one:.6f}" for one in (answer.probability, answer.unknown_score)]
        first = [answer.clip, answer.person, _seconds(answer.start), _seconds(answer.end), answer.label]
        writer.writerow([*first, *numbers, *rest, _seconds(answer.delay), answer.reason])
    return output.getvalue()


def print_table(answers: Sequence[Answer], console: Console, *, times: bool = False) -> None:
    """Print one row per prediction: the most probable actions, or the reason for having none.

    Args:
        answers: The predictions.
        console: Receives the table.
        times: Whether to show time ranges even if each person of a clip has only one.
    """
    if not answers:
        return
    with_persons = any(answer.person is not None for answer in answers)
    with_times = times or len({(answer.clip, answer.person) for answer in answers}) < len(answers)
    longest = max((len(answer.best) for answer in answers), default=0)
    # Names come from the user's files, so they must not be parsed as markup.
    table = Table("clip")
    if with_persons:
        table.add_column("person", justify="right")
    if with_times:
        table.add_column("seconds", justify="right")
    if any(answer.label == UNKNOWN for answer in answers):
        table.add_column("answer")
    for place in range(max(longest, 1)):
        table.add_column(str(place + 1))
    for answer in answers:
        cells = [Text(answer.clip)]
        if with_persons:
            cells.append(Text("" if answer.person is None else str(answer.person)))
        if with_times:
            cells.append(Text("" if answer.start is None else f"{answer.start:.2f} - {answer.end:.2f}"))
        if any(one.label == UNKNOWN for one in answers):
            cells.append(Text(answer.label or ""))
        if answer.reason is not None:
            cells.append(Text(f"none: {answer.reason}", style="italic"))
        else:
            cells += [Text(f"{name} {share:.1%}") for name, share in answer.best]
        table.add_row(*cells)
    console.print(table)
