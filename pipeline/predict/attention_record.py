"""Attention of each joint over time: collected window by window, reported as numbers and as a figure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.text import Text

from pipeline.predict.answers import Answer
from recognition.evaluation.figures import save_figure

# Number of persons in a figure, those visible longest first, so that it stays readable.
MOST_PERSONS = 6
# Quantile of the attention that the colour scale covers, and lower limit of its maximum.
BRIGHTEST_SHARE, BRIGHTEST_LEAST = 0.99, 1.25


class AttentionRecord:
    """Attention of the joints, by person and time range.

    Args:
        joints: Names of the V joints.
        unit: Unit of time, for the axis label.
    """

    def __init__(self, joints: Sequence[str], *, unit: str = "seconds") -> None:
        self.joints = tuple(joints)
        self.unit = unit
        self._rows: defaultdict[int | None, list[tuple[float, float, np.ndarray]]] = defaultdict(list)

    def add(self, person: int | None, start: float, end: float, attention: np.ndarray) -> None:
        """Record the attention (V,) of a range from `start` to `end` in seconds, where 1 is the mean.

        Args:
            person: Track id; None for all persons together.
            start: Start of the range in seconds.
            end: End of the range in seconds.
            attention: (V,), where 1 is the mean over joints.
        """
        self._rows[person].append((start, end, attention.astype(np.float32)))

    def mean(self, person: int | None, start: float, end: float) -> dict[str, float]:
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

    def figure(self, title: str, answers: Sequence[Answer]) -> Figure:
        """Plot joints over time, one panel per person, brighter for more attention, with the predictions as titles.

        Args:
            title: Title of the figure, such as the clip's id.
            answers: Predictions of the clip; each is shown above the panel of its person.
        """
        seconds = {person: sum(last - first for first, last, _ in rows) for person, rows in self._rows.items() if rows}
        shown = sorted(seconds, key=lambda person: (-seconds[person], person is not None, person or 0))[:MOST_PERSONS]
        figure = Figure(figsize=(11, 0.9 + 3.6 * max(1, len(shown))), layout="constrained")
        left_out = len(seconds) - len(shown)
        figure.suptitle(title + (f"   ({left_out} persons visible for less time omitted)" if left_out else ""))
        if not shown:
            return figure
        panels = figure.subplots(len(shown), 2, squeeze=False, width_ratios=[5, 1])
        values = np.concatenate([row for person in shown for _, _, row in self._rows[person]])
        brightest = max(float(np.quantile(values, BRIGHTEST_SHARE)), BRIGHTEST_LEAST)
        for (over_time, mean), person in zip(panels, shown, strict=True):
            image = self._over_time(over_time, person, brightest)
            self._mean(mean, person)
            who = "all persons together" if person is None else f"person {person}"
            over_time.set_title(f"{who}: {_told(answers, person)}", fontsize=10, loc="left")
        panels[-1][0].set_xlabel(self.unit)
        figure.colorbar(image, ax=[row[1] for row in panels], label="attention (1 = mean of the frame)", shrink=0.8)
        return figure

    def write(self, path: Path, clip: str, answers: Sequence[Answer], console: Console) -> Iterator[Answer]:
        """Write the figure as PNG and print its path; yield a failure if it cannot be written.

        Args:
            path: File to write.
            clip: Id of the clip, used as the title.
            answers: Predictions of the clip.
            console: Receives the path.
        """
        try:
            save_figure(self.figure(clip, answers), path)
        except OSError as error:
            reason = f"figure not written: {path}: {error.strerror or error}"
            yield Answer(clip, reason=reason, failed=True)
        else:
            console.print(Text(str(path)), soft_wrap=True)

    def _over_time(self, axes, person: int | None, brightest: float):  # type: ignore[no-untyped-def]
        rows = sorted(self._rows[person], key=lambda row: row[0])
        edges, columns = [rows[0][0]], []
        for start, end, attention in rows:
            if start > edges[-1] + 1e-6:
                # No person is visible in between.
                columns.append(np.full(len(self.joints), np.nan))
                edges.append(start)
            columns.append(attention)
            edges.append(max(end, edges[-1] + 1e-6))
        borders = np.arange(len(self.joints) + 1) - 0.5
        image = axes.pcolormesh(edges, borders, np.array(columns).T, cmap="inferno", vmin=0, vmax=brightest)
        axes.set_yticks(range(len(self.joints)), [name.replace("_", " ") for name in self.joints], fontsize=7)
        axes.invert_yaxis()
        return image

    def _mean(self, axes, person: int | None) -> None:  # type: ignore[no-untyped-def]
        rows = self._rows[person]
        values: Mapping[str, float] = self.mean(person, -np.inf, np.inf)
        assert rows
        axes.barh(range(len(values)), list(values.values()), color="#D55E00")
        axes.axvline(1, color="0.5", linewidth=0.8)
        axes.set_yticks([])
        axes.invert_yaxis()
        axes.set_ylim(len(values) - 0.5, -0.5)
        axes.set_title("mean", fontsize=9)


def _told(answers: Sequence[Answer], person: int | None) -> str:
    """Return the predictions for a person as one line, truncated to fit."""
    told = [
        f"{answer.label} {answer.probability:.0%}"
        + ("" if answer.start is None or len(answers) == 1 else f" ({answer.start:.1f} to {answer.end:.1f} s)")
        for answer in answers
        if answer.person == person and answer.label is not None and answer.probability is not None
    ]
    text, most = ", ".join(told[:4]), 110
    more = f", and {len(told) - 4} more" if len(told) > 4 else ""
    return (text if len(text) <= most else f"{text[: most - 3]}...") + more
