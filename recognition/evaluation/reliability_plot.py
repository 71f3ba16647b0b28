"""Reliability diagram: accuracy against probability, and how many clips each probability stands for."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from recognition.evaluation.calibration import BINS, Calibration
from recognition.evaluation.figures import BLUE, GREY, VERMILION


def reliability_figure(calibration: Calibration, title: str) -> Figure:
    """Plot the accuracy of the clips in each interval of probability, with its 95 % interval and number of clips.

    Args:
        calibration: The measured calibration.
        title: First line of the title; names the data, the split and the run.
    """
    figure = Figure(figsize=(6.2, 6.8), layout="constrained")
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    confidence = np.array([one.confidence for one in calibration.bins])
    accuracy = np.array([one.accuracy for one in calibration.bins])
    ends = np.array([one.interval for one in calibration.bins])
    clips = np.array([one.clips for one in calibration.bins])
    low = np.array([one.low for one in calibration.bins])
    axes.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--", label="exact probabilities")
    # From the diagonal to the accuracy: a bar below it is confidence that the recognizer does not deserve.
    axes.vlines(confidence, confidence, accuracy, color=VERMILION, linewidth=5, alpha=0.35, label="gap")
    axes.errorbar(
        confidence,
        accuracy,
        yerr=np.abs(ends.T - accuracy),
        fmt="o",
        color=BLUE,
        ecolor=BLUE,
        elinewidth=1,
        capsize=2.5,
        label="accuracy, with 95 % interval",
    )
    axes.set_ylabel("share of clips that are correct")
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(loc="best", fontsize=9, frameon=False)
    counts.bar(low + 0.5 / BINS, clips, width=0.9 / BINS, color=GREY)
    counts.bar_label(counts.containers[0], fontsize=8)
    counts.set_ylabel("clips")
    counts.set_ylim(0, clips.max() * 1.25)
    counts.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    counts.set_xlabel("probability of the predicted class")
    counts.set_xlim(0, 1)
    counts.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for panel in (axes, counts):
        panel.grid(color="#DDDDDD", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"{title}\nexpected calibration error {calibration.ece:.3f} "
        f"({calibration.ece_if_exact:.3f} with exact probabilities), {calibration.clips} clips",
        fontsize=11,
    )
    return figure
