"""Tables, figures, warnings and JSON of an evaluation."""

from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.evaluate.evaluation import Evaluation
from pose_extraction._version import __version__
from pose_extraction.errors import counted
from recognition.data.clips import nameless_note
from recognition.engine.run_log import read_metrics
from recognition.hub import described
from recognition.run_folder import SPLIT_NAME
from recognition.run_names import name_of, shown
from recognition.runs import Trained


def warnings_of(result: Evaluation) -> list[str]:
    """Return warnings about the validity of the results, one sentence each."""
    lines = []
    if result.trained_on is None:
        lines.append(
            f"{shown(result.trained.path)} has no {SPLIT_NAME} next to it, so its training clips are unknown and may "
            "include the evaluated clips"
        )
    if result.trained_on:
        lines.append(
            f"{result.trained_on} of {result.metrics.clips} clips have the names of training clips of the run: "
            "the results do not measure generalization"
        )
    if result.chosen_on:
        settings, also = result.trained.settings, ""
        if settings.data.descriptors and not settings.training.keep_descriptors:
            also = ", and the classifier of descriptors was fitted to them"
        lines.append(
            f"{result.chosen_on} of {result.metrics.clips} clips have the names of clips that selected the best epoch"
            f"{also}: the accuracy is optimistic"
        )
    if result.unlabelled:
        lines.append(
            counted(
                result.unlabelled,
                "clip of the split has no label and is not counted",
                "clips of the split have no label and are not counted",
            )
        )
    if result.unanswered:
        lines.append(
            counted(
                len(result.unanswered),
                "clip of the split shows no person and counts as a failure",
                "clips of the split show no person and count as failures",
            )
        )
    if result.left_out:
        lines.append(
            counted(
                result.left_out,
                "clip of the split is malformed and is not counted",
                "clips of the split are malformed and are not counted",
            )
        )
    if result.clips.nameless():
        lines.append(nameless_note(result.clips))
    return lines


def as_dictionary(result: Evaluation) -> dict[str, Any]:
    """Return all results except the scores for JSON output; null where a class has no clips."""
    metrics, names = result.metrics, result.trained.label_names
    return {
        "run": described(result.trained.path),
        "sha256": result.digest,
        "epoch": result.trained.epoch,
        "phase": result.trained.phase,
        "data": str(result.clips.path),
        "split": result.split,
        "estimator": result.clips.estimator,
        "trained_estimator": result.trained.estimator,
        "version": __version__,
        "engine": result.scores.engine.facts(),
        "clips": metrics.clips,
        "persons": result.persons,
        "call": dict(result.call),
        "unanswered": metrics.unanswered,
        "unlabelled": result.unlabelled,
        "left_out": result.left_out,
        "nameless": len(result.clips.nameless()),
        "trained_on": result.trained_on,
        "chosen_on": result.chosen_on,
        "groups": result.groups,
        "groups_trained_on": result.groups_trained_on,
        "correct": metrics.correct,
        "top1": metrics.top1,
        "top1_interval": list(metrics.top1_interval),
        "top5": metrics.top5,
        "mean_class": metrics.mean_class,
        "confused_pairs": [
            {
                "classes": [names[pair.first], names[pair.second]],
                "clips": pair.count,
                "share_of_failures": pair.share,
            }
            for pair in metrics.confused_pairs
        ],
        "calibration": _calibration(result),
        "unknown": _unknown(result),
        "per_class": [
            {"class": name, "clips": int(count), "accuracy": None if np.isnan(accuracy) else float(accuracy)}
            for name, count, accuracy in zip(names, metrics.counts, metrics.per_class, strict=True)
        ],
        "confusion": metrics.confusion.tolist(),
    }


def _calibration(result: Evaluation) -> dict[str, Any]:
    confidence, calibration = result.trained.confidence, result.calibration
    return {
        "temperature": confidence.temperature,
        "fitted_on": confidence.clips,
        "clips": calibration.clips,
        "ece": calibration.ece,
        "ece_if_exact": calibration.ece_if_exact,
        "brier": calibration.brier,
        "bins": [asdict(one) for one in calibration.bins],
    }


