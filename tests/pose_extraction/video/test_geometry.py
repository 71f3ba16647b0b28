"""Shape of pixels, orientation, streams and pixel formats of files with unusual metadata."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pose_extraction.errors import VideoError
from pose_extraction.video.reader import VideoReader
from test_support.videos.made_container import SIZE, encode, write_streams, write_with_cover
from test_support.videos.made_video import made_frame

# BGR.
COLOUR = np.array([40, 120, 200], np.uint8)


def first(path: Path, **arguments: object) -> tuple[np.ndarray, VideoReader]:
    with VideoReader(path, **arguments) as reader:  # type: ignore[arg-type]
        images = [frame.image for frame in reader]
    assert {image.shape for image in images} == {(*reader.info.size, 3)}
    return images[0], reader


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.mp4", "mpeg4"), ("a.h264", "libx264")],
)
@pytest.mark.parametrize(("aspect", "width"), [(Fraction(64, 45), 182), (Fraction(3, 4), 96)])
def test_frames_have_their_display_size(tmp_path: Path, name: str, codec: str, aspect: Fraction, width: int) -> None:
    def stretch(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = aspect

    image, reader = first(encode(tmp_path / name, codec, setup=stretch), fps=25)
    assert reader.info.size == (96, width) and reader.info.pixel_aspect == pytest.approx(float(aspect))
    expected = cv2.resize(made_frame(0, SIZE), (width, 96))
    assert np.abs(image.astype(int) - expected).mean() < 9
    assert reader.problems == []


def test_the_display_size_of_a_rotated_video(tmp_path: Path) -> None:
    def stretch(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        stream.set_display_rotation(90)

    image, reader = first(encode(tmp_path / "a.mp4", setup=stretch))
    expected = np.rot90(cv2.resize(made_frame(0, SIZE), (256, 96)))
    assert reader.info.size == (256, 96)
    assert np.abs(image.astype(int) - expected).mean() < 9


def test_pixels_of_an_implausible_shape_are_taken_as_square(tmp_path: Path) -> None:
    def stretch(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(200, 3)

    _, reader = first(encode(tmp_path / "a.mp4", setup=stretch))
    assert reader.info.size == SIZE
    assert reader.problems == ["pixels of an implausible shape, 200:3; taken as square"]


# (x, y) of the stored image's corners in order: top left, top right, bottom left; where each is displayed, as
# (right, down). From the definition of the display matrix: x' = a x + c y, y' = b x + d y.
@pytest.mark.parametrize(
    ("matrix", "corners"),
    [
        ((-1, 0, 0, 1), [(1, 0), (0, 0), (1, 1)]),
        ((1, 0, 0, -1), [(0, 1), (1, 1), (0, 0)]),
        ((0, 1, 1, 0), [(0, 0), (0, 1), (1, 0)]),
        ((0, -1, -1, 0), [(1, 1), (1, 0), (0, 1)]),
        ((-1, 0, 0, -1), [(1, 1), (0, 1), (1, 0)]),
        ((0, 1, -1, 0), [(1, 0), (1, 1), (0, 0)]),
    ],
)
def test_mirrored_and_rotated_frames_are_upright(
    tmp_path: Path, matrix: tuple[int, int, int, int], corners: list[tuple[int, int]]
) -> None:
    a, b, c, d = (value << 16 for value in matrix)

    def turn(stream: av.VideoStream) -> None:
        stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])

    # Top left white, top right grey, bottom left dark grey, bottom right black.
    stored = np.kron([[255, 170], [85, 0]], np.ones((48, 64))).astype(np.uint8)
    picture = np.repeat(stored[..., None], 3, -1)

    def draw(_: int) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")

    image, reader = first(encode(tmp_path / "a.mp4", setup=turn, draw=draw))
    assert reader.problems == []
    height, width = reader.info.size
    for (right, down), value in zip(corners, (255, 170, 85), strict=True):
        assert abs(int(image[(height - 1) * down, (width - 1) * right, 0]) - value) < 12


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_frames_with_data_that_pyav_does_not_know_are_upright(tmp_path: Path, degrees: int) -> None:
    """FFmpeg's TIFF pictures carry EXIF data. PyAV cannot list the data of such frames, and so not the rotation."""

    def turn(stream: av.VideoStream) -> None:
        stream.set_display_rotation(degrees)

    image, reader = first(encode(tmp_path / "a.mov", "tiff", frames=range(3), pixel_format="rgb24", setup=turn))
    expected = np.rot90(made_frame(0, SIZE), degrees // 90)
    assert reader.info.rotation == degrees and np.abs(image.astype(int) - expected).mean() < 2


def test_an_uneven_rotation_is_reported(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", setup=lambda stream: stream.set_display_rotation(30))
    assert first(path)[1].problems == ["rotated by an angle between quarter turns; the nearest quarter turn is used"]


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_the_default_stream_is_read(tmp_path: Path, suffix: str) -> None:
    sizes = [(96, 128), (48, 64)]
    path = write_streams(tmp_path / f"two.{suffix}", sizes, default=1)
    image, reader = first(path)
    assert reader.info.size == (48, 64) and abs(int(image[20, 20, 0]) - 150) < 8
    assert reader.problems == ["2 video streams (128x96, 64x48); stream 1 is read, --stream selects another"]
    image, reader = first(path, stream=0)
    assert reader.info.size == (96, 128) and abs(int(image[20, 20, 0]) - 50) < 8 and reader.problems == []
    # Without a mark, or with several, the largest one.
    assert first(write_streams(tmp_path / f"all.{suffix}", sizes, default=None))[1].info.size == (96, 128)
    with pytest.raises(
        VideoError, match="has video streams 0 to 1; there is no stream 2, choose another with --stream"
    ):
        VideoReader(path, stream=2)


def test_a_cover_is_not_a_video(tmp_path: Path) -> None:
    image, reader = first(write_with_cover(tmp_path / "film.mp4", has_video=True))
    assert reader.info.size == SIZE and abs(int(image[20, 20, 0]) - 50) < 8 and reader.problems == []
    with pytest.raises(VideoError, match="contains audio, a cover picture, but no video; remove this file"):
        VideoReader(write_with_cover(tmp_path / "song.mp4", has_video=False))
    with pytest.raises(VideoError, match="has one video stream, number 0; there is no stream 1"):
        VideoReader(tmp_path / "film.mp4", stream=1)


def coloured(pixel_format: str, opacity: int = 255) -> av.VideoFrame:
    image = np.full((*SIZE, 4), (*COLOUR, opacity), np.uint8)
    return av.VideoFrame.from_ndarray(image, format="bgra").reformat(format=pixel_format)


def with_palette() -> av.VideoFrame:
    palette = np.zeros((256, 4), np.uint8)
    # Opacity, red, green, blue; number 9 is transparent.
    palette[3], palette[9] = (255, *COLOUR[::-1]), (0, 10, 20, 30)
    numbers = np.full(SIZE, 3, np.uint8)
    numbers[:20] = 9
    return av.VideoFrame.from_ndarray((numbers, palette), format="pal8")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.gif", "gif"), ("a.apng", "apng"), ("a.mov", "png"), ("a.nut", "rawvideo"), ("a.avi", "msrle")],
)
def test_palettes(tmp_path: Path, name: str, codec: str) -> None:
    image, _ = first(encode(tmp_path / name, codec, pixel_format="pal8", draw=lambda _: with_palette()))
    np.testing.assert_array_equal(image[60, 60], COLOUR)
    if codec in ("apng", "png"):
        # These store the opacity.
        np.testing.assert_array_equal(image[5, 5], [255, 255, 255])


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("a.apng", "apng", "rgba"),
        ("a.mkv", "ffv1", "bgra"),
        ("a.mkv", "ffv1", "yuva444p"),
        ("a.mov", "prores_ks", "yuva444p10le"),
    ],
)
def test_transparent_parts_are_white(tmp_path: Path, name: str, codec: str, pixel_format: str) -> None:
    for opacity in (255, 128, 0):
        draw = lambda _, opacity=opacity: coloured(pixel_format, opacity)  # noqa: E731
        image, _ = first(encode(tmp_path / name, codec, pixel_format=pixel_format, draw=draw))
        expected = (COLOUR * (opacity / 255)) + 255 * (1 - opacity / 255)
        np.testing.assert_allclose(image[60, 60], expected, atol=3)


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_transparent_parts_of_images_are_white(tmp_path: Path, suffix: str) -> None:
    image = np.full((*SIZE, 4), (*COLOUR, 255), np.uint8)
    image[:20, :, 3] = 0
    cv2.imwrite(str(tmp_path / f"0.{suffix}"), image, [cv2.IMWRITE_WEBP_QUALITY, 101])
    seen, _ = first(tmp_path)
    np.testing.assert_array_equal(seen[60, 60], COLOUR)
    np.testing.assert_array_equal(seen[5, 5], [255, 255, 255])


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("a.mkv", "ffv1", "yuv420p12le"),
        ("a.mkv", "ffv1", "yuv444p14le"),
        ("a.mkv", "ffv1", "gbrp12le"),
        ("a.mp4", "libx265", "yuv422p10le"),
        ("a.mp4", "libx265", "yuv420p12le"),
    ],
)
def test_more_than_eight_bits(tmp_path: Path, name: str, codec: str, pixel_format: str) -> None:
    options = {"x265-params": "log-level=none:lossless=1"} if codec == "libx265" else {}
    path = encode(
        tmp_path / name, codec, pixel_format=pixel_format, options=options, draw=lambda _: coloured(pixel_format)
    )
    np.testing.assert_allclose(first(path)[0][60, 60], COLOUR, atol=3)


def test_an_animated_webp_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.webp", "libwebp_anim", pixel_format="bgra")
    with pytest.raises(VideoError, match="WebP images and animations are not videos; convert an animation to mp4"):
        VideoReader(path)
