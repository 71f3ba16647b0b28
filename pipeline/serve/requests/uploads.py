"""Bodies of requests: streamed to disk with limits on size and time, or read as JSON with a limit on size."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from pipeline.serve.requests.errors import ServiceError
from pipeline.serve.settings import Pace

# After an error, so much more of the body is read and dropped, for so many seconds: a client that is still sending
# would otherwise see a broken connection instead of the reason.
MOST_DROPPED, DROPPING_SECONDS = 64 << 20, 5.0
DEFAULT_PACE = Pace()
# Bytes that are collected before they are written in a thread.
WRITTEN_AT_ONCE = 1 << 20
# Largest JSON body, and largest form field that is not a file.
MOST_JSON, MOST_FIELD = 16 << 20, 1 << 16


def check_length(request: Request, most: int) -> None:
    """Refuse a request whose announced body is too large, before any of it is read.

    Args:
        request: The request.
        most: Largest size in bytes.

    Raises:
        ServiceError: It is too large, or its size is not a number.
    """
    length = request.headers.get("content-length")
    if length is None:
        return
    if not (length.isascii() and length.isdecimal()):
        raise ServiceError(400, "header", f"Content-Length {length[:40]!r}: is not a number of bytes")
    if int(length) > most:
        raise _too_large(most)


def _too_large(most: int) -> ServiceError:
    return ServiceError(
        413,
        "too_large",
        f"the body is larger than {most:,} bytes; send less at once. The limit of videos is the option --max-upload",
    )


async def chunks(request: Request, most: int, pace: Pace) -> AsyncIterator[bytes]:
    """Yield the body of a request.

    Args:
        request: The request.
        most: Largest size in bytes.
        pace: How slowly it may arrive.

    Raises:
        ServiceError: The body is too large or too slow, or the client has left.
    """
    size = 0
    # Seconds of waiting, and bytes, in the current window.
    waited, received = 0.0, 0
    stream = request.stream().__aiter__()
    while True:
        began = time.monotonic()
        try:
            chunk = await asyncio.wait_for(anext(stream), pace.idle)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise _too_slow(f"no data for {pace.idle:g} s after {size:,} bytes; upload again") from None
        except ClientDisconnect:
            raise ServiceError(400, "disconnected", f"the client left after {size:,} bytes; upload again") from None
        waited, received, size = waited + time.monotonic() - began, received + len(chunk), size + len(chunk)
        if size > most:
            raise _too_large(most)
        if waited >= pace.window:
            if received < pace.least_rate * waited:
                raise _too_slow(
                    f"only {received:,} bytes in {waited:.3g} s after {size - received:,} bytes, but "
                    f"{pace.least_rate:,} per second are required; upload over a faster connection, or start the "
                    "service with a smaller --min-rate"
                )
            waited, received = 0.0, 0
        yield chunk


def _too_slow(message: str) -> ServiceError:
    return ServiceError(408, "slow", message, {"Connection": "close"})


@asynccontextmanager
async def _answered_after_errors(request: Request) -> AsyncIterator[None]:
    """Read on after an error, within limits, so that the client gets to read the answer."""
    try:
        yield
    except Exception as error:
        if not (isinstance(error, ServiceError) and error.kind in ("slow", "disconnected")):
            with suppress(TimeoutError, ClientDisconnect, RuntimeError):
                await asyncio.wait_for(_drop(request), DROPPING_SECONDS)
        raise


async def _drop(request: Request) -> None:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MOST_DROPPED:
            return


class _Writer:
    """Writes pieces to a file in a thread, many at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting: list[bytes] = []
        self._size = self.written = 0

    def add(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data)

    async def flush(self, *, least: int = 0) -> None:
        if self._size > least:
            pieces, self.written = self._waiting, self.written + self._size
            self._waiting, self._size = [], 0
            await asyncio.to_thread(_write_all, self._file, b"".join(pieces))

    async def end(self) -> None:
        await self.flush()
        await asyncio.to_thread(os.fsync, self._file.fileno())


