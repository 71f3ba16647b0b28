"""Synthetic video clips: textured figures that walk and wave, with known joint positions.

They are used in the demo, the tests and the benchmarks, where no videos may be available.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from pose_extraction.files import part_path
from pose_extraction.skeleton import COCO17

# Joints of a standing figure, x and y in units of its height, with the feet at y = 0.5.
STANDING = np.array(
    [
        [0.000, -0.440], [0.018, -0.455], [-0.018, -0.455], [0.036, -0.445], [-0.036, -0.445],
        [0.105, -0.320], [-0.105, -0.320], [0.130, -0.170], [-0.130, -0.170], [0.140, -0.030], [-0.140, -0.030],
        [0.070, -0.020], [-0.070, -0.020], [0.075, 0.230], [-0.075, 0.230], [0.080, 0.480], [-0.080, 0.480],
    ],
    np.float32,
)  # fmt: skip
# Amplitude (in heights) and phase (in turns) of the sideways swing of each joint: arms move opposite to legs.
SWINGS = {7: (0.05, 0.0), 9: (0.12, 0.0), 8: (0.05, 0.5), 10: (0.12, 0.5)} | {
    13: (0.04, 0.5), 15: (0.09, 0.5), 14: (0.04, 0.0), 16: (0.09, 0.0)
}  # fmt: skip
STEPS_PER_SECOND = 1.2


def made_keypoint(time: float, size: tuple[int, int], persons: int = 1) -> np.ndarray:
    """Return the joints of the figures at a time.

    Args:
        time: Time in seconds.
        size: (height, width) of the frame in pixels.
        persons: Number M of figures.

    Returns:
        float32 (M, 17, 2) in pixels.
    """
    height, width = size
    figure = 0.8 * height
    turn = 2 * np.pi * STEPS_PER_SECOND * time
    keypoint = np.repeat(STANDING[None], persons, 0)
    for person in range(persons):
        for joint, (amplitude, phase) in SWINGS.items():
            keypoint[person, joint, 0] += amplitude * np.sin(turn + 2 * np.pi * phase + person)
        centre = (person + 0.5) / persons + 0.15 / persons * np.sin(0.5 * time + person)
        keypoint[person] = keypoint[person] * figure + (centre * width, height / 2)
    return keypoint


def made_box(time: float, size: tuple[int, int], persons: int = 1) -> np.ndarray:
    """Return the boxes around the figures, float32 (M, 4), x1 y1 x2 y2 in pixels; arguments as `made_keypoint`."""
    keypoint = made_keypoint(time, size, persons)
    margin = 0.06 * size[0]
    return np.concatenate([keypoint.min(1) - margin, keypoint.max(1) + margin], 1).astype(np.float32)


def made_frame(time: float, size: tuple[int, int], persons: int = 1) -> np.ndarray:
    """Render the figures in front of a textured wall, uint8 (H, W, 3) BGR; arguments as `made_keypoint`."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32) / max(height, width)
    wall = 110 + 40 * np.sin(23 * x + 5 * y) + 30 * np.sin(31 * y)
    image = np.stack([wall, wall * 0.9, wall * 0.8], -1).clip(0, 255).astype(np.uint8)
    thickness = max(1, round(0.05 * height))
    for person, keypoint in enumerate(made_keypoint(time, size, persons)):
        points = [(int(px), int(py)) for px, py in np.round(keypoint)]
        for bone, (parent, child) in enumerate(COCO17.bones):
            # A different colour for each bone creates edges, and makes the limbs distinguishable.
            colour = ((90 + 53 * bone) % 256, (200 + 31 * bone) % 256, (40 + 97 * (bone + person)) % 256)
            cv2.line(image, points[parent], points[child], colour, thickness, cv2.LINE_AA)
        cv2.circle(image, points[0], max(1, round(0.06 * height)), (150, 180, 225), cv2.FILLED, cv2.LINE_AA)
    return image


def write_made_clip(
    path: Path,
    *,
    size: tuple[int, int] = (240, 320),
    fps: float = 25.0,
    frames: int = 50,
    persons: int = 1,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rotation: int = 0,
    times: Sequence[float] | None = None,
    start: float = 0.0,
    key_every: int = 25,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode synthetic frames. The suffix of `path` determines the container.

    Args:
        path: Output file, written atomically.
        size: (height, width) of the stored frames in pixels.
        fps: Frames per second.
        frames: Number of frames.
        persons: Number of figures.
        codec: FFmpeg's name of the encoder.
        pixel_format: FFmpeg's name of the pixel format.
        rotation: Display rotation stored in the file, in degrees counterclockwise.
        times: Time of each frame in seconds, for a variable frame rate; replaces `fps` and `frames`.
        start: Time stamp of the first frame in seconds.
        key_every: Key frame interval in frames.
        options: Further options of the encoder.

    Returns:
        `path`.
    """
    stamps = [index / fps for index in range(frames)] if times is None else list(times)
    rate = Fraction(fps).limit_denominator(1001)
    part = part_path(path)
    part.parent.mkdir(parents=True, exist_ok=True)
    container_format = {".mkv": "matroska", ".ts": "mpegts", ".mpg": "mpeg"}.get(path.suffix, path.suffix[1:])
    with av.open(str(part.absolute()), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt = pixel_format
        stream.gop_size = key_every
        # AVI and MPEG-4 time stamps count frames; elsewhere a fine clock allows arbitrary times.
        fixed_rate = path.suffix == ".avi" or codec.startswith("mpeg")
        stream.codec_context.time_base = 1 / rate if fixed_rate else Fraction(1, 90000)
        if rotation:
            stream.set_display_rotation(rotation)
        for seconds in stamps:
            image = made_frame(seconds, size, persons)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=pixel_format)
            frame.time_base = stream.codec_context.time_base
            frame.pts = round((seconds + start) / frame.time_base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    part.replace(path)
    return path
