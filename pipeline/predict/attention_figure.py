"""Figure of the attention of each joint over time, one panel per person."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from pipeline.predict.answers import Answer, in_words
from pipeline.predict.persons import PersonId
from recognition.evaluation.figures import VERMILION

# Number of persons in a figure, those visible longest first, so that it stays readable.
MOST_PERSONS = 6
# Quantile of the attention that the colour scale covers, and lower limit of its maximum.
BRIGHTEST_SHARE, BRIGHTEST_LEAST = 0.99, 1.25
# Length of a panel's title in characters, and number of predictions in it.
LONGEST_TITLE, MOST_PREDICTIONS = 110, 4


class Attention(Protocol):
    """The attention to draw; see `AttentionRecord`."""

    joints: tuple[str, ...]
    unit: str

    @property
    def seconds(self) -> dict[PersonId, float]: ...
    def ranges(self, person: PersonId) -> list[tuple[float, float, np.ndarray]]: ...
    def mean(self, person: PersonId, start: float, end: float) -> dict[str, float]: ...


def attention_figure(record: Attention, title: str, answers: Sequence[Answer]) -> Figure:
    """Plot joints over time, one panel per person, brighter for more attention, with the predictions as titles.

    Args:
        record: The attention.
        title: Title of the figure, such as the clip's id.
        answers: Predictions of the clip; each is shown above the panel of its person.
    """
    seconds = record.seconds
    shown = sorted(seconds, key=lambda person: (-seconds[person], person is not None, person or 0))[:MOST_PERSONS]
    figure = Figure(figsize=(11, 0.9 + 3.6 * max(1, len(shown))), layout="constrained")
    left_out = len(seconds) - len(shown)
    figure.suptitle(title + (f"   ({left_out} persons visible for less time omitted)" if left_out else ""))
    if not shown:
        return figure
    panels = figure.subplots(len(shown), 2, squeeze=False, width_ratios=[5, 1])
    values = np.concatenate([attention for person in shown for _, _, attention in record.ranges(person)])
    brightest = max(float(np.quantile(values, BRIGHTEST_SHARE)), BRIGHTEST_LEAST)
    for (over_time, mean), person in zip(panels, shown, strict=True):
        image = _plot_over_time(over_time, record, person, brightest)
        _plot_mean(mean, record, person)
        name = "all persons together" if person is None else f"person {person}"
        over_time.set_title(f"{name}: {_predictions_of(answers, person)}", fontsize=10, loc="left")
    panels[-1][0].set_xlabel(record.unit)
    figure.colorbar(image, ax=[row[1] for row in panels], label="attention (1 = mean of the frame)", shrink=0.8)
    return figure


def _plot_over_time(axes: Axes, record: Attention, person: PersonId, brightest: float) -> QuadMesh:
    ranges = record.ranges(person)
    edges, columns = [ranges[0][0]], []
    for start, end, attention in ranges:
        if start > edges[-1] + 1e-6:
            # No person is visible in between.
            columns.append(np.full(len(record.joints), np.nan))
            edges.append(start)
        columns.append(attention)
        edges.append(max(end, edges[-1] + 1e-6))
    borders = np.arange(len(record.joints) + 1) - 0.5
    image = axes.pcolormesh(edges, borders, np.array(columns).T, cmap="inferno", vmin=0, vmax=brightest)
    axes.set_yticks(range(len(record.joints)), [name.replace("_", " ") for name in record.joints], fontsize=7)
    axes.invert_yaxis()
    return image


def _plot_mean(axes: Axes, record: Attention, person: PersonId) -> None:
    values = list(record.mean(person, -np.inf, np.inf).values())
    axes.barh(range(len(values)), values, color=VERMILION)
    axes.axvline(1, color="0.5", linewidth=0.8)
    axes.set_yticks([])
    axes.invert_yaxis()
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_title("mean", fontsize=9)


def _predictions_of(answers: Sequence[Answer], person: PersonId) -> str:
    """Return the predictions for a person as one line, truncated to fit."""
    texts = [
        in_words(answer.label, answer.probability, answer.closest)
        + ("" if answer.start is None or len(answers) == 1 else f" ({answer.start:.1f} to {answer.end:.1f} s)")
        for answer in answers
        if answer.person == person and answer.label is not None and answer.probability is not None
    ]
    line = ", ".join(texts[:MOST_PREDICTIONS])
    more = f", and {len(texts) - MOST_PREDICTIONS} more" if len(texts) > MOST_PREDICTIONS else ""
    return (line if len(line) <= LONGEST_TITLE else f"{line[: LONGEST_TITLE - 3]}...") + more
