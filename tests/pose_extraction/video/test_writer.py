"""Writing videos: atomically, and in formats that browsers play."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from pose_extraction.errors import VideoError
from pose_extraction.video.reader import VideoReader
from pose_extraction.video.writer import ENCODERS, VideoWriter
from test_support.videos.made_video import made_frame


def write(path: Path, times: list[float | None], size: tuple[int, int] = (90, 120), fps: float = 25.0) -> None:
    with VideoWriter(path, fps, size) as writer:
        for index, time in enumerate(times):
            writer.write(made_frame(index / fps, size), time)


def test_frames_are_read_back_with_their_times_and_colours(tmp_path: Path) -> None:
    times = [0.0, 0.05, 0.4, 0.41, 1.2]
    path = tmp_path / "new folder" / "drawn ü.mp4"
    write(path, [*times])
    with VideoReader(path) as reader:
        frames = list(reader)
    np.testing.assert_allclose([frame.time for frame in frames], times, atol=1e-4)
    for frame in frames:
        assert np.abs(frame.image.astype(int) - made_frame(frame.index / 25, (90, 120))).mean() < 8


def test_uniform_colours_are_preserved(tmp_path: Path) -> None:
    image = np.full((64, 96, 3), (40, 70, 220), np.uint8)
    with VideoWriter(tmp_path / "red.mp4", 25, (64, 96)) as writer:
        writer.write(image)
    with VideoReader(tmp_path / "red.mp4") as reader:
        (frame,) = reader
    np.testing.assert_allclose(frame.image[20:40, 20:40].mean((0, 1)), (40, 70, 220), atol=4)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_browsers_can_play_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str) -> None:
    if encoder not in av.codecs_available:
        pytest.skip(f"PyAV was built without {encoder}")
    monkeypatch.setattr("pose_extraction.video.writer.ENCODERS", {encoder: ENCODERS[encoder]})
    path = tmp_path / "odd.mp4"
    write(path, [None] * 10, size=(91, 121), fps=29.97)
    with VideoReader(path) as reader:
        times = [frame.time for frame in reader]
    assert reader.info.codec in {"h264", "vp9"} and reader.info.pixel_format == "yuv420p"
    # Padded to even sizes, not scaled.
    assert reader.info.size == (92, 122)
    np.testing.assert_allclose(times, np.arange(10) / 29.97, atol=1e-3)
    # The index precedes the frames, so that playing can start before the download ends.
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_an_error_keeps_the_old_file_and_leaves_no_temporary_files(tmp_path: Path) -> None:
    path = tmp_path / "drawn.mp4"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="interrupted"), VideoWriter(path, 25, (90, 120)) as writer:
        writer.write(made_frame(0, (90, 120)))
        raise RuntimeError("interrupted")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_invalid_frames_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "drawn.mp4"
    message = r"drawn.mp4: got a frame uint8 \(8, 8, 3\), expected uint8 \(90, 120, 3\)"
    with pytest.raises(VideoError, match=message), VideoWriter(path, 25, (90, 120)) as writer:
        writer.write(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(VideoError, match="no frames were written"), VideoWriter(path, 25, (90, 120)):
        pass
    with pytest.raises(VideoError, match="at 0 frames per second"):
        VideoWriter(path, 0, (90, 120))
    assert not list(tmp_path.iterdir())


def full_disk() -> None:
    """Limits file sizes to 20 kB, to simulate an almost full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_full_disk_raises_an_error(tmp_path: Path) -> None:
    program = """if True:
        import sys
        from pathlib import Path
        import numpy as np
        from pose_extraction.errors import VideoError
        from pose_extraction.video.writer import VideoWriter
        noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
        try:
            with VideoWriter(Path(sys.argv[1]), 25, (90, 120)) as writer:
                for _ in range(200):
                    writer.write(np.roll(noise, _, 0))
        except VideoError as error:
            print(error)
    """
    path = tmp_path / "drawn.mp4"
    child = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True, preexec_fn=full_disk
    )
    assert "cannot write the video" in child.stdout and "disk full" in child.stdout
    assert not list(tmp_path.iterdir())
