"""Appearance of people: textures of cloth, skin, hair and faces that wrap the parts of a body.

Colours are BGR, float32, 0 to 255.
"""

import colorsys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from synthetic.rendering.family import Family, chosen

# Side of a repeating cloth tile in pixels; a power of two.
TILE = 64
# Rows (crown to chin) and columns (all around, the face in the middle) of a head texture.
HEAD_SHAPE = (64, 128)

Colour = tuple[float, float, float]
Cloth = Callable[[np.random.Generator, Family], np.ndarray]


@dataclass(frozen=True)
class Look:
    """Appearance of one person.

    Args:
        head: float32 (64, 128, 3), texture all around the head.
        skin: float32 (64, 64, 3), tile.
        hair: float32 (64, 64, 3), tile.
        top: float32 (64, 64, 3), tile of the upper clothing.
        bottom: float32 (64, 64, 3), tile of the lower clothing.
        shoe: float32 (64, 64, 3), tile.
        chest: float32 (64, 128, 3), clothing all around the trunk, from neck to waist.
        sleeve: Length of the sleeves: 0 none, 1 elbow, 2 wrist.
        leg: Length of the legs: 1 knee, 2 ankle.
        skirt: Whether the lower clothing is a skirt.
        hairdo: "short", "long", "bun", "tail", "bald" or "cap".
        loose: Factor of the clothing's thickness relative to the body.
    """

    head: np.ndarray
    skin: np.ndarray
    hair: np.ndarray
    top: np.ndarray
    bottom: np.ndarray
    shoe: np.ndarray
    chest: np.ndarray
    sleeve: float
    leg: float
    skirt: bool
    hairdo: str
    loose: float


def any_colour(random: np.random.Generator, family: Family) -> Colour:
    """Draw a random colour for clothes and objects, including greys."""
    saturation = family.uniform(random, 0.0, 0.95) * float(random.random() > 0.25)
    red, green, blue = colorsys.hsv_to_rgb(family.uniform(random, 0, 1), saturation, random.uniform(0.08, 0.97))
    return 255 * blue, 255 * green, 255 * red


def _flat(colour: Colour) -> np.ndarray:
    return np.tile(np.array(colour, np.float32), (TILE, TILE, 1))


def _mixed(mask: np.ndarray, first: Colour, second: Colour) -> np.ndarray:
    """Return (64, 64, 3) with the first colour where the mask (64, 64) is 0 and the second where it is 1."""
    share = np.asarray(mask, np.float32)[..., None]
    return (1 - share) * np.array(first, np.float32) + share * np.array(second, np.float32)


def _grain(random: np.random.Generator, cells: int) -> np.ndarray:
    """Return smooth seamless noise (64, 64), about [-1, 1]."""
    rough = random.normal(size=(cells, cells)).astype(np.float32)
    tiled = cv2.resize(np.tile(rough, (3, 3)), (3 * TILE, 3 * TILE), interpolation=cv2.INTER_CUBIC)
    return tiled[TILE : 2 * TILE, TILE : 2 * TILE]


_ROW, _COLUMN = np.mgrid[:TILE, :TILE] / TILE


def _two(random: np.random.Generator, family: Family) -> tuple[Colour, Colour]:
    return any_colour(random, family), any_colour(random, family)


def _bars(random: np.random.Generator, axis: np.ndarray) -> np.ndarray:
    count, width = int(random.choice([1, 2, 4, 8])), random.uniform(0.2, 0.6)
    return (axis * count) % 1 < width


def _plain(random: np.random.Generator, family: Family) -> np.ndarray:
    return _flat(any_colour(random, family))


def _stripes(random: np.random.Generator, family: Family) -> np.ndarray:
    return _mixed(_bars(random, _ROW if random.random() < 0.7 else _COLUMN), *_two(random, family))


def _checks(random: np.random.Generator, family: Family) -> np.ndarray:
    return _mixed(_bars(random, _ROW) ^ _bars(random, _COLUMN), *_two(random, family))


def _speckles(random: np.random.Generator, family: Family) -> np.ndarray:
    return _mixed(_grain(random, 16) > random.uniform(0.2, 1.0), *_two(random, family))


def _blocks(random: np.random.Generator, family: Family) -> np.ndarray:
    tile = _flat(any_colour(random, family))
    for _ in range(3):
        row, column = random.integers(0, TILE, 2)
        tile[row : row + 26, column : column + 26] = any_colour(random, family)
    return tile


def _folds(random: np.random.Generator, family: Family) -> np.ndarray:
    return _flat(any_colour(random, family)) * (1 + 0.25 * _grain(random, 5)[..., None])


def _faded(random: np.random.Generator, family: Family) -> np.ndarray:
    return _mixed(np.clip(0.5 + 0.5 * _grain(random, 3), 0, 1), *_two(random, family))


