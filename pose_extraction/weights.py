"""Names of models -> files of weights on this machine: cache folder, resumed download, digest, one writer at a time.

A file appears in the cache by rename once it is whole and its SHA-256 begins as its name says. Until then its bytes lie
in a hidden part file beside it, held under a lock by the one process that downloads while others wait; a run that is
cut off or killed leaves the part file, and the next one goes on from there.
"""

import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any, BinaryIO
from urllib.parse import urlsplit

from pose_extraction.errors import WeightsError
from pose_extraction.files import locked_part, part_path, sha256_of
from pose_extraction.model_zoo import ModelEntry

# Called with the bytes on disk so far and the file's length (None while unknown).
Progress = Callable[[int, int | None], None]

_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 18
_PAUSES = (0.0, 0.2, 0.5, 1.0)  # seconds before another try that follows one without a new byte
_MOST_TRIES = 50
_MOST_BYTES = 16 << 30  # several times the largest file of the table; a stream without end must not fill the disk
_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class _CutOffError(Exception):
    """The connection failed or ended early; another try may bring more."""


@dataclass(frozen=True)
class _Target:
    """What is downloaded, where to, and how it is recognised."""

    url: str
    path: Path
    digests: tuple[str, ...]

    @property
    def validator_path(self) -> Path:
        part = part_path(self.path)
        return part.with_name(f"{part.name}.json")


