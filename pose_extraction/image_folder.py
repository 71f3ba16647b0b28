"""A folder of images read as a video."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from pose_extraction.errors import VideoError
from pose_extraction.video_stream import Picture

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorting key that puts frame2 before frame10."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.casefold()) for part in parts]


def image_files(folder: Path) -> list[Path]:
    """The images directly in a folder, in natural order of their names; hidden files are left out."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != ".")
    return sorted(files, key=lambda path: (natural_key(path.name), path.name))


class ImageFolder:
    """The images of a folder as frames at a fixed rate.

    Args:
        folder: Folder with images directly in it.
        fps: Frames per second.
        problems: List that takes one sentence for every image that cannot be read.

    Raises:
        VideoError: The folder cannot be listed or holds no image.
    """

    codec = "images"
    pixel_format = "bgr24"

    def __init__(self, folder: Path, fps: float, problems: list[str]) -> None:
        self.fps = fps
        self.rotation = 0
        self.last_error = ""
        self._problems = problems
        try:
            self._files = image_files(folder)
        except OSError as error:
            raise VideoError(
                f"{folder}: the folder cannot be listed ({error.strerror}); check its permissions"
            ) from error
        if not self._files:
            raise VideoError(
                f"{folder}: no images in this folder; put {', '.join(sorted(IMAGE_SUFFIXES))} files directly into it, "
                "or name a video"
            )
        self.claimed_frames = len(self._files)

    def pictures(self, start: float) -> Iterator[Picture]:
        """Every readable image; a broken one leaves a gap in the numbers, since its moment has passed all the same."""
        for index, path in enumerate(self._files):
            if index / self.fps < start and index < len(self._files) - 1:
                continue
            try:
                image = read_image(path)
            except VideoError as error:
                self._problems.append(str(error))
                continue
            yield Picture(index, index / self.fps, partial(np.asarray, image))

    def note_damage(self) -> None:
        """Broken images are told of as they come."""

    def close(self) -> None:
        """Nothing stays open between images."""


def read_image(path: Path) -> np.ndarray:
    """uint8 (H, W, 3) BGR of an image file, turned upright by its EXIF data.

    Raises:
        VideoError: The file cannot be read or is no image.
    """
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        # OpenCV raises on an empty buffer and on sizes beyond its limit, and returns None for what is no image.
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except OSError as error:
        raise VideoError(f"{path.name}: image cannot be read ({error.strerror})") from error
    except cv2.error as error:
        raise VideoError(f"{path.name}: image cannot be decoded ({error.err})") from error
    if image is None:
        raise VideoError(f"{path.name}: not an image that OpenCV can decode")
    return image
