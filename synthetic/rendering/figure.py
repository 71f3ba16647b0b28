"""A person as shapes for the painter: limbs, their thickness and their texture."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from synthetic.rendering.appearance import Look
from synthetic.rendering.body import (
    ANKLES,
    ELBOWS,
    HANDS,
    HEAD,
    HIPS,
    KNEES,
    NECK,
    PELVIS,
    SHOULDERS,
    SIDES,
    TOES,
    WAIST,
    WRISTS,
    Body,
)
from synthetic.rendering.camera import Camera
from synthetic.rendering.kinematics import Posture
from synthetic.rendering.painter import Canvas, Wrap


@dataclass(frozen=True)
class Limb:
    """A tapered shape over T frames.

    Args:
        start: (T, 3), in the camera's axes, metres.
        stop: (T, 3), in the camera's axes, metres.
        wide: (K,), half the width at K equidistant positions, metres.
        deep: Half the depth relative to half the width.
        texture: See `painter.Wrap`, also for other, cut and tiles.
        side: (T, 3), direction of its left in the camera's axes.
        front: (T, 3), direction of its front in the camera's axes.
        tiles: See `painter.Wrap`.
        cut: See `painter.Wrap`.
        other: See `painter.Wrap`.
        up: (T, 3) for a head, else None.
        round_ends: Length of the rounded ends, in half widths.
    """

    start: np.ndarray
    stop: np.ndarray
    wide: np.ndarray
    deep: float
    texture: np.ndarray
    side: np.ndarray
    front: np.ndarray
    tiles: float = 2.0
    cut: float = 2.0
    other: np.ndarray | None = None
    up: np.ndarray | None = None
    round_ends: float = 1.0


class Figure:
    """One person in front of one camera.

    Args:
        body: Lengths and thicknesses.
        look: Appearance.
        posture: Positions of the body's points.
        camera: The camera.

    Attributes:
        point: (T, 25, 2), pixels.
        depth: (T, 25), distance from the camera, metres.
        thickness: (25,), largest distance from each point to the surface, metres.
        box: (T, 4), x1 y1 x2 y2 around the rendered person, pixels, not clipped.
    """

    def __init__(self, body: Body, look: Look, posture: Posture, camera: Camera) -> None:
        seen = camera.seen(posture.point)
        self.point, self.depth = camera.pixels(seen), seen[..., 2]
        self._limbs = list(_limbs_of(body, look, posture, camera, seen))
        self._focal = camera.focal
        ends = np.stack([np.stack([limb.start, limb.stop], 1) for limb in self._limbs], 1)  # (T, L, 2, 3)
        self._ends, self._end_depth = camera.pixels(ends), np.maximum(ends[..., 2], 0.05)
        self.thickness = _thickness(body)
        # Pixels per metre at the distance of each limb's ends.
        self._scale = camera.focal[:, None, None] / self._end_depth
        width = np.array([limb.wide.max() for limb in self._limbs])[None, :, None] * self._scale
        # Ends of trunk and skirt are flat; this approximates their extent.
        width *= np.array([1.0 if limb.round_ends == 1 else 0.75 for limb in self._limbs])[None, :, None]
        low = (self._ends - width[..., None]).min((1, 2))
        high = (self._ends + width[..., None]).max((1, 2))
        self.box = np.concatenate([low, high], -1)

    def paint(self, canvas: Canvas, frame: int) -> None:
        """Paint the person into a canvas, farthest limb first, so that soft edges blend with the limbs behind them."""
        depth = self._end_depth[frame]
        for index in np.argsort(-depth.mean(-1)):
            limb, ends, scale = self._limbs[index], self._ends[frame, index], self._scale[frame, index]
            if depth[index].min() < 0.3:
                continue
            side, front = limb.side[frame], limb.front[frame]
            span = ends[1] - ends[0]
            across = np.array([-span[1], span[0]]) / max(float(np.hypot(*span)), 1e-3)
            # Apparent width of the ellipse, and how far it bulges towards the camera.
            apparent = np.hypot(side[:2] @ across, limb.deep * (front[:2] @ across))
            apparent = max(float(apparent), limb.deep)
            bulge = max(float(np.hypot(side[2], limb.deep * front[2])), limb.deep)
            steps = np.linspace(scale[0], scale[1], len(limb.wide))
            wrap = Wrap(
                limb.texture,
                side,
                front,
                limb.tiles,
                limb.cut,
                limb.other,
                None if limb.up is None else limb.up[frame].astype(np.float32),
            )
            canvas.limb(
                ends[0],
                ends[1],
                np.maximum(limb.wide * steps * apparent, 0.4),
                (depth[index, 0], depth[index, 1]),
                (limb.wide[0] * bulge, limb.wide[-1] * bulge),
                wrap,
                limb.round_ends,
            )


def _thickness(body: Body) -> np.ndarray:
    """Return the largest distance from each point of a body to its surface, clothes included, metres."""
    thick = np.full(25, 0.16 * body.girth)
    # Points of the face lie on the surface.
    thick[:5] = 0.5 * body.head
    thick[[*ELBOWS, *WRISTS]] = 0.075 * body.girth
    thick[[*KNEES, *ANKLES]] = 0.1 * body.girth
    thick[[*SHOULDERS, *HIPS]] = 0.14 * body.girth
    return thick


def _limbs_of(body: Body, look: Look, posture: Posture, camera: Camera, seen: np.ndarray) -> Iterator[Limb]:
    size = body.height / 1.72
    # The axes of each part in those of the camera, as columns.
    pelvis, chest, head = (camera.turn @ axes for axes in (posture.pelvis, posture.chest, posture.head))
    yield from _trunk_limbs(body, look, posture, camera, seen, pelvis, chest)
    yield from _head_limbs(body, look, posture, camera, seen, head, _thin(body) * size)
    for number in (0, 1):
        yield from _arm_limbs(body, look, seen, chest, number)
        yield from _leg_limbs(body, look, seen, pelvis, number)
        heel = camera.seen(posture.point[:, ANKLES[number]] - (0.0, 0.45 * body.ankle, 0.0))
        yield Limb(heel, seen[:, TOES[number]], np.array([0.045, 0.047, 0.034]) * size, 1.0, look.shoe,
                   pelvis[:, :, 0], pelvis[:, :, 2])  # fmt: skip


def _thin(body: Body) -> float:
    """Return the relative thickness of wrists, ankles and neck, which vary less with girth, because of the bones."""
    return 0.5 + 0.5 * body.girth


def _trunk_limbs(
    body: Body,
    look: Look,
    posture: Posture,
    camera: Camera,
    seen: np.ndarray,
    pelvis: np.ndarray,
    chest: np.ndarray,
) -> Iterator[Limb]:
    """Yield chest, seat, hem and skirt: flat ends, wider than deep."""
    point = posture.point
    size, girth = body.height / 1.72, body.girth
    over_hips = (body.hip + 0.085 * size * girth) * (0.5 + 0.5 * look.loose)
    at_chest = (body.shoulder + 0.02 * size) * (0.85 + 0.15 * girth)
    waist = 0.5 * (over_hips + at_chest) * body.waistline
    collar = camera.seen(point[:, NECK] + 0.01 * posture.chest[:, :, 1])
    yield Limb(collar, seen[:, WAIST], np.array([0.8 * at_chest, at_chest, 0.97 * at_chest, waist]),
               0.62 + 0.12 * girth, look.chest, chest[:, :, 0], chest[:, :, 2], tiles=0, round_ends=0.3)  # fmt: skip
    seat = camera.seen(point[:, PELVIS] - 0.05 * size * posture.pelvis[:, :, 1])
    yield Limb(seen[:, WAIST], seat, np.array([waist, 0.5 * (waist + over_hips), over_hips, 0.92 * over_hips]),
               0.66 + 0.12 * girth, look.bottom, pelvis[:, :, 0], pelvis[:, :, 2], tiles=1,
               cut=0.45, other=look.bottom, round_ends=0.35)  # fmt: skip
    hem = camera.seen(point[:, WAIST] - 0.35 * body.loin * posture.pelvis[:, :, 1])
    yield Limb(seen[:, WAIST], hem, np.array([1.03 * waist, 1.03 * 0.5 * (waist + over_hips)]),
               0.68 + 0.12 * girth, look.top, pelvis[:, :, 0], pelvis[:, :, 2], tiles=1, round_ends=0.3)  # fmt: skip
    if look.skirt:
        knees = 0.5 * (point[:, KNEES[0]] + point[:, KNEES[1]])
        end = camera.seen(0.1 * point[:, PELVIS] + 0.9 * knees)
        spread = np.linalg.norm(point[:, KNEES[0]] - point[:, KNEES[1]], axis=-1).mean() / 2
        yield Limb(seat, end, np.array([over_hips, over_hips + 0.3 * spread, 1.1 * over_hips + 0.5 * spread]),
                   0.8, look.bottom, pelvis[:, :, 0], pelvis[:, :, 2], round_ends=0.15)  # fmt: skip


def _arm_limbs(body: Body, look: Look, seen: np.ndarray, chest: np.ndarray, number: int) -> Iterator[Limb]:
    size, thin, arm = body.height / 1.72, _thin(body), look.loose * body.girth
    upper, lower = look.sleeve, look.sleeve - 1
    sleeve = 1 + 0.3 * (look.loose - 1)
    shoulder, elbow, wrist, hand = (seen[:, part[number]] for part in (SHOULDERS, ELBOWS, WRISTS, HANDS))
    yield _tube(shoulder, elbow, np.array((0.058 * arm * sleeve, 0.052 * arm, 0.04 * arm)) * size, chest, look.top,
                cut=upper if upper < 1 else 2.0, other=look.skin)  # fmt: skip
    yield _tube(elbow, wrist, np.array((0.041 * arm, 0.043 * arm, 0.03 * thin)) * size, chest,
                look.top if lower > 0 else look.skin, cut=lower if 0 < lower < 1 else 2.0, other=look.skin)  # fmt: skip
    yield _tube(wrist, hand, np.array((0.029 * thin, 0.038 * thin, 0.026 * thin)) * size, chest, look.skin)


def _leg_limbs(body: Body, look: Look, seen: np.ndarray, pelvis: np.ndarray, number: int) -> Iterator[Limb]:
    size, thin, leg = body.height / 1.72, _thin(body), (0.4 + 0.6 * look.loose) * body.girth
    cloth = 0.0 if look.skirt else look.leg
    shin = cloth - 1
    hip, knee, ankle = (seen[:, part[number]] for part in (HIPS, KNEES, ANKLES))
    yield _tube(hip, knee, np.array((0.088 * leg, 0.08 * leg, 0.057 * leg)) * size, pelvis,
                look.bottom if cloth > 0 else look.skin,
                cut=cloth if 0 < cloth < 1 else 2.0, other=look.skin)  # fmt: skip
    at_ankle = 0.036 * thin * (1 + (shin > 0.8) * 0.3)
    yield _tube(knee, ankle, np.array((0.056 * leg, 0.057 * leg, at_ankle)) * size, pelvis,
                look.bottom if shin > 0 else look.skin, cut=shin if 0 < shin < 1 else 2.0, other=look.skin)  # fmt: skip


def _tube(
    start: np.ndarray,
    stop: np.ndarray,
    wide: np.ndarray,
    axes: np.ndarray,
    texture: np.ndarray,
    *,
    cut: float = 2.0,
    other: np.ndarray | None = None,
) -> Limb:
    """Return a limb that is as deep as wide, and turns with the axes (T, 3, 3) of a part; the rest as in `Limb`."""
    return Limb(start, stop, wide, 1.0, texture, axes[:, :, 0], axes[:, :, 2], cut=cut, other=other)


def _head_limbs(
    body: Body, look: Look, posture: Posture, camera: Camera, seen: np.ndarray, head: np.ndarray, thin: float
) -> Iterator[Limb]:
    own = posture.head * body.head
    centre = posture.point[:, HEAD]
    left, up, front = head[:, :, 0], head[:, :, 1], head[:, :, 2]

    def spot(x: float, y: float, z: float) -> np.ndarray:
        """Return a point given in head radii in the head's frame, in the camera's axes (T, 3)."""
        return camera.seen(centre + own @ np.array([x, y, z]))

    def blob(start: np.ndarray, stop: np.ndarray, wide: tuple[float, ...], texture: np.ndarray, **more: object) -> Limb:
        return Limb(start, stop, np.array(wide) * body.head, 1.0, texture, left, front, **more)  # type: ignore[arg-type]

    yield Limb(seen[:, NECK], spot(0, -0.5, -0.1), np.array([0.062, 0.052]) * thin, 1.0, look.skin, left, front)
    yield blob(spot(0, 0.18, -0.05), spot(0, -0.62, 0.16), (1.0, 0.95, 0.66), look.head, tiles=0, up=up)
    yield blob(spot(0, 0.02, 0.9), spot(0, -0.3, 1.08), (0.09, 0.19), look.skin)
    for side in SIDES:
        yield blob(spot(0.97 * side, 0.03, -0.08), spot(0.94 * side, -0.25, -0.05), (0.2, 0.15), look.skin)
    if look.hairdo == "long":
        yield blob(spot(0, 0.1, -0.35), spot(0, -1.5, -0.5), (0.98, 1.0, 0.75), look.hair)
    elif look.hairdo == "bun":
        yield blob(spot(0, 0.75, -0.75), spot(0, 0.8, -0.8), (0.42, 0.42), look.hair)
    elif look.hairdo == "tail":
        yield blob(spot(0, 0.5, -0.95), spot(0, -0.9, -1.25), (0.3, 0.34, 0.15), look.hair)
    if look.hairdo not in ("bald", "cap"):
        yield blob(spot(0, 0.3, -0.2), spot(0, 0.05, -0.3), (1.02, 1.0), look.hair)
    elif look.hairdo == "cap":
        yield blob(spot(0.0, 0.55, 0.75), spot(0, 0.5, 1.25), (0.55, 0.45), look.hair)
