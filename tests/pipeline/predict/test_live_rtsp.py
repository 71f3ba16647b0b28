"""`skelpipe predict rtsp://...` from a local server that relays a recording."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pose_extraction.video.live import LiveSource
from test_support.networks.made_runs import SIZE
from test_support.processes.rtsp_relay import Relay, relayed
from test_support.videos.made_video import write_made_clip

pytestmark = pytest.mark.slow

FPS, FRAMES = 25.0, 75


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of one person, with frames in display order, as sent by cameras."""
    path = tmp_path_factory.mktemp("recorded") / "clip.mp4"
    return write_made_clip(path, size=SIZE, fps=FPS, frames=FRAMES, options={"tune": "zerolatency"})


@pytest.fixture
def live(clip: Path) -> Iterator[Relay]:
    with relayed(clip) as relay:
        yield relay


def test_live_stream_is_read_to_its_end(live: Relay) -> None:
    with LiveSource(live.address) as source:
        frames = list(source)
    assert not source.is_recording
    assert source.info.size == SIZE and source.info.codec == "h264"
    times = [frame.frame.time for frame in frames]
    assert times == sorted(set(times))
    assert len(frames) + source.dropped == FRAMES and frames[-1].frame.index == FRAMES - 1
    assert times[-1] - times[0] == pytest.approx((frames[-1].frame.index - frames[0].frame.index) / FPS, abs=0.01)
    assert "PLAY" in live.methods


def test_command_predicts_while_streaming_and_ends_with_the_stream(
    clip: Path, trained: tuple[Path, Path], networks: tuple[Path, Path]
) -> None:
    words = ["--run", str(trained[0]), "--estimator", str(networks[0]), "--detector", str(networks[1])]
    words += ["--device", "cpu", "--backend", "onnxruntime", "--windows", "1"]
    # With a known duration no frame is dropped, so every window has a prediction even on a slow machine.
    with relayed(clip, seconds=FRAMES / FPS) as recording:
        result = CliRunner().invoke(app, ["predict", recording.address, *words])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    # A one-second window ends every quarter of a second, from the first second to the third.
    assert len(lines) == 9 and all("person 0" in line and "s later)" in line for line in lines)
    output = " ".join(result.stderr.split())
    assert f"{recording.address}: 128x96, 25 frames/s, windows of 1 s; Ctrl-C stops it" in output
    assert f"stream ended after {(FRAMES - 1) / FPS:.1f} s and {FRAMES} frames; delay after" in output


def test_stream_faster_than_decoding_ends_cleanly(
    live: Relay, trained: tuple[Path, Path], networks: tuple[Path, Path], tmp_path: Path
) -> None:
    words = ["--run", str(trained[0]), "--estimator", str(networks[0]), "--detector", str(networks[1])]
    overlay = tmp_path / "seen.mp4"
    result = CliRunner().invoke(app, ["predict", live.address, *words, "--device", "cpu", "--overlay", str(overlay)])
    # Three seconds arrive at once: dropped frames are counted, processed ones are drawn.
    assert result.exit_code == 0, result.output
    assert "stream ended after" in result.stderr and overlay.is_file()
