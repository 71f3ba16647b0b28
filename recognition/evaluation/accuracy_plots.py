"""Figures of accuracies: the confusion matrix and the accuracy of each class."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from recognition.evaluation.figures import BLUE, FEW_CLASSES, ORANGE, short_name
from recognition.evaluation.metrics import Metrics, wilson_interval

# Rows of bars per column of a figure.
BARS_PER_COLUMN = 60


def confusion_figure(metrics: Metrics, label_names: Sequence[str], title: str) -> Figure:
    """Plot the confusion matrix, each row divided by its number of clips.

    Args:
        metrics: Metrics for K classes.
        label_names: K class names.
        title: First line of the title; names the data, the split and the run.
    """
    confusion, classes = metrics.confusion, len(label_names)
    counts = metrics.counts[:, None]
    shares = np.divide(confusion, counts, out=np.zeros(confusion.shape), where=counts > 0)
    few = classes <= FEW_CLASSES
    side = max(6.5, 2.5 + 0.62 * classes) if few else 4 + 0.165 * classes
    font = 9 if few else 7
    figure = Figure(figsize=(side + 0.7, side), layout="constrained")
    axes = figure.add_subplot()
    # The square root keeps classes with few confused clips visible next to a diagonal close to 1.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    names = [short_name(name) for name in label_names]
    axes.set_xticks(range(classes), names, rotation=90 if classes > 8 else 35, fontsize=font)
    if classes <= 8:
        for tick in axes.get_xticklabels():
            tick.set_horizontalalignment("right")
            tick.set_rotation_mode("anchor")
    axes.set_yticks(range(classes), names, fontsize=font)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    for row, column in np.argwhere(confusion > 0):
        share = shares[row, column]
        colour = "white" if share > 0.4 else "black"
        if few:
            text = f"{share:.0%}\n{confusion[row, column]}"
            size = 9 if classes <= 8 else 7
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)
        elif row != column and share >= 0.1:
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=font - 1.5, color=colour)
    if not few:
        axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="#E4E4E4", linewidth=0.3)
        axes.tick_params(which="minor", length=0)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, ticks=[0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    bar.set_label("share of the true class's clips" + ("" if few else "; numbers: per cent, from 10 on"))
    axes.set_title(_titled(title, metrics), fontsize=11)
    return figure


def per_class_figure(metrics: Metrics, label_names: Sequence[str], title: str) -> Figure:
    """Plot the accuracy of each class in descending order, with its 95 % interval and number of clips."""
    counts = metrics.counts
    known = np.flatnonzero(counts)
    order = known[np.argsort(-metrics.per_class[known], kind="stable")]
    columns = -(-len(order) // BARS_PER_COLUMN)
    rows = -(-len(order) // columns)
    figure = Figure(figsize=(8.5 if columns == 1 else 6.5 * columns, 1.8 + 0.21 * max(rows, 6)), layout="constrained")
    for number, axes in enumerate(figure.subplots(1, columns, squeeze=False, sharex=True)[0]):
        shown = order[number * rows : (number + 1) * rows]
        places = np.arange(len(shown))
        accuracy = metrics.per_class[shown]
        ends = np.array([wilson_interval(int(metrics.confusion[k, k]), int(counts[k])) for k in shown])
        colours = [BLUE if value >= metrics.mean_class else ORANGE for value in accuracy]
        axes.barh(places, accuracy, color=colours, height=0.72)
        axes.errorbar(
            accuracy,
            places,
            xerr=np.abs(ends.T - accuracy),
            fmt="none",
            ecolor="#444444",
            elinewidth=0.9,
            capsize=1.5,
        )
        axes.axvline(metrics.mean_class, color="black", linewidth=1, linestyle="--")
        axes.set_yticks(places, [f"{short_name(label_names[k])}  ({counts[k]})" for k in shown], fontsize=8)
        # The same scale for all columns, even if the last one is shorter.
        axes.set_ylim(rows - 0.4, -0.6)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    note = f"dashed line and change of colour: mean over the classes, {metrics.mean_class:.1%}"
    figure.supxlabel(f"accuracy with 95 % interval; number of clips in brackets\n{note}", fontsize=9)
    figure.suptitle(_titled(title, metrics), fontsize=11)
    return figure


def _titled(title: str, metrics: Metrics) -> str:
    low, high = metrics.top1_interval
    return (
        f"{title}\ntop-1 {metrics.top1:.1%} (95 % interval {low:.1%} to {high:.1%}), "
        f"mean over classes {metrics.mean_class:.1%}, {metrics.clips} clips"
    )
