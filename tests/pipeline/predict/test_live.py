"""`skelpipe predict` on streams from a local server."""

import io
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.predict.answers import Answer
from pipeline.predict.options import Networks, PredictOptions, scope_of
from pipeline.predict.workflow import predict
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError, VideoError
from pose_extraction.video.addresses import is_live
from pose_extraction.video.live import LiveSource
from pose_extraction.video.writer import VideoWriter
from test_support.networks.made_runs import SIZE
from test_support.networks.trained_run import LABEL_NAMES
from test_support.videos.made_video import made_frame, write_made_clip

pytestmark = pytest.mark.processor

FPS, FRAMES = 25.0, 75
ENGINE = Engine(device="cpu", backend="onnxruntime", precision="fp32")


class Served:
    """Content and state of the server.

    Args:
        content: Bytes by path; sent with their length for *.mp4, else until the connection ends.
        pause_after: Number of bytes after which sending pauses until `resume` is set.
    """

    def __init__(self, content: dict[str, bytes]) -> None:
        self.content = content
        self.pause_after: int | None = None
        self.resume = threading.Event()
        self.address = ""

    def send(self, handler: BaseHTTPRequestHandler) -> None:
        content = self.content[handler.path]
        handler.send_response(200)
        if handler.path.endswith(".mp4"):
            handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        try:
            if self.pause_after is not None:
                handler.wfile.write(content[: self.pause_after])
                handler.wfile.flush()
                self.resume.wait()
                content = content[self.pause_after :]
            handler.wfile.write(content)
        except OSError:
            # The client has disconnected.
            handler.close_connection = True


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Three seconds of one person, as a file with the index at the start, and as a stream."""
    folder = tmp_path_factory.mktemp("served")
    with VideoWriter(folder / "clip.mp4", FPS, SIZE) as writer:
        for index in range(FRAMES):
            writer.write(made_frame(index / FPS, SIZE))
    write_made_clip(folder / "clip.ts", size=SIZE, fps=FPS, frames=FRAMES)
    return {f"/{name}": (folder / name).read_bytes() for name in ("clip.mp4", "clip.ts")}


@pytest.fixture
def served(recorded: dict[str, bytes]) -> Iterator[Served]:
    what = Served(recorded)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            what.send(self)

        def log_message(self, *_: object) -> None:
            """Suppress the log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    what.address = f"http://127.0.0.1:{server.server_port}"
    yield what
    what.resume.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def watch(trained: tuple[Path, Path], networks: tuple[Path, Path]) -> Callable[..., list[Answer]]:
    """Return a function that predicts in one-second windows: `watch(address, output, overlay=...)`."""

    def call(
        address: str,
        output: io.StringIO,
        overlay: Path | None = None,
        more: Sequence[Path] = (),
        on_answer: Callable[[], None] = lambda: None,
        windows: float = 1.0,
    ) -> list[Answer]:
        scope = scope_of(per_person=None, windows=windows, overlay=overlay, explain=False, threshold=0.0)
        answers = []
        for answer in predict(
            [address, *more],
            trained[0],
            PredictOptions(scope, windows, overlay),
            networks=Networks(*map(str, networks)),
            engine=ENGINE,
            console=Console(file=output, width=400),
        ):
            answers.append(answer)
            on_answer()
        return answers

    return call


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.slow
def test_remote_recording_is_processed_completely(
    served: Served, watch: Callable[..., list[Answer]], tmp_path: Path
) -> None:
    output, overlay = io.StringIO(), tmp_path / "seen.mp4"
    answers = watch(f"{served.address}/clip.mp4", output, overlay=overlay)
    # A one-second window ends every quarter of a second, from the first second to the third.
    assert [answer.end for answer in answers] == pytest.approx([1 + n / 4 for n in range(9)], abs=1 / FPS)
    for answer in answers:
        assert answer.label in LABEL_NAMES and answer.person == 0
        assert answer.delay is not None and answer.delay > 0
    assert frames_in(overlay) == FRAMES
    assert f"stream ended after {(FRAMES - 1) / FPS:.1f} s and {FRAMES} frames; delay after" in output.getvalue()


