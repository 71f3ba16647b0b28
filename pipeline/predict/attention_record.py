"""Attention of each joint over time: collected window by window, reported as numbers and in a figure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from pipeline.predict.answers import Answer
from pipeline.predict.persons import PersonId


class AttentionRecord:
    """Attention of the joints, by person and time range.

    Args:
        joints: Names of the V joints.
        unit: Unit of time, for the axis label.
    """

    def __init__(self, joints: Sequence[str], *, unit: str = "seconds") -> None:
        self.joints = tuple(joints)
        self.unit = unit
        self._rows: defaultdict[PersonId, list[tuple[float, float, np.ndarray]]] = defaultdict(list)

    def add(self, person: PersonId, start: float, end: float, attention: np.ndarray) -> None:
        """Record the attention (V,) of a range from `start` to `end` in seconds, where 1 is the mean.

        Args:
            person: Track id; None for all persons together.
            start: Start of the range in seconds.
            end: End of the range in seconds.
            attention: (V,), where 1 is the mean over joints.
        """
        self._rows[person].append((start, end, attention.astype(np.float32)))

    def mean(self, person: PersonId, start: float, end: float) -> dict[str, float]:
        """Return the mean attention by joint name over a time range, weighted by duration; empty if unknown.

        Args:
            person: Track id; None for all persons together.
            start: Start of the range in seconds.
            end: End of the range in seconds.
        """
        rows = [row for row in self._rows[person] if row[1] > start and row[0] < end]
        if not rows:
            return {}
        weights = np.array([max(last - first, 1e-9) for first, last, _ in rows])
        mean = np.average([row for _, _, row in rows], axis=0, weights=weights)
        return {name: round(float(value), 4) for name, value in zip(self.joints, mean, strict=True)}

    @property
    def seconds(self) -> dict[PersonId, float]:
        """Total duration of the ranges of each person."""
        return {person: sum(end - start for start, end, _ in rows) for person, rows in self._rows.items() if rows}

    def ranges(self, person: PersonId) -> list[tuple[float, float, np.ndarray]]:
        """Return start, end and attention (V,) of all ranges of a person, in ascending order."""
        return sorted(self._rows[person], key=lambda row: row[0])

    def write(self, path: Path, clip: str, answers: Sequence[Answer], console: Console) -> Iterator[Answer]:
        """Write the figure as PNG and print its path; yield a failure if it cannot be written.

        Args:
            path: File to write.
            clip: Id of the clip, used as the title.
            answers: Predictions of the clip.
            console: Receives the path.
        """
        # Imported here because only --explain draws figures.
        from pipeline.predict.attention_figure import attention_figure
        from recognition.evaluation.figures import save_figure

        try:
            save_figure(attention_figure(self, clip, answers), path)
        except OSError as error:
            reason = f"figure not written: {path}: {error.strerror or error}"
            yield Answer(clip, reason=reason, failed=True)
        else:
            console.print(Text(str(path)), soft_wrap=True)
