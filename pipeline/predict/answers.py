"""Output of `skelpipe predict` as JSON lines or CSV."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

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

    @property
    def closest(self) -> str | None:
        """The most probable action, also where the label is "unknown"; None if there is no prediction."""
        return self.best[0][0] if self.best else None


def in_words(label: str, probability: float, closest: str | None, *, decimals: int = 0) -> str:
    """Return a prediction for people to read: "wave 90%", or "unknown (wave 86%?)".

    A percentage right after "unknown" would read as the certainty that the action is unknown, but it is the probability
    of the action that was rejected.

    Args:
        label: The action, or "unknown".
        probability: Probability of the most probable action.
        closest: The most probable action; None if it is not known, or there is no room for it after "unknown".
        decimals: Digits after the point of the percentage.
    """
    # An action of the training may have the name "unknown".
    if label != UNKNOWN or closest == UNKNOWN:
        return f"{label} {probability:.{decimals}%}"
    return label if closest is None else f"{label} ({closest} {probability:.{decimals}%}?)"


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
