"""Draw persons on an image: bones, joints with opacity by score, boxes, track ids, and optional captions and heat."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from pose_extraction.drawing.lettering import draw_text, text_size
from pose_extraction.skeleton import COCO17, Skeleton

# Opacity of a joint or bone by its score. Each level is drawn in a separate pass.
OPACITY_LEVELS = (0.25, 0.55, 1.0)
# Joints with a lower score are guesses, and are not drawn.
MIN_SCORE = 0.05
# Hues at multiples of the golden ratio are well separated for any number of ids.
GOLDEN_RATIO = 0.6180339887498949
BORDER = (20, 20, 20)
# Heat value of the brightest colour.
FULL_HEAT = 2.0


def track_colour(track_id: int) -> tuple[int, int, int]:
    """Return the BGR colour of a track: the same in all frames and videos, and distinct from neighbouring ids."""
    hue = (0.11 + track_id * GOLDEN_RATIO) % 1.0
    # Alternate the saturation, so that ids with similar hues differ.
    saturation = (0.95, 0.6)[(track_id // 5) % 2]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


def draw_poses(
    image: np.ndarray,
    keypoint: np.ndarray,
    keypoint_score: np.ndarray,
    track_id: np.ndarray,
    box: np.ndarray,
    imputed: np.ndarray | None = None,
    skeleton: Skeleton = COCO17,
    *,
    captions: Sequence[str] | None = None,
    heat: np.ndarray | None = None,
) -> np.ndarray:
    """Draw persons on a copy of a frame.

    Left limbs are lighter than right limbs; imputed joints are drawn as rings.

    Args:
        image: uint8 (H, W, 3) BGR.
        keypoint: (M, V, 2) pixels, NaN where not seen.
        keypoint_score: (M, V) in [0, 1].
        track_id: int (M,).
        box: (M, 4), x1 y1 x2 y2 in pixels, NaN where the person was not detected.
        imputed: bool (M, V), True for imputed joints.
        skeleton: Layout of the V joints.
        captions: M texts to draw after the track ids.
        heat: (M, V), drawn as coloured discs; 1 for an average joint, NaN for no value.

    Returns:
        uint8 (H, W, 3) BGR.
    """
    canvas = image.copy()
    if imputed is None:
        imputed = np.zeros(keypoint_score.shape, bool)
    thickness = line_thickness(image.shape[:2])
    for person in range(len(keypoint)):
        colour = track_colour(int(track_id[person]))
        _draw_skeleton(canvas, keypoint[person], keypoint_score[person], imputed[person], colour, thickness, skeleton)
        if heat is not None:
            _draw_heat(canvas, keypoint[person], keypoint_score[person], heat[person], thickness)
    # Draw boxes and ids last, so that no limb covers them.
    for person in range(len(keypoint)):
        corners = _corners(box[person], keypoint[person])
        if corners is not None:
            label = str(int(track_id[person]))
            if captions is not None and captions[person]:
                label = f"{label} {captions[person]}"
            _draw_box(canvas, corners, label, track_colour(int(track_id[person])), thickness)
    return canvas


def line_thickness(size: tuple[int, int]) -> int:
    """Return the line thickness of a bone in pixels, in a frame of (height, width): 1 at 240p, 4 at 1080p."""
    return max(1, round(min(size) / 270))


def _draw_skeleton(
    canvas: np.ndarray,
    keypoint: np.ndarray,
    score: np.ndarray,
    imputed: np.ndarray,
    colour: tuple[int, int, int],
    thickness: int,
    skeleton: Skeleton,
) -> None:
    height, width = canvas.shape[:2]
    # Skip joints far outside the frame, whose coordinates overflow OpenCV's fixed-point format.
    near = np.abs(np.nan_to_num(keypoint, nan=np.inf) - (width / 2, height / 2)).max(1) < 2 * max(height, width)
    visible = near & (score >= MIN_SCORE)
    if not visible.any():
        return
    margin = 4 * thickness + 2
    left, top = np.maximum(np.floor(keypoint[visible].min(0)).astype(int) - margin, 0)
    right, bottom = np.minimum(np.ceil(keypoint[visible].max(0)).astype(int) + margin, (width, height))
    if left >= right or top >= bottom:
        return
    region = canvas[top:bottom, left:right]
    points = _fixed_point(np.where(visible[:, None], keypoint, 0) - (left, top))
    shades = _joint_colours(colour, skeleton)
    level = np.minimum((np.clip(score, 0, 1) * len(OPACITY_LEVELS)).astype(int), len(OPACITY_LEVELS) - 1)
    for step, opacity in enumerate(OPACITY_LEVELS):
        # Blending the person's region once per level is faster than blending each line, and looks the same.
        layer = region if opacity == 1 else region.copy()
        for parent, child in skeleton.bones:
            if visible[parent] and visible[child] and min(level[parent], level[child]) == step:
                _line(layer, points[parent], points[child], shades[child], thickness)
        for joint in np.flatnonzero(visible & (level == step)):
            _joint(layer, points[joint], shades[joint], thickness, bool(imputed[joint]))
        if opacity < 1:
            cv2.addWeighted(layer, opacity, region, 1 - opacity, 0, dst=region)


def _draw_heat(canvas: np.ndarray, keypoint: np.ndarray, score: np.ndarray, heat: np.ndarray, thickness: int) -> None:
    height, width = canvas.shape[:2]
    known = np.isfinite(keypoint).all(1) & (score >= MIN_SCORE) & np.isfinite(heat)
    # Draw the hottest joints last, so that they are never hidden.
    for joint in sorted(np.flatnonzero(known), key=lambda one: float(heat[one])):
        x, y = keypoint[joint]
        if not (-width < x < 2 * width and -height < y < 2 * height):
            continue
        share = float(np.clip(heat[joint] / FULL_HEAT, 0, 1))
        shade = cv2.applyColorMap(np.full((1, 1), round(255 * share), np.uint8), cv2.COLORMAP_INFERNO)[0, 0].tolist()
        radius = round(16 * thickness * (1.5 + 3 * share))
        centre = (round(float(x) * 16), round(float(y) * 16))
        cv2.circle(canvas, centre, radius, shade, cv2.FILLED, cv2.LINE_AA, shift=4)
        cv2.circle(canvas, centre, radius, (255, 255, 255), max(1, thickness // 2), cv2.LINE_AA, shift=4)


def _joint_colours(colour: tuple[int, int, int], skeleton: Skeleton) -> list[tuple[int, int, int]]:
    """Return the colour of each joint, lighter on the left side of the body."""
    light = tuple(round(channel + (255 - channel) * 0.55) for channel in colour)
    left = {pair[0] for pair in skeleton.flip_pairs}
    return [(light[0], light[1], light[2]) if joint in left else colour for joint in range(skeleton.num_joints)]


def _fixed_point(points: np.ndarray) -> list[tuple[int, int]]:
    """Convert points to OpenCV's fixed-point format with four fractional bits, for subpixel accuracy."""
    return [(int(x), int(y)) for x, y in np.round(points * 16)]


