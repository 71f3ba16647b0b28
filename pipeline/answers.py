"""What `skelpipe predict` says, as a table, as JSON lines and as CSV."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from recognition.windows import UNKNOWN

BEST = 5


@dataclass(frozen=True)
class Answer:
    """What a clip, a person of it or a stretch of its time is taken for.

    Args:
        clip: Its id.
        person: Track id; None for the clip's persons together.
        start: Seconds of the first frame it is of; None where the clip has no times.
        end: Seconds of the end of the last one.
        label: The likeliest action, "unknown" where that is not likely enough; None where nothing can be said.
        probability: Of the likeliest action.
        best: Up to five actions with their probabilities, the likeliest first.
        reason: Why nothing can be said.
        failed: Whether the clip could not be read.
        attention: How much each joint counted, by name; 1 as much as the mean. Empty where it was not asked for.
        delay: Seconds between the newest frame and the answer, of a live source; else None.
    """

    clip: str
    person: int | None = None
    start: float | None = None
    end: float | None = None
    label: str | None = None
    probability: float | None = None
    best: tuple[tuple[str, float], ...] = ()
    reason: str | None = None
    failed: bool = False
    attention: dict[str, float] = field(default_factory=dict)
    delay: float | None = None


def label_of(best: Sequence[tuple[str, float]], threshold: float) -> tuple[str | None, float | None]:
    """Label and probability of an answer with these best actions."""
    if not best:
        return None, None
    name, share = best[0]
    return (name if share >= threshold else UNKNOWN), share


def as_dictionary(answer: Answer) -> dict[str, Any]:
    """An answer as a line of JSON has it."""
    values: dict[str, Any] = {
        "clip": answer.clip,
        "person": answer.person,
        "start": _seconds(answer.start),
        "end": _seconds(answer.end),
        "label": answer.label,
        "probability": answer.probability,
        "predictions": [{"label": name, "probability": share} for name, share in answer.best] or None,
        "reason": answer.reason,
    }
    if answer.attention:
        values["attention"] = answer.attention
    if answer.delay is not None:
        values["delay"] = _seconds(answer.delay)
    return values


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def as_json_lines(answers: Sequence[Answer]) -> str:
    """A JSON object a line, with a line break at the end of each."""
    return "".join(json.dumps(as_dictionary(answer), ensure_ascii=False) + "\n" for answer in answers)


def as_csv(answers: Sequence[Answer], *, header: bool = True) -> str:
    """A row an answer, under a row of names."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    if header:
        ranks = [name for rank in range(1, BEST + 1) for name in (f"label_{rank}", f"probability_{rank}")]
        writer.writerow(["clip", "person", "start", "end", "label", "probability", *ranks, "delay", "reason"])
    for answer in answers:
        rest = [value for name, share in answer.best for value in (name, f"{share:.6f}")]
        rest += [""] * (2 * BEST - len(rest))
        share = "" if answer.probability is None else f"{answer.probability:.6f}"
        first = [answer.clip, answer.person, _seconds(answer.start), _seconds(answer.end), answer.label, share]
        writer.writerow([*first, *rest, _seconds(answer.delay), answer.reason])
    return output.getvalue()


def print_table(answers: Sequence[Answer], console: Console, *, times: bool = False) -> None:
    """A row an answer: its likeliest action first, or why there is none.

    Args:
        answers: The answers.
        console: Where the table goes.
        times: Whether to tell from when to when each is, though no person of a clip has two.
    """
    if not answers:
        return
    with_persons = any(answer.person is not None for answer in answers)
    with_times = times or len({(answer.clip, answer.person) for answer in answers}) < len(answers)
    longest = max((len(answer.best) for answer in answers), default=0)
    # Names are other people's text: not to be read as markup.
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
