"""Convert decoded frames into upright 8-bit BGR images with the colours that a viewer would see.

FFmpeg's pixel format conversion requires the colour matrix and range, which are taken from the stream. High dynamic
range (PQ, HLG) is tone-mapped to standard dynamic range, because detectors trained on ordinary images fail on the
otherwise low contrast.
"""

import math
from functools import lru_cache

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

# Code points of ITU-T H.273, which FFmpeg uses.
MATRIX_BT709, MATRIX_BT601, MATRIX_BT2020 = 1, 5, 9
KNOWN_MATRICES = {1: 1, 4: 4, 5: 5, 6: 6, 7: 7, 9: 9, 10: 9}
RANGE_LIMITED, RANGE_FULL = 1, 2
TRANSFER_PQ, TRANSFER_HLG = 16, 18

# Luminance of reference white in a high dynamic range signal, in candela per square metre (ITU-R BT.2408).
REFERENCE_WHITE = 203.0
PQ_PEAK = 10000.0
HLG_PEAK = 1000.0
# Below this fraction of white, the tone curve is the identity. Above it, the curve saturates below 1.
TONE_KNEE = 0.6
CURVE_STEPS = 4096
# BT.2020 to BT.709 primaries in linear light (ITU-R BT.2087).
BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


class FrameConverter:
    """Converts the decoded frames of a stream. Reuses FFmpeg's conversion tables between frames.

    Args:
        pixel_aspect: Width of a stored pixel divided by its height; images are stretched to square pixels.
    """

    def __init__(self, pixel_aspect: float = 1.0) -> None:
        self._pixel_aspect = pixel_aspect
        # Single-threaded, because the decoder threads and the network need the other CPUs more.
        self._reformatter = VideoReformatter()

    def convert(self, frame: av.VideoFrame) -> np.ndarray:
        """Convert a decoded frame into an upright, writable and contiguous image, uint8 (H, W, 3) BGR."""
        if frame.color_trc in (TRANSFER_PQ, TRANSFER_HLG):
            image = self._tone_mapped(frame)
        elif has_alpha(frame.format):
            image = on_white(self._reformat(frame, "bgra"))
        else:
            image = self._reformat(frame, "bgr24")
        # FFmpeg pads rows, but OpenCV and the networks require contiguous images.
        return np.ascontiguousarray(upright(image, display_matrix(frame)))

    def _reformat(self, frame: av.VideoFrame, pixel_format: str, default_matrix: int = MATRIX_BT601) -> np.ndarray:
        width = max(1, round(frame.width * self._pixel_aspect))
        if frame.format.is_rgb:
            return self._reformatter.reformat(frame, width=width, format=pixel_format, threads=1).to_ndarray()
        # Streams without tags are read as BT.601 at any size, as in FFmpeg and OpenCV, with which the training images
        # of pose networks were decoded.
        matrix = KNOWN_MATRICES.get(int(frame.colorspace), default_matrix)
        colour_range = RANGE_FULL if int(frame.color_range) == RANGE_FULL else RANGE_LIMITED
        return self._reformatter.reformat(
            frame,
            width=width,
            format=pixel_format,
            src_colorspace=matrix,
            src_color_range=colour_range,
            dst_color_range=RANGE_FULL,
            threads=1,
        ).to_ndarray()

    def _tone_mapped(self, frame: av.VideoFrame) -> np.ndarray:
        rgb = self._reformat(frame, "rgb48le", MATRIX_BT2020)
        linear = _light_of_code(int(frame.color_trc))[rgb >> 4]
        # Reversing the rows results in BGR order.
        linear = cv2.transform(linear, BT2020_TO_BT709[::-1])
        # The square root gives dark values a higher resolution, like gamma correction.
        position = np.sqrt(np.clip(linear, 0, None) * np.float32(REFERENCE_WHITE / PQ_PEAK)) * (CURVE_STEPS - 1)
        return _screen_curve()[np.minimum(position, CURVE_STEPS - 1).astype(np.uint16)]


