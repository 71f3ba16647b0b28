"""Contact sheets: stick figures of clips, a row per clip, to judge by eye whether people move like that."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pose_extraction.errors import SkelpipeError
from pose_extraction.skeleton import COCO17

COLUMNS, CELL = 10, 96
# Colours (blue, green, red) of the trunk, of left and right limbs.
TRUNK, LEFT, RIGHT = (60, 60, 60), (200, 90, 20), (30, 60, 210)


def draw_sheet(clips: Sequence[dict[str, Any]], path: Path, *, columns: int = COLUMNS) -> None:
    """Draw frames of clips at equal distances, each clip in one row with its label.

    Args:
        clips: Annotations with one person each.
        path: Image file.
        columns: Frames per clip.

    Raises:
        SkelpipeError: The image cannot be written.
    """
    rows = [_row(clip, columns) for clip in clips]
    half = (len(rows) + 1) // 2
    blank = np.full_like(rows[0], 255)
    halves = [np.concatenate(part) for part in (rows[:half], rows[half:] + [blank] * (2 * half - len(rows)))]
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), np.concatenate(halves, 1)):
        raise SkelpipeError(f"{path}: cannot be written; use the ending .png")


def _row(clip: dict[str, Any], columns: int) -> np.ndarray:
    keypoint, score = clip["keypoint"][0].astype(float), clip["keypoint_score"][0]
    seen = score > 0
    points = keypoint[seen]
    low, high = points.min(0), points.max(0)
    scale = (CELL - 12) / max((high - low).max(), 1e-6)
    picture = np.full((CELL, CELL * columns + 170, 3), 255, np.uint8)
    for word, y in zip(_wrapped(clip["label_name"]), range(14, CELL, 14), strict=False):
        cv2.putText(picture, word, (4, y), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
    for column, frame in enumerate(np.linspace(0, len(keypoint) - 1, columns).round().astype(int)):
        corner = np.array([170 + column * CELL + CELL / 2, CELL / 2]) - scale * (low + high) / 2
        _figure(picture, keypoint[frame] * scale + corner, seen[frame])
    return picture


def _figure(picture: np.ndarray, place: np.ndarray, seen: np.ndarray) -> None:
    for start, stop in COCO17.bones:
        if not (seen[start] and seen[stop]):
            continue
        names = COCO17.joints[start], COCO17.joints[stop]
        colour = LEFT if all("left" in name for name in names) else RIGHT
        colour = colour if all(name.split("_")[0] == names[0].split("_")[0] for name in names) else TRUNK
        ends = [tuple(int(value) for value in place[joint].round()) for joint in (start, stop)]
        cv2.line(picture, ends[0], ends[1], colour, 1, cv2.LINE_AA)


def _wrapped(text: str) -> list[str]:
    return [part.strip()[:26] for part in text.split(",")]