def test_stream_shorter_than_a_window_is_classified_at_its_end(
    served: Served, watch: Callable[..., list[Answer]]
) -> None:
    (answer,) = watch(f"{served.address}/clip.mp4", io.StringIO(), windows=10.0)
    assert answer.label in LABEL_NAMES and (answer.start, answer.end) == pytest.approx((0, FRAMES / FPS), abs=1 / FPS)


def test_live_stream_drops_frames_to_keep_up(served: Served) -> None:
    with LiveSource(f"{served.address}/clip.ts") as source:
        frames = list(source)
    assert not source.is_recording
    times = [live.frame.time for live in frames]
    assert times == sorted(set(times)) and len(frames) + source.dropped == FRAMES
    # The frame numbers have gaps for the dropped frames.
    assert frames[-1].frame.index == FRAMES - 1


@pytest.mark.slow
def test_interrupt_stops_cleanly(served: Served, watch: Callable[..., list[Answer]], tmp_path: Path) -> None:
    served.pause_after = len(served.content["/clip.mp4"]) * 2 // 3
    before = signal.getsignal(signal.SIGINT)
    output, overlay = io.StringIO(), tmp_path / "seen.mp4"
    interrupt = lambda: os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
    answers = watch(f"{served.address}/clip.mp4", output, overlay=overlay, on_answer=interrupt)
    assert len(answers) == 1
    assert "stopped by SIGINT after" in output.getvalue()
    assert 0 < frames_in(overlay) < FRAMES
    assert signal.getsignal(signal.SIGINT) is before


def test_stream_without_persons_is_reported(served: Served, watch: Callable[..., list[Answer]], tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "empty.mp4", FPS, SIZE) as writer:
        for index in range(30):
            writer.write(made_frame(index / FPS, SIZE, persons=0))
    served.content["/empty.mp4"] = (tmp_path / "empty.mp4").read_bytes()
    (answer,) = watch(f"{served.address}/empty.mp4", io.StringIO())
    assert answer.reason == "no person found" and answer.label is None


@pytest.mark.slow
def test_unusable_sources_give_errors(served: Served, watch: Callable[..., list[Answer]], tmp_path: Path) -> None:
    served.content["/list.m3u8"] = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nclip.ts\n#EXT-X-ENDLIST\n"
    with pytest.raises(VideoError, match=r"cannot be opened .* playlists \(.m3u8\) are not supported"):
        watch(f"{served.address}/list.m3u8", io.StringIO())
    # A port without a server, and a camera number that no machine has.
    with pytest.raises(VideoError, match=r"cannot be opened .*check the address with a video player"):
        watch("rtsp://127.0.0.1:1/stream", io.StringIO())
    with pytest.raises(VideoError, match=r"cannot be opened .*check that a camera is connected"):
        watch("97", io.StringIO())
    with pytest.raises(UsageError, match="must be the only input"):
        watch(served.address, io.StringIO(), more=[tmp_path])


def test_cameras_and_addresses_are_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for word in ("0", "12", "/dev/video3", "rtsp://10.0.0.2/a", "RTSPS://h/x", "http://h:80/v.mp4", "https://h/v"):
        assert is_live(word), word
    for word in ("clip.mp4", "videos/", "0.mp4", "ftp://h/v.mp4", "file:///v.mp4", "-1", "concat:a|b"):
        assert not is_live(word), word
    monkeypatch.chdir(tmp_path)
    Path("7").write_bytes(b"")
    assert not is_live("7")


@pytest.mark.slow
def test_command_prints_predictions_immediately(
    served: Served, trained: tuple[Path, Path], networks: tuple[Path, Path]
) -> None:
    words = ["predict", f"{served.address}/clip.mp4", "--run", str(trained[0]), "--device", "cpu"]
    words += ["--backend", "onnxruntime", "--estimator", str(networks[0]), "--detector", str(networks[1])]
    result = CliRunner().invoke(app, [*words, "--windows", "1"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 9 and all("person 0" in line and "s later)" in line for line in lines)
