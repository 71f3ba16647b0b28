"""A web server on 127.0.0.1 with scripted misbehaviour for each request."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Answers one request: (handler, whole file, requested offset).
Answer = Callable[[BaseHTTPRequestHandler, bytes, int], None]


def headers(handler: BaseHTTPRequestHandler, status: int, **fields: object) -> None:
    handler.send_response(status)
    for name, value in fields.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()


def tag_of(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


def correct_server(handler: BaseHTTPRequestHandler, content: bytes, offset: int) -> None:
    """A server that supports ranges and entity tags."""
    send(handler, content, offset, len(content))


def cut_after(count: int) -> Answer:
    """Announce the whole file, and close the connection after `count` bytes."""
    return lambda handler, content, offset: send(handler, content, offset, offset + count)


def send(handler: BaseHTTPRequestHandler, content: bytes, offset: int, stop: int) -> None:
    tag = tag_of(content)
    length = len(content)
    if offset and handler.headers.get("If-Range", tag) == tag:
        if offset >= length:
            headers(handler, 416, Content_Range=f"bytes */{length}", Content_Length=0)
            return
        span = f"bytes {offset}-{length - 1}/{length}"
        headers(handler, 206, Content_Length=length - offset, Content_Range=span, ETag=tag)
    else:
        offset = 0
        headers(handler, 200, Content_Length=length, ETag=tag)
    handler.wfile.write(content[offset:stop])


def without_ranges(handler: BaseHTTPRequestHandler, content: bytes, offset: int) -> None:
    headers(handler, 200, Content_Length=len(content))
    handler.wfile.write(content)


def status(code: int, **fields: object) -> Answer:
    return lambda handler, content, offset: headers(handler, code, Content_Length=0, **fields)


class ScriptedServer:
    """Answers the n-th request with the n-th answer, and all later ones with the last answer.

    Requests for headers alone are answered with `head`, or refused if it is None.
    """

    def __init__(self, content: bytes, *answers: Answer, head: Answer | None = None) -> None:
        self.content = content
        self.answers = answers or (correct_server,)
        self.offsets: list[int] = []  # Requested offset of each request.
        self.paths: list[str] = []
        self.heads: list[str] = []  # Paths of requests for headers.
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                offset = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-")
                with outer._lock:
                    answer = outer.answers[min(len(outer.offsets), len(outer.answers) - 1)]
                    outer.offsets.append(int(offset))
                    outer.paths.append(self.path)
                answer(self, outer.content, int(offset))

            def do_HEAD(self) -> None:
                outer.heads.append(self.path)
                (head or status(405))(self, outer.content, 0)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["ScriptedServer"]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()
