"""Figure of a training: losses, accuracies and learning rates over its steps."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pose_extraction.errors import counted
from recognition.evaluation.figures import BLUE, GREEN, GREY, PALETTE, VERMILION

# A line of `metrics.jsonl`.
Line = Mapping[str, Any]
# Terms of eq. 12, by their names in `metrics.jsonl`.
LOSS_CURVES = {
    "total": "total (eq. 12)",
    "cross_entropy": "cross-entropy",
    "sample": "sample contrastive (eq. 5)",
    "klass": "class contrastive (eq. 11)",
}


def training_figure(records: Iterable[Line], title: str) -> Figure:
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
    _plot_losses(losses, steps, epochs)
    _plot_accuracies(accuracy, epochs)
    _plot_rates(rates, steps)
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
    length = f"{counted(len(epochs), 'epoch')}, {counted(steps[-1]['step'] if steps else 0, 'step')}"
    figure.suptitle(f"{title}\n{length}{shaded}", fontsize=11)
    return figure


def _plot_losses(axes: Axes, steps: Sequence[Line], epochs: Sequence[Line]) -> None:
    for (name, label), colour in zip(LOSS_CURVES.items(), PALETTE, strict=False):
        # In phase one, cross-entropy is the only term of the total.
        found = [(line["step"], line[name]) for line in steps if name in line and (name != "total" or "sample" in line)]
        if found:
            places, values = np.array(found).T
            axes.plot(places, values, color=colour, alpha=0.18, linewidth=0.6)
            axes.plot(places, _smoothed(values), color=colour, linewidth=1.6, label=label)
    _epoch_curve(axes, epochs, "held_out_loss", "held out, cross-entropy", GREY, "--")
    axes.set_ylabel("loss")


def _plot_accuracies(axes: Axes, epochs: Sequence[Line]) -> None:
    _epoch_curve(axes, epochs, "train_top1", "training (with augmentation and dropout)", BLUE, "-")
    _epoch_curve(axes, epochs, "held_out_top1", "held out", VERMILION, "-")
    _epoch_curve(axes, epochs, "held_out_mean_class", "held out, mean over classes", GREEN, "--")
    # The same criterion as for best.safetensors: the last phase, highest accuracy, then lowest loss.
    scored = [line for line in epochs if "held_out_top1" in line and line["phase"] == epochs[-1]["phase"]]
    if scored:
        best = max(scored, key=lambda line: (line["held_out_top1"], -line["held_out_loss"]))
        note = f"best held out: {best['held_out_top1']:.1%} in epoch {best['epoch'] + 1}"
        axes.axhline(best["held_out_top1"], color=VERMILION, linewidth=0.8, linestyle=":", label=note)
    axes.set_ylabel("accuracy")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _plot_rates(axes: Axes, steps: Sequence[Line]) -> None:
    for name, label, colour, style in (("lr_backbone", "backbone", BLUE, "-"), ("lr_head", "head", VERMILION, "--")):
        found = [(line["step"], line[name]) for line in steps if name in line]
        if found:
            axes.plot(*np.array(found).T, color=colour, linestyle=style, label=label)
    axes.set_ylabel("learning rate")
    axes.set_yscale("log")
    axes.set_xlabel("step")


def _epoch_curve(axes: Axes, epochs: Sequence[Line], name: str, label: str, colour: str, style: str) -> None:
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
