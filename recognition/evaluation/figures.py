"""Colours, names and files of all figures, which are created without a window or matplotlib's global state.

Colours are those of Okabe and Ito, which are distinguishable with all common types of colour blindness.
"""

import io
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pose_extraction.files import atomic_write

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
LONGEST_NAME = 24
DPI = 150


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    content = io.BytesIO()
    FigureCanvasAgg(figure)
    # Tight bounding box: otherwise a long name next to a square matrix moves the axis labels out of the page.
    figure.savefig(content, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.15)
    with atomic_write(path) as file:
        file.write(content.getvalue())


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


def short_name(name: str, longest: int = LONGEST_NAME) -> str:
    """Return a class name, shortened if it is longer than `longest` characters, as text for matplotlib."""
    # A dollar sign would start mathematical notation.
    cut = name if len(name) <= longest else name[: longest - 1] + "…"
    return cut.replace("$", r"\$")
