"""Turned squares around persons: the part of a frame that a network of BlazePose looks at.

Bazarevsky et al., "BlazePose: On-device Real-time Body Pose Tracking", 2020. A person is seen in a square about the
middle of the hips, turned so that the person is upright in it. The same squares, not turned, are the tiles of a frame
in which persons are searched for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

# Side of the square of a person, in distances from the middle of the hips to the point that gives size and turn.
SIDE = 2.5
# From this many pixels of the frame per pixel of the crop, the frame is averaged first, so that no pixel is skipped.
MOST_SHRINKING = 2


@dataclass(frozen=True)
class Regions:
    """Squares in one frame.

    A point p of the square, in [0, 1] from its top left corner, lies in the frame at centre + side R (p - 1/2), where R
    turns by `angle`. Pixels of a frame have their centres at integer coordinates.

    Args:
        centre: float64 (N, 2), pixels of the frame.
        side: float64 (N,), pixels of the frame, greater than 0.
        angle: float64 (N,), radians, positive from the x axis to the y axis (clockwise as seen).
    """

    centre: np.ndarray
    side: np.ndarray
    angle: np.ndarray

    def __len__(self) -> int:
        return len(self.side)

    def __getitem__(self, rows: np.ndarray | slice) -> "Regions":
        return Regions(self.centre[rows], self.side[rows], self.angle[rows])

    @property
    def turn(self) -> np.ndarray:
        """Rotation matrices R (N, 2, 2)."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Map points (N, K, 2) of the squares, in [0, 1], to pixels of the frame."""
        turned = np.einsum("nij,nkj->nki", self.turn, points - 0.5)
        return self.centre[:, None] + self.side[:, None, None] * turned

    @classmethod
    def none(cls) -> "Regions":
        """Return no squares."""
        return cls(np.zeros((0, 2)), np.zeros(0), np.zeros(0))

    @classmethod
    def joined(cls, parts: Sequence["Regions"]) -> "Regions":
        """Return the squares of several sets, in order."""
        if not parts:
            return cls.none()
        columns = zip(*((part.centre, part.side, part.angle) for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


def regions_of_persons(hips: np.ndarray, reach: np.ndarray) -> Regions:
    """Return the squares of persons from two points of each.

    Args:
        hips: (N, 2), middle of the hips in pixels.
        reach: (N, 2), a point above it, as the person stands, on the circle around the whole body.
    """
    up = np.asarray(reach, np.float64) - hips
    distance = np.maximum(np.hypot(up[:, 0], up[:, 1]), 1e-6)
    return Regions(np.asarray(hips, np.float64), SIDE * distance, np.arctan2(up[:, 0], -up[:, 1]))


def regions_of_boxes(box: np.ndarray) -> Regions:
    """Return upright squares for boxes (N, 4), x1 y1 x2 y2 in pixels, of persons about whom nothing else is known."""
    box = np.asarray(box, np.float64).reshape(-1, 4)
    # The circle around a body has the body's length as its diameter.
    side = np.maximum((box[:, 2:] - box[:, :2]).max(1), 1e-6) * SIDE / 2
    return Regions((box[:, :2] + box[:, 2:]) / 2, side, np.zeros(len(box)))


def cut_out(image: np.ndarray, regions: Regions, size: int) -> np.ndarray:
    """Return the squares of a frame as images; what lies outside the frame is black.

    Args:
        image: uint8 (H, W, 3).
        regions: N squares.
        size: Side of the result in pixels.

    Returns:
        uint8 (N, size, size, 3).
    """
    crops = np.empty((len(regions), size, size, 3), np.uint8)
    for row in range(len(regions)):
        step = regions.side[row] / size
        source, centre = image, regions.centre[row]
        shrink = int(step)
        if shrink >= MOST_SHRINKING:
            source, centre = _shrunk(image, centre, regions.side[row], shrink)
            step /= shrink
        matrix = np.empty((2, 3))
        matrix[:, :2] = step * regions.turn[row]
        matrix[:, 2] = centre - matrix[:, :2].sum(1) * (size - 1) / 2
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(source, matrix, (size, size), dst=crops[row], flags=flags)
    return crops


def _shrunk(image: np.ndarray, centre: np.ndarray, side: float, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of a frame around a turned square, averaged over blocks of pixels, and the centre in it."""
    reach = side * np.sqrt(0.5) + factor
    height, width = image.shape[:2]
    first = np.clip(np.floor(centre - reach), 0, [width - 1, height - 1]).astype(int)
    last = np.clip(np.ceil(centre + reach) + 1, first + 1, [width, height]).astype(int)
    part = image[first[1] : last[1], first[0] : last[0]]
    new = np.maximum((last - first) // factor, 1)
    scale = new / (last - first)
    return cv2.resize(part, tuple(map(int, new)), interpolation=cv2.INTER_AREA), (centre - first + 0.5) * scale - 0.5
