"""A service in a process of its own, and requests to it."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
# Seconds after which a test fails instead of waiting.
PATIENCE = 120
ENDED = ("done", "failed", "cancelled", "quarantined")


class Reply:
    """Status, headers and body of a response."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        """Kind of the error."""
        kind: str = self.json()["error"]["kind"]
        return kind


class RunningService:
    """Starts `skelpipe serve` on a free port and stops it at the end; use it as a context manager.

    Args:
        data: Its data folder.
        words: Further words of the command line.
        folder: Working directory.
        token: Its token; None for none.
        first: Folder with modules that come before all others; None for none.
    """

    def __init__(
        self,
        data: Path,
        *words: str | Path,
        folder: Path | None = None,
        token: str | None = None,
        first: Path | None = None,
    ) -> None:
        self.data, self._words, self._folder, self._token = data, words, folder, token
        self._path = os.pathsep.join(str(place) for place in (first, ROOT) if place is not None)
        self.process: subprocess.Popen[str]
        self.host, self.port = "127.0.0.1", 0
        self.log: list[str] = []

    def start(self) -> "RunningService":
        """Start the process, and wait until it listens."""
        words = ["serve", "--port", "0", "--data", self.data, "--min-free", "1M", *self._words]
        if self._token is not None:
            words += ["--token", self._token]
        environment = os.environ | {"PYTHONPATH": self._path, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "skelpipe", *map(str, words)],
            cwd=self._folder or self.data.parent,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._read_log, daemon=True).start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("http://"), f"the service did not start: {self.log}"
        port = urlsplit(line.strip()).port
        assert port is not None
        self.port = port
        return self

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip())

    def __enter__(self) -> "RunningService":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Send SIGTERM, and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def connection(self) -> http.client.HTTPConnection:
        """Return a new connection."""
        return http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, **more: str
    ) -> Reply:
        """Send a request; keyword arguments are headers.

        Args:
            method: HTTP method.
            path: Path and query.
            body: Bytes, a file, or anything that is sent as JSON.
            headers: Headers.
            more: Further headers, with "_" in place of "-".
        """
        sent = {**(headers or {}), **{name.replace("_", "-"): value for name, value in more.items()}}
        if self._token is not None:
            sent.setdefault("Authorization", f"Bearer {self._token}")
        if body is not None and not isinstance(body, bytes) and not hasattr(body, "read"):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = self.connection()
        try:
            connection.request(method, path, body, sent)
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """Return the JSON of an address, which must exist."""
        reply = self.ask("GET", path)
        assert reply.status == 200, reply.body
        return reply.json()

    def submit(self, path: Path, query: str = "", headers: Mapping[str, str] | None = None) -> str:
        """Upload a video; return the id of its job."""
        reply = self.ask("POST", f"/v1/jobs?name={path.name}{query}", path.read_bytes(), headers)
        assert reply.status == 202, reply.body
        job: str = reply.json()["id"]
        return job

    def events(self, path: str, last: str | None = None) -> Iterator[tuple[str, str, Any]]:
        """Yield the events of a stream as (number, kind, data) until it ends."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last is not None else {})
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        connection = self.connection()
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            assert response.status == 200, response.read()
            fields: dict[str, str] = {}
            for raw in response:
                line = raw.decode().rstrip("\n")
                name, _, value = line.partition(": ")
                if name:
                    fields[name] = value
                elif "event" in fields:
                    yield fields.get("id", ""), fields["event"], json.loads(fields["data"])
                    fields = {}
        finally:
            connection.close()

    def finished(self, job: str) -> dict[str, Any]:
        """Wait until a job has ended, and return it."""
        *_, (_, _, last) = self.events(f"/v1/jobs/{job}/events")
        found: dict[str, Any] = last
        assert found["state"] in ENDED, found
        return found

    def workers(self) -> list[int]:
        """Return the numbers of the worker processes."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal():
                continue
            try:
                status = (folder / "stat").read_text()
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if int(status.rpartition(")")[2].split()[1]) == self.process.pid and b"spawn_main" in command:
                found.append(int(folder.name))
        return found
