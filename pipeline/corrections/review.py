"""Which segments to look at first: those that the recognizer is least certain about."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.corrections.document import Corrections


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """A segment that nobody has looked at.

    Args:
        job: Id of the job.
        name: Name of its video.
        person: Track number.
        segment: Id of the segment.
        start: Start in seconds.
        end: End in seconds.
        label: Label that the recognizer gave; None if it gave none.
        probability: Probability of the most probable action; NaN if it is not known.
        unknown_score: How unlike the known actions it is; NaN if it is not known.
    """

    job: str
    name: str
    person: int
    segment: str
    start: float
    end: float
    label: str | None
    probability: float
    unknown_score: float


def items_of(job: str, name: str, scene: Mapping[str, Any], corrections: Corrections | None) -> list[ReviewItem]:
    """Return the segments of a job that nobody has looked at.

    Args:
        job: Id of the job.
        name: Name of its video.
        scene: The recognizer's answer, with `persons`, each with `id` and `segments`.
        corrections: The corrections of the video; None if there are none.
    """
    if corrections is None:
        persons = {str(one["id"]): person["id"] for person in scene["persons"] for one in person["segments"]}
    else:
        waiting = [one for one in corrections.segments if one.source == "model" and not (one.reviewed or one.rejected)]
        persons = {one.id: one.person for one in waiting}
    return [
        ReviewItem(
            job,
            name,
            int(persons[str(one["id"])]),
            str(one["id"]),
            float(one["start"]),
            float(one["end"]),
            one["label"],
            _number(one.get("probability")),
            _number(one.get("unknown_score")),
        )
        for person in scene["persons"]
        for one in person["segments"]
        if str(one["id"]) in persons
    ]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def least_certain(items: Iterable[ReviewItem]) -> list[ReviewItem]:
    """Sort segments: the least probable answers first, and of equally probable ones the least like known actions."""

    def key(item: ReviewItem) -> tuple[float, float, str, float]:
        probability = -1.0 if math.isnan(item.probability) else item.probability
        unknown = math.inf if math.isnan(item.unknown_score) else item.unknown_score
        return probability, -unknown, item.job, item.start

    return sorted(items, key=key)
