"""Files at URLs, such as `s3://bucket/videos`, through fsspec; objects are written whole or not at all."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pose_extraction.errors import BackendError, SkelpipeError, UsageError, installing
from pose_extraction.files import atomic_write

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_MAGIC = re.compile(r"[*?\[]")
# Storage in which an object appears as a whole, and in which renaming would copy it. Elsewhere a file is written under
# another name first.
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "memory"})
# What a listing says about a file that changes with its content; which of them, depends on the storage.
_IDENTITY = (
    "size",
    "ETag",
    "etag",
    "md5Hash",
    "crc32c",
    "generation",
    "LastModified",
    "last_modified",
    "mtime",
    "created",
)
CHUNK = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """A file at a URL.

    Args:
        url: Its URL.
        relative: Path below the listed folder, with "/" between folders; the file name if a file was listed.
        size: Bytes; 0 if the storage does not report it.
        key: Digest that changes with the content.
    """

    url: str
    relative: str
    size: int
    key: str


def is_url(text: str | Path) -> bool:
    """Return whether a text is a URL, not a path."""
    return isinstance(text, str) and _URL.match(text) is not None


def below(url: str, relative: str) -> str:
    """Return the URL of a file below another one."""
    return f"{url.rstrip('/')}/{relative}"


def list_files(url: str) -> list[RemoteFile]:
    """Return the file at a URL, those below a folder, or those that match a pattern, sorted by path.

    Raises:
        UsageError: There is none.
        BackendError: The package for this kind of storage is not installed.
        SkelpipeError: The storage cannot be read.
    """
    files = _listed(url)
    if not files:
        raise UsageError(f"{url}: no such file or folder, or it is empty; check the URL and the permissions")
    return files


def list_folder(url: str) -> list[RemoteFile]:
    """Return the files below a folder, which may not exist yet; see `list_files`."""
    return _listed(url)


def _listed(url: str) -> list[RemoteFile]:
    system, path = _system_of(url)
    with _reported(url, "read"):
        # Other machines may have written since an earlier listing.
        system.invalidate_cache()
        if _MAGIC.search(path):
            fixed = path[: _MAGIC.search(path).start()].rpartition("/")[0]  # type: ignore[union-attr]
            matches = system.glob(path, detail=True)
            found = {name: info for name, info in matches.items() if info.get("type") != "directory"}
        else:
            fixed, found = path.rstrip("/"), system.find(path, detail=True)
            if set(found) == {fixed}:
                fixed = fixed.rpartition("/")[0]
        files = []
        for name, info in sorted(found.items()):
            place = str(system.unstrip_protocol(name))
            files.append(
                RemoteFile(place, name.removeprefix(fixed).lstrip("/"), int(info.get("size") or 0), _key(info))
            )
    return files


def fetch(url: str, path: Path, on_chunk: Callable[[], None] = lambda: None) -> None:
    """Copy a file to this machine, in chunks; the copy appears whole or not at all.

    Args:
        url: The file.
        path: Place of the copy.
        on_chunk: Called after each chunk.

    Raises:
        SkelpipeError: It cannot be read.
    """
    system, name = _system_of(url)
    with _reported(url, "read"), system.open(name, "rb") as content, atomic_write(path) as copy:
        while chunk := content.read(CHUNK):
            copy.write(chunk)
            on_chunk()


def store(path: Path, url: str, on_chunk: Callable[[], None] = lambda: None) -> None:
    """Write a file of this machine to a URL.

    Args:
        path: The file.
        url: Its place.
        on_chunk: Called after each chunk, as far as the storage reports chunks.

    Raises:
        SkelpipeError: It cannot be written.
    """
    system, name = _system_of(url)
    from fsspec.callbacks import Callback

    progress = Callback(hooks={"chunk": lambda size, value, **_: on_chunk()})
    with _reported(url, "written"):
        if _protocol(system) in _OBJECT_STORES:
            system.put_file(str(path), name, callback=progress)
            return
        folder, _, last = name.rpartition("/")
        part = f"{folder}/.{last}.{time.monotonic_ns():x}.part"
        system.makedirs(folder, exist_ok=True)
        system.put_file(str(path), part, callback=progress)
        system.mv(part, name)


def remove(url: str) -> None:
    """Remove a file, if there is one.

    Raises:
        SkelpipeError: It cannot be removed.
    """
    system, name = _system_of(url)
    with _reported(url, "removed"):
        try:
            system.rm_file(name)
        except FileNotFoundError:
            return


def exists(url: str) -> bool:
    """Return whether there is a file at a URL, without a cached listing.

    Raises:
        SkelpipeError: The storage cannot be read.
    """
    system, name = _system_of(url)
    with _reported(url, "read"):
        system.invalidate_cache()
        return bool(system.exists(name))


def _system_of(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it."""
    kind = url.partition("://")[0]
    try:
        import fsspec
    except ImportError as error:
        raise BackendError(f"{url}: needs fsspec; run {installing('parquet')}") from error
    try:
        system, path = fsspec.url_to_fs(url)
    except ImportError as error:
        package = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}.get(kind)
        remedy = f"pip install {package}" if package else f"the package that it names ({error})"
        raise BackendError(f"{url}: reading {kind}:// needs another package; install {remedy}") from error
    except (ValueError, TypeError) as error:
        remedy = (
            "only `skelpipe predict` reads streams"
            if kind in ("rtsp", "rtsps")
            else "give a path, or a URL such as s3://bucket/folder"
        )
        raise UsageError(f"{url}: is not a URL that fsspec supports ({error}); {remedy}") from error
    return system, path


def _protocol(system: Any) -> str:
    protocol = system.protocol
    return str(protocol if isinstance(protocol, str) else protocol[0])


def _key(info: dict[str, Any]) -> str:
    facts = {name: str(info[name]) for name in _IDENTITY if info.get(name) is not None}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@contextmanager
def _reported(url: str, verb: str) -> Iterator[None]:
    """Name the URL in errors; storage libraries have exceptions of their own, for lacking permissions for example."""
    try:
        yield
    except SkelpipeError:
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise SkelpipeError(
            f"{url}: cannot be {verb} ({reason}); check the URL, the network and the permissions"
        ) from error
