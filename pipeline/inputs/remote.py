"""Videos at URLs, which are copied to this machine one by one while they are processed."""

from collections import Counter
from hashlib import sha256
from pathlib import Path, PurePosixPath

from pose_extraction.cache import default_cache_dir
from pose_extraction.remote import RemoteFile, list_files


def folder_of_copies(url: str) -> Path:
    """Returns the folder in which copies of the videos at a URL appear; its name is the last part of the URL."""
    text = url.rstrip("/")
    return default_cache_dir().absolute() / "videos" / sha256(text.encode()).hexdigest()[:16] / PurePosixPath(text).name


def remote_files(url: str) -> tuple[list[RemoteFile], list[RemoteFile]]:
    """Returns the files at a URL, and those whose names no file on this machine can have.

    Raises:
        UsageError: There is none.
        SkelpipeError: The storage cannot be read.
    """
    good: list[RemoteFile] = []
    bad: list[RemoteFile] = []
    for file in list_files(url):
        parts = file.relative.split("/")
        # A name such as "../x" must not leave the folder of the copies.
        allowed = all(part not in ("", ".", "..") and "\0" not in part and len(part.encode()) < 250 for part in parts)
        (good if allowed else bad).append(file)
    return good, bad


def stems_by_folder(files: list[RemoteFile]) -> dict[str, Counter[str]]:
    """Returns how many files of each folder have each name, without suffixes."""
    stems: dict[str, Counter[str]] = {}
    for file in files:
        path = PurePosixPath(file.relative)
        stems.setdefault(str(path.parent), Counter())[path.stem] += 1
    return stems
