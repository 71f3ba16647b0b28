"""Times, frame rates and completeness of files with unusual timing metadata."""

import random
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_extraction.video.notes import kind_of
from pose_extraction.video.reader import Frame, VideoReader
from test_support.videos.made_container import add_empty_chunks, encode, trim_end, trim_front, without_packets
from test_support.videos.made_video import made_frame, write_made_clip

QUIET = {"x265-params": "log-level=none"}


def read(path: Path, **arguments: object) -> tuple[list[Frame], list[str], float]:
    with VideoReader(path, **arguments) as reader:  # type: ignore[arg-type]
        frames = list(reader)
    return frames, reader.problems, reader.info.fps


@pytest.mark.parametrize(
    ("container_format", "codec", "rate", "options"),
    [
        ("h264", "libx264", 15, {}),
        ("hevc", "libx265", 15, QUIET),
        ("m4v", "mpeg4", 15, {}),
        ("mpeg2video", "mpeg2video", 24, {}),
        ("mpeg1video", "mpeg1video", 24, {}),
        ("mpeg1video", "mpeg1video", 30, {"bf": "2"}),
    ],
)
def test_a_raw_stream_has_the_rate_of_its_header(
    tmp_path: Path, container_format: str, codec: str, rate: int, options: dict[str, str]
) -> None:
    path = tmp_path / f"raw.{container_format}"
    encode(path, codec, frames=range(45), rate=rate, options=options, container_format=container_format)
    frames, problems, fps = read(path)
    assert fps == rate
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(45) / rate, atol=1e-3)
    note = f"a raw stream without time stamps; read at the {rate} frames/s of its header, --fps sets another rate"
    # Streams that contain the duration of each picture need no assumption.
    assert problems == ([note] if container_format in ("h264", "hevc") else [])
    frames, problems, fps = read(path, fps=10)
    assert fps == 10 and frames[-1].time == pytest.approx(4.4) and problems == []


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [("mjpeg", "mjpeg", {}), ("hevc", "libx265", {"x265-params": "log-level=none:vui-timing-info=0"})],
)
def test_a_raw_stream_without_any_rate_says_what_is_assumed(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str]
) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = encode(tmp_path / f"raw.{suffix}", codec, rate=15, options=options, pixel_format=pixels)
    frames, problems, fps = read(path)
    assert fps == 25 and frames[-1].time == pytest.approx(11 / 25)
    assert problems == [
        "a raw stream without time stamps and frame rate; 25 frames/s are assumed, --fps sets another rate"
    ]
    assert read(path, fps=15)[0][-1].time == pytest.approx(11 / 15)


def test_a_rate_does_not_override_time_stamps(tmp_path: Path) -> None:
    frames, problems, fps = read(encode(tmp_path / "clip.mp4"), fps=10)
    assert fps == 25 and frames[-1].time == pytest.approx(11 / 25) and problems == []


def test_images_without_a_rate_say_what_is_assumed(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), made_frame(0, (32, 32)))
    frames, problems, fps = read(tmp_path)
    assert fps == 30 and frames[-1].time == pytest.approx(2 / 30)
    assert problems == ["a folder of images; 30 frames/s are assumed, --fps sets another rate"]


@pytest.mark.parametrize("b_frames", ["0", "2"])
def test_frames_hidden_by_an_edit_list_are_not_missing(tmp_path: Path, b_frames: str) -> None:
    whole = write_made_clip(tmp_path / "whole.mp4", size=(96, 128), frames=60, options={"bf": b_frames})
    front, problems, _ = read(trim_front(whole, tmp_path / "front.mp4", 0.4))
    assert problems == [] and len(front) == 50
    np.testing.assert_allclose([frame.time for frame in front], np.arange(50) / 25, atol=1e-3)
    assert np.abs(front[0].image.astype(int) - made_frame(0.4, (96, 128))).mean() < 9
    end, problems, _ = read(trim_end(whole, tmp_path / "end.mp4", 2 / 3))
    assert problems == [] and len(end) == 40 and end[-1].time == pytest.approx(39 / 25)