def _unknown(result: Evaluation) -> dict[str, Any] | None:
    confidence, answered = result.trained.confidence, result.answered
    if answered is None:
        return None
    return {
        "kind": confidence.kind,
        "threshold": confidence.threshold,
        "expected_share": confidence.kept,
        "answered": answered.answered,
        "share": answered.share,
        "top1": answered.accuracy,
    }


def print_table(result: Evaluation, console: Console) -> None:
    """Print the metrics, the most confused pairs, and the accuracy per class in ascending order."""
    metrics, names = result.metrics, result.trained.label_names
    low, high = metrics.top1_interval
    # Names come from the user's files, so they must not be parsed as markup.
    table = Table("measure", "value", title=Text(_title(result)), title_justify="left")
    table.add_row("weights", _weights(result.trained))
    missing = f"  ({metrics.unanswered} of them without a visible person: failures)" if metrics.unanswered else ""
    table.add_row("clips", f"{metrics.clips}{missing}")
    if result.persons:
        table.add_row("of these, single persons", str(result.persons))
    if result.call:
        table.add_row("classes called", Text(", ".join(f"{old}={new}" for old, new in result.call.items())))
    table.add_row("top-1", f"{metrics.top1:.2%}  (95 % interval {low:.2%} to {high:.2%})")
    table.add_row("top-5", f"{metrics.top5:.2%}")
    table.add_row("mean class accuracy", f"{metrics.mean_class:.2%}")
    calibration, answered = result.calibration, result.answered
    table.add_row(
        "calibration error", f"{calibration.ece:.3f}  ({calibration.ece_if_exact:.3f} with exact probabilities)"
    )
    if answered is not None:
        accuracy = f"; top-1 of these {answered.accuracy:.2%}" if answered.accuracy is not None else ""
        table.add_row("not unknown", f"{answered.answered} of {counted(answered.clips, 'clip')}{accuracy}")
    console.print(table)
    pairs = Table("most confused", "clips", "share of failures", title_justify="left")
    for pair in metrics.confused_pairs:
        pairs.add_row(Text(f"{names[pair.first]} / {names[pair.second]}"), str(pair.count), f"{pair.share:.1%}")
    if metrics.confused_pairs:
        console.print(pairs)
    counts = metrics.counts
    classes = Table("class", "clips", "accuracy")
    for number in np.argsort(metrics.per_class, kind="stable"):
        accuracy = f"{metrics.per_class[number]:.1%}" if counts[number] else "n/a"
        classes.add_row(Text(names[number]), str(counts[number]), accuracy)
    console.print(classes)


def draw(result: Evaluation) -> None:
    """Draw the figures into the folder of the results."""
    from recognition.evaluation.accuracy_plots import confusion_figure, per_class_figure
    from recognition.evaluation.embedding_plot import embedding_figure
    from recognition.evaluation.figures import save_figure
    from recognition.evaluation.reliability_plot import reliability_figure
    from recognition.evaluation.training_plot import training_figure

    title, names, scores = _title(result), result.trained.label_names, result.scores
    figures = {
        "confusion": confusion_figure(result.metrics, names, title),
        "per_class": per_class_figure(result.metrics, names, title),
        "reliability": reliability_figure(result.calibration, title),
        "tsne": embedding_figure(scores.features, scores.labels, names, title),
    }
    records = list(read_metrics(result.trained.path.parent))
    if records:
        figures["training"] = training_figure(records, f"training of {name_of(result.trained.path)}")
    for name, figure in figures.items():
        save_figure(figure, result.folder / f"{name}.png")


def _title(result: Evaluation) -> str:
    return f"{result.clips.path.name}, {result.split}, by {name_of(result.trained.path)}"


def _weights(trained: Trained) -> str:
    """Describe the weights: file, epoch and phase."""
    phase = {1: ", of phase one (cross-entropy)", 2: ", of phase two (both pathways)", None: ""}[trained.phase]
    return f"{trained.path.name}, after epoch {trained.epoch}{phase}"
