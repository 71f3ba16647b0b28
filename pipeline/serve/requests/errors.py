"""Errors of the service, and how they appear in responses: {"error": {"kind": ..., "message": ...}}."""

import errno
import logging
import sqlite3
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pose_extraction.errors import SkelpipeError

# The disk, or the share of it that the user may fill, is full; the last one: files may not be larger.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
log = logging.getLogger(__name__)

_KINDS = {
    400: "header", 401: "token", 403: "forbidden", 404: "not_found", 405: "method", 413: "too_large", 416: "range",
}  # fmt: skip


class ServiceError(Exception):
    """A request cannot be served.

    Args:
        status: HTTP status.
        kind: One word for programs.
        message: What is wrong, where, and what to do.
        headers: Further headers of the response.
    """

    def __init__(self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message
        self.headers = dict(headers or {})

    def response(self) -> JSONResponse:
        """Return the response."""
        return error_response(self.status, self.kind, self.message, self.headers)


def error_response(status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the response for an error; arguments as `ServiceError`."""
    content = {"error": {"kind": kind, "message": message}}
    return JSONResponse(content, status_code=status, headers=dict(headers or {}))


def not_found(what: str, name: str) -> ServiceError:
    """Return the error for something that does not exist.

    Args:
        what: Kind of thing.
        name: Its id.
    """
    return ServiceError(404, "not_found", f"{what} {name}: does not exist; GET /v1/jobs lists the jobs")


def _is_disk_full(error: Exception) -> bool:
    if isinstance(error, sqlite3.Error):
        return error.sqlite_errorcode == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in _FULL


def add_error_handlers(app: FastAPI) -> None:
    """Make an application answer all errors in the same format."""

    async def service_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ServiceError)
        return error.response()

    async def usage_error(_: Request, error: Exception) -> JSONResponse:
        return error_response(422, "usage", str(error))

    async def system_error(request: Request, error: Exception) -> JSONResponse:
        if _is_disk_full(error):
            return error_response(
                507, "disk_full", f"the disk of the service is full ({error}); delete jobs or free disk space"
            )
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return error_response(500, "internal", "the service cannot use its files; see its log")

    async def http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        message = f"{request.method} {request.url.path}: {error.detail}; GET /docs lists the addresses"
        return error_response(error.status_code, _KINDS.get(error.status_code, "http"), message, error.headers)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return error_response(422, "usage", f"{place}: {first['msg']}; GET /docs describes the request")

    async def internal(request: Request, _: Exception) -> JSONResponse:
        # The server logs it.
        message = f"{request.method} {request.url.path}: a fault of the service; see its log"
        return error_response(500, "internal", message)

    app.add_exception_handler(Exception, internal)
    app.add_exception_handler(ServiceError, service_error)
    app.add_exception_handler(SkelpipeError, usage_error)
    app.add_exception_handler(OSError, system_error)
    app.add_exception_handler(sqlite3.Error, system_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)


class UniformErrors:
    """Middleware that puts errors which the web framework words as text, such as those of ranges, in our format.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message | None = None
        text = b""

        async def send_uniformly(message: Message) -> None:
            nonlocal start, text
            if message["type"] == "http.response.start" and _is_text_error(message):
                start = message
            elif start is None:
                await send(message)
            else:
                text += message.get("body", b"")
                if not message.get("more_body", False):
                    await _in_our_format(start, text.decode(errors="replace"))(scope, receive, send)

        await self._app(scope, receive, send_uniformly)


def _is_text_error(message: Message) -> bool:
    return message["status"] >= 400 and Headers(raw=message["headers"]).get("content-type", "").startswith("text/plain")


def _in_our_format(start: Message, text: str) -> JSONResponse:
    status, headers = start["status"], Headers(raw=start["headers"])
    known = headers.get("content-range")
    if status == 416 and known is not None:
        text = f"Range: lies outside the file, which has {known.rpartition('/')[2]} bytes; ask for less"
    kept = {name: value for name, value in headers.items() if name not in ("content-type", "content-length")}
    return error_response(status, _KINDS.get(status, "http"), text, kept)
