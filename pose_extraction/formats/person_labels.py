"""Labels of single persons of a clip: who does what, and when. They are stored in the entry `person_labels` of a clip.

Track numbers change with the settings of an extraction, so a label names its person by an anchor: a box around the
person at one time. `persons.py` finds the track that it belongs to.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pose_extraction.errors import AnnotationError

KEY = "person_labels"
_FIELDS = ("track_id", "start", "end", "label_name", "split", "group", "track", "anchor_time", "anchor_box")


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a person is at one time.

    Args:
        time: Seconds of the stream.
        box: x, y, width and height in pixels of the upright frame; x and y of the top left corner.
    """

    time: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class PersonLabel:
    """The action of one person of a clip.

    Args:
        label_name: Name of the action; None if it is unlabelled.
        track: Track number that names the person; the anchor decides if there is one.
        anchor: Where the person is at one time.
        start: Start in seconds of the stream; None for the start of the clip.
        end: End in seconds of the stream, not included; None for the end of the clip.
        splits: Splits that contain it; None for those of the clip.
        group: Labels of one group must not be on both sides of a split; None for the group of the clip or, without one,
            the person.
        track_id: Track of the clip that was found for the person; None if nobody matches.
    """

    label_name: str | None
    track: int | None = None
    anchor: Anchor | None = None
    start: float | None = None
    end: float | None = None
    splits: tuple[str, ...] | None = None
    group: str | None = None
    track_id: int | None = None

    @property
    def span(self) -> tuple[float, float]:
        """(start, end) in seconds, infinite where they are not given."""
        return -math.inf if self.start is None else self.start, math.inf if self.end is None else self.end

    @property
    def span_name(self) -> str:
        """The span as text, `1.5-4` or `1.5-end`; empty for the whole clip."""
        if self.start is None and self.end is None:
            return ""
        return f"{seconds_text(self.start or 0.0)}-{'end' if self.end is None else seconds_text(self.end)}"

    def describe(self) -> str:
        """Return the label and its person, for messages."""
        if self.anchor is not None:
            box = " ".join(f"{value:g}" for value in self.anchor.box)
            who = f"the person in the box {box} at {seconds_text(self.anchor.time)} s"
        else:
            who = f"track {self.track}"
        return f"label {self.label_name!r} of {who}"


def seconds_text(value: float) -> str:
    """Format seconds with up to three decimals."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def stored_form(labels: Iterable[PersonLabel]) -> list[dict[str, Any]]:
    """Return the entry `person_labels` for a clip."""
    return [
        {
            "track_id": label.track_id,
            "start": label.start,
            "end": label.end,
            "label_name": label.label_name,
            "split": None if label.splits is None else list(label.splits),
            "group": label.group,
            "track": label.track,
            "anchor_time": None if label.anchor is None else label.anchor.time,
            "anchor_box": None if label.anchor is None else label.anchor.box,
        }
        for label in labels
    ]


def matched(entries: Iterable[Mapping[str, Any]] | None) -> list[Mapping[str, Any]]:
    """Return the entries of `person_labels` that have found their person.

    Args:
        entries: The entry `person_labels` of a clip; None if it has none.
    """
    return [entry for entry in entries or () if entry.get("track_id") is not None]


def person_labels_of(annotation: Mapping[str, Any], place: str) -> list[PersonLabel]:
    """Return the labels of single persons that a clip contains.

    Args:
        annotation: The clip.
        place: File and clip, for messages.

    Raises:
        AnnotationError: The entry is malformed; the message names the value and the remedy.
    """
    entries = annotation.get(KEY)
    if entries is None:
        return []
    if not isinstance(entries, list | tuple) or not all(isinstance(entry, Mapping) for entry in entries):
        raise AnnotationError(f"{place}: {KEY} is {entries!r:.80}, must be a list of dictionaries; fix or remove it")
    return [_label_of(entry, f"{place}: {KEY}[{number}]") for number, entry in enumerate(entries)]


def _label_of(entry: Mapping[str, Any], place: str) -> PersonLabel:
    wrong = [key for key in entry if key not in _FIELDS]
    if wrong:
        raise AnnotationError(f"{place}: unknown entry {wrong[0]!r}; the entries are {', '.join(_FIELDS)}")
    name, group = (_checked(entry, key, str, "text", place) for key in ("label_name", "group"))
    track_id, track = (_checked(entry, key, int, "an integer", place) for key in ("track_id", "track"))
    start, end, time = (_checked(entry, key, (int, float), "seconds", place) for key in ("start", "end", "anchor_time"))
    split = _checked(entry, "split", (list, tuple), "a list of names", place)
    box = _checked(entry, "anchor_box", (list, tuple), "x, y, width, height in pixels", place)
    if (time is None) != (box is None):
        raise AnnotationError(f"{place}: anchor_time and anchor_box belong together; give both or none")
    anchor = None
    if box is not None:
        if not is_box(box):
            raise AnnotationError(f"{place}: anchor_box is {box!r:.80}, must be x, y, width, height in pixels; fix it")
        anchor = Anchor(float(time), (float(box[0]), float(box[1]), float(box[2]), float(box[3])))
    return PersonLabel(
        name,
        track,
        anchor,
        None if start is None else float(start),
        None if end is None else float(end),
        None if split is None else tuple(str(one) for one in split),
        group,
        track_id,
    )


def _checked(entry: Mapping[str, Any], key: str, kinds: Any, meaning: str, place: str) -> Any:
    value = entry.get(key)
    fits = isinstance(value, kinds) and not isinstance(value, bool)
    if value is None or (fits and not (isinstance(value, float) and not math.isfinite(value))):
        return value
    raise AnnotationError(f"{place}: {key} is {value!r:.80}, must be {meaning} or None; fix it")


def is_box(values: Sequence[Any]) -> bool:
    """Return whether values are the x, y, width and height of a box that is not empty."""
    numbers = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    return len(numbers) == len(values) == 4 and numbers[2] > 0 and numbers[3] > 0


def painted(before: Iterable[PersonLabel], new: PersonLabel) -> list[PersonLabel]:
    """Put a label over those that a clip has: what it covers of the same person's labels is replaced.

    Labels of other persons, and parts outside the span of the new label, stay as they are.

    Args:
        before: Labels whose persons have been looked for in the clip (`track_id`).
        new: The label to add, likewise.

    Returns:
        All labels.
    """
    kept: list[PersonLabel] = []
    first, last = new.span
    for label in before:
        if not _is_same_person(label, new):
            kept.append(label)
            continue
        begin, stop = label.span
        if begin < first:
            kept.append(label if stop <= first else replace(label, end=new.start))
        if stop > last:
            kept.append(label if begin >= last else replace(label, start=new.end))
    return [*kept, new]


def _is_same_person(one: PersonLabel, other: PersonLabel) -> bool:
    if one.track_id is None and other.track_id is None:
        return (one.track, one.anchor) == (other.track, other.anchor)
    return one.track_id == other.track_id
