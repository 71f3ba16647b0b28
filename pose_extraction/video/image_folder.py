"""Read a folder of images as a video."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from pose_extraction.errors import VideoError
from pose_extraction.video.image_files import IMAGE_SUFFIXES, image_files
from pose_extraction.video.stream import Picture


class ImageFolder:
    """The images of a folder as frames at a fixed rate.

    Args:
        folder: Folder that directly contains images.
        fps: Frames per second.
        problems: List to which one sentence is appended for each unreadable image.

    Raises:
        VideoError: The folder cannot be listed or contains no images.
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
            raise VideoError(f"{folder}: cannot list the folder ({error.strerror}); check its permissions") from error
        if not self._files:
            raise VideoError(
                f"{folder}: no images in this folder; add {', '.join(sorted(IMAGE_SUFFIXES))} files directly to it, "
                "or specify a video"
            )
        self.claimed_frames = len(self._files)

    def pictures(self, start: float) -> Iterator[Picture]:
        """Yield all readable images. Unreadable ones leave a gap in the indices: each image has a fixed time."""
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
        """Do nothing: unreadable images are reported immediately."""

    def close(self) -> None:
        """Do nothing: no file stays open between images."""


def read_image(path: Path) -> np.ndarray:
    """Read an image, rotated according to its EXIF data.

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
    except OSError as error:
        raise VideoError(f"{path.name}: cannot read the image ({error.strerror})") from error
    except cv2.error as error:
        raise VideoError(f"{path.name}: cannot decode the image ({error.err})") from error
    if image is None:
        raise VideoError(f"{path.name}: not an image that OpenCV can decode")
    return image