def has_alpha(pixel_format: av.VideoFormat) -> bool:
    """Return whether a pixel format stores the opacity of each pixel, in a channel or in its palette."""
    return pixel_format.has_palette or any(component.is_alpha for component in pixel_format.components)


def on_white(image: np.ndarray) -> np.ndarray:
    """Draw an image with transparent parts on white, as a web page shows it.

    Args:
        image: uint8 (H, W, 4) BGR and opacity.

    Returns:
        uint8 (H, W, 3) BGR.
    """
    opacity = image[..., 3:]
    if (opacity == 255).all():
        return np.ascontiguousarray(image[..., :3])
    colour = image[..., :3].astype(np.uint16)
    return ((colour * opacity + 255 * (255 - opacity.astype(np.uint16)) + 127) // 255).astype(np.uint8)


@lru_cache
def _light_of_code(transfer: int) -> np.ndarray:
    """Return the light of each 12-bit code value in units of reference white, float32 (4096,) (ITU-R BT.2100)."""
    code = np.linspace(0, 1, CURVE_STEPS)
    if transfer == TRANSFER_PQ:
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        root = code ** (1 / m2)
        candela = PQ_PEAK * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
        # System gamma of a display of 1000 candela per square metre, applied to each channel separately.
        candela = HLG_PEAK * scene**1.2
    return (candela / REFERENCE_WHITE).astype(np.float32)


@lru_cache
def _screen_curve() -> np.ndarray:
    """Return the display code values for light at (i / 4095)^2 of the PQ peak, uint8 (4096,)."""
    light = np.linspace(0, 1, CURVE_STEPS) ** 2 * PQ_PEAK / REFERENCE_WHITE
    bent = TONE_KNEE + (1 - TONE_KNEE) * (1 - np.exp(-(light - TONE_KNEE) / (1 - TONE_KNEE)))
    light = np.where(light <= TONE_KNEE, light, bent)
    gamma = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(gamma * 255).clip(0, 255).astype(np.uint8)


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """Return (a, b, c, d) of the frame's display matrix; None if it has none. x' = a x + c y and y' = b x + d y."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV cannot list the side data of a frame that has one of a newer kind, such as EXIF or the view of a stereo
        # video, but it still knows the rotation.
        return _rotation_matrix(frame.rotation) if frame.rotation else None
    if data is None:
        return None
    entries = np.frombuffer(bytes(data), np.int32, count=9)
    return int(entries[0]), int(entries[1]), int(entries[3]), int(entries[4])


def _rotation_matrix(degrees: int) -> tuple[int, int, int, int]:
    """Return the display matrix of a counterclockwise rotation."""
    turn = math.radians(degrees)
    cosine, sine = round(65536 * math.cos(turn)), round(65536 * math.sin(turn))
    return cosine, -sine, sine, cosine


def upright(image: np.ndarray, matrix: tuple[int, int, int, int] | None) -> np.ndarray:
    """Rotate and mirror an image according to its display matrix, to the nearest quarter turn.

    Args:
        image: uint8 (H, W, 3).
        matrix: Display matrix from `display_matrix`.
    """
    if matrix is None:
        return image
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        image = cv2.transpose(image)
        a, d = c, b
    if a < 0 and d < 0:
        return cv2.flip(image, -1)
    if a < 0:
        return cv2.flip(image, 1)
    if d < 0:
        return cv2.flip(image, 0)
    return image


def is_quarter_turn(matrix: tuple[int, int, int, int] | None) -> bool:
    """Return whether a display matrix rotates by a multiple of 90 degrees, within one degree."""
    if matrix is None:
        return True
    a, b, c, d = map(abs, matrix)
    return min(a + d, b + c) <= (a + b + c + d) / 57


def rotation_of(matrix: tuple[int, int, int, int] | None) -> int:
    """Return the rotation by `upright` in degrees counterclockwise: 0, 90, 180 or 270, also for mirrored images."""
    if matrix is None:
        return 0
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        return 90 if b < 0 else 270
    return 180 if d < 0 else 0
