"""Decoding on a GPU gives the frames of the CPU's decoder, or leaves a video to it.

Where no GPU is available, a stand-in decodes on the CPU and gives frames in the layout of a GPU.
"""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from pose_extraction.engines.devices import cuda_count
from pose_extraction.video.gpu_decoding import NotOnGpu, refuse_unsuitable
from pose_extraction.video.opening import choose_stream, open_container
from pose_extraction.video.reader import VideoReader
from pose_extraction.video.stream import VideoStream
from test_support.videos.made_video import write_made_clip

FRAMES = 14
CLIPS = {
    "h264": {"codec": "libx264"},
    "h264, full range": {"codec": "libx264", "pixel_format": "yuvj420p"},
    "hevc, 10 bit": {"codec": "libx265", "pixel_format": "yuv420p10le"},
    "vp9": {"codec": "libvpx-vp9"},
}


class StandIn(VideoStream):
    """Gives what a GPU would: the same frames in another layout, until something is wrong.

    Attributes:
        fails_at: Number of the frame from which on packets cannot be decoded.
        becomes_wider_at: Number of the frame from which on frames have another size.
    """

    fails_at = becomes_wider_at = 1000

    def _open_on_gpu(self, gpu: str) -> None:
        self._open_with(None)

    def _decoded_once(self) -> Iterator[av.VideoFrame]:
        if self._gpu is None:
            yield from super()._decoded_once()
            return
        layouts = {"yuv420p": "nv12", "yuvj420p": "nv12", "yuv420p10le": "p010le"}
        for number, frame in enumerate(super()._decoded_once()):
            if number == self.fails_at:
                self._refuse_damage(av.error.InvalidDataError(1, "Invalid data found"))
            width = frame.width + 2 * (number >= self.becomes_wider_at)
            target = layouts.get(frame.format.name, frame.format.name)
            yield VideoReformatter().reformat(frame, width=width, format=target, threads=1)


@pytest.fixture(scope="module", params=CLIPS)
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    return write_made_clip(
        path, size=(74, 98), frames=FRAMES, fps=10, persons=1, key_every=5, rotation=90, **CLIPS[request.param]
    )


def read(stream: VideoStream, start: float = 0.0) -> list[tuple[int, float, np.ndarray]]:
    found = [(picture.index, picture.time, picture.image()) for picture in stream.pictures(start)]
    stream.close()
    return found


def assert_same(ours: list[tuple[int, float, np.ndarray]], theirs: list[tuple[int, float, np.ndarray]]) -> None:
    assert [one[:2] for one in ours] == [one[:2] for one in theirs] and theirs
    for (*_, image), (*_, other) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(image, other)


@pytest.mark.parametrize("start", [0.0, 0.8])
def test_frames_of_a_gpu_become_those_of_the_cpu(clip: Path, start: float) -> None:
    problems: list[str] = []
    stream = StandIn(clip, problems, gpu="cuda:0")
    assert_same(read(stream, start), read(VideoStream(clip, []), start))
    assert problems == []
    assert stream.pixel_format in ("yuv420p", "yuv420p10le")


@pytest.mark.parametrize("start", [0.0, 0.8])
@pytest.mark.parametrize(
    ("attribute", "number", "reason"),
    [
        ("fails_at", 0, "it is damaged"),
        ("fails_at", 3, "it is damaged"),
        ("becomes_wider_at", 2, "the size of its frames changes"),
    ],
)
def test_the_cpu_continues_where_the_gpu_is_left(clip: Path, attribute, number: int, reason: str, start: float) -> None:
    problems: list[str] = []
    stream = StandIn(clip, problems, gpu="cuda:0")
    setattr(stream, attribute, number)
    theirs = VideoStream(clip, [])
    assert_same(read(stream, start), read(theirs, start))
    (note,) = problems
    assert note.startswith(f"decoded by the CPU, not the GPU: {reason}")
    assert note.kind == "decoded by the CPU, not the GPU"  # type: ignore[attr-defined]


def test_profiles_that_gpus_do_not_decode_are_left_to_the_cpu(tmp_path: Path) -> None:
    path = write_made_clip(tmp_path / "a.mkv", size=(64, 80), frames=4, codec="libx264", pixel_format="yuv444p")
    problems: list[str] = []
    assert_same(read(StandIn(path, problems, gpu="cuda:0")), read(VideoStream(path, [])))
    assert problems == ["decoded by the CPU, not the GPU: its frames came as yuv444p, which GPUs do not give"]


def test_damage_is_reported_as_without_a_gpu(tmp_path: Path) -> None:
    path = write_made_clip(tmp_path / "a.mp4", size=(64, 80), frames=30)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 300] = bytes(300)
    path.write_bytes(content)
    ours: list[str] = []
    theirs: list[str] = []
    assert_same(read(StandIn(path, ours, gpu="cuda:0")), read(VideoStream(path, theirs)))
    assert [note for note in ours if not note.startswith("decoded by")] == theirs


@pytest.mark.parametrize(
    ("codec", "reason"),
    [("mpeg4", "a GPU may decode mpeg4 to slightly different frames"), ("libx264", "no decoder on GPUs for h264")],
)
def test_codecs_that_a_gpu_may_decode_differently_are_left_to_the_cpu(codec: str, reason: str, tmp_path: Path) -> None:
    path = write_made_clip(tmp_path / "a.mp4", size=(64, 80), frames=2, codec=codec)
    with open_container(path) as container, pytest.raises(NotOnGpu, match=reason):
        refuse_unsuitable(choose_stream(container, path)[0])


@pytest.mark.skipif(cuda_count() > 0, reason="there is a GPU")
def test_without_a_usable_gpu_the_cpu_decodes_and_a_note_says_so(clip: Path) -> None:
    with VideoReader(clip, gpu="cuda:0") as ours, VideoReader(clip) as theirs:
        frames, expected = ([(one.index, one.time, one.image) for one in reader] for reader in (ours, theirs))
    assert_same(frames, expected)
    assert ours.info == theirs.info
    (note,) = ours.problems
    assert note.startswith("decoded by the CPU, not the GPU: FFmpeg ")


@pytest.mark.skipif(cuda_count() == 0, reason="there is no GPU")
def test_a_gpu_decodes_the_same_frames(clip: Path) -> None:
    with VideoReader(clip, gpu="cuda:0") as ours, VideoReader(clip) as theirs:
        frames, expected = ([(one.index, one.time, one.image) for one in reader] for reader in (ours, theirs))
    assert_same(frames, expected)


def test_a_file_that_is_no_video_has_the_same_error(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0" * 1000)
    messages = []
    for gpu in ("cuda:0", None):
        with pytest.raises(Exception, match="not a supported video") as error:
            VideoReader(path, gpu=gpu)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
