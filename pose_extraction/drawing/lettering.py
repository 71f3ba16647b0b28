"""Text rendering on images: OpenCV's font for ASCII, and DejaVu Sans for all other characters."""

from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np

# Height of a capital letter in pixels, in OpenCV's font at scale 1.
CAPITAL = 21
# Font size of DejaVu Sans divided by the height of its capital letters.
FONT_HEIGHT = 1.37


def text_size(text: str, scale: float, weight: int) -> tuple[int, int]:
    """Return (width, height above the baseline) of a text in pixels, for the arguments of `draw_text`."""
    text = _drawable(text)
    if text.isascii():
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, weight)
        return width, height
    return _mask(text, scale).shape[1], round(CAPITAL * scale)


def draw_text(
    canvas: np.ndarray, text: str, origin: tuple[int, int], scale: float, weight: int, ink: tuple[int, int, int]
) -> None:
    """Draw a line of text on an image.

    Args:
        canvas: uint8 (H, W, 3) BGR, changed in place.
        text: Text with any characters.
        origin: (x, y) of the left end of the baseline in pixels.
        scale: Font scale of OpenCV; at 1, capital letters are 21 pixels high.
        weight: Line thickness in pixels, for ASCII text only.
        ink: BGR colour.
    """
    text = _drawable(text)
    if text.isascii():
        cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, weight, cv2.LINE_AA)
        return
    mask, descent = _mask(text, scale), _descent(text, scale)
    height, width = mask.shape
    left, top = origin[0], origin[1] + descent - height
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + width, canvas.shape[1]), min(top + height, canvas.shape[0])
    if x1 >= x2 or y1 >= y2:
        return
    cover = mask[y1 - top : y2 - top, x1 - left : x2 - left, None].astype(np.float32) / 255
    region = canvas[y1:y2, x1:x2]
    region[:] = np.round(region * (1 - cover) + np.array(ink, np.float32) * cover)


def _drawable(text: str) -> str:
    """Return the text; without Matplotlib and its font, question marks replace what OpenCV's font lacks."""
    if text.isascii() or find_spec("matplotlib") is not None:
        return text
    return text.encode("ascii", "replace").decode()


@lru_cache(maxsize=4)
def _font(scale: float) -> Any:
    # Part of Matplotlib, imported here because most texts are ASCII.
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    font = FT2Font(findfont("DejaVu Sans"))
    font.set_size(CAPITAL * FONT_HEIGHT * scale, 72)
    return font


def _mask(text: str, scale: float) -> np.ndarray:
    """Return the coverage of each pixel, uint8 (h, w)."""
    font = _font(scale)
    font.set_text(text)
    font.draw_glyphs_to_bitmap()
    return np.asarray(font.get_image())


def _descent(text: str, scale: float) -> int:
    """Return the number of pixels below the baseline."""
    font = _font(scale)
    font.set_text(text)
    return round(font.get_descent() / 64)
