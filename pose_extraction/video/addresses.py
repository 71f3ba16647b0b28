"""Names of cameras and streams; reading them is left to `live`, so that no video library is loaded here."""

import re
from pathlib import Path

ADDRESS = re.compile(r"(rtsps?|https?)://\S+", re.IGNORECASE)


def is_live(given: str) -> bool:
    """Return whether a string names a camera (by number or device) or a network address, and not an existing file."""
    return bool(ADDRESS.fullmatch(given)) or (camera_of(given) is not None and not Path(given).is_file())


def camera_of(given: str) -> str | None:
    """Return the device of a camera named by its number or its device; None for anything else."""
    if given.isascii() and given.isdecimal():
        return f"/dev/video{int(given)}"
    return given if re.fullmatch(r"/dev/video\d+", given) else None
