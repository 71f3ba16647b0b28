"""Paints solid shapes with a depth buffer: tapered limbs with round ends, and faces of boxes.

Every pixel keeps the nearest shape, so that limbs and persons occlude each other correctly.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from synthetic.rendering.appearance import HEAD_SHAPE, TILE
from synthetic.rendering.body import HEAD_LENGTH, HEAD_TAPER

# Depth of the background, metres.
FAR = np.float32(1e4)


@dataclass(frozen=True)
class Light:
    """A distant lamp and ambient light.

    Args:
        direction: (3,), unit vector towards the lamp, in the camera's axes (right, down, forward).
        ambient: Brightness in the shade.
        diffuse: Additional brightness where the lamp shines perpendicularly.
    """

    direction: np.ndarray
    ambient: float
    diffuse: float


@dataclass(frozen=True)
class Wrap:
    """The surface of a shape.

    Args:
        texture: float32 (64, 64, 3) for a tile, or (64, 128, 3) for once around.
        side: (3,), direction of the shape's left in the camera's axes.
        front: (3,), direction of its front, which shows the middle column of `texture`.
        tiles: Number of tiles along the shape; 0 for a texture that covers it once.
        cut: Position along the shape, in [0, 1], from which `other` replaces `texture`; above 1 for none.
        other: Second texture, in the format of `texture`.
        up: (3,) for a head, whose texture is mapped by height from crown to chin, else None.
    """

    texture: np.ndarray
    side: np.ndarray
    front: np.ndarray
    tiles: float = 2.0
    cut: float = 2.0
    other: np.ndarray | None = None
    up: np.ndarray | None = None


class Canvas:
    """An image with a depth buffer.

    Args:
        picture: uint8 (H, W, 3) BGR, the background.
        light: Lighting of shapes.
    """

    def __init__(self, picture: np.ndarray, light: Light) -> None:
        self.picture = picture.astype(np.float32)
        self.depth = np.full(picture.shape[:2], FAR, np.float32)
        self.light = light
        height, width = picture.shape[:2]
        self._x = np.arange(width, dtype=np.float32)
        self._y = np.arange(height, dtype=np.float32)[:, None]

    def limb(
        self,
        start: np.ndarray,
        stop: np.ndarray,
        radius: np.ndarray,
        depth: tuple[float, float],
        bulge: tuple[float, float],
        wrap: Wrap,
        round_ends: float = 1.0,
    ) -> None:
        """Paint a tapered limb.

        Args:
            start: (2,), pixels.
            stop: (2,), pixels.
            radius: (K,), pixels, at K equidistant positions from start to stop.
            depth: Distance of both ends of its axis from the camera, metres.
            bulge: How much nearer the surface is than the axis, at both ends, metres.
            wrap: Its surface.
            round_ends: Length of the rounded ends, in radii.
        """
        reach = float(radius.max()) + 1
        height, width = self.picture.shape[:2]
        x0 = max(int(min(start[0], stop[0]) - reach), 0)
        y0 = max(int(min(start[1], stop[1]) - reach), 0)
        x1 = min(int(max(start[0], stop[0]) + reach) + 2, width)
        y1 = min(int(max(start[1], stop[1]) + reach) + 2, height)
        if x1 <= x0 or y1 <= y0:
            return
        span = stop - start
        length = max(float(np.hypot(span[0], span[1])), 1e-3)
        ux, uy = np.float32(span[0] / length), np.float32(span[1] / length)
        dx, dy = self._x[x0:x1] - np.float32(start[0]), self._y[y0:y1] - np.float32(start[1])
        along = dx * ux + dy * uy
        across = dy * ux - dx * uy
        part = np.clip(along * np.float32(1 / length), 0, 1)
        over = (along - part * np.float32(length)) * np.float32(1 / round_ends)
        steps = np.float32(len(radius) - 1)
        if len(radius) == 2:
            thick = np.float32(radius[0]) + part * np.float32(radius[1] - radius[0])
        else:
            thick = np.interp(part * steps, np.arange(len(radius)), radius).astype(np.float32)
        squared = (over * over + across * across) / (thick * thick)
        bulged = np.sqrt(np.maximum(1 - squared, 0))
        near = np.float32(depth[0]) + part * np.float32(depth[1] - depth[0])
        near -= (np.float32(bulge[0]) + part * np.float32(bulge[1] - bulge[0])) * bulged
        behind = self.depth[y0:y1, x0:x1]
        # Pixels just outside the outline are partly covered, which smooths the edge.
        cover = np.clip((1 - np.sqrt(squared)) * thick + np.float32(0.5), 0, 1)
        row, column = np.nonzero((cover > 0) & (near < behind))
        if not len(row):
            return
        inside = (row, column)
        cover, near, part, bulged = cover[inside], near[inside], part[inside], bulged[inside]
        thick, across, over = thick[inside], across[inside], over[inside]
        side_share, end_share = across / thick, over / thick
        normal = np.stack([end_share * ux - side_share * uy, end_share * uy + side_share * ux, -bulged], -1)
        colour = self._covering(wrap, normal, part) * self._brightness(normal, bulged)[:, None]
        target = self.picture[y0:y1, x0:x1]
        former = target[inside]
        target[inside] = former + (colour - former) * cover[:, None]
        solid = cover > 0.5
        behind[row[solid], column[solid]] = near[solid]

    def _brightness(self, normal: np.ndarray, bulged: np.ndarray) -> np.ndarray:
        lit = np.maximum(normal @ self.light.direction.astype(np.float32), 0)
        # Edges receive less ambient light.
        return (self.light.ambient * (0.62 + 0.38 * bulged) + self.light.diffuse * lit).astype(np.float32)

    def _covering(self, wrap: Wrap, normal: np.ndarray, part: np.ndarray) -> np.ndarray:
        """Return the colours (n, 3) of a surface at normals (n, 3) and positions (n,) along its length."""
        turn = np.arctan2(normal @ wrap.side.astype(np.float32), normal @ wrap.front.astype(np.float32))
        if wrap.tiles:
            row = (part * np.float32(TILE * wrap.tiles)).astype(np.intp) & (TILE - 1)
            column = (turn * np.float32(TILE / np.pi)).astype(np.intp) & (TILE - 1)
        else:
            share = part
            if wrap.up is not None:
                below = part * HEAD_LENGTH - (normal @ wrap.up) * (1 - (1 - HEAD_TAPER) * part)
                share = (below + 1) / (1 + HEAD_LENGTH + HEAD_TAPER)
            row = np.clip((share * HEAD_SHAPE[0]).astype(np.intp), 0, HEAD_SHAPE[0] - 1)
            column = ((0.5 + turn / (2 * np.pi)) * HEAD_SHAPE[1]).astype(np.intp) % HEAD_SHAPE[1]
        colour = wrap.texture[row, column]
        if wrap.other is not None:
            bare = part > wrap.cut
            colour[bare] = wrap.other[row[bare], column[bare] & (TILE - 1)]
        return colour

    def face(self, corner: np.ndarray, depth: np.ndarray, texture: np.ndarray, tiles: tuple[float, float]) -> None:
        """Paint a flat parallelogram.

        Args:
            corner: (4, 2), pixels, in order around it.
            depth: (4,), distance from the camera, metres.
            texture: float32 (64, 64, 3), tile with lighting applied.
            tiles: Number of tiles along its first and second edge.
        """
        height, width = self.picture.shape[:2]
        low, high = np.floor(corner.min(0)).astype(int), np.ceil(corner.max(0)).astype(int) + 1
        x0, y0, x1, y1 = max(low[0], 0), max(low[1], 0), min(high[0], width), min(high[1], height)
        if x1 <= x0 or y1 <= y0 or depth.min() <= 0.05:
            return
        # 1 / depth, and linear functions on the face divided by depth, are linear in the image.
        square = np.column_stack([corner[:3], np.ones(3)])
        if abs(np.linalg.det(square)) < 1e-3:
            return
        values = np.array([[1, 0, 0], [1, tiles[0], 0], [1, tiles[0], tiles[1]]]) / depth[:3, None]
        plane = np.linalg.solve(square, values).astype(np.float32)
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        points = np.round((corner - (x0, y0)) * 16).astype(np.int32)
        cv2.fillConvexPoly(mask, points, 255, cv2.LINE_AA, 4)
        inverse, u, v = (self._x[x0:x1] * a + (self._y[y0:y1] * b + c) for a, b, c in plane.T)
        near = 1 / np.maximum(inverse, np.float32(1e-3))
        behind = self.depth[y0:y1, x0:x1]
        inside = np.nonzero((mask > 0) & (near < behind))
        near = near[inside]
        row = (v[inside] * near * TILE).astype(np.intp) & (TILE - 1)
        column = (u[inside] * near * TILE).astype(np.intp) & (TILE - 1)
        cover = mask[inside].astype(np.float32)[:, None] / 255
        target = self.picture[y0:y1, x0:x1]
        target[inside] += (texture[row, column] - target[inside]) * cover
        behind[inside] = near
