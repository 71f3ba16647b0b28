"""Decoding on an NVIDIA GPU: the videos for which it gives the frames of the CPU's decoder, and their layout there.

Anything unusual, such as damage, raises `NotOnGpu`. The CPU then decodes the video from its beginning, and the frames
that were used already are skipped, so that times and numbers of frames are those of the CPU's decoder.
"""

from functools import cache

import av
import av.error
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.video.reformatter import VideoReformatter

# Their standards define every decoded value. Others, such as MPEG-2, leave the rounding to the decoder.
EXACT_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1"})
# Names of pixel formats in the memory of a GPU, and those of the same values from the CPU's decoder. FFmpeg converts
# them to BGR in different ways, which interpolate colours or not: values differ by up to 160 of 255.
PLANAR = {"nv12": "yuv420p", "p010le": "yuv420p10le"}
GPU_FORMAT = "cuda"


class NotOnGpu(Exception):
    """A video that the CPU has to decode; the text is the reason."""


def accelerator(device: str) -> HWAccel:
    """Return what `av.open` needs to decode on a GPU.

    Args:
        device: "cuda:N".

    Raises:
        NotOnGpu: FFmpeg was built without CUDA, or cannot use this device.
    """
    number = device.partition(":")[2] or "0"
    reason = _problem_with(number)
    if reason:
        raise NotOnGpu(reason)
    return HWAccel(GPU_FORMAT, device=number)


@cache
def _problem_with(number: str) -> str:
    """Return why a GPU cannot decode anything; empty if it can."""
    if GPU_FORMAT not in hwdevices_available():
        return "FFmpeg of the installed PyAV was built without CUDA"
    try:
        HWAccel(GPU_FORMAT, device=number).create(av.Codec("h264", "r"))
    except (av.error.FFmpegError, NotImplementedError) as error:
        return f"FFmpeg cannot use cuda:{number} ({getattr(error, 'strerror', None) or error})"
    return ""


def refuse_unsuitable(stream: av.VideoStream) -> None:
    """Check a stream that was opened with `accelerator`, before it is decoded.

    Raises:
        NotOnGpu: The GPU cannot decode its codec, or not exactly.
    """
    codec = stream.codec_context.codec.canonical_name
    if codec not in EXACT_CODECS:
        raise NotOnGpu(f"a GPU may decode {codec} to slightly different frames")
    if not stream.codec_context.is_hwaccel:
        raise NotOnGpu(f"FFmpeg has no decoder on GPUs for {stream.codec_context.codec.name}")


class GpuFrames:
    """Brings frames from a GPU into the layout of the CPU's decoder, without changing a value.

    Args:
        stream: Their stream, before it is decoded.
    """

    def __init__(self, stream: av.VideoStream) -> None:
        self._size = (stream.codec_context.width, stream.codec_context.height)
        self._reformatter = VideoReformatter()

    def planar(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return a frame in the layout of the CPU's decoder, with its times and properties.

        Raises:
            NotOnGpu: The GPU's decoder may have given another frame.
        """
        if frame.is_corrupt:
            raise NotOnGpu("it is damaged")
        if frame.format.name not in PLANAR:
            raise NotOnGpu(f"its frames came as {frame.format.name}, which GPUs do not give")
        # FFmpeg does not cut the left and upper border off frames of a GPU.
        if (frame.width, frame.height) != self._size:
            raise NotOnGpu("the size of its frames changes, or its header cuts off a part of them")
        try:
            return self._reformatter.reformat(frame, format=PLANAR[frame.format.name], threads=1)
        except av.error.FFmpegError as error:
            raise NotOnGpu(f"a frame could not be copied from the GPU ({error.strerror or error})") from error
