"""Sections of `gpu_check.py` on what precedes the networks: decoding, and cutting persons out of frames."""

from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np

from pose_extraction.engines.warping import OLDER_DIFFERENCE, DeviceWarp, Warp, warp_in_memory
from pose_extraction.networks.topdown import TopdownEstimator, TopdownSpec
from pose_extraction.video.reader import Frame, VideoReader

PERSONS = 2
REPEATS = 50


def crops(device: str, size: tuple[int, int]) -> Iterator[str]:
    """Compare the persons that are cut out on a device with those of OpenCV, and measure both.

    Args:
        device: "cpu" or "cuda:N".
        size: (height, width) of the frame in pixels.
    """
    import torch

    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (*size, 3), np.uint8)
    corner = generator.uniform(-0.3, 1, (32, 2)) * size[::-1]
    box = np.concatenate([corner, corner + generator.uniform(0.01, 1, (32, 2)) * size[::-1]], 1).astype(np.float32)
    # An older OpenCV is no fault of the device.
    allowed = 0 if int(cv2.__version__.partition(".")[0]) >= 5 else OLDER_DIFFERENCE
    ways: dict[str, Warp] = {"OpenCV": warp_in_memory, "torch": DeviceWarp(torch.device(device))}

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    for codec in ("udp", "msra"):
        by_opencv, by_torch = (
            TopdownEstimator(None, TopdownSpec((256, 192), codec), warp=warp)  # type: ignore[arg-type]
            for warp in ways.values()
        )
        difference = np.abs(
            by_torch.crop(image, box).images.cpu().numpy().astype(int) - by_opencv.crop(image, box).images
        )
        share = f"{np.mean(difference > 0):.1e} of the values by up to {difference.max()}"
        verdict = "equal" if not difference.any() else f"DIFFERENT in {share}" if difference.max() > allowed else share
        yield f"{codec}: {len(box)} persons, torch on {device} and OpenCV {cv2.__version__}: {verdict}"
        times = [_seconds(lambda one=one: one.crop(image, box[:PERSONS]), wait) for one in (by_opencv, by_torch)]  # type: ignore[misc]
        shown = ", ".join(f"{name} {1000 * time:.2f}" for name, time in zip(ways, times, strict=True))
        yield f"{codec}: milliseconds for a frame of {size[1]}x{size[0]} with {PERSONS} persons: {shown}"


def _seconds(call: Callable[[], object], wait: Callable[[], None]) -> float:
    """Return the mean time of a call, after a first one that is not measured."""
    call()
    wait()
    began = perf_counter()
    for _ in range(REPEATS):
        call()
    wait()
    return (perf_counter() - began) / REPEATS


def decoding(device: str, clip: Path) -> Iterator[str]:
    """Compare the frames that a GPU decodes with those of the CPU, and measure both.

    Args:
        device: "cpu" or "cuda:N".
        clip: The video.
    """
    if not device.startswith("cuda"):
        yield "NOT MEASURED: a GPU is needed"
        return
    with VideoReader(clip, gpu=device) as reader:
        # The first video opens the device.
        next(iter(reader))
    if reader.problems:
        yield f"NOT MEASURED: {'; '.join(reader.problems)}"
        return
    for name, gpu in (("CPU", None), (device, device)):
        began = perf_counter()
        with VideoReader(clip, gpu=gpu) as reader:
            count = sum(1 for _ in reader)
        if gpu is not None and reader.problems:
            # The GPU may have been left after some frames.
            yield f"NOT MEASURED: {'; '.join(reader.problems)}"
            return
        yield f"{name}: {count / (perf_counter() - began):.0f} frames/s"
    # One frame of each at a time, because all of them do not fit into memory.
    different = 0
    with VideoReader(clip) as one, VideoReader(clip, gpu=device) as other:
        ours, theirs = iter(one), iter(other)
        for frame in ours:
            different += not _are_same(frame, next(theirs, None))
        different += sum(1 for _ in theirs)
    yield f"{different} of {count} frames are DIFFERENT" if different else f"all {count} frames and times are equal"


def _are_same(frame: Frame, other: Frame | None) -> bool:
    return (
        other is not None
        and (frame.index, frame.time) == (other.index, other.time)
        and np.array_equal(frame.image, other.image)
    )
