"""Who may use the service: a token, or programs on the same machine; and headers that limit what a page may do.

A service without a token listens on the loopback interface only. Pages of other sites can still send requests to it
from the user's browser, so `Origin`, `Sec-Fetch-Site` and `Host` are checked: the first two name the site of the page,
and the third one is wrong if a name of another site was made to point to this machine.
"""

import hashlib
import hmac
from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.serve.requests.errors import error_response

COOKIE = "skelpipe"
# Names of this machine on the loopback interface.
LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}
# Addresses that need no token: they show only whether the service is running, or are the same for everyone.
OPEN_PATHS = ("/livez", "/readyz", "/page/")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Middleware that refuses requests without permission, and adds headers to all responses.

    Args:
        app: The application.
        token: The secret; None for a service on the loopback interface without one.
        local: Whether the service listens on the loopback interface only.
        hosts: Further names of the service, under which a proxy offers it.
    """

    def __init__(self, app: ASGIApp, token: str | None, local: bool, hosts: Sequence[str] = ()) -> None:
        self._app, self._local = app, local
        self._hosts = {name.lower() for name in hosts}
        self._token = None if token is None else _digest(token)
        # The cookie holds a digest, so that the token cannot be read from a browser's files.
        self._cookie = None if token is None else _digest(f"cookie {token}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/v1/"):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        return self._wrong_site(scope, headers) or self._without_token(scope, headers)

    def _wrong_site(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if self._local and _name_of(host) not in LOCAL_NAMES | self._hosts:
            return error_response(
                403,
                "host",
                f"Host {host[:80]!r}: is not a name of this machine; use localhost or 127.0.0.1, or start the service "
                "with --allow-host and the name under which a proxy offers it",
            )
        is_foreign = headers.get("sec-fetch-site") == "cross-site" and not _follows_link(scope, headers)
        if is_foreign or self._is_other_site(headers.get("origin"), host):
            return error_response(
                403,
                "origin",
                "the request comes from a page of another site; open the page of the service instead. A proxy must "
                "pass on the header Host, or the service be started with --allow-host",
            )
        return None

    def _is_other_site(self, origin: str | None, host: str) -> bool:
        if origin is None:
            return False
        site = urlsplit_netloc(origin)
        return site != host and _name_of(site) not in self._hosts

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        if self._token is None or self._cookie is None or scope["path"].startswith(OPEN_PATHS):
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(_digest(given.strip()), self._token):
            return None
        if hmac.compare_digest(_digest(_cookie_in(headers)), _digest(self._cookie)):
            return None
        if scope["path"] == "/":
            return self._login(scope)
        return error_response(
            401,
            "token",
            "no valid token; send the header `Authorization: Bearer TOKEN`, or open /?token=TOKEN in a browser",
            {"WWW-Authenticate": "Bearer"},
        )

    def _login(self, scope: Scope) -> Response | None:
        """Exchange the token in the address of the page for a cookie; without one, the page itself asks for it."""
        assert self._token is not None and self._cookie is not None
        given = parse_qs(scope["query_string"].decode("latin1")).get("token", [""])[-1]
        if not hmac.compare_digest(_digest(given), self._token):
            return None
        response = RedirectResponse("/", status_code=303)
        response.set_cookie(COOKIE, self._cookie, httponly=True, samesite="strict", path="/", max_age=30 * 24 * 3600)
        return response


def _follows_link(scope: Scope, headers: Headers) -> bool:
    """Whether a browser opens the page because of a link on another site, which learns and changes nothing by it."""
    kind = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
    return scope["method"] == "GET" and scope["path"] == "/" and kind == ("navigate", "document")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _cookie_in(headers: Headers) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value


def urlsplit_netloc(address: str) -> str:
    """Return host and port of an address; nothing if it is malformed."""
    try:
        return urlsplit(address).netloc
    except ValueError:
        return ""


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
