"""Captions above the heads, and heat on the joints."""

import numpy as np
import pytest

from pose_extraction.drawing.lettering import draw_text, text_size
from pose_extraction.drawing.persons import draw_poses
from test_support.videos.made_video import made_box, made_keypoint

SIZE = (240, 320)


def drawn(caption: str = "", heat: np.ndarray | None = None) -> np.ndarray:
    image = np.full((*SIZE, 3), 90, np.uint8)
    keypoint, box = made_keypoint(0, SIZE), made_box(0, SIZE)
    # Leave space above the head.
    keypoint, box = keypoint * 0.7 + 40, box * 0.7 + 40
    score = np.ones((1, 17), np.float32)
    return draw_poses(image, keypoint, score, np.array([3]), box, captions=[caption], heat=heat)


def test_captions_are_above_the_head_after_the_id() -> None:
    plain, captioned = drawn(), drawn("wave 87%")
    rows, columns = np.nonzero((plain != captioned).any(axis=-1))
    top = float(made_box(0, SIZE)[0, 1] * 0.7 + 40)
    assert len(rows) > 100 and rows.max() <= top + 1
    assert np.ptp(columns) > 40


@pytest.mark.parametrize("text", ["wave", "Äpfel", "прыжок"])
def test_text_in_any_script_is_drawn_within_its_size(text: str) -> None:
    canvas = np.zeros((60, 300, 3), np.uint8)
    width, height = text_size(text, 0.8, 1)
    draw_text(canvas, text, (20, 40), 0.8, 1, (255, 255, 255))
    rows, columns = np.nonzero(canvas.any(axis=-1))
    assert 0.5 * height < 41 - rows.min() <= 1.5 * height
    assert columns.min() >= 18 and 0.7 * width < np.ptp(columns) <= width + 4
    # Text outside the image is ignored.
    draw_text(canvas, text, (290, 5), 0.8, 1, (255, 255, 255))
    draw_text(canvas, text, (500, 500), 0.8, 1, (255, 255, 255))


def test_joint_colours_depend_on_heat() -> None:
    heat = np.full((1, 17), np.nan, np.float32)
    heat[0, 9], heat[0, 10] = 2.0, 0.2
    plain, glowing = drawn(), drawn(heat=heat)
    keypoint = made_keypoint(0, SIZE)[0] * 0.7 + 40

    def brightness(image: np.ndarray, joint: int) -> float:
        x, y = np.round(keypoint[joint]).astype(int)
        return float(image[y, x].mean())

    assert brightness(glowing, 9) > brightness(glowing, 10) + 50
    # Joints without heat are not changed.
    x, y = np.round(keypoint[0]).astype(int)
    np.testing.assert_array_equal(glowing[y - 2 : y + 3, x - 2 : x + 3], plain[y - 2 : y + 3, x - 2 : x + 3])
