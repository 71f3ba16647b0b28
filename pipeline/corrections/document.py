"""The corrections of one video as a document: the segments as they should be, and what the tracker confused."""

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.config import parse
from pose_extraction.errors import AnnotationError, UsageError

# Segments of a result that can be corrected: about a day with ten persons in windows of 3 s. Splitting may double them.
MOST_RESULTS = 200_000
# Limits of a document, far above what anybody corrects by hand.
MOST_SEGMENTS, MOST_EDITS, MOST_CLASSES, LONGEST_NAME = 2 * MOST_RESULTS, 10_000, 1000, 200
# Label of segments that are not one of the known actions.
UNKNOWN = "unknown"

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Person = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Segment(_Part):
    """A stretch of one action of one person."""

    id: Name
    person: Person = Field(description="track number after all edits of identities")
    start: Seconds = Field(description="seconds")
    end: Seconds = Field(description="seconds, after start")
    label: Name | None = Field(description="name of the action; null or unknown: none of the classes")
    source: Literal["model", "user"] = "model"
    rejected: bool = Field(False, description="it is not this action")
    reviewed: bool = Field(False, description="a user has looked at it and agrees")

    @model_validator(mode="after")
    def _ordered(self) -> "Segment":
        if self.end <= self.start:
            raise ValueError(f"end {self.end:g} s is not after start {self.start:g} s")
        return self

    @property
    def teaches(self) -> bool:
        """Whether the segment is an example to train on: a user has confirmed or set its label."""
        confirmed = self.reviewed or self.source == "user"
        return confirmed and not self.rejected and self.label not in (None, UNKNOWN)


class Swap(_Part):
    """Two tracks are confused from a time on: each continues with the number of the other."""

    kind: Literal["swap"] = "swap"
    a: Person
    b: Person
    time: Seconds

    @model_validator(mode="after")
    def _different(self) -> "Swap":
        if self.a == self.b:
            raise ValueError(f"a and b are both {self.a}; swap two different persons")
        return self


class Join(_Part):
    """Two tracks are one person."""

    kind: Literal["join"] = "join"
    # `from` is a keyword of Python.
    source: Person = Field(alias="from", description="track that becomes a part of the other")
    to: Person

    @model_validator(mode="after")
    def _different(self) -> "Join":
        if self.source == self.to:
            raise ValueError(f"from and to are both {self.to}; join two different persons")
        return self


Edit = Annotated[Swap | Join, Field(discriminator="kind")]


class Corrections(_Part):
    """The corrections of one video. Times are those of the player, see `offset` of the functions that use them."""

    version: int = Field(0, ge=0, description="grows with every change")
    segments: tuple[Segment, ...] = Field((), max_length=MOST_SEGMENTS)
    identities: tuple[Edit, ...] = Field((), max_length=MOST_EDITS, description="edits of the tracks, in their order")
    classes: tuple[Name, ...] = Field((), max_length=MOST_CLASSES, description="classes that the recognizer lacks")

    @model_validator(mode="after")
    def _unique(self) -> "Corrections":
        seen: set[str] = set()
        for segment in self.segments:
            if segment.id in seen:
                raise ValueError(f"the segment id {segment.id!r} occurs twice; give each segment its own")
            seen.add(segment.id)
        return self

    @property
    def lessons(self) -> tuple[Segment, ...]:
        """The segments to train on."""
        return tuple(segment for segment in self.segments if segment.teaches)


def parse_corrections(text: bytes | str, *, place: str) -> Corrections:
    """Parse a document of corrections.

    Args:
        text: JSON.
        place: Where the text comes from, for messages.

    Raises:
        AnnotationError: It is not JSON, or contains unknown entries or invalid values; the message names the value.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{place}: not valid JSON ({str(error) or 'nested too deeply'}); correct it") from error
    if not isinstance(values, dict):
        raise AnnotationError(f"{place}: is a {type(values).__name__}, but corrections are an object with segments")
    try:
        return parse(values, Corrections, place=place)
    except UsageError as error:
        raise AnnotationError(str(error)) from error


def as_json(corrections: Corrections) -> str:
    """Return the document as JSON, which `parse_corrections` reads as the same document."""
    return corrections.model_dump_json(by_alias=True)


def initial_corrections(segments: Iterable[tuple[int, float, float, str | None]]) -> Corrections:
    """Return the document of a video that nobody has corrected yet.

    Args:
        segments: Person, start and end in seconds, and label of each segment of the recognizer.
    """
    return Corrections(
        segments=tuple(
            Segment(id=str(number), person=person, start=start, end=end, label=label)
            for number, (person, start, end, label) in enumerate(segments, 1)
        )
    )


def check_persons(corrections: Corrections, track_ids: Iterable[int], *, place: str = "corrections") -> None:
    """Check that edits and segments name persons of the video.

    Args:
        corrections: The document.
        track_ids: Numbers of the tracks.
        place: Where the document comes from, for messages.

    Raises:
        AnnotationError: A person does not exist, or no longer, because it was joined to another.
    """
    known = set(track_ids)

    def check(person: int, where: str) -> None:
        if person not in known:
            names = ", ".join(map(str, sorted(known))) or "none"
            raise AnnotationError(f"{place}: {where}: there is no person {person}; the persons are then {names}")

    for number, edit in enumerate(corrections.identities):
        where = f"identities.{number}"
        persons: Any = (edit.a, edit.b) if isinstance(edit, Swap) else (edit.source, edit.to)
        for person in persons:
            check(person, where)
        if isinstance(edit, Join):
            known.discard(edit.source)
    for segment in corrections.segments:
        check(segment.person, f"segment {segment.id!r}")
