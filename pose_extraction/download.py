"""One file over https: resumed where it was cut off, checked, put in place by rename, fetched by one process at a time.

Until a file is whole its bytes lie in the hidden part file beside it, under a lock that makes other processes wait; a
run that is cut off or killed leaves the part file, and a small note of which version of the server's file it is a part
of, and the next run goes on from there.
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

# Called with the bytes on disk so far and the file's length (None while unknown).
Progress = Callable[[int, int | None], None]

_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 18
_PAUSES = (0.0, 0.2, 0.5, 1.0)  # seconds before another try that follows one without a new byte
_MOST_TRIES = 50
_MOST_BYTES = 16 << 30  # several times the largest network; a stream without end must not fill the disk
_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class _CutOffError(Exception):
    """The connection failed or ended early; another try may bring more."""


@dataclass(frozen=True)
class _Note:
    """Which version of the server's file the bytes on disk belong to."""

    url: str
    validator: str | None
    length: int | None


def is_safe(url: str) -> bool:
    """Whether nobody on the way can answer in the server's place: https, or plain http within this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def download(url: str, path: Path, *, digests: tuple[str, ...], progress: Progress | None = None) -> None:
    """Fetches a file unless another process has put it in place meanwhile.

    Args:
        url: Address; https, or http on this machine.
        path: Where the file is to be.
        digests: Beginnings of the SHA-256, in hexadecimal digits, of which the file must have one.
        progress: Called with (bytes so far, length or None).

    Raises:
        WeightsError: Unsafe address, no connection, refused, cut off time and again, or a wrong digest.
        OSError: The disk is full or the folder cannot be written.
    """
    if not is_safe(url):
        raise WeightsError(f"{url}: weights come over https only")
    with locked_part(path) as part:
        if path.exists():
            part_path(path).unlink(missing_ok=True)
        else:
            _Download(url, path, digests, progress, part).run()


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https down to a plain http that anybody on the way could answer."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not is_safe(newurl):
            raise WeightsError(f"{req.full_url}: the server redirects to {newurl}, which is not https; refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Download:
    """The download of one file whose part file is open and locked."""

    def __init__(
        self, url: str, path: Path, digests: tuple[str, ...], progress: Progress | None, part: BinaryIO
    ) -> None:
        self.url = url
        self.path = path
        self.digests = digests
        self.progress = progress
        self.part = part

    def run(self) -> None:
        # A run that was killed just before the rename has left the whole file.
        if not self._matches():
            continued = self._size() > 0
            self._fill()
            if continued and not self._matches():
                # The bytes that were found may have been the bad ones: once more, without them.
                self._restart()
                self._fill()
        if not self._matches():
            length, actual = self._size(), sha256_of(part_path(self.path))
            self._restart()
            part_path(self.path).unlink()
            raise WeightsError(
                f"{self.url}: SHA-256 of the {length} bytes received begins with {actual[:8]}, expected "
                f"{' or '.join(self.digests)}; they were deleted. Try again, or name a file that you trust with "
                "--checkpoint (of a detector: --detector-checkpoint)"
            )
        os.fsync(self.part.fileno())
        _note_path(self.path).unlink(missing_ok=True)
        part_path(self.path).replace(self.path)

    def _matches(self) -> bool:
        return self._size() > 0 and sha256_of(part_path(self.path)).startswith(self.digests)

    def _fill(self) -> None:
        """Tries until the part file is complete or no try brings more; every try goes on where the last one stopped."""
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
            f"{self.path.name} is not on this machine and could not be downloaded: {reason}. Get it from {self.url} "
            f"and put it at {self.path}, or name a copy with --checkpoint (of a detector: --detector-checkpoint)"
        )

    def _try_once(self) -> None:
        """One request: the whole file, or its rest if the server still has the same file.

        Raises:
            _CutOffError: The body is incomplete, or what lay on disk had to be dropped.
            WeightsError: Another try would end the same way.
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
                # The server's file ends before what lies on disk: that is no beginning of it.
                self._restart()
            elif error.code not in _RETRIED_STATUS:
                raise WeightsError(
                    f"{self.url}: {answer}; if you have {self.path.name} from elsewhere, put it at {self.path} or name "
                    "it with --checkpoint"
                ) from error
            raise _CutOffError(answer) from error
        except (OSError, HTTPException) as error:
            raise _CutOffError(f"no connection to {urlsplit(self.url).netloc} ({_cause(error)})") from error

    def _continued_length(self, response: HTTPResponse, offset: int, note: _Note) -> int:
        """Length of the whole file from a 206 answer, which must continue exactly what lies on disk."""
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
                # read1 hands on what has arrived; read would hold it back until a whole chunk is there.
                chunk = response.read1(_CHUNK)
            except (OSError, HTTPException) as error:
                raise _CutOffError(f"the connection broke after {offset} bytes ({_cause(error)})") from error
            if not chunk:
                break
            if offset + len(chunk) > (_MOST_BYTES if total is None else total):
                raise _CutOffError(f"the server sent more than the {total} bytes that it had announced")
            self.part.write(chunk)
            # A killed process loses what it still buffers, and with it the bytes to go on from.
            self.part.flush()
            offset += len(chunk)
        if total is not None and offset < total:
            raise _CutOffError(f"the connection ended after {offset} of {total} bytes")

    def _size(self) -> int:
        return self.part.seek(0, os.SEEK_END)

    def _restart(self) -> None:
        # The note goes first: bytes without a note are dropped, a note about other bytes would be believed.
        _note_path(self.path).unlink(missing_ok=True)
        self.part.seek(0)
        self.part.truncate()

    def _write_note(self, response: HTTPResponse, total: int | None) -> None:
        tag = response.headers.get("ETag", "")
        # A weak tag (W/"...") promises the same meaning, not the same bytes.
        validator = tag if tag.startswith('"') else response.headers.get("Last-Modified")
        note = {"url": self.url, "validator": validator, "length": total}
        _note_path(self.path).write_text(json.dumps(note), encoding="utf-8")

    def _read_note(self) -> _Note | None:
        """The note, unless it is damaged, of another address, or says nothing by which a change would show."""
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
        return "the name cannot be resolved: is this machine offline?"
    return str(reason) or type(reason).__name__
