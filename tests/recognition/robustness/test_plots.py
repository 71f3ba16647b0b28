"""Figures of the bench: comparable panels, and values in the right places."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from pose_extraction.skeleton import COCO17, H36M17
from recognition.robustness.plots import attention_figure, gains_figure, levels_figure


def drawn(figure: Figure) -> Figure:
    figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("methods", [1, 2, 7])
def test_methods_are_spread_around_their_level(methods: int) -> None:
    levels = ["clean", "head", "left_arm"]
    curve = (levels, [0.9, 0.5, 0.4], [0.0, 0.1, 0.1])
    panels = {"part": ("part", {f"m{number}": curve for number in range(methods)})}
    axes = drawn(levels_figure(panels, "title")).axes[0]  # type: ignore[arg-type]
    places = np.array([bars.lines[0].get_xdata() for bars in axes.containers])  # type: ignore[attr-defined]
    np.testing.assert_allclose(places.mean(axis=0), [0, 1, 2], atol=1e-9)
    assert np.abs(places - [0, 1, 2]).max() < 0.35 and len(np.unique(places[:, 0])) == methods
    assert [label.get_text() for label in axes.get_xticklabels()] == ["clean", "head", "left arm"]
    low, high = axes.get_xlim()
    assert np.ptp(places[:, 0]) < (high - low) / 7 and low <= -0.5 and high >= 2.5


def test_gains_are_in_percentage_points_on_one_scale() -> None:
    figure = drawn(gains_figure({"small": {"a": 0.02, "b": -0.01}, "large": {"a": 0.5, "b": -0.4}}, "mine", "title"))
    small, large = figure.axes
    assert small.get_xlim() == large.get_xlim()
    for axes in (small, large):
        words = [label.get_text() for label in axes.get_xticklabels()]
        assert "0" in words and "+20" in words and not any("%" in word for word in words)
        assert "points" in axes.get_xlabel()


def test_attention_of_different_layouts_shares_a_colour_scale() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.uniform(0.9, 1.1, (16, 17)), rng.uniform(0, 4, (64, 17))
    figure = drawn(attention_figure({"one": (one, COCO17.joints), "other": (other, H36M17.joints)}, "title"))
    panels = figure.axes[:2]
    assert panels[0].images[0].get_clim() == panels[1].images[0].get_clim()
    for axes, layout, values in zip(panels, (COCO17, H36M17), (one, other), strict=True):
        assert [label.get_text() for label in axes.get_yticklabels()] == [
            name.replace("_", " ") for name in layout.joints
        ]
        np.testing.assert_allclose(axes.images[0].get_array(), (values / values.mean()).T)
