"""Figures show their data, for few classes and for many."""

from pathlib import Path

import cv2
import matplotlib.pyplot
import numpy as np
import pytest
from matplotlib.figure import Figure

from recognition.evaluation.accuracy_plots import confusion_figure, per_class_figure
from recognition.evaluation.calibration import calibration_of
from recognition.evaluation.embedding import embed
from recognition.evaluation.embedding_plot import embedding_figure
from recognition.evaluation.figures import save_figure
from recognition.evaluation.metrics import Metrics, measure
from recognition.evaluation.reliability_plot import reliability_figure
from recognition.evaluation.training_plot import training_figure


def made_metrics(classes: int, clips: int = 400) -> Metrics:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes - 1, clips)
    return measure(rng.normal(size=(clips, classes)) + 3 * np.eye(classes)[labels], labels)


def names_of(classes: int) -> list[str]:
    return [f"class {n} $ with a rather long name" for n in range(classes)]


def texts_of(figure: Figure) -> str:
    figure.draw_without_rendering()
    found = [text.get_text() for text in figure.findobj(match=lambda artist: hasattr(artist, "get_text"))]  # type: ignore[attr-defined]
    return "\n".join(found)


@pytest.mark.parametrize("classes", [5, pytest.param(70, marks=pytest.mark.slow)])
def test_figures_are_written_with_titles(classes: int, tmp_path: Path) -> None:
    metrics = made_metrics(classes)
    for name, draw in (("confusion", confusion_figure), ("classes", per_class_figure)):
        figure = draw(metrics, names_of(classes), "made.pkl, val, by run")
        text = texts_of(figure)
        assert "made.pkl, val, by run" in text and f"top-1 {metrics.top1:.1%}" in text and "400 clips" in text
        assert "class 1 " in text
        save_figure(figure, tmp_path / f"{name}.png")
        image = cv2.imread(str(tmp_path / f"{name}.png"))
        assert min(image.shape[:2]) > 300 and image.std() > 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.png", "confusion.png"]
    assert not matplotlib.pyplot.get_fignums()


def test_reliability_diagram_shows_accuracy_and_number_of_clips_in_each_bin(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(4, 0.5), size=80)
    calibration = calibration_of(probabilities, rng.integers(0, 4, 80))
    figure = reliability_figure(calibration, "made.pkl, val, by run")
    text = texts_of(figure)
    assert "made.pkl, val, by run" in text and f"error {calibration.ece:.3f}" in text and "80 clips" in text
    above, below = figure.axes
    points = next(line for line in above.lines if line.get_marker() == "o").get_xydata()
    np.testing.assert_allclose(points, [(one.confidence, one.accuracy) for one in calibration.bins])
    heights = [int(bar.get_bbox().height) for bar in below.patches]  # type: ignore[attr-defined]
    assert heights == [one.clips for one in calibration.bins]
    save_figure(figure, tmp_path / "reliability.png")
    assert min(cv2.imread(str(tmp_path / "reliability.png")).shape[:2]) > 300


def test_small_matrices_show_counts_and_shares() -> None:
    metrics = measure(np.eye(3)[[0, 0, 0, 1, 1, 1]], np.array([0, 0, 0, 0, 1, 2]))
    figure = confusion_figure(metrics, ["a", "b", "c"], "t")
    cells = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert cells == {(0, 0): "75%\n3", (1, 0): "25%\n1", (1, 1): "100%\n1", (1, 2): "100%\n1"}


def test_bars_are_sorted_and_leave_out_classes_without_clips() -> None:
    metrics = measure(np.eye(4)[[0, 0, 1, 1, 0, 2, 2]], np.array([0, 1, 1, 1, 2, 2, 2]))
    axes = per_class_figure(metrics, ["zero", "one", "two", "none"], "t").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["zero  (1)", "one  (3)", "two  (3)"]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([1, 2 / 3, 2 / 3])  # type: ignore[attr-defined]


def test_tsne_is_deterministic_and_separates_clusters() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 14)
    features = rng.normal(size=(42, 2048)) + 3 * rng.normal(size=(3, 2048))[labels]
    places = embed(features, seed=3)
    np.testing.assert_array_equal(places, embed(features, seed=3))
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(42)
    assert (labels[distance.argmin(1)] == labels).mean() > 0.95
    text = texts_of(embedding_figure(features, labels, names_of(3), "t"))
    assert "2048 hidden features, all 42 clips" in text and "(14)" in text


@pytest.mark.parametrize("clips", [1, 2, 3, 4, 6])
def test_few_clips_can_be_embedded(clips: int) -> None:
    features = np.random.default_rng(0).normal(size=(clips, 16))
    figure = embedding_figure(features, np.zeros(clips, int), ["a"], "t")
    assert f"all {clips} clips" in texts_of(figure)
    assert sum(len(points.get_offsets()) for points in figure.axes[0].collections) == clips
    assert embed(features).shape == (clips, 2)
    assert np.isfinite(embed(features)).all()


def test_training_curves_show_the_terms_of_each_phase() -> None:
    lines = []
    for step in range(1, 41):
        phase = 1 + (step > 20)
        line = {"kind": "step", "step": step, "epoch": step // 4, "phase": phase, "total": 3 / step}
        line |= {"cross_entropy": 2 / step, "lr_backbone": 1e-4, "lr_head": 1e-3}
        lines.append(line | ({"sample": 1.0, "klass": 2.0} if phase == 2 else {}))
        if step % 4 == 0:
            # Not in best.safetensors: the best epoch of phase one, and the first of two equal epochs.
            top1 = 0.9 if step == 20 else min(step, 36) / 50
            values = {"train_loss": 1.0, "train_top1": 0.7, "held_out_top1": top1, "held_out_mean_class": 0.4}
            values["held_out_loss"] = 2 / step
            lines.append({"kind": "epoch", "step": step, "epoch": step // 4 - 1, "phase": phase, **values})
    figure = training_figure(lines, "training of made")
    text = texts_of(figure)
    assert "10 epochs, 40 steps; shaded: phase two" in text
    assert "best held out: 72.0% in epoch 10" in text
    curves = {line.get_label(): line for line in figure.axes[0].lines}
    assert min(curves["sample contrastive (eq. 5)"].get_xdata()) == 21  # type: ignore[type-var]
    assert len(curves["total (eq. 12)"].get_xdata()) == 20
    assert len(curves["cross-entropy"].get_xdata()) == 40


def test_a_run_without_a_held_out_part_or_steps_still_has_a_figure() -> None:
    assert "0 epochs, 0 steps" in texts_of(training_figure([], "empty"))
    epoch = {"kind": "epoch", "step": 3, "epoch": 0, "phase": 1, "train_loss": 1, "train_top1": 0.5}
    figure = training_figure([epoch], "one epoch")
    text = texts_of(figure)
    assert "one epoch" in text and "1 epoch, 0 steps" in text and "held out" not in text and "phase two" not in text
    losses, accuracy, rates = figure.axes
    assert not losses.lines and not rates.lines
    (curve,) = accuracy.lines
    assert (list(curve.get_xdata()), list(curve.get_ydata())) == ([3], [0.5])
