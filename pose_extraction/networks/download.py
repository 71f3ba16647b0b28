"""Download a file over HTTPS: resumable, verified, atomic, and safe with concurrent processes.

Incomplete data is stored in a hidden part file next to the destination, under a lock that makes other processes wait.
An interrupted or killed run leaves the part file, and a note that identifies the version of the file on the server.
The next run resumes from there.
"""

import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any, BinaryIO
from urllib.parse import urlsplit

from pose_extraction.errors import WeightsError
from pose_extraction.files import discard, locked_part, part_path, put_in_place, sha256_of

# Called with the number of bytes on disk and the length of the file (None if unknown).
Progress = Callable[[int, int | None], None]

_TIMEOUT = 30.0  # Seconds without receiving a byte.
_CHUNK = 1 << 18
_PAUSES = (0.0, 0.2, 0.5, 1.0)  # Seconds before retrying, after consecutive attempts without new bytes.
_MOST_TRIES = 50
_MOST_BYTES = 16 << 30  # Several times the largest network. An endless response must not fill the disk.
_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class _CutOffError(Exception):
    """The connection failed or ended early. Retrying may succeed."""


@dataclass(frozen=True)
class _Note:
    """Version of the server's file to which the bytes on disk belong."""

    url: str
    validator: str | None
    length: int | None


