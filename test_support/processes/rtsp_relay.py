"""RTSP server on 127.0.0.1: the recording of one connection (ANNOUNCE, RECORD) is played to another (DESCRIBE, PLAY).

RTP packets are interleaved in the connection (RFC 2326, section 10.12). The relay reads from the recorder only what
it can forward, so nothing is lost or queued. The recorder is this file run as a command, in a separate
process, because PyAV holds the GIL while it waits for the response to ANNOUNCE.
"""

import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

# Timeout in seconds of a silent connection: on a busy machine, networks take a minute to load.
PATIENCE = 240.0


class Relay:
    """One stream: its description and its player.

    Args:
        seconds: Duration in the description, as for a recording; None for a live stream.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.address = ""
        self.methods: list[str] = []
        self.described = threading.Event()
        self.playing = threading.Event()
        self._description = b""
        self._player: _Connection | None = None

    def handle(self, connection: "_Connection", method: str, url: str, fields: dict[str, str], body: bytes) -> bool:
        """Respond to a request; return whether the connection continues."""
        self.methods.append(method)
        if method == "ANNOUNCE":
            self._description = self._with_length(body)
            connection.answer(fields)
            self.described.set()
        elif method == "DESCRIBE":
            self.described.wait(PATIENCE)
            connection.answer(
                fields, f"Content-Base: {url}/\r\nContent-Type: application/sdp\r\n", body=self._description
            )
        elif method == "SETUP":
            connection.answer(fields, f"Transport: {fields['transport']}\r\n")
        elif method == "PLAY":
            self._player = connection
            connection.answer(fields)
            self.playing.set()
        elif method == "RECORD":
            connection.answer(fields)
            # Wait for a player, so that it gets the first frame.
            self.playing.wait(PATIENCE)
        else:
            connection.answer(fields, "Public: OPTIONS, DESCRIBE, ANNOUNCE, SETUP, PLAY, RECORD, TEARDOWN\r\n")
        return method != "TEARDOWN"

    def _with_length(self, body: bytes) -> bytes:
        if self.seconds is None:
            return body
        return body.replace(b"\r\nm=", f"\r\na=range:npt=0-{self.seconds}\r\nm=".encode(), 1)

    def pass_on(self, packet: bytes) -> None:
        """Forward an interleaved packet from the recorder to the player."""
        if self._player is not None:
            self._player.send(packet)

    def ended(self, connection: "_Connection") -> None:
        """Handle the end of a connection; that of the recorder also ends the player's."""
        if self._player is not None and connection is not self._player:
            self._player.close()


class _Connection(socketserver.StreamRequestHandler):
    """Reads requests and interleaved packets (which begin with "$") from one client."""

    timeout = PATIENCE

    def setup(self) -> None:
        super().setup()
        self._writing = threading.Lock()

    def handle(self) -> None:
        relay: Relay = self.server.relay  # type: ignore[attr-defined]
        try:
            while first := self.rfile.read(1):
                if first == b"$":
                    header = self.rfile.read(3)
                    relay.pass_on(first + header + self.rfile.read(int.from_bytes(header[1:], "big")))
                elif not relay.handle(self, *self._request(first)):
                    break
        except OSError:
            # The client has disconnected or is silent.
            pass
        finally:
            relay.ended(self)

    def _request(self, first: bytes) -> tuple[str, str, dict[str, str], bytes]:
        method, url, _ = (first + self.rfile.readline()).decode().split()
        fields: dict[str, str] = {}
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        return method, url, fields, self.rfile.read(int(fields.get("content-length", 0)))

    def answer(self, fields: dict[str, str], more: str = "", *, body: bytes = b"") -> None:
        """Send status 200 with the number of the request."""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self.send(f"RTSP/1.0 200 OK\r\nCSeq: {fields['cseq']}\r\nSession: 1\r\n{more}{length}\r\n".encode() + body)

    def send(self, data: bytes) -> None:
        with self._writing:
            try:
                self.connection.sendall(data)
            except OSError:
                # The player has disconnected; the recorder continues to its end.
                self.close()

    def close(self) -> None:
        """Close the connection."""
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            # Already closed.
            return


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, relay: Relay) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.relay = relay


def record(clip: Path, address: str) -> None:
    """Send a clip to a relay like a camera: packets without re-encoding, over TCP."""
    with av.open(str(clip)) as source, av.open(address, "w", format="rtsp", options={"rtsp_transport": "tcp"}) as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                sink.mux(packet)


@contextmanager
def relayed(clip: Path, *, seconds: float | None = None) -> Iterator[Relay]:
    """Serve a clip at an RTSP address, once."""
    relay = Relay(seconds)
    with _Server(relay) as server:
        relay.address = f"rtsp://127.0.0.1:{server.server_address[1]}/stream"
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        recorder = subprocess.Popen([sys.executable, __file__, str(clip), relay.address])
        try:
            yield relay
        finally:
            # There may have been no player.
            relay.playing.set()
            status = recorder.wait(PATIENCE)
            server.shutdown()
            serving.join()
        assert status == 0, f"the recorder exited with status {status}"


if __name__ == "__main__":
    record(Path(sys.argv[1]), sys.argv[2])
