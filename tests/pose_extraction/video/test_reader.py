"""Reading videos: upright frames with correct numbers and times, for all kinds of files."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pose_extraction.errors import VideoError
from pose_extraction.video.reader import Frame, VideoReader
from test_support.videos.made_video import made_frame, write_made_clip

VP9 = {"deadline": "realtime", "cpu-used": "8"}
# Name: (file, arguments of write_made_clip).
MADE = {
    "h264": ("a clip.mp4", {}),
    "h264 with open groups": ("open.mkv", {"options": {"x264-params": "open-gop=1:log=-1"}}),
    "hevc": ("ünïcode 映像.mp4", {"codec": "libx265", "options": {"x265-params": "log-level=none"}}),
    "vp9": ("clip.webm", {"codec": "libvpx-vp9", "options": VP9}),
    "mpeg4": ("clip.avi", {"codec": "mpeg4"}),
    "mpeg4 with b frames": ("b.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
    "h264 in avi": ("h264.avi", {}),
    "mjpeg, full range": ("m.avi", {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
    "transport stream": ("clip.ts", {}),
    "odd size": ("odd.webm", {"codec": "libvpx-vp9", "options": VP9, "size": (121, 161)}),
    "late start": ("late.mp4", {"start": 8.25}),
    "10 bit": ("ten.mp4", {"pixel_format": "yuv420p10le"}),
}


def read(path: Path, **arguments: object) -> list[Frame]:
    with VideoReader(path, **arguments) as reader:  # type: ignore[arg-type]
        return list(reader)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """50 frames of a walking figure at 25 Hz with key frames every 10 frames, in several codecs and containers."""
    folder = tmp_path_factory.mktemp("clips")
    arguments = {"size": (120, 160), "key_every": 10}
    return {name: write_made_clip(folder / file, **(arguments | extra)) for name, (file, extra) in MADE.items()}


@pytest.mark.parametrize("name", MADE)
def test_frames_have_the_correct_order_image_and_time(clips: dict[str, Path], name: str) -> None:
    with VideoReader(clips[name]) as reader:
        frames = list(reader)
    assert reader.problems == []
    assert [frame.index for frame in frames] == list(range(50))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(50) / 25, atol=2e-3)
    size = reader.info.size
    assert size == MADE[name][1].get("size", (120, 160))  # type: ignore[attr-defined]
    for frame in frames[::7]:
        assert frame.image.flags.c_contiguous and frame.image.flags.writeable
        # Frames that are 7 frames apart differ by more than the compression error, so a wrong order would be detected.
        error = np.abs(frame.image.astype(int) - made_frame(frame.index / 25, size)).mean()
        other = np.abs(frame.image.astype(int) - made_frame(frame.index / 25 + 0.16, size)).mean()
        assert error < 9 and error < other


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("start", [0.013, 0.4, 0.79, 1.21, 1.9])
def test_a_start_time_gives_the_same_frames_as_reading_everything(
    clips: dict[str, Path], name: str, start: float
) -> None:
    whole = [frame for frame in read(clips[name]) if frame.time >= start]
    part = read(clips[name], start=start)
    assert [(frame.index, frame.time) for frame in part] == [(frame.index, frame.time) for frame in whole]
    for one, other in zip(part, whole, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def test_stride_and_end(clips: dict[str, Path]) -> None:
    frames = read(clips["h264"], start=0.3, end=0.92, stride=5)
    assert [frame.index for frame in frames] == [8, 13, 18]
    with pytest.raises(VideoError, match=r"start 9.0 s is after the last frame at 1.96 s"):
        VideoReader(clips["h264"], start=9.0)
    with pytest.raises(ValueError, match="stride 0"):
        VideoReader(clips["h264"], stride=0)


def test_times_of_a_variable_frame_rate(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.52, 1.7, 1.8, 1.81]
    path = write_made_clip(tmp_path / "vfr.mp4", size=(64, 64), times=times, start=1.5)
    np.testing.assert_allclose([frame.time for frame in read(path)], times, atol=1e-4)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_frames_are_upright(tmp_path: Path, rotation: int) -> None:
    path = write_made_clip(tmp_path / "turned.mp4", size=(96, 128), frames=3, rotation=rotation)
    with VideoReader(path) as reader:
        frame = next(iter(reader))
    expected = np.rot90(made_frame(0, (96, 128)), rotation // 90)
    assert reader.info.rotation == rotation and reader.info.size == expected.shape[:2]
    assert np.abs(frame.image.astype(int) - expected).mean() < 8


def flat_clip(path: Path, yuv: tuple[int, int, int], bits: int, **tags: int) -> Path:
    """A losslessly stored frame of one colour, given as code values, with colour tags."""
    pixel_format = "yuv420p" if bits == 8 else "yuv420p10le"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = 32, 48, pixel_format
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        planes = np.full((48, 48), yuv[0], np.uint8 if bits == 8 else np.uint16)
        planes[32:40], planes[40:] = yuv[1], yuv[2]
        frame = av.VideoFrame.from_ndarray(planes, format=pixel_format)
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("matrix", "red_weight", "blue_weight"), [(1, 0.2126, 0.0722), (5, 0.299, 0.114), (2, 0.299, 0.114)]
)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("bits", [8, 10])
def test_colours_depend_on_the_tags(
    tmp_path: Path, matrix: int, red_weight: float, blue_weight: float, full: bool, bits: int
) -> None:
    unit = 2 ** (bits - 8)
    yuv = (120 * unit, 90 * unit, 170 * unit)
    path = flat_clip(tmp_path / "flat.mp4", yuv, bits, colorspace=matrix, color_range=2 if full else 1)
    y = yuv[0] / (256 * unit - 1) if full else (yuv[0] / unit - 16) / 219
    u, v = ((value / unit - 128) / (255 if full else 224) for value in yuv[1:])
    red, blue = y + 2 * (1 - red_weight) * v, y + 2 * (1 - blue_weight) * u
    green = (y - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    (frame,) = read(path)
    np.testing.assert_allclose(frame.image[16, 24], np.array([blue, green, red]) * 255, atol=2.5)


def test_high_dynamic_range_is_tone_mapped(tmp_path: Path) -> None:
    # 10-bit limited PQ codes of 0, 26 (mid grey), 203 (reference white) and 1000 candela per square metre.
    tags = {"colorspace": 9, "color_range": 1, "color_trc": 16, "color_primaries": 9}
    grey = []
    for code in (64, 394, 573, 723):
        (frame,) = read(flat_clip(tmp_path / f"{code}.mp4", (code, 512, 512), 10, **tags))
        assert np.ptp(frame.image[16, 24]) <= 2
        grey.append(int(frame.image[16, 24, 0]))
    assert grey[0] <= 2
    assert 80 < grey[1] < 130
    assert 225 < grey[2] < 245
    assert 250 <= grey[3] <= 255
    (frame,) = read(flat_clip(tmp_path / "red.mp4", (394, 480, 600), 10, **tags))
    blue, green, red = frame.image[16, 24].astype(int)
    assert red > green + 30 and red > blue + 30


@pytest.mark.parametrize("name", ["mpeg4", "vp9", "hevc"])
def test_damaged_parts_are_skipped_and_reported(clips: dict[str, Path], tmp_path: Path, name: str) -> None:
    data = bytearray(clips[name].read_bytes())
    length = len(data) // 4
    data[len(data) // 3 : len(data) // 3 + length] = random.Random(1).randbytes(length)
    path = tmp_path / f"holed{clips[name].suffix}"
    path.write_bytes(data)
    with VideoReader(path) as reader:
        times = [frame.time for frame in reader]
    assert reader.problems
    assert len(times) > 20 and times[-1] > 1.6
    assert (np.diff(times) > 0).all()


def test_a_closed_reader_closes_its_file(clips: dict[str, Path]) -> None:
    with VideoReader(clips["h264"]) as reader:
        next(iter(reader))
    held = [entry.readlink() for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    assert clips["h264"] not in held
    assert list(reader) == []


def test_truncated_files_are_read_as_far_as_possible_and_reported(clips: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "cut.webm"
    path.write_bytes(clips["vp9"].read_bytes()[: clips["vp9"].stat().st_size * 6 // 10])
    with VideoReader(path) as reader:
        frames = list(reader)
    assert 5 < len(frames) < 50
    assert any("specifies 2.0 s, but the file ends at" in problem for problem in reader.problems)


def test_times_increase_without_usable_time_stamps(tmp_path: Path) -> None:
    one, two = (write_made_clip(tmp_path / f"{n}.ts", size=(64, 96), frames=20, start=s) for n, s in ((1, 9), (2, 1)))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(one.read_bytes() + two.read_bytes())
    with VideoReader(joined) as reader:
        times = [frame.time for frame in reader]
    assert len(times) == 40
    assert (np.diff(times) > 0).all()
    assert any("time stamps" in problem for problem in reader.problems)


def test_frames_are_scaled_to_the_first_size(tmp_path: Path) -> None:
    one, two = (write_made_clip(tmp_path / f"{h}.ts", size=(h, 2 * h), frames=10) for h in (64, 96))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(one.read_bytes() + two.read_bytes())
    with VideoReader(joined) as reader:
        shapes = {frame.image.shape for frame in reader}
    assert shapes == {(64, 128, 3)}
    assert sum("frame size changes" in problem for problem in reader.problems) == 1


@pytest.mark.parametrize(("frames", "size"), [(2, (120, 160)), (1, (1, 1)), (5, (1, 1))])
def test_tiny_videos(tmp_path: Path, frames: int, size: tuple[int, int]) -> None:
    path = write_made_clip(tmp_path / "tiny.webm", size=size, frames=frames, codec="libvpx-vp9", options=VP9)
    images = [frame.image for frame in read(path)]
    assert [image.shape for image in images] == [(*size, 3)] * frames


def unreadable(folder: Path, clip: Path) -> Iterator[tuple[str, Path, str]]:
    """Files that are not videos: name, path and expected error message."""

    def file(name: str, data: bytes) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    encoded = cv2.imencode(".png", made_frame(0, (32, 32)))[1].tobytes()
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 48000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    (folder / "nothing").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    matroska = write_made_clip(folder / "unknown.mkv", size=(32, 32), frames=2)
    matroska.write_bytes(matroska.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/XYZ"))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{clip}\n#EXT-X-ENDLIST\n"
    yield "missing", folder / "gone.mp4", "No such file"
    yield "empty", file("empty.mp4", b""), r"empty \(0 bytes\)"
    yield "text", file("notes.mp4", b"not a video at all\n" * 50), "a text file"
    yield "playlist", file("list.m3u8", playlist.encode()), "a text file"
    yield "concatenation", file("list.mp4", f"ffconcat version 1.0\nfile '{clip}'\n".encode()), "a text file"
    yield "noise", file("noise.mp4", random.Random(0).randbytes(5000)), "not a supported video"
    yield "image", file("still.png", encoded), "a still image.*folder"
    yield "image by another name", file("still.mp4", encoded), "not a supported video"
    yield "cut mp4", file("cut.mp4", clip.read_bytes()[: clip.stat().st_size // 2]), "index is missing"
    yield "sound only", folder / "sound.mp4", "audio, but no video"
    yield "unknown codec", matroska, "no decoder"
    yield "folder", folder / "nothing", "no images"
    yield "pipe", folder / "pipe.mp4", "a pipe or device"
    yield "device", Path("/dev/null"), "a pipe or device"


def test_invalid_videos_raise_an_error_with_name_and_cause(clips: dict[str, Path], tmp_path: Path) -> None:
    for name, path, expected in unreadable(tmp_path, clips["h264"]):
        with pytest.raises(VideoError, match=expected) as caught:
            VideoReader(path)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value), name


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file")
def test_no_permission(clips: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "locked.mp4"
    path.write_bytes(clips["h264"].read_bytes())
    path.chmod(0)
    with pytest.raises(VideoError, match="no permission"):
        VideoReader(path)


def test_a_file_name_that_is_not_utf8(clips: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    path.write_bytes(clips["h264"].read_bytes())
    assert len(read(path, start=1.0)) == 25


def test_a_folder_of_images_is_a_video(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), np.full((20, 30, 3), number, np.uint8))
    (tmp_path / "frame3.png").write_bytes(b"broken")
    (tmp_path / "notes.txt").write_text("not a frame")
    with VideoReader(tmp_path, fps=10) as reader:
        frames = list(reader)
    assert [(frame.index, frame.time, int(frame.image[0, 0, 0])) for frame in frames] == [
        (0, 0.0, 1),
        (1, 0.1, 2),
        (3, pytest.approx(0.3), 10),
    ]
    assert reader.problems == ["frame3.png: not an image that OpenCV can decode"]
    assert reader.info.codec == "images" and reader.info.fps == 10


def test_photographs_are_upright(tmp_path: Path) -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30] = 255
    data = cv2.imencode(".jpg", image)[1].tobytes()
    # EXIF with one entry: orientation 6, a clockwise quarter turn.
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    (tmp_path / "photo.jpg").write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    (frame,) = read(tmp_path)
    assert frame.image.shape == (60, 40, 3)
    assert frame.image[:25].mean() > 250 and frame.image[-25:].mean() < 5


def peak_memory(path: Path) -> int:
    """Peak memory in kilobytes of a process that reads a video."""
    program = (
        "import resource, sys; from pathlib import Path; from pose_extraction.video.reader import VideoReader\n"
        "with VideoReader(Path(sys.argv[1]), threads=2) as reader: frames = sum(1 for _ in reader)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    output = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    return int(output.stdout)


@pytest.mark.slow
def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    options = {"preset": "ultrafast"}
    short, long = (
        write_made_clip(tmp_path / f"{frames}.mp4", size=(360, 640), frames=frames, options=options)
        for frames in (60, 600)
    )
    # 600 frames in memory would have 400 MB.
    assert peak_memory(long) < 1.1 * peak_memory(short)