def _line(
    image: np.ndarray, start: tuple[int, int], end: tuple[int, int], colour: tuple[int, int, int], thickness: int
) -> None:
    # The dark border keeps bright lines visible on a bright background.
    cv2.line(image, start, end, BORDER, thickness + max(1, thickness // 2) + 1, cv2.LINE_AA, shift=4)
    cv2.line(image, start, end, colour, thickness, cv2.LINE_AA, shift=4)


def _joint(
    image: np.ndarray, centre: tuple[int, int], colour: tuple[int, int, int], thickness: int, hollow: bool
) -> None:
    radius = round((thickness + 1) * 16)
    if hollow:
        cv2.circle(image, centre, radius + 16, colour, max(1, thickness // 2), cv2.LINE_AA, shift=4)
        return
    cv2.circle(image, centre, radius + 12, BORDER, cv2.FILLED, cv2.LINE_AA, shift=4)
    cv2.circle(image, centre, radius, colour, cv2.FILLED, cv2.LINE_AA, shift=4)


def _corners(box: np.ndarray, keypoint: np.ndarray) -> np.ndarray | None:
    """Return the box, or the bounds of the joints if the person was imputed; None if there are no joints."""
    if np.isfinite(box).all():
        return box
    seen = keypoint[np.isfinite(keypoint).all(1)]
    return np.concatenate([seen.min(0), seen.max(0)]) if len(seen) else None


def _draw_box(
    canvas: np.ndarray, corners: np.ndarray, label: str, colour: tuple[int, int, int], thickness: int
) -> None:
    height, width = canvas.shape[:2]
    x1, y1, x2, y2 = np.clip(np.round(corners), -1, [width, height, width, height]).astype(int).tolist()
    cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, max(1, thickness // 2), cv2.LINE_AA)
    scale = max(0.4, min(height, width) / 900)
    weight = max(1, round(scale * 1.5))
    text_width, text_height = text_size(label, scale, weight)
    pad = 2 + thickness
    # Above the box if there is room, otherwise inside it, and always inside the frame.
    left = min(max(x1, 0), max(width - text_width - 2 * pad, 0))
    bottom = y1 if y1 - text_height - 2 * pad >= 0 else min(y1 + text_height + 2 * pad, height)
    cv2.rectangle(canvas, (left, bottom - text_height - 2 * pad), (left + text_width + 2 * pad, bottom), colour, -1)
    origin = (left + pad, bottom - pad)
    dark = np.dot(colour, (0.114, 0.587, 0.299)) < 110
    ink = (255, 255, 255) if dark else BORDER
    draw_text(canvas, label, origin, scale, weight, ink)