def _rings(random: np.random.Generator, family: Family) -> np.ndarray:
    radius = np.hypot(_ROW - 0.5, _COLUMN - 0.5)
    return _mixed((radius * random.uniform(4, 9)) % 1 < 0.45, *_two(random, family))


def _plaid(random: np.random.Generator, family: Family) -> np.ndarray:
    share = 0.5 * _bars(random, _ROW) + 0.5 * _bars(random, _COLUMN)
    return _mixed(share, *_two(random, family))


def _dots(random: np.random.Generator, family: Family) -> np.ndarray:
    count = int(random.integers(2, 7))
    radius = np.hypot((_ROW * count) % 1 - 0.5, (_COLUMN * count) % 1 - 0.5)
    return _mixed(radius < random.uniform(0.2, 0.4), *_two(random, family))


def _slants(random: np.random.Generator, family: Family) -> np.ndarray:
    return _mixed(_bars(random, _ROW + _COLUMN), *_two(random, family))


def _print(random: np.random.Generator, family: Family) -> np.ndarray:
    tile = np.ascontiguousarray(_flat(any_colour(random, family)))
    for _ in range(5):
        corners = random.integers(0, TILE, (3, 2)).astype(np.int32)
        cv2.fillPoly(tile, [corners], any_colour(random, family))
    return tile


CLOTHS: Mapping[str, Cloth] = {
    "plain": _plain,
    "stripes": _stripes,
    "checks": _checks,
    "speckles": _speckles,
    "blocks": _blocks,
    "folds": _folds,
    "faded": _faded,
    "rings": _rings,
    "plaid": _plaid,
    "dots": _dots,
    "slants": _slants,
    "print": _print,
}


def draw_cloth(family: Family, random: np.random.Generator) -> np.ndarray:
    """Draw a tile of worn cloth, float32 (64, 64, 3)."""
    tile = CLOTHS[chosen(random, family.cloths)](random, family)
    wear = 1 + 0.06 * _grain(random, 6) + 0.03 * _grain(random, 32)
    return np.clip(tile * wear[..., None], 0, 255).astype(np.float32)


def draw_look(family: Family, random: np.random.Generator) -> Look:
    """Draw the appearance of a person."""
    darkness = family.uniform(random, 0, 1)
    tone = (1 - darkness) * np.array([168, 196, 240]) + darkness * np.array([32, 48, 82])
    tone = tone * random.uniform(0.9, 1.06, 3)
    skin = np.clip(tone * (1 + 0.04 * _grain(random, 8)[..., None]), 0, 255).astype(np.float32)
    hairdo = str(random.choice(["short", "long", "bun", "tail", "bald", "cap"], p=[0.38, 0.2, 0.08, 0.1, 0.09, 0.15]))
    if hairdo == "cap":
        hair_colour = np.array(any_colour(random, family))
    else:
        hair_colour = np.array([[20, 18, 20], [28, 45, 75], [60, 110, 160], [110, 170, 215], [150, 150, 155]])[
            int(random.choice(5, p=[0.4, 0.27, 0.13, 0.1, 0.1]))
        ] * family.uniform(random, 0.75, 1.2)
    strands = 1 + 0.22 * np.sin(40 * _COLUMN * 2 * np.pi / 4 + 3 * _grain(random, 4))
    hair = np.clip(hair_colour * strands[..., None], 0, 255).astype(np.float32)
    top, bottom = draw_cloth(family, random), draw_cloth(family, random)
    if random.random() < 0.12:
        bottom = top
    return Look(
        head=_draw_head(random, tone, hair_colour, hairdo),
        skin=skin,
        hair=hair,
        top=top,
        bottom=bottom,
        shoe=_flat(any_colour(random, family)) * 0.7,
        chest=_draw_chest(random, family, top, tone),
        sleeve=float(random.choice([0.0, 0.55, 1.0, 1.9, 2.0], p=[0.12, 0.3, 0.08, 0.3, 0.2])),
        leg=float(random.choice([0.6, 1.0, 1.6, 2.0], p=[0.15, 0.12, 0.08, 0.65])),
        skirt=bool(random.random() < 0.14),
        hairdo=hairdo,
        loose=family.uniform(random, 1.0, 1.35),
    )


