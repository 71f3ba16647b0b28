"""What a browser needs to know about a video, and a copy that it can play."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import av
import av.error

from pipeline.serve.worker.recording import Reporter
from pose_extraction.errors import VideoError
from pose_extraction.video.opening import choose_stream, open_container
from pose_extraction.video.reader import VideoReader
from pose_extraction.video.writer import VideoWriter

# Pixels per frame beyond which a video is refused: 8K. A damaged or hostile header could ask for all memory.
MOST_PIXELS = 7680 * 4320
_PLAYABLE = {
    "mov": ({"h264", "vp9", "av1"}, {"yuv420p", "yuvj420p"}),
    "matroska": ({"vp8", "vp9", "av1"}, {"yuv420p"}),
}


@dataclass(frozen=True)
class Media:
    """A video for a page.

    Args:
        plays: Whether browsers can play the file.
        offset: Seconds from the beginning of the file, as browsers count, to the first frame.
        kind: Media type of the file.
    """

    plays: bool
    offset: float
    kind: str

    @property
    def start(self) -> float:
        """Time of the first frame for the player: a copy for browsers begins with it."""
        return self.offset if self.plays else 0.0


def probe(path: Path, stream: int | None, most_frames: int) -> Media:
    """Look at the header of a video.

    Args:
        path: Video, or folder of images.
        stream: Number of the video stream that the job uses; None for the default one.
        most_frames: Number of frames beyond which a video is refused.

    Raises:
        VideoError: It is not a video, its frames are too large, or it claims to have too many.
    """
    if path.is_dir():
        return Media(False, 0.0, "")
    with open_container(path) as container:
        video, _ = choose_stream(container, path, stream)
        context = video.codec_context
        if context.width * context.height > MOST_PIXELS:
            raise VideoError(
                f"{path}: has frames of {context.width}x{context.height} pixels, but at most {MOST_PIXELS:,} pixels "
                "are processed; scale it down"
            )
        if video.frames > most_frames:
            raise VideoError(
                f"{path}: its header claims {video.frames:,} frames, but at most {most_frames:,} are processed; cut it "
                "into shorter videos, or start the service with a larger --max-frames"
            )
        container_format = container.format.name.partition(",")[0]
        codecs, formats = _PLAYABLE.get(container_format, (set(), set()))
        plays = (
            stream is None
            and len(container.streams.video) == 1
            and context.codec.canonical_name in codecs
            and context.pix_fmt in formats
            and (container_format != "matroska" or path.suffix.lower() == ".webm")
        )
        return Media(plays, _offset(container, video), "video/webm" if container_format == "matroska" else "video/mp4")


def _offset(container: "av.container.InputContainer", video: "av.VideoStream") -> float:
    if video.start_time is None or video.time_base is None or container.start_time is None:
        return 0.0
    return max(float(video.start_time * video.time_base) - container.start_time / 1_000_000, 0.0)


def copy_for_browsers(
    source: Path, target: Path, *, fps: float | None, stream: int | None, reporter: Reporter, frames: int
) -> None:
    """Write a copy of a video that browsers can play; its first frame is at time 0.

    Args:
        source: Video, or folder of images.
        target: File to write, .mp4.
        fps: Frames per second of raw streams and folders of images.
        stream: Number of the video stream.
        reporter: Receives the progress.
        frames: Number of frames, for the progress.

    Raises:
        VideoError: The video cannot be read, or the copy cannot be written.
    """
    reporter.stage("copying", frames)
    with VideoReader(source, fps=fps, stream=stream) as reader, ExitStack() as stack:
        writer = stack.enter_context(VideoWriter(target, reader.info.fps, reader.info.size))
        for frame in reader:
            writer.write(frame.image, frame.time)
            reporter.frame()