def default_cache_dir() -> Path:
    """`SKELPIPE_CACHE`, otherwise `skelpipe` in the user's cache folder (`XDG_CACHE_HOME` or ~/.cache)."""
    if own := os.environ.get("SKELPIPE_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skelpipe"


def cached_path(entry: ModelEntry, cache_dir: Path | None = None) -> Path:
    """Where the weights lie, or will lie once downloaded."""
    return (cache_dir or default_cache_dir()) / "checkpoints" / entry.filename


def resolve(
    entry: ModelEntry,
    *,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Path:
    """The file with a model's weights, downloaded first if it is not on this machine.

    The environment variable SKELPIPE_MIRROR replaces scheme and host of the address, for a mirror (https, or plain http
    on this very machine); the digest is checked all the same.

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
    digests = (entry.digest, *entry.other_digests)
    target = _Target(_mirrored(entry.url), cached_path(entry, cache_dir), digests)
    try:
        if not target.path.exists():
            _download_once(target, progress)
            return target.path
        actual = sha256_of(target.path)
    except OSError as error:
        raise WeightsError(
            f"{target.path}: cannot be read or written ({error.strerror or error}); free space, mend the permissions, "
            "or name another folder in SKELPIPE_CACHE"
        ) from error
    if not actual.startswith(digests):
        raise WeightsError(
            f"{target.path}: SHA-256 begins with {actual[:8]}, expected {_listed(digests)}; delete the file to have it "
            f"downloaded again from {target.url}, or pass it with --checkpoint if it is what you want"
        )
    return target.path


def _mirrored(url: str) -> str:
    mirror = os.environ.get("SKELPIPE_MIRROR")
    if mirror:
        base, original = urlsplit(mirror), urlsplit(url)
        path = base.path.rstrip("/") + original.path
        url = original._replace(scheme=base.scheme, netloc=base.netloc, path=path).geturl()
    if not _is_safe(url):
        raise WeightsError(f"{url}: weights come over https only; SKELPIPE_MIRROR must begin with https://")
    return url


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https down to a plain http that anybody on the way could answer."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not _is_safe(newurl):
            raise WeightsError(f"{req.full_url}: the server redirects to {newurl}, which is not https; refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download_once(target: _Target, progress: Progress | None) -> None:
    """Downloads under the part file's lock; whoever had to wait for it finds the file in place."""
    with locked_part(target.path) as part:
        if not target.path.exists():
            _fill(part, target, progress)
            _check_digest(part, target)
            os.fsync(part.fileno())
            os.replace(part_path(target.path), target.path)
        else:
            part_path(target.path).unlink(missing_ok=True)
        target.validator_path.unlink(missing_ok=True)


def _fill(part: BinaryIO, target: _Target, progress: Progress | None) -> None:
    """Tries until the part file is complete or no try brings more; every try goes on where the last one stopped."""
    furthest = part.seek(0, os.SEEK_END)
    idle = 0
    for _ in range(_MOST_TRIES):
        try:
            _try_once(part, target, progress)
            return
        except _CutOffError as error:
            reason = str(error)
        reached = part.seek(0, os.SEEK_END)
        idle = 0 if reached > furthest else idle + 1
        furthest = max(furthest, reached)
        if idle == len(_PAUSES):
            break
        time.sleep(_PAUSES[idle])
    raise WeightsError(
        f"{target.path.name} is not on this machine and could not be downloaded: {reason}. Get it from {target.url} "
        f"and put it at {target.path}, or name a copy with --checkpoint"
    )


def _try_once(part: BinaryIO, target: _Target, progress: Progress | None) -> None:
    """One request: the whole file, or its rest if the server still has the same file.

    Raises:
        _CutOffError: The body is incomplete, or what lay on disk had to be dropped.
        WeightsError: Another try would end the same way.
    """
    offset = part.seek(0, os.SEEK_END)
    known = _read_validator(target) if offset else None
    if known is None:
        offset = 0
    headers = {"User-Agent": "skelpipe", "Accept-Encoding": "identity"}
    if known is not None:
        headers |= {"Range": f"bytes={offset}-", "If-Range": known["validator"]}
    opener = urllib.request.build_opener(_SafeRedirects)
    try:
        response = opener.open(urllib.request.Request(target.url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            # What lies on disk is as long as the server's file or longer: not a beginning of it that can be continued.
            _restart(part, target)
            raise _CutOffError("the server has no more bytes than the part on disk") from error
        if error.code in _RETRIED_STATUS:
            raise _CutOffError(f"the server answered {error.code} {error.reason}") from error
        raise WeightsError(
            f"{target.url}: the server answered {error.code} {error.reason}; if you have {target.path.name} from "
            f"elsewhere, put it at {target.path} or name it with --checkpoint"
        ) from error
    except (urllib.error.URLError, OSError, HTTPException) as error:
        raise _CutOffError(f"no connection to {urlsplit(target.url).netloc} ({_cause(error)})") from error
    with closing(response):
        if response.status == 206:
            total = _continued_total(response, part, offset, known, target)
        else:
            offset = 0
            total = _whole_total(response, target)
            _restart(part, target)
            _write_validator(response, target, total)
        part.seek(offset)
        _copy(response, part, offset, total, progress)


def _continued_total(
    response: HTTPResponse, part: BinaryIO, offset: int, known: dict[str, Any] | None, target: _Target
) -> int:
    """Length of the whole file from a 206 answer, which must continue exactly what lies on disk."""
    span, _, length = (response.headers.get("Content-Range") or "").removeprefix("bytes ").partition("/")
    first = span.partition("-")[0]
    same = known is not None and known["length"] in (None, _as_int(length))
    if not same or _as_int(first) != offset or _as_int(length) is None:
        _restart(part, target)
        raise _CutOffError("the server's file changed while it was being downloaded")
    return int(length)


def _whole_total(response: HTTPResponse, target: _Target) -> int | None:
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise WeightsError(f"{target.url}: the server sends the file in the encoding {encoding!r}, not as it is")
    length = _as_int(response.headers.get("Content-Length"))
    if length is not None and length > _MOST_BYTES:
        raise WeightsError(f"{target.url}: the server announces {length} bytes, more than any network has")
    return length


def _copy(response: HTTPResponse, part: BinaryIO, offset: int, total: int | None, progress: Progress | None) -> None:
    while True:
        if progress is not None:
            progress(offset, total)
        try:
            # read1 hands on what has arrived; read would hold it back until a whole chunk is there.
            chunk = response.read1(_CHUNK)
        except (OSError, HTTPException) as error:
            raise _CutOffError(f"the connection broke after {offset} bytes ({_cause(error)})") from error
        if not chunk:
            break
        if offset + len(chunk) > (_MOST_BYTES if total is None else total):
            raise _CutOffError(f"the server sent more than the {total} bytes it had announced")
        part.write(chunk)
        # A killed process loses what it still buffers, and with it the bytes to go on from.
        part.flush()
        offset += len(chunk)
    if total is not None and offset < total:
        raise _CutOffError(f"the connection ended after {offset} of {total} bytes")


def _check_digest(part: BinaryIO, target: _Target) -> None:
    actual = sha256_of(part_path(target.path))
    if actual.startswith(target.digests):
        return
    length = part.seek(0, os.SEEK_END)
    part_path(target.path).unlink(missing_ok=True)
    target.validator_path.unlink(missing_ok=True)
    raise WeightsError(
        f"{target.url}: SHA-256 of the {length} bytes received begins with {actual[:8]}, expected "
        f"{_listed(target.digests)}; they were deleted. Try again, or name a file that you trust with --checkpoint"
    )


def _restart(part: BinaryIO, target: _Target) -> None:
    # The note goes first: bytes without a note are never continued, a note about other bytes would be believed.
    target.validator_path.unlink(missing_ok=True)
    part.seek(0)
    part.truncate()


def _write_validator(response: HTTPResponse, target: _Target, total: int | None) -> None:
    """Notes beside the part file which version of the server's file it is, so that only that one is continued."""
    tag = response.headers.get("ETag", "")
    # A weak tag (W/"...") promises the same meaning, not the same bytes.
    validator = tag if tag.startswith('"') else response.headers.get("Last-Modified")
    if validator:
        note = {"url": target.url, "validator": validator, "length": total}
        target.validator_path.write_text(json.dumps(note), encoding="utf-8")


def _read_validator(target: _Target) -> dict[str, Any] | None:
    with suppress(FileNotFoundError, ValueError):
        note = json.loads(target.validator_path.read_text(encoding="utf-8"))
        if isinstance(note, dict) and note.get("url") == target.url and isinstance(note.get("validator"), str):
            return {"length": None, **note}
    return None


def _as_int(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _listed(digests: tuple[str, ...]) -> str:
    return " or ".join(digest[:8] for digest in digests)


def _cause(error: BaseException) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, socket.gaierror):
        return "the name cannot be resolved: is this machine offline?"
    return str(reason) or type(reason).__name__
