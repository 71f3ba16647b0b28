"""Read a folder of images as a video."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from pose_extraction.errors import VideoError
from pose_extraction.video.colour import on_white
from pose_extraction.video.image_files import IMAGE_SUFFIXES, image_files
from pose_extraction.video.notes import Note
from pose_extraction.video.stream import Picture

# Frames per second of images without a given rate.
ASSUMED_RATE = 30.0
# Part of an image file that says whether it contains opacity.
HEADER_BYTES = 1 << 16


class ImageFolder:
    """The images of a folder as frames at a fixed rate.

    Args:
        folder: Folder that directly contains images.
        fps: Frames per second; None to assume `ASSUMED_RATE`, with a note.
        problems: List to which one note is appended for each unreadable image.

    Raises:
        VideoError: The folder cannot be listed or contains no images.
    """

    codec = "images"
    pixel_format = "bgr24"

    def __init__(self, folder: Path, fps: float | None, problems: list[str]) -> None:
        self.fps = ASSUMED_RATE if fps is None else fps
        self.rotation = 0
        self.pixel_aspect = 1.0
        self.last_error = ""
        self._problems = problems
        try:
            self._files = image_files(folder)
        except OSError as error:
            raise VideoError(f"{folder}: cannot list the folder ({error.strerror}); check its permissions") from error
        if not self._files:
            raise VideoError(
                f"{folder}: no images in this folder; add {', '.join(sorted(IMAGE_SUFFIXES))} files directly to it, "
                "or specify a video"
            )
        self.claimed_frames = len(self._files)
        if fps is None:
            problems.append(Note(f"a folder of images; {ASSUMED_RATE:g} frames/s are assumed, --fps sets another rate"))

    def pictures(self, start: float) -> Iterator[Picture]:
        """Yield all readable images. Unreadable ones leave a gap in the indices: each image has a fixed time."""
        for index, path in enumerate(self._files):
            if index / self.fps < start and index < len(self._files) - 1:
                continue
            try:
                image = read_image(path)
            except VideoError as error:
                self._problems.append(Note(str(error), "images that cannot be read"))
                continue
            yield Picture(index, index / self.fps, partial(np.asarray, image))

    def frame_times(self) -> list[float]:
        """Return the times of all images in seconds, also of those that cannot be read."""
        return [index / self.fps for index in range(len(self._files))]

    def note_damage(self) -> None:
        """Do nothing: unreadable images are reported immediately."""

    def close(self) -> None:
        """Do nothing: no file stays open between images."""


def read_image(path: Path) -> np.ndarray:
    """Read an image, rotated according to its EXIF data, with transparent parts on white.

    Args:
        path: Image file.

    Returns:
        uint8 (H, W, 3) BGR.

    Raises:
        VideoError: The file cannot be read or is not an image.
    """
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        # OpenCV raises for an empty buffer and for images that are too large; otherwise it returns None on failure.
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
        stored = (
            cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if _may_be_transparent(data[:HEADER_BYTES].tobytes()) else None
        )
    except OSError as error:
        raise VideoError(f"{path.name}: cannot read the image ({error.strerror})") from error
    except cv2.error as error:
        raise VideoError(f"{path.name}: cannot decode the image ({error.err})") from error
    if image is None:
        raise VideoError(f"{path.name}: not an image that OpenCV can decode")
    # The stored image is not rotated. Formats with opacity hardly ever contain a rotation; then the colours are used.
    if stored is None or stored.dtype != np.uint8 or stored.shape != (*image.shape[:2], 4):
        return image
    return on_white(stored)


def _may_be_transparent(header: bytes) -> bool:
    """Return whether an image may contain opacity, so that those without it are decoded only once."""
    if header[:8] == b"\x89PNG\r\n\x1a\n":
        return header[25:26] in (b"\x04", b"\x06") or b"tRNS" in header
    if header[:4] == b"RIFF" and header[8:12] == b"WEBP":
        return header[12:16] == b"VP8L" or (header[12:16] == b"VP8X" and bool(header[20] & 0x10))
    return header[:4] in (b"II*\0", b"MM\0*")
