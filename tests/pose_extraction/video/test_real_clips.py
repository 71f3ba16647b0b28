"""Reading real clips, if they are available."""

from pathlib import Path

import numpy as np
import pytest

from pose_extraction.errors import VideoError
from pose_extraction.video.reader import VideoReader

# Clip: frames, (height, width), seconds of the last frame.
CLIPS = {
    "mmaction2/S001C001P001R001A001_rgb.avi": (103, (1080, 1920), 3.400),
    # Stored at 340x256, with pixels that are wider than high.
    "mmaction2/demo.mp4": (280, (256, 427), 9.964),
    "mmaction2/demo_skeleton.mp4": (72, (1080, 1920), 2.533),
    "mmaction2/test.avi": (164, (240, 320), 6.520),
    "mmpose/000001_mpiinew_test.mp4": (5, (720, 1280), 0.133),
    "torchcodec/av1_video.mkv": (125, (360, 640), 4.960),
    "torchcodec/bt709_full_range.mp4": (30, (720, 1280), 0.967),
    "torchcodec/h265_video.mp4": (10, (128, 128), 0.900),
    "torchcodec/nasa_13013.mp4": (390, (270, 480), 12.980),
    "torchcodec/nasa_13013_hdr.mp4": (325, (180, 320), 12.960),
    "torchcodec/nasa_13013_rotated.mp4": (17, (480, 270), 0.534),
    "torchcodec/test_non_zero_start.mp4": (12, (112, 200), 0.367),
    "torchcodec/testsrc2_mpeg4.avi": (30, (720, 1280), 0.967),
    "torchcodec/testsrc2_odd_height_and_width_vp9.mp4": (25, (241, 321), 0.960),
    "torchcodec/testsrc2_vp9.webm": (30, (720, 1280), 0.967),
    # The header specifies 73 frames.
    "torchvision/RATRACE_wave_f_nm_np1_fr_goo_37.avi": (72, (240, 560), 2.367),
    # Its metadata contain a byte that is not UTF-8.
    "torchvision/hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi": (83, (240, 320), 2.733),
    "torchvision/v_SoccerJuggling_g23_c01.avi": (240, (240, 320), 7.975),
}


@pytest.mark.parametrize("name", CLIPS)
def test_frames_size_and_times(shared_data: Path, name: str) -> None:
    frames, size, last = CLIPS[name]
    try:
        with VideoReader(shared_data / "videos" / "clips" / name) as reader:
            seen = [(frame.index, frame.time, frame.image.shape) for frame in reader]
    except VideoError:
        # Some builds of FFmpeg have no AV1 decoder, and an error is expected.
        if "av1" in name:
            return
        raise
    times = np.array([time for _, time, _ in seen])
    assert [index for index, _, _ in seen] == list(range(frames))
    assert {shape for _, _, shape in seen} == {(*size, 3)}
    assert times[0] == 0 and (np.diff(times) > 0).all()
    assert times[-1] == pytest.approx(last, abs=1e-3)
    assert [problem for problem in reader.problems if "video streams" not in problem] == []


def test_gaps_of_a_variable_frame_rate_are_kept(shared_data: Path) -> None:
    with VideoReader(shared_data / "videos/clips/mmaction2/demo_skeleton.mp4") as reader:
        steps = np.diff([frame.time for frame in reader])
    assert set(np.round(steps, 3)) == {0.033, 0.2}


def test_the_rotated_clip_equals_the_rotated_original(shared_data: Path) -> None:
    folder = shared_data / "videos/clips/torchcodec"
    with VideoReader(folder / "nasa_13013_rotated.mp4") as turned, VideoReader(folder / "nasa_13013.mp4") as plain:
        assert turned.info.rotation == 90
        one, other = next(iter(turned)).image, [frame.image for _, frame in zip(range(60), plain, strict=False)]
    # The rotated clip is a part of the original one: its first frame equals some frame, rotated counterclockwise.
    differences = [np.abs(one.astype(int) - np.rot90(image)).mean() for image in other]
    assert min(differences) < 3


@pytest.mark.parametrize("start", [0.5, 3.0, 7.77])
@pytest.mark.parametrize(
    "name", ["mmaction2/demo.mp4", "torchcodec/nasa_13013.mp4", "torchcodec/nasa_13013_hdr.mp4", "mmaction2/test.mp4"]
)
def test_a_start_time_gives_the_same_frames_as_reading_everything(shared_data: Path, name: str, start: float) -> None:
    path = shared_data / "videos" / "clips" / name
    with VideoReader(path, end=start + 0.2) as reader:
        whole = {frame.index: frame for frame in reader if frame.time >= start}
    with VideoReader(path, start=start, end=start + 0.2) as reader:
        part = {frame.index: frame for frame in reader}
    assert list(part) == list(whole)
    for index, frame in part.items():
        assert frame.time == whole[index].time
        np.testing.assert_array_equal(frame.image, whole[index].image)
