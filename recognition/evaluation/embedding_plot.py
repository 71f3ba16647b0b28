"""Figure of a two-dimensional embedding of features."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from recognition.evaluation.embedding import embed
from recognition.evaluation.figures import FEW_CLASSES, LONGEST_NAME, MARKERS, PALETTE, short_name

# Up to this number of classes, colours alone distinguish the dots.
LEGEND_ALONE = len(PALETTE)
# The cost of t-SNE grows faster than linearly, and more dots would hide each other.
MOST_DOTS = 5000


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
            label=f"{short_name(label_names[label])} ({len(dots)})",
        )
    if len(present) > LEGEND_ALONE:
        _name_clusters(
            axes, places, shown, [short_name(label_names[label], LONGEST_NAME if few else 14) for label in present]
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
