"""The folder for files that can be downloaded or computed again."""

import os
from pathlib import Path

import platformdirs


def default_cache_dir() -> Path:
    """Return `SKELPIPE_CACHE` if it is set, or else the user's cache folder.

    On Linux, that is $XDG_CACHE_HOME/skelpipe or ~/.cache/skelpipe.
    """
    if own := os.environ.get("SKELPIPE_CACHE"):
        return Path(own).expanduser()
    return platformdirs.user_cache_path("skelpipe", appauthor=False)
