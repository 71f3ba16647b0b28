"""Paths of videos in files of other programs, which come from other machines, and the names of clips made from them."""

import re
from collections.abc import Sequence
from itertools import takewhile

# Not a number: "clip.1" is a folder.
_SUFFIX = re.compile(r"\.(?=\w*[A-Za-z])\w{1,5}$")


def video_path(filename: object) -> str:
    """Return the path of a video with "/" between folders; of a list of images, that of their folder."""
    if isinstance(filename, list | tuple):
        return video_path(filename[0]).rpartition("/")[0] if filename else ""
    return str(filename or "").replace("\\", "/")


def without_suffix(path: str) -> str:
    """Return the path of a video without the suffix of its name."""
    return _SUFFIX.sub("", path)


def inside(path: str) -> str:
    """Return a path as one below a folder: without a root, and without parts that lead out of the folder."""
    return "/".join(part for part in path.split("/") if part not in ("", ".", "..")) or "video"


def clip_names(videos: Sequence[str]) -> list[str]:
    """Return the names of the clips of several videos: their paths below the folder that they have in common.

    Args:
        videos: Paths as `video_path` returns them. Suffixes are left out unless two names would be equal.
    """
    paths = [inside(video).split("/") for video in videos]
    folders = zip(*(path[:-1] for path in paths), strict=False)
    shared = sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, folders))
    names = ["/".join(path[shared:]) for path in paths]
    short = [without_suffix(name) for name in names]
    return short if len(set(short)) == len(short) else names