def _draw_chest(random: np.random.Generator, family: Family, top: np.ndarray, tone: np.ndarray) -> np.ndarray:
    """Return the trunk's clothing all around: cloth, a neckline and, in some cases, a print or buttons in front."""
    rows, columns = HEAD_SHAPE
    chest = np.ascontiguousarray(np.tile(top, (1, 2, 1))[:rows, :columns])
    middle = columns // 2
    depth = int(random.integers(2, 14))
    neckline = np.array([[middle - 12, 0], [middle + 12, 0], [middle, depth]], np.int32)
    cv2.fillPoly(chest, [neckline], tuple(float(value) for value in tone))
    kind = random.random()
    if kind < 0.25:
        cv2.ellipse(chest, (middle, 26), (11, 9), 0, 0, 360, any_colour(random, family), cv2.FILLED)
        cv2.line(chest, (middle - 8, 26), (middle + 7, 24), any_colour(random, family), 3)
    elif kind < 0.45:
        cv2.line(chest, (middle, 0), (middle, rows), any_colour(random, family), 2)
    elif kind < 0.6:
        # An open jacket.
        cv2.rectangle(chest, (middle - 9, 0), (middle + 9, rows), any_colour(random, family), cv2.FILLED)
    return chest


def _draw_head(random: np.random.Generator, tone: np.ndarray, hair: np.ndarray, hairdo: str) -> np.ndarray:
    """Return a head texture: row 0 is the crown, the last row is below the chin; column 64 is the face's middle."""
    rows, columns = HEAD_SHAPE

    def column(degrees: float) -> int:
        return round(columns * (0.5 + degrees / 360))

    def row(degrees: float) -> int:
        return round(rows * (0.5 - degrees / 180))

    skin = tuple(float(value) for value in tone)
    dark = tuple(float(value) for value in 0.62 * tone)
    crown = tuple(float(value) for value in hair)
    head = np.tile(np.array(skin, np.float32), (rows, columns, 1))
    # Cheeks, and shading below the brow and the chin.
    for side in (-1, 1):
        cv2.ellipse(head, (column(32 * side), row(-24)), (7, 5), 0, 0, 360, tuple(0.94 * v for v in skin), cv2.FILLED)
        cv2.ellipse(head, (column(21 * side), row(6)), (6, 4), 0, 0, 360, tuple(0.8 * v for v in skin), cv2.FILLED)
    head[row(-52) :] *= 0.75
    head = np.ascontiguousarray(cv2.GaussianBlur(head, (0, 0), 1.5))
    iris = tuple(float(value) for value in random.uniform(10, 110, 3))
    for side in (-1, 1):
        eye = column(21 * side), row(4)
        cv2.ellipse(head, eye, (4, 2), 0, 0, 360, (235.0, 238.0, 240.0), cv2.FILLED)
        cv2.circle(head, eye, 2, iris, cv2.FILLED)
        cv2.line(head, (eye[0] - 4, row(15)), (eye[0] + 4, row(14)), tuple(0.6 * v for v in crown), 2)
    mouth = (60.0, 60.0, 60.0 + 110 * float(random.random()))
    cv2.ellipse(head, (column(0), row(-39)), (7, 1 + int(random.integers(0, 3))), 0, 0, 360, mouth, cv2.FILLED)
    cv2.ellipse(head, (column(0), row(-21)), (4, 2), 0, 0, 360, dark, cv2.FILLED)
    if random.random() < 0.22:
        beard = np.array([[column(-48), row(-24)], [column(48), row(-24)], [column(35), rows], [column(-35), rows]])
        cover = head.copy()
        cv2.fillPoly(cover, [beard.astype(np.int32)], crown)
        cv2.ellipse(cover, (column(0), row(-38)), (6, 3), 0, 0, 360, mouth, cv2.FILLED)
        head = np.ascontiguousarray(0.2 * head + 0.8 * cover)
    if hairdo != "bald":
        # The hairline: high above the face, down to the neck at the back.
        angle = np.abs(np.arange(columns) / columns - 0.5) * 360
        brow = random.uniform(26, 46)
        nape = {"short": -35.0, "cap": 12.0}.get(hairdo, -75.0)
        burn = random.uniform(84, 104)
        line = np.where(angle < burn, brow, brow + (nape - brow) * np.clip((angle - burn) / 35, 0, 1))
        line += random.normal(size=columns) * 2
        covered = np.arange(rows)[:, None] < rows * (0.5 - line / 180)
        strands = 1 + 0.15 * np.sin(np.arange(columns) * 1.7 + random.random() * 6)
        head = np.where(covered[..., None], np.array(crown, np.float32) * strands[None, :, None], head)
    head = np.ascontiguousarray(head, np.float32)
    if random.random() < 0.18:
        for side in (-1, 1):
            cv2.ellipse(head, (column(21 * side), row(3)), (7, 5), 0, 0, 360, (25.0, 25.0, 25.0), 1)
            cv2.line(head, (column(40 * side), row(4)), (column(85 * side), row(3)), (25.0, 25.0, 25.0), 1)
    return np.clip(head, 0, 255).astype(np.float32)
