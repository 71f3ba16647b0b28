"""TODO pose_extraction/cache.py"""

import os
from pathlib import Path


def default_cache_dir() -> Path:
    """Return `SKELPIPE_CACHE`, or else `skelpipe` in the user's cache folder (`XDG_CACHE_HOME` or ~/.cache)."""
    if own := os.environ.get("SKELPIPE_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skelpipe"