@pytest.mark.parametrize("repeated", [(5, 6, 12, 20), tuple(range(3, 22))])
def test_empty_chunks_of_avi_repeat_a_frame(tmp_path: Path, repeated: tuple[int, ...]) -> None:
    kept = [number for number in range(24) if number not in repeated]
    # The writer of AVI files fills gaps in time with empty chunks.
    path = encode(tmp_path / "skips.avi", "mpeg4", frames=kept)
    frames, problems, _ = read(path)
    assert problems == []
    np.testing.assert_allclose([frame.time for frame in frames], np.array(kept) / 25, atol=1e-6)


def test_empty_chunks_at_the_end_of_avi(tmp_path: Path) -> None:
    path = add_empty_chunks(encode(tmp_path / "plain.avi", "mpeg4", frames=range(24)), tmp_path / "tail.avi", 20)
    frames, problems, _ = read(path)
    assert len(frames) == 24 and problems == []


def test_a_truncated_avi_is_still_reported(tmp_path: Path) -> None:
    path = encode(tmp_path / "whole.avi", "mpeg4", frames=[*range(20), *range(30, 60)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    frames, problems, _ = read(path)
    assert 3 < len(frames) < 45
    (shorter,) = (problem for problem in problems if "truncated or damaged" in problem)
    assert kind_of(shorter) == "truncated or damaged: shorter than the header specifies"


def test_lost_frames_in_the_middle_of_avi_are_reported(tmp_path: Path) -> None:
    data = bytearray(encode(tmp_path / "whole.avi", "mpeg4", frames=range(60)).read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = random.Random(1).randbytes(third)
    (tmp_path / "holed.avi").write_bytes(data)
    assert read(tmp_path / "holed.avi")[1]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_beginning_without_a_key_frame_is_not_a_missing_end(tmp_path: Path, suffix: str) -> None:
    whole = write_made_clip(tmp_path / f"whole.{suffix}", size=(96, 128), frames=60, options={"bf": "0"})
    frames, problems, _ = read(without_packets(whole, tmp_path / f"part.{suffix}", 10))
    assert len(frames) == 35 and frames[-1].time == pytest.approx(34 / 25, abs=1e-3)
    text, rest = "frames before the first key frame cannot be decoded", "times start at the first one that can"
    assert problems == [f"{text} (15); {rest}"] and kind_of(problems[0]) == f"{text}; {rest}"
    # Decoders of MPEG-4 begin with any frame.
    if suffix != "ts":
        whole = write_made_clip(tmp_path / f"other.{suffix}", size=(96, 128), frames=60, codec="mpeg4")
        frames, problems, _ = read(without_packets(whole, tmp_path / f"rest.{suffix}", 10))
        assert len(frames) == 50 and problems == []


def test_the_rate_of_a_clock_or_of_fields_is_not_that_of_frames(tmp_path: Path) -> None:
    # Without a known rate, FLV files store that of their clock, and FFmpeg guesses that of fields in MPEG-1.
    whole = write_made_clip(tmp_path / "whole.flv", size=(96, 128), frames=30)
    assert read(without_packets(whole, tmp_path / "copy.flv", 0))[2] == 25
    fields = encode(tmp_path / "fields.ts", "mpeg1video", rate=30, container_format="mpegts")
    assert read(fields)[2] == 30


def test_interlaced_video_is_reported(tmp_path: Path) -> None:
    path = encode(tmp_path / "fields.mp4", options={"x264-params": "tff=1:log=-1"})
    _, problems, _ = read(path)
    assert problems == [
        "12 frames are interlaced: fast limbs have comb-like edges; deinterlace the video first for better poses"
    ]
    assert not kind_of(problems[0])[0].isdigit()
