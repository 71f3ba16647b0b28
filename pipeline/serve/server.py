"""Runs the application until SIGTERM or Ctrl-C, and then ends it in order."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.serve.app import create_app
from pipeline.serve.requests.errors import error_response
from pipeline.serve.service import Service
from pipeline.serve.settings import ServeSettings
from pose_extraction.errors import UsageError

# Open connections, such as event streams and downloads.
MOST_CONNECTIONS = 512
# Seconds for open responses after the jobs have ended.
LAST_RESPONSES = 5
# Seconds for the head of a request. Bodies have limits of their own, see `uploads`.
HEAD_SECONDS = 30.0
# Largest head of a request.
MOST_HEAD = 64 << 10
NO_HTTP = f"the request is not HTTP/1.1, or its head is larger than {MOST_HEAD:,} bytes; correct the client"


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Args:
        host: Name or address of the interface.
        port: Port; 0 for any free one.

    Raises:
        UsageError: The address is in use, or not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(128)
    except OSError as error:
        raise UsageError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror or error}); choose another port"
        ) from error
    return opened


class PatientProtocol(H11Protocol):
    """HTTP/1.1 with errors in the format of the service, a limit on the number of connections, and a time limit for the
    head of each request, so that idle clients cannot occupy all connections."""

    _deadline: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._within_limit, self.app = self.app, self._limited

    async def _limited(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request unless too many connections are open."""
        if len(self.connections) > MOST_CONNECTIONS:
            message = f"{MOST_CONNECTIONS} connections are open, the largest number allowed; try again later"
            headers = {"Retry-After": "5", "Connection": "close"}
            await error_response(503, "connections", message, headers)(scope, receive, send)
        else:
            await self._within_limit(scope, receive, send)

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            # An answer is under way.
            self.transport.close()
            return
        response = error_response(400, "http", NO_HTTP)
        headers = [*response.raw_headers, (b"connection", b"close")]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._arrived()

    def on_response_complete(self) -> None:
        self._expect()
        super().on_response_complete()

    def _expect(self) -> None:
        self._arrived()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Server(uvicorn.Server):
    """Ends in order at the first signal, and at once at the second one."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service
        self._draining: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()

        def received(_number: int, _frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._end)

        before = {number: signal.signal(number, received) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self) -> None:
        if self._draining is not None:
            self.force_exit = self.should_exit = True
            return

        async def drain() -> None:
            try:
                await self.service.drain()
            finally:
                self.should_exit = True

        self._draining = asyncio.create_task(drain())


def make_server(settings: ServeSettings) -> "_Server":
    """Create a server.

    Args:
        settings: Settings of the service.

    Raises:
        UsageError: The data folder is in use, or belongs to another version.
    """
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=LAST_RESPONSES,
        h11_max_incomplete_event_size=MOST_HEAD,
        http=PatientProtocol,
    )
    return _Server(config, app.state.service)


def serve(settings: ServeSettings, opened: socket.socket, tell: Callable[[str], None]) -> None:
    """Serve until a signal arrives.

    Args:
        settings: Settings of the service.
        opened: Socket from `listen`.
        tell: Called with a line about the runs that are served.

    Raises:
        UsageError: The data folder is in use, or belongs to another version.
    """
    server = make_server(settings)
    tell(f"runs: {server.service.catalogue.summary()}")
    server.run(sockets=[opened])