def _write_all(file: BinaryIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


async def save_body(request: Request, path: Path, most: int, pace: Pace) -> int:
    """Write the body of a request to a file, and flush it to disk; return its size in bytes.

    Args:
        request: The request.
        path: The file.
        most: Largest size in bytes.
        pace: How slowly it may arrive.

    Raises:
        ServiceError: The body is too large or too slow, or the client has left.
        OSError: It cannot be written.
    """
    async with _answered_after_errors(request):
        # Without a buffer, in which data would remain that does not fit on the disk.
        with path.open("wb", buffering=0) as file:
            writer = _Writer(file)
            async for chunk in chunks(request, most, pace):
                writer.add(chunk)
                await writer.flush(least=WRITTEN_AT_ONCE)
            await writer.end()
            return writer.written


class _Form:
    """Parts of a form: one goes to a file, the others are kept as text."""

    def __init__(self, begin_file: Callable[[str], BinaryIO]) -> None:
        self.fields: dict[str, str] = {}
        self.name: str | None = None
        self.writer: _Writer | None = None
        self.file: BinaryIO | None = None
        self._begin_file = begin_file
        self._header = [b"", b""]
        self._headers: dict[bytes, bytes] = {}
        self._field: str | None = None
        self._data = b""

    def callbacks(self) -> dict[str, Callable]:
        return {
            "on_part_begin": self._headers.clear,
            "on_header_field": lambda data, start, end: self._add_header(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._add_header(1, data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin,
            "on_part_data": lambda data, start, end: self._add(data[start:end]),
            "on_part_end": self._end,
        }

    def _add_header(self, place: int, data: bytes) -> None:
        self._header[place] += data

    def _end_header(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def _begin(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename")
        self._field, self._data = name, b""
        if filename is None and name != "file":
            return
        if self.writer is not None:
            raise ServiceError(400, "form", "the form contains two files; send one request for each video")
        self._field, self.name = None, (filename or b"video").decode("utf-8", "replace")
        self.file = self._begin_file(self.name)
        self.writer = _Writer(self.file)

    def _add(self, data: bytes) -> None:
        if self._field is None:
            assert self.writer is not None
            self.writer.add(data)
        elif len(self._data) + len(data) > MOST_FIELD:
            raise ServiceError(413, "too_large", f"form field {self._field[:40]!r}: has more than {MOST_FIELD:,} bytes")
        else:
            self._data += data

    def _end(self) -> None:
        if self._field is not None:
            self.fields[self._field] = self._data.decode("utf-8", "replace")


async def save_form(
    request: Request, most: int, pace: Pace, begin_file: Callable[[str], BinaryIO]
) -> tuple[str, dict[str, str]]:
    """Write the file in a form to disk, without a copy in a temporary folder.

    Args:
        request: The request.
        most: Largest size of the body in bytes.
        pace: How slowly it may arrive.
        begin_file: Opens the file to write, without a buffer, given its name in the form.

    Returns:
        Name of the file, and the other fields of the form.

    Raises:
        ServiceError: The form is malformed, has no file or several, is too large or too slow.
        OSError: The file cannot be written.
    """
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if not boundary:
        raise ServiceError(400, "form", "multipart/form-data without a boundary; use an HTTP library to build the form")
    form = _Form(begin_file)
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        async with _answered_after_errors(request):
            async for chunk in chunks(request, most, pace):
                parser.write(chunk)
                if form.writer is not None:
                    await form.writer.flush(least=WRITTEN_AT_ONCE)
        parser.finalize()
        if form.writer is None or form.name is None:
            raise ServiceError(400, "form", "the form has no file; send the video in the field `file`")
        await form.writer.end()
    except FormParserError as error:
        raise ServiceError(400, "form", f"the form is malformed ({error}); use an HTTP library to build it") from error
    finally:
        if form.file is not None:
            form.file.close()
    return form.name, form.fields


async def read_json(request: Request) -> Any:
    """Return the JSON body of a request.

    Args:
        request: The request.

    Raises:
        ServiceError: It is too large, or not JSON.
    """
    return parse_json(await read_body(request))


async def read_body(request: Request, most: int = MOST_JSON, pace: Pace = DEFAULT_PACE) -> bytes:
    """Return the body of a request.

    Args:
        request: The request.
        most: Largest size in bytes.
        pace: How slowly it may arrive.

    Raises:
        ServiceError: It is too large or too slow.
    """
    check_length(request, most)
    return b"".join([chunk async for chunk in chunks(request, most, pace)])


def parse_json(body: bytes) -> Any:
    """Parse JSON.

    Raises:
        ServiceError: It is not JSON, or too deeply nested.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise ServiceError(400, "json", f"the body is not valid JSON ({reason}); GET /docs describes it") from error
