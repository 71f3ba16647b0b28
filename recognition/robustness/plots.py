"""Figures of the robustness bench: curves, bars, perturbed skeletons, gains, confusions and attention."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pose_extraction.skeleton import Skeleton
from recognition.evaluation.figures import BLUE, GREY, MARKERS, PALETTE, VERMILION
from recognition.evaluation.metrics import Metrics
from recognition.robustness.targeted import RANDOM, TargetedCurves

# Largest sigma in figure 5 of the paper.
LAST_OF_PAPER = 0.01
# Levels, values, and their spread (0 if there is only one value).
Curve = tuple[Sequence[float], Sequence[float], Sequence[float]]
# Share of the distance between two levels over which the methods are spread.
METHODS_WIDTH = 0.6
FEWEST_PLACES = 4


def words_of(level: float | str | None) -> str:
    """Return a level as text for figures."""
    return str(level).replace("_", " ")


def noise_figure(curves: Mapping[str, Mapping[str, Curve]], title: str) -> Figure:
    """Plot accuracy over sigma: one row per type of noise; the paper's range on the left, the full range on the right.

    Args:
        curves: Type of noise -> method -> levels from 0 on, accuracies, spreads.
        title: First line of the title.
    """
    figure = Figure(figsize=(11, 0.6 + 3.6 * len(curves)), layout="constrained")
    grid = figure.subplots(len(curves), 2, squeeze=False)
    for row, (kind, methods) in zip(grid, curves.items(), strict=True):
        for axes, last in zip(row, (LAST_OF_PAPER, np.inf), strict=True):
            for number, (method, (levels, values, spreads)) in enumerate(methods.items()):
                kept = np.asarray(levels) <= last
                _line(axes, number, method, *(np.asarray(part)[kept] for part in (levels, values, spreads)))
            axes.set_xlabel("sigma, in units of half the frame's longer side")
            axes.set_title(kind, fontsize=10)
            _share_axis(axes)
        row[0].set_ylabel("top-1")
    grid[0, 1].legend(fontsize=8, frameon=False)
    figure.suptitle(f"{title}\nbands: spread over runs and draws", fontsize=11)
    return figure


def levels_figure(families: Mapping[str, tuple[str, Mapping[str, Curve]]], title: str) -> Figure:
    """Plot accuracy over the levels of several families, one panel each.

    Args:
        families: Title -> (unit, method -> levels as words or numbers starting with "clean", accuracies, spreads).
        title: First line of the title.
    """
    columns = min(3, len(families))
    rows = -(-len(families) // columns)
    figure = Figure(figsize=(4.2 * columns, 0.7 + 3.3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, (name, (unit, methods)) in zip(grid, families.items(), strict=False):
        for number, (method, (levels, values, spreads)) in enumerate(methods.items()):
            places = np.arange(len(levels))
            if any(isinstance(level, str) for level in levels[1:]):
                # Levels without an order: spread the methods around each level, so that equal values stay visible.
                offset = METHODS_WIDTH * ((number + 0.5) / len(methods) - 0.5)
                _line(axes, number, method, places + offset, values, spreads, joined=False)
                # With few levels, wide panels would move the methods of one level far apart.
                middle, half = (len(levels) - 1) / 2, max(len(levels), FEWEST_PLACES) / 2
                axes.set_xlim(middle - half, middle + half)
            else:
                _line(axes, number, method, places, values, spreads)
            words = [words_of(level) for level in levels]
            axes.set_xticks(places, words, rotation=25 if max(map(len, words)) > 6 else 0, fontsize=8)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel(unit, fontsize=9)
        _share_axis(axes)
    for axes in grid[len(families) :]:
        axes.set_visible(False)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), fontsize=9, frameon=False)
    figure.suptitle(title, fontsize=11)
    return figure


def targeted_figure(curves: Mapping[str, Mapping[str, TargetedCurves]], title: str) -> Figure:
    """Plot deletion and insertion curves with their areas, one row per method."""
    figure = Figure(figsize=(11, 0.7 + 3.4 * len(curves)), layout="constrained")
    grid = figure.subplots(len(curves), 2, squeeze=False, sharey=True)
    for row, (method, orders) in zip(grid, curves.items(), strict=True):
        for number, (order, found) in enumerate(orders.items()):
            share = np.linspace(0, 1, len(found.deleted))
            colour = GREY if order == RANDOM else PALETTE[number]
            for axes, part, area in zip(row, (found.deleted, found.inserted), found.areas, strict=True):
                axes.plot(
                    share,
                    part.mean(axis=1),
                    color=colour,
                    linestyle="--" if order == RANDOM else "-",
                    marker=MARKERS[number],
                    markersize=3.5,
                    label=f"{order}: {area:.3f}",
                )
        for axes, what in zip(row, ("deletion: lower is better", "insertion: higher is better"), strict=True):
            axes.set_title(f"{method}, {what}", fontsize=10)
            axes.legend(title="order and area under curve", title_fontsize=8, fontsize=8, frameon=False)
            _share_axis(axes)
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        row[0].set_ylabel("top-1")
    grid[-1, 0].set_xlabel("joints removed, most attended first")
    grid[-1, 1].set_xlabel("joints present, most attended first")
    figure.suptitle(title, fontsize=11)
    return figure


def skeletons_figure(
    poses: Mapping[str, tuple[np.ndarray, np.ndarray]], layout: Skeleton, size: tuple[int, int], title: str
) -> Figure:
    """Draw one frame of a clip under several perturbations.

    Args:
        poses: Name -> keypoint (M, V, 2) in pixels, NaN where not seen, and score (M, V).
        layout: Joint layout.
        size: (height, width) of the frame in pixels.
        title: First line of the title.
    """
    columns = min(4, len(poses))
    rows = -(-len(poses) // columns)
    points = np.concatenate([keypoint.reshape(-1, 2) for keypoint, _ in poses.values()])
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    middle, half = (low + high) / 2, 0.55 * float((high - low).max())
    figure = Figure(figsize=(2.9 * columns, 0.6 + 3.0 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, (keypoint, score)) in zip(grid, poses.items(), strict=False):
        for number, (joints, seen) in enumerate(zip(keypoint, score > 0, strict=True)):
            colour = PALETTE[number % len(PALETTE)]
            bones = [joints[[a, b]] for a, b in layout.bones if seen[a] and seen[b]]
            axes.add_collection(LineCollection(bones, colors=colour, linewidths=1.8))
            axes.scatter(joints[seen, 0], joints[seen, 1], s=12, color=colour, zorder=3)
        axes.set_xlim(middle[0] - half, middle[0] + half)
        axes.set_ylim(middle[1] + half, middle[1] - half)
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(name, fontsize=9)
    for axes in grid[len(poses) :]:
        axes.set_visible(False)
    figure.suptitle(f"{title}\na frame of {size[1]} x {size[0]} pixels, cropped to the person", fontsize=11)
    return figure


def gains_figure(gains: Mapping[str, Mapping[str, float]], first: str, title: str) -> Figure:
    """Plot the gains of the first method over each other method per class, one panel each, largest gain on top.

    Args:
        gains: Other method -> class -> difference of accuracies (shares); plotted in percentage points on one scale.
        first: Name of the first method.
        title: First line of the title.
    """
    most = max(len(classes) for classes in gains.values())
    columns = min(3, len(gains))
    rows = -(-len(gains) // columns)
    figure = Figure(figsize=(5.2 * columns, 0.6 + rows * (1.2 + 0.2 * max(most, 6))), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, (other, classes) in zip(grid, gains.items(), strict=False):
        names = sorted(classes, key=lambda name: -classes[name])
        values = [classes[name] for name in names]
        places = np.arange(len(names))
        axes.barh(places, values, color=[BLUE if value >= 0 else VERMILION for value in values], height=0.72)
        axes.set_yticks(places, names, fontsize=8)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.xaxis.set_major_formatter(lambda value, _place: f"{100 * value:+.0f}" if value else "0")
        axes.xaxis.set_tick_params(labelbottom=True)
        axes.set_xlabel("gain in percentage points", fontsize=9)
        axes.set_title(f"{first} minus {other}", fontsize=10)
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(gains) :]:
        axes.set_visible(False)
    figure.suptitle(title, fontsize=11)
    return figure


def confusions_figure(metrics: Mapping[str, Metrics], label_names: Sequence[str], title: str) -> Figure:
    """Plot confusion matrices next to each other, each row as shares of its class."""
    classes = len(label_names)
    columns = min(3, len(metrics))
    rows = -(-len(metrics) // columns)
    side = max(3.6, 1.6 + 0.2 * classes)
    figure = Figure(figsize=(side * columns + 1.6, 0.6 + (side + 0.5) * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, found) in zip(grid, metrics.items(), strict=False):
        counts = found.counts[:, None]
        shares = np.divide(found.confusion, counts, out=np.zeros(found.confusion.shape), where=counts > 0)
        # The square root keeps small confusions visible next to a diagonal close to 1.
        axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
        font = 8 if classes <= 20 else 4
        axes.set_xticks(range(classes), label_names, rotation=90, fontsize=font)
        axes.set_yticks(range(classes), label_names, fontsize=font)
        if classes <= 20:
            for row, column in np.argwhere(shares >= 0.05):
                colour = "white" if shares[row, column] > 0.35 else "black"
                text = f"{100 * shares[row, column]:.0f}"
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
        axes.set_title(f"{name}: top-1 {found.top1:.1%}", fontsize=10)
    for axes in grid[len(metrics) :]:
        axes.set_visible(False)
    figure.supxlabel("predicted class", fontsize=9)
    figure.supylabel("true class", fontsize=9)
    numbers = ", numbers in per cent from 5 on" if classes <= 20 else ""
    figure.suptitle(f"{title}\nshares of the true class{numbers}; colours show their square root", fontsize=11)
    return figure


def features_figure(
    places: Mapping[str, np.ndarray], labels: np.ndarray, label_names: Sequence[str], title: str
) -> Figure:
    """Plot t-SNE maps of the hidden features of several runs, in the same colours.

    Args:
        places: Name -> float (N, 2).
        labels: int (N,), true classes.
        label_names: K class names.
        title: First line of the title.
    """
    columns = min(4, len(places))
    rows = -(-len(places) // columns)
    figure = Figure(figsize=(4.6 * columns + 2, 0.6 + 4.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, of_clips) in zip(grid, places.items(), strict=False):
        for number, label in enumerate(np.unique(labels)):
            dots = of_clips[labels == label]
            axes.scatter(
                dots[:, 0],
                dots[:, 1],
                s=float(np.clip(9000 / len(labels), 4, 30)),
                color=PALETTE[number % len(PALETTE)],
                marker=MARKERS[number // len(PALETTE) % len(MARKERS)],
                alpha=0.7,
                linewidths=0,
                label=label_names[label],
            )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(name, fontsize=10)
    for axes in grid[len(places) :]:
        axes.set_visible(False)
    handles, names = grid[0].get_legend_handles_labels()
    if len(names) <= 40:
        figure.legend(handles, names, loc="outside right center", fontsize=8, frameon=False, markerscale=1.5)
    figure.suptitle(f"{title}\nt-SNE of the hidden features of {len(labels)} clips", fontsize=11)
    return figure


def attention_figure(attention: Mapping[str, tuple[np.ndarray, Sequence[str]]], title: str) -> Figure:
    """Plot the attention that each joint receives over time, one panel per run, with a common colour scale.

    Args:
        attention: Name -> float (T, V) of the last layer, and the names of its V joints.
        title: First line of the title.
    """
    figure = Figure(figsize=(10, 0.9 + 3.1 * len(attention)), layout="constrained")
    panels = figure.subplots(len(attention), 1, squeeze=False)[:, 0]
    # The scale of attention differs between networks, so divide by the mean.
    relative = {name: values / (float(values.mean()) or 1.0) for name, (values, _) in attention.items()}
    least, largest = (
        min(values.min() for values in relative.values()),
        max(values.max() for values in relative.values()),
    )
    for axes, (name, values) in zip(panels, relative.items(), strict=True):
        joints = attention[name][1]
        image = axes.imshow(values.T, aspect="auto", cmap="viridis", vmin=least, vmax=largest, interpolation="nearest")
        axes.set_yticks(range(len(joints)), [joint.replace("_", " ") for joint in joints], fontsize=7)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("frame of the network's input")
    figure.colorbar(image, ax=list(panels), fraction=0.03, pad=0.01, label="relative to the mean of the clip")
    figure.suptitle(f"{title}\nattention received in the last layer", fontsize=11)
    return figure


def _line(
    axes: Axes,
    number: int,
    method: str,
    levels: Sequence[float] | np.ndarray,
    values: Sequence[float] | np.ndarray,
    spreads: Sequence[float] | np.ndarray,
    *,
    joined: bool = True,
) -> None:
    colour = PALETTE[number % len(PALETTE)]
    marker = MARKERS[number % len(MARKERS)]
    levels, values, spreads = (np.asarray(part, float) for part in (levels, values, spreads))
    if not joined:
        axes.errorbar(levels, values, yerr=spreads, color=colour, fmt=marker, markersize=5, label=method)
        return
    axes.plot(levels, values, color=colour, marker=marker, markersize=4, linewidth=1.5, label=method)
    axes.fill_between(levels, values - spreads, values + spreads, color=colour, alpha=0.15, linewidth=0)


def _share_axis(axes: Axes) -> None:
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(color="#DDDDDD", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
