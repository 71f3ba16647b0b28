"""Imperfections of cheap cameras: exposure, colour cast, blur, noise, compression."""

from dataclasses import dataclass

import cv2
import numpy as np

from synthetic.rendering.family import Family


@dataclass(frozen=True)
class Imaging:
    """Degradation of a clip's images.

    Args:
        gain: (3,), factor per channel, BGR.
        gamma: Exponent of the tone curve.
        vignette: Relative darkening of the corners, 0 to 1.
        blur: Sigma of the lens blur in pixels.
        streak: (dx, dy), motion blur in pixels.
        coarse: Factor by which the image is shrunk and enlarged again; 1 for none.
        noise: Sigma of the noise in grey levels.
        quality: JPEG quality, 100 for no compression.
        flicker: Relative amplitude of brightness changes between frames.
    """

    gain: np.ndarray
    gamma: float
    vignette: float
    blur: float
    streak: tuple[float, float]
    coarse: float
    noise: float
    quality: int
    flicker: float


def draw_imaging(family: Family, random: np.random.Generator) -> Imaging:
    """Draw the degradation of a camera, from none to severe."""
    cast = 1 + random.normal(size=3) * 0.05
    return Imaging(
        gain=cast * family.uniform(random, 0.65, 1.25),
        gamma=family.uniform(random, 0.75, 1.35),
        vignette=random.uniform(0, 0.35),
        blur=family.uniform(random, 0.3, 1.1) if random.random() < 0.8 else family.uniform(random, 1.1, 1.8),
        streak=(float(random.normal() * 1.2), float(random.normal() * 0.7)) if random.random() < 0.3 else (0.0, 0.0),
        coarse=family.uniform(random, 1.2, 2.0) if random.random() < 0.15 else 1.0,
        noise=family.uniform(random, 0.5, 9.0),
        quality=int(family.uniform(random, 25, 95)),
        flicker=0.03 * float(random.random() < 0.2),
    )


class ImageDegradation:
    """Applies the same degradation to all images of a clip.

    Args:
        imaging: The degradation.
        size: (height, width) in pixels.
        random: Random generator for noise and flicker.
    """

    def __init__(self, imaging: Imaging, size: tuple[int, int], random: np.random.Generator) -> None:
        self._imaging = imaging
        self._random = random
        height, width = size
        y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
        fall = 1 - imaging.vignette * (x**2 + y**2) / 2
        self._exposure = (fall[..., None] * imaging.gain).astype(np.float32)
        tone = (np.arange(256) / 255) ** imaging.gamma * 255
        self._tone = tone.round().astype(np.uint8)
        # Drawn once, larger than the image; each frame uses a different part.
        self._noise = (random.normal(size=(height + 64, width + 64, 3)) * imaging.noise).astype(np.float32)
        self._streak = _streak_kernel(imaging.streak)

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Convert a float32 image, 0 to 255, to the degraded uint8 (H, W, 3)."""
        imaging = self._imaging
        height, width = picture.shape[:2]
        exposed = picture * self._exposure
        if imaging.flicker:
            exposed *= np.float32(1 + imaging.flicker * self._random.normal())
        if imaging.blur > 0.35:
            exposed = cv2.GaussianBlur(exposed, (0, 0), imaging.blur)
        if self._streak is not None:
            exposed = cv2.filter2D(exposed, -1, self._streak)
        if imaging.coarse > 1:
            small = (max(int(width / imaging.coarse), 1), max(int(height / imaging.coarse), 1))
            exposed = cv2.resize(cv2.resize(exposed, small, interpolation=cv2.INTER_AREA), (width, height))
        y, x = self._random.integers(0, 64, 2)
        exposed += self._noise[y : y + height, x : x + width]
        developed = cv2.LUT(np.clip(exposed, 0, 255).astype(np.uint8), self._tone)
        if imaging.quality < 100:
            _, packed = cv2.imencode(".jpg", developed, [cv2.IMWRITE_JPEG_QUALITY, imaging.quality])
            developed = cv2.imdecode(packed, cv2.IMREAD_COLOR)
        return developed


def _streak_kernel(streak: tuple[float, float]) -> np.ndarray | None:
    length = float(np.hypot(*streak))
    if length < 0.5:
        return None
    radius = int(np.ceil(length))
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    half = (streak[0] / 2, streak[1] / 2)
    for share in np.linspace(-1, 1, 4 * radius + 1):
        kernel[round(radius + share * half[1]), round(radius + share * half[0])] += 1
    return kernel / kernel.sum()
