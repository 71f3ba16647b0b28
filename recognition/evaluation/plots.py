"""Figures of a recognizer and of its training, created without a window or matplotlib's global state.

Colours are those of Okabe and Ito, which are distinguishable with all common types of colour blindness.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter

from pose_extraction.files import atomic_write
from recognition.evaluation.embedding import embed
from recognition.evaluation.metrics import Metrics, wilson_interval

BLUE, VERMILION, GREEN, ORANGE, SKY, PINK, GREY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#E69F00",
    "#56B4E9",
    "#CC79A7",
    "#7F7F7F",
)
PALETTE = (BLUE, VERMILION, GREEN, ORANGE, PINK, SKY, "#000000", "#6A3D9A", "#8B5A2B")
MARKERS = "o^sDvP"
# Up to this number of classes, cells of a matrix are wide enough for numbers, and a legend is short enough.
FEW_CLASSES = 20
# Up to this number of classes, colours alone distinguish the dots.
LEGEND_ALONE = len(PALETTE)
# Rows of bars per column of a figure.
BARS_A_COLUMN = 60
# The cost of t-SNE grows faster than linearly, and more dots would hide each other.
MOST_DOTS = 5000
LONGEST_NAME = 24
# Terms of eq. 12, by their names in `metrics.jsonl`.
LOSS_CURVES = {
    "total": "total (eq. 12)",
    "cross_entropy": "cross-entropy",
    "sample": "sample contrastive (eq. 5)",
    "klass": "class contrastive (eq. 11)",
}
DPI = 150


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    content = io.BytesIO()
    FigureCanvasAgg(figure)
    # Tight bounding box: otherwise a long name next to a square matrix moves the axis labels out of the page.
    figure.savefig(content, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.15)
    with atomic_write(path) as file:
        file.write(content.getvalue())


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
    names = [_short(name) for name in label_names]
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
    columns = -(-len(order) // BARS_A_COLUMN)
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
        axes.set_yticks(places, [f"{_short(label_names[k])}  ({counts[k]})" for k in shown], fontsize=8)
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


def embedding_figure(
    features: np.ndarray, labels: np.ndarray, label_names: Sequence[str], title: str, *, seed: int = 0
) -> Figure:
    """Plot a t-SNE map of the head's hidden features (as in section 4.4 of the paper).

    Args:
        features: float (N, D).
        labels: int (N,), true classes.
        label_names: K class names.
        title: First line of the title.
        seed: Seed of t-SNE, and of the selection of clips if there are more than `MOST_DOTS`.
    """
    rng = np.random.default_rng(seed)
    chosen = np.arange(len(labels))
    if len(labels) > MOST_DOTS:
        chosen = np.sort(rng.choice(len(labels), MOST_DOTS, replace=False))
    places, shown = embed(features[chosen], seed=seed), labels[chosen]
    present = np.unique(shown)
    few = len(present) <= FEW_CLASSES
    figure = Figure(figsize=(9.5 if few else 13, 7 if few else 12), layout="constrained")
    axes = figure.add_subplot()
    size = float(np.clip(20000 / len(shown), 9, 45))
    for number, label in enumerate(present):
        dots = places[shown == label]
        axes.scatter(
            dots[:, 0],
            dots[:, 1],
            s=size,
            color=PALETTE[number % len(PALETTE)],
            marker=MARKERS[number // len(PALETTE) % len(MARKERS)],
            alpha=0.7,
            linewidths=0,
            label=f"{_short(label_names[label])} ({len(dots)})",
        )
    if len(present) > LEGEND_ALONE:
        _name_clusters(
            axes, places, shown, [_short(label_names[label], LONGEST_NAME if few else 14) for label in present]
        )
    if few:
        figure.legend(
            loc="outside right upper", fontsize=8, title="true class (clips)", title_fontsize=8, markerscale=1.5
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")
    part = "all" if len(chosen) == len(labels) else f"{len(chosen)} of"
    axes.set_title(
        f"{title}\nt-SNE of the {features.shape[1]} hidden features, {part} {len(labels)} clips", fontsize=11
    )
    return figure


def training_figure(records: Iterable[Mapping[str, Any]], title: str) -> Figure:
    """Plot losses, accuracies and learning rates of a run over its steps, with its phases.

    Args:
        records: Lines of `metrics.jsonl`, of kind "step" and "epoch".
        title: First line of the title.
    """
    lines = list(records)
    steps = [line for line in lines if line["kind"] == "step"]
    epochs = [line for line in lines if line["kind"] == "epoch"]
    figure = Figure(figsize=(10, 9), layout="constrained")
    losses, accuracy, rates = figure.subplots(3, 1, squeeze=False, sharex=True, height_ratios=(3, 3, 1.6))[:, 0]
    for (name, label), colour in zip(LOSS_CURVES.items(), PALETTE, strict=False):
        # In phase one, cross-entropy is the only term of the total.
        found = [(line["step"], line[name]) for line in steps if name in line and (name != "total" or "sample" in line)]
        if found:
            places, values = np.array(found).T
            losses.plot(places, values, color=colour, alpha=0.18, linewidth=0.6)
            losses.plot(places, _smoothed(values), color=colour, linewidth=1.6, label=label)
    _epoch_curve(losses, epochs, "held_out_loss", "held out, cross-entropy", GREY, "--")
    _epoch_curve(accuracy, epochs, "train_top1", "training (with augmentation and dropout)", BLUE, "-")
    _epoch_curve(accuracy, epochs, "held_out_top1", "held out", VERMILION, "-")
    _epoch_curve(accuracy, epochs, "held_out_mean_class", "held out, mean over classes", GREEN, "--")
    # The same criterion as for best.pt: the last phase, highest accuracy, then lowest loss.
    scored = [line for line in epochs if "held_out_top1" in line and line["phase"] == epochs[-1]["phase"]]
    if scored:
        best = max(scored, key=lambda line: (line["held_out_top1"], -line["held_out_loss"]))
        note = f"best held out: {best['held_out_top1']:.1%} in epoch {best['epoch'] + 1}"
        accuracy.axhline(best["held_out_top1"], color=VERMILION, linewidth=0.8, linestyle=":", label=note)
    for name, label, colour, style in (("lr_backbone", "backbone", BLUE, "-"), ("lr_head", "head", VERMILION, "--")):
        found = [(line["step"], line[name]) for line in steps if name in line]
        if found:
            rates.plot(*np.array(found).T, color=colour, linestyle=style, label=label)
    losses.set_ylabel("loss")
    accuracy.set_ylabel("accuracy")
    accuracy.set_ylim(0, 1.02)
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    rates.set_ylabel("learning rate")
    rates.set_yscale("log")
    rates.set_xlabel("step")
    change = next((line["step"] for line in steps if line["phase"] == 2), None)
    for axes in (losses, accuracy, rates):
        if change is not None:
            axes.axvspan(change, max(line["step"] for line in steps), color="#F2F2F2", zorder=0)
        axes.grid(color="#DDDDDD", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    shaded = "" if change is None else "; shaded: phase two, with the masked pathway"
    figure.suptitle(f"{title}\n{len(epochs)} epochs, {steps[-1]['step'] if steps else 0} steps{shaded}", fontsize=11)
    return figure


def _epoch_curve(
    axes: Axes, epochs: Sequence[Mapping[str, Any]], name: str, label: str, colour: str, style: str
) -> None:
    found = [(line["step"], line[name]) for line in epochs if name in line]
    if found:
        marker = "." if len(found) < 60 else ""
        axes.plot(*np.array(found).T, color=colour, linestyle=style, marker=marker, linewidth=1.3, label=label)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Moving average over about a fiftieth of the run, shorter at its ends."""
    reach = max(1, len(values) // 100)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    first, last = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def _name_clusters(axes: Axes, places: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> None:
    """Write each class's name at its densest place; move it down if another name is there."""
    extent = np.ptp(places, axis=0)
    # Approximate size of a name, relative to the extent of the map.
    width, height = 0.075 * max(extent[0], extent[1]), 0.012 * max(extent[0], extent[1])
    taken: list[tuple[float, float]] = []
    for number, (label, name) in enumerate(zip(np.unique(labels), names, strict=True)):
        dots = places[labels == label]
        # Use the dot closest to the median: the median of a class with two clusters lies between them.
        x, y = dots[np.square(dots - np.median(dots, axis=0)).sum(axis=1).argmin()]
        while any(abs(x - other_x) < width and abs(y - other_y) < height for other_x, other_y in taken):
            y -= height / 2
        taken.append((x, y))
        axes.annotate(
            name,
            (x, y),
            ha="center",
            va="center",
            fontsize=7.5,
            fontweight="bold",
            color=PALETTE[number % len(PALETTE)],
            path_effects=[withStroke(linewidth=2.4, foreground="white")],
        )


def _titled(title: str, metrics: Metrics) -> str:
    low, high = metrics.top1_interval
    return (
        f"{title}\ntop-1 {metrics.top1:.1%} (95 % interval {low:.1%} to {high:.1%}), "
        f"mean over classes {metrics.mean_class:.1%}, {metrics.clips} clips"
    )


def _short(name: str, longest: int = LONGEST_NAME) -> str:
    # A dollar sign would start mathematical notation.
    cut = name if len(name) <= longest else name[: longest - 1] + "…"
    return cut.replace("$", r"\$")


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """Render a figure as PNG or SVG.

    Args:
        figure: The figure.
        kind: png or svg.
    """
    content = io.BytesIO()
    FigureCanvasAgg(figure)
    # Without a date, so that equal numbers give identical files.
    figure.savefig(
        content,
        format=kind,
        dpi=DPI,
        bbox_inches="tight",
        pad_inches=0.15,
        metadata={"Date": None} if kind == "svg" else None,
    )
    return content.getvalue()
