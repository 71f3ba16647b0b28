"""BlazePose's detector: from its output for one square to persons, and the tiles of a frame in which it searches.

The detector (Bazarevsky et al. 2020) finds faces, and with each face four points of the body: the middle of the hips, a
point that gives size and turn of the whole body, the middle of the shoulders, and such a point for the upper body.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from pose_extraction.networks.blazepose.regions import Regions, regions_of_persons
from pose_extraction.oks import box_iou

# Side of the detector's input in pixels.
INPUT = 224
# (cells along a side, anchors per cell) of each level of its output.
LEVELS = ((28, 2), (14, 2), (7, 6))
# Scores are logits; beyond this they are 0 or 1 to the last digit.
MOST_LOGIT = 100.0
# Overlap of two faces, as intersection over union, above which they belong to one person. As in BlazePose.
SAME_FACE_IOU = 0.3
# Sides of the tiles in shorter sides of the frame, and the step from one to the next in sides.
TILE_SIDES, TILE_STEP = (1.0, 0.5), 0.5


@dataclass(frozen=True)
class Persons:
    """Persons that the detector found in a square or in a frame.

    Args:
        face: float64 (N, 4), x1 y1 x2 y2.
        points: float64 (N, 4, 2), the four points of the body.
        score: float64 (N,) in [0, 1].
    """

    face: np.ndarray
    points: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.score)

    @property
    def regions(self) -> Regions:
        """The squares of the persons."""
        return regions_of_persons(self.points[:, 0], self.points[:, 1])


@cache
def anchors() -> np.ndarray:
    """Return the centres (2254, 2) of the anchors, in [0, 1], in the order of the detector's output."""
    levels = []
    for cells, per_cell in LEVELS:
        row, column = np.divmod(np.arange(cells * cells), cells)
        levels.append(np.repeat(np.stack([column, row], -1), per_cell, axis=0) / cells + 0.5 / cells)
    return np.concatenate(levels)


def decode_persons(geometry: np.ndarray, logit: np.ndarray, threshold: float) -> Persons:
    """Decode the output of the detector for one square.

    Args:
        geometry: (2254, 12), centre and size of the face and four points, relative to the anchor, in input pixels.
        logit: (2254,), scores.
        threshold: Lowest score, in (0, 1).

    Returns:
        All candidates, in units of the square's side.
    """
    score = 1 / (1 + np.exp(-np.clip(logit.astype(np.float64), -MOST_LOGIT, MOST_LOGIT)))
    kept = np.flatnonzero(score >= threshold)
    places = geometry[kept].astype(np.float64).reshape(-1, 6, 2) / INPUT
    half = places[:, 1] / 2
    places = places + anchors()[kept, None]
    face = np.concatenate([places[:, 0] - half, places[:, 0] + half], -1)
    return Persons(face, places[:, 2:], score[kept])


def in_frame(found: Persons, square: Regions) -> Persons:
    """Move persons from a square, one region that is not turned, to pixels of its frame."""
    corners = square.to_frame(found.face.reshape(1, -1, 2)).reshape(-1, 4)
    return Persons(corners, square.to_frame(found.points.reshape(1, -1, 2)).reshape(-1, 4, 2), found.score)


def merged(parts: list[Persons]) -> Persons:
    """Join candidates of one frame: weighted non-maximum suppression, as in BlazePose.

    The face with the highest score is replaced by the mean, weighted by score, of all faces that overlap with it; its
    points likewise. This keeps a person steadier than the best candidate alone.

    Args:
        parts: Candidates in the same coordinates.

    Returns:
        One row per person, in descending order of the scores.
    """
    face = np.concatenate([part.face for part in parts])
    points = np.concatenate([part.points for part in parts])
    score = np.concatenate([part.score for part in parts])
    left = np.argsort(-score, kind="stable")
    rows: list[tuple[np.ndarray, np.ndarray, float]] = []
    while len(left):
        alike = box_iou(face[left[:1]], face[left])[0] > SAME_FACE_IOU
        alike[0] = True
        group = left[alike]
        weight = score[group] / score[group].sum()
        rows.append(
            (np.tensordot(weight, face[group], 1), np.tensordot(weight, points[group], 1), float(score[group[0]]))
        )
        left = left[~alike]
    if not rows:
        return Persons(np.zeros((0, 4)), np.zeros((0, 4, 2)), np.zeros(0))
    faces, bodies, scores = zip(*rows, strict=True)
    return Persons(np.stack(faces), np.stack(bodies), np.array(scores))


def whole_frame(size: tuple[int, int]) -> Regions:
    """Return the smallest square around a frame of a size (height, width) in pixels."""
    height, width = size
    return Regions(np.array([[(width - 1) / 2, (height - 1) / 2]]), np.array([float(max(size))]), np.zeros(1))


def tiles(size: tuple[int, int]) -> Regions:
    """Return overlapping squares that cover a frame, from large to small, for persons who are small in it.

    Args:
        size: (height, width) in pixels.

    Returns:
        Squares inside the frame. A person up to half a tile tall lies entirely in at least one of its size.
    """
    height, width = size
    centres, sides = [], []
    for share in TILE_SIDES:
        side = share * min(size)
        rows, columns = (_starts(length, side) for length in (height, width))
        for top in rows:
            for left in columns:
                centres.append((left + side / 2 - 0.5, top + side / 2 - 0.5))
                sides.append(side)
    return Regions(np.array(centres), np.array(sides), np.zeros(len(sides)))


def _starts(length: float, side: float) -> np.ndarray:
    """Return where tiles begin along one axis: the first at the start, the last at the end of the frame."""
    count = int(np.ceil((length - side) / (TILE_STEP * side) - 1e-9)) + 1
    return np.linspace(0, length - side, count)