def is_safe(url: str) -> bool:
    """Return whether a URL is safe from tampering in transit: HTTPS, or HTTP to this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def download(url: str, path: Path, *, digests: tuple[str, ...], progress: Progress | None = None) -> None:
    """Download a file, unless another process has completed it in the meantime.

    Args:
        url: HTTPS address, or HTTP on this machine.
        path: Destination.
        digests: Accepted SHA-256 digests, or their first hexadecimal digits; the file must match one of them. If there
            are none, the file must have the length that the server announces.
        progress: Called with (bytes on disk, total length or None).

    Raises:
        WeightsError: Unsafe address, no connection, request refused, repeated interruptions, or wrong digest.
        OSError: The disk is full or the folder is not writable.
    """
    if not is_safe(url):
        raise WeightsError(f"{url}: weights are downloaded over HTTPS only; use an https:// address")
    with locked_part(path) as part:
        if path.exists():
            part_path(path).unlink(missing_ok=True)
        else:
            _Download(url, path, digests, progress, part).run()


def announced(url: str) -> Mapping[str, str]:
    """Return the headers with which a server announces a file, before any redirect; none if it does not answer.

    Args:
        url: HTTPS address, or HTTP on this machine.
    """
    opener = urllib.request.build_opener(_NoRedirects)
    request = urllib.request.Request(url, headers={"User-Agent": "skelpipe"}, method="HEAD")
    try:
        with closing(opener.open(request, timeout=_TIMEOUT)) as response:
            return dict(response.headers)
    except urllib.error.HTTPError as error:
        error.close()
        return dict(error.headers) if error.code in _REDIRECTS else {}
    except (OSError, HTTPException):
        return {}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect; the opener then raises an error with the headers of the answer."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but refuses those from HTTPS to plain HTTP, which allow tampering in transit."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not is_safe(newurl):
            raise WeightsError(f"{req.full_url}: the server redirects to {newurl}, which is not HTTPS; refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Download:
    """Download of one file whose part file is open and locked."""

    def __init__(
        self, url: str, path: Path, digests: tuple[str, ...], progress: Progress | None, part: BinaryIO
    ) -> None:
        self.url = url
        self.path = path
        self.digests = digests
        self.progress = progress
        self.part = part

    def run(self) -> None:
        # A run that was killed just before the rename leaves the complete file.
        if not self._matches():
            continued = self._size() > 0
            self._fill()
            if continued and not self._matches():
                # The bytes from the earlier run may be wrong. Download again without them.
                self._restart()
                self._fill()
        if not self._matches():
            length, actual = self._size(), sha256_of(part_path(self.path))
            self._restart()
            discard(self.part, self.path)
            expected = f"expected {' or '.join(self.digests)}" if self.digests else "and the server announced no length"
            raise WeightsError(
                f"{self.url}: the SHA-256 of the {length} bytes received starts with {actual[:8]}, {expected}; they "
                f"were deleted. Try again, or put a trusted file at {self.path}"
            )
        os.fsync(self.part.fileno())
        _note_path(self.path).unlink(missing_ok=True)
        put_in_place(self.part, self.path)

    def _matches(self) -> bool:
        if not self.digests:
            note = self._read_note()
            return note is not None and note.length == self._size()
        return self._size() > 0 and sha256_of(part_path(self.path)).startswith(self.digests)

    def _fill(self) -> None:
        """Retry until the part file is complete or no progress is made. Each attempt resumes the previous one."""
        furthest = self._size()
        idle = 0
        for _ in range(_MOST_TRIES):
            try:
                self._try_once()
                return
            except _CutOffError as error:
                reason = str(error)
            reached = self._size()
            idle = 0 if reached > furthest else idle + 1
            furthest = max(furthest, reached)
            if idle == len(_PAUSES):
                break
            time.sleep(_PAUSES[idle])
        raise WeightsError(
            f"{self.path.name} is not on this machine and could not be downloaded: {reason}. Try again, or download "
            f"{self.url} to {self.path}"
        )

    def _try_once(self) -> None:
        """Request the whole file, or the rest of it if the server still has the same version.

        Raises:
            _CutOffError: The response is incomplete, or the data on disk was discarded.
            WeightsError: Retrying would not help.
        """
        offset = self._size()
        note = self._read_note() if offset else None
        headers = {"User-Agent": "skelpipe", "Accept-Encoding": "identity"}
        if note is not None:
            headers["Range"] = f"bytes={offset}-"
            if note.validator is not None:
                headers["If-Range"] = note.validator
        with closing(self._open(headers)) as response:
            if response.status == 206 and note is not None:
                total: int | None = self._continued_length(response, offset, note)
            else:
                offset, total = 0, self._whole_length(response)
                self._restart()
                self._write_note(response, total)
            self._copy(response, offset, total)

    def _open(self, headers: dict[str, str]) -> HTTPResponse:
        opener = urllib.request.build_opener(_SafeRedirects)
        try:
            return opener.open(urllib.request.Request(self.url, headers=headers), timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            error.close()
            answer = f"the server answered {error.code} {error.reason}"
            if error.code == 416:
                # The server's file is shorter than the data on disk, so the data belongs to another file.
                self._restart()
            elif error.code not in _RETRIED_STATUS:
                raise WeightsError(
                    f"{self.url}: {answer}; if you have a copy of {self.path.name}, move it to {self.path}"
                ) from error
            raise _CutOffError(answer) from error
        except (OSError, HTTPException) as error:
            raise _CutOffError(f"no connection to {urlsplit(self.url).netloc} ({_cause(error)})") from error

    def _continued_length(self, response: HTTPResponse, offset: int, note: _Note) -> int:
        """Return the length of the whole file from a 206 response, which must continue right after the data on disk."""
        span, _, length = (response.headers.get("Content-Range") or "").removeprefix("bytes ").partition("/")
        total = _as_int(length)
        if total is None or _as_int(span.partition("-")[0]) != offset or note.length not in (None, total):
            self._restart()
            raise _CutOffError("the server's file changed while it was being downloaded")
        return total

    def _whole_length(self, response: HTTPResponse) -> int | None:
        encoding = response.headers.get("Content-Encoding", "identity")
        length = _as_int(response.headers.get("Content-Length"))
        if response.status != 200 or encoding != "identity" or (length or 0) > _MOST_BYTES:
            raise WeightsError(
                f"{self.url}: not a plain file (status {response.status}, encoding {encoding}, {length} bytes)"
            )
        return length

    def _copy(self, response: HTTPResponse, offset: int, total: int | None) -> None:
        self.part.seek(offset)
        while True:
            if self.progress is not None:
                self.progress(offset, total)
            try:
                # read1 returns the data that has arrived; read would wait for a whole chunk.
                chunk = response.read1(_CHUNK)
            except (OSError, HTTPException) as error:
                raise _CutOffError(f"the connection broke after {offset} bytes ({_cause(error)})") from error
            if not chunk:
                break
            if offset + len(chunk) > (_MOST_BYTES if total is None else total):
                raise _CutOffError(f"the server sent more than the announced {total} bytes")
            self.part.write(chunk)
            # Data in buffers is lost if the process is killed, and could not be resumed.
            self.part.flush()
            offset += len(chunk)
        if total is not None and offset < total:
            raise _CutOffError(f"the connection ended after {offset} of {total} bytes")

    def _size(self) -> int:
        return self.part.seek(0, os.SEEK_END)

    def _restart(self) -> None:
        # Delete the note first: bytes without a note are discarded, but a wrong note would be trusted.
        _note_path(self.path).unlink(missing_ok=True)
        self.part.seek(0)
        self.part.truncate()

    def _write_note(self, response: HTTPResponse, total: int | None) -> None:
        tag = response.headers.get("ETag", "")
        # A weak tag (W/"...") guarantees equivalent content, not identical bytes.
        validator = tag if tag.startswith('"') else response.headers.get("Last-Modified")
        note = {"url": self.url, "validator": validator, "length": total}
        _note_path(self.path).write_text(json.dumps(note), encoding="utf-8")

    def _read_note(self) -> _Note | None:
        """Return the note, unless it is damaged, is for another URL, or cannot detect a changed file."""
        with suppress(FileNotFoundError, ValueError, TypeError):
            note = _Note(**json.loads(_note_path(self.path).read_text(encoding="utf-8")))
            if note.url == self.url and (note.validator or note.length):
                return note
        return None


def _note_path(path: Path) -> Path:
    part = part_path(path)
    return part.with_name(f"{part.name}.json")


def _as_int(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _cause(error: BaseException) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, socket.gaierror):
        return "the host name cannot be resolved: is this machine offline?"
    return str(reason) or type(reason).__name__
