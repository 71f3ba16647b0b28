"""Images in a folder, by name; reading them is left to `image_folder`, so that no image library is loaded here."""

import re
from pathlib import Path

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a sorting key in natural order, in which frame2 comes before frame10."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.casefold()) for part in parts]


def image_files(folder: Path) -> list[Path]:
    """Return the images directly in a folder, in natural order of their names, without hidden files."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != ".")
    return sorted(files, key=lambda path: (natural_key(path.name), path.name))
