"""Names of models -> files of weights on this machine: cache folder, one download, digest, mirrors, own files."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from pose_extraction.download import Progress, download, is_safe
from pose_extraction.errors import WeightsError
from pose_extraction.files import sha256_of
from pose_extraction.model_zoo import ModelEntry


def default_cache_dir() -> Path:
    """`SKELPIPE_CACHE`, otherwise `skelpipe` in the user's cache folder (`XDG_CACHE_HOME` or ~/.cache)."""
    if own := os.environ.get("SKELPIPE_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skelpipe"


def cached_path(entry: ModelEntry, cache_dir: Path | None = None) -> Path:
    """Where the weights lie, or will lie once downloaded or trained."""
    if entry.shipped is not None:
        return Path(__file__).parent / entry.shipped
    return (cache_dir or default_cache_dir()) / "checkpoints" / entry.filename


def resolve(
    entry: ModelEntry,
    *,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Path:
    """The file with a model's weights, downloaded first if it is not on this machine.

    A file in the cache is used without any network, but only if its SHA-256 begins as its name says. The environment
    variable SKELPIPE_MIRROR replaces scheme and host of the address (https, or plain http on this very machine).

    Args:
        entry: Which model.
        cache_dir: Cache folder; `default_cache_dir()` if None.
        progress: Called with (bytes so far, length or None) while downloading.
        checkpoint: A file of the user's own, taken as it is in place of the official one.

    Raises:
        WeightsError: No file, no network, a wrong digest, or a cache that cannot be written; the message names the
            file, its address and where to put it.
    """
    if checkpoint is not None:
        if not checkpoint.is_file():
            raise WeightsError(f"{checkpoint}: there is no such file of weights for {entry.name}")
        return checkpoint
    path = cached_path(entry, cache_dir)
    if entry.shipped is not None:
        if not path.is_file():
            raise WeightsError(
                f"{path}: the weights of {entry.name}, which come with this project once they are trained, are not "
                f"there; train it with `python -m pipeline.tiny train {entry.name}`, and pass the file that this "
                "writes with --checkpoint"
            )
        return path
    digests = (entry.digest, *entry.other_digests)
    try:
        if not path.exists():
            download(_mirrored(entry.url), path, digests=digests, progress=progress)
            return path
        actual = sha256_of(path)
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be read or written ({error.strerror or error}); free space, mend the permissions, or name "
            "another folder in SKELPIPE_CACHE"
        ) from error
    if not actual.startswith(digests):
        raise WeightsError(
            f"{path}: SHA-256 begins with {actual[:8]}, expected {' or '.join(digests)}; delete the file to have it "
            f"downloaded again from {entry.url}, or pass it with --checkpoint if it is what you want"
        )
    return path


def _mirrored(url: str) -> str:
    mirror = os.environ.get("SKELPIPE_MIRROR")
    if not mirror:
        return url
    base, original = urlsplit(mirror), urlsplit(url)
    path = base.path.rstrip("/") + original.path
    url = original._replace(scheme=base.scheme, netloc=base.netloc, path=path).geturl()
    if not is_safe(url):
        raise WeightsError(f"SKELPIPE_MIRROR={mirror}: weights come over https only; it must begin with https://")
    return url
