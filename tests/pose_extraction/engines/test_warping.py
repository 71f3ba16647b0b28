"""Regions that torch cuts out of an image are those of OpenCV, byte by byte."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pose_extraction.engines.engine import Engine
from pose_extraction.engines.warping import OLDER_DIFFERENCE, DeviceWarp, warp_in_memory
from pose_extraction.networks.estimators import load_estimator
from pose_extraction.networks.identity import NetworkOptions, identify
from pose_extraction.networks.topdown import TopdownEstimator, TopdownSpec
from pose_extraction.streaming.stage_times import StageTimes
from pose_extraction.streaming.topdown import estimate_topdown
from pose_extraction.video.reader import Frame
from test_support.videos.made_video import made_box, made_frame

CPU = torch.device("cpu")
# Numbers of processor features in OpenCV, which has no names for them in Python.
CPU_FMA3, CPU_NEON = 12, 100
# Without fused multiplications, OpenCV rounds once more.
FUSED = any(cv2.checkHardwareSupport(feature) for feature in (CPU_FMA3, CPU_NEON))
IS_OLDER = int(cv2.__version__.partition(".")[0]) < 5
TOLERANCE = OLDER_DIFFERENCE if IS_OLDER else 0 if FUSED else 1


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def largest_difference(ours: torch.Tensor, theirs: np.ndarray) -> int:
    return int(np.abs(ours.numpy().astype(int) - theirs).max(initial=0))


def crops_of(warp, codec: str, size: tuple[int, int], image: np.ndarray, box: np.ndarray):
    return TopdownEstimator(None, TopdownSpec(size, codec), warp=warp).crop(image, box).images  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", ["msra", "udp"])
@pytest.mark.parametrize("shape", [(120, 214), (214, 120), (31, 17), (1, 1)])
def test_persons_are_cut_out_as_opencv_does(codec: str, shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(shape[0])
    height, width = shape
    # Inside and outside the frame, larger than it, tiny, empty.
    corner = generator.uniform(-0.7, 1.2, (40, 2)) * (width, height)
    extent = generator.uniform(0, 1, (40, 2)) ** 3 * (1.5 * width, 1.5 * height)
    extent[:2] = 0
    extent[2:6] *= 1e-3
    box = np.concatenate([corner, corner + extent], 1).astype(np.float32)
    image = picture(height, width)
    for size in ((256, 192), (64, 48)):
        ours, theirs = (crops_of(warp, codec, size, image, box) for warp in (DeviceWarp(CPU), warp_in_memory))
        assert ours.dtype == torch.uint8 and ours.shape == theirs.shape
        assert largest_difference(ours, theirs) <= TOLERANCE
    assert theirs.any()


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.lists(st.floats(-3, 3, width=32), min_size=4, max_size=4),
    offset=st.tuples(st.floats(-300, 300, width=32), st.floats(-300, 300, width=32)),
    width=st.sampled_from([16, 48, 192]),
    as_fp32=st.booleans(),
)
def test_turned_and_mirrored_regions_are_cut_out_as_opencv_does(numbers, offset, width, as_fp32) -> None:
    a, b, d, e = numbers
    # Without an inverse, there is nothing to compare.
    assume(abs(a * e - b * d) > 1e-3)
    matrices = np.array([[[a, b, offset[0]], [d, e, offset[1]]]], np.float32 if as_fp32 else np.float64)
    image, size = picture(90, 140), (33, width)
    ours = DeviceWarp(CPU)(image, matrices, size)
    assert largest_difference(ours, warp_in_memory(image, matrices, size)) <= TOLERANCE


def test_the_last_columns_of_other_widths_differ_by_one_at_most() -> None:
    image, generator = picture(90, 140), np.random.default_rng(1)
    for width in (13, 37, 50):
        scale = generator.uniform(0.2, 5, 200)
        place = generator.uniform(-40, 20, (2, 200))
        zero = np.zeros(200)
        matrices = np.stack([np.stack([scale, zero, place[0]], 1), np.stack([zero, scale, place[1]], 1)], 1)
        theirs = warp_in_memory(image, matrices, (29, width))
        ours = DeviceWarp(CPU)(image, matrices, (29, width))
        whole = width // 16 * 16
        assert largest_difference(ours[:, :, :whole], theirs[:, :, :whole]) <= TOLERANCE
        assert largest_difference(ours, theirs) <= max(1, TOLERANCE)
        assert IS_OLDER or (ours.numpy() != theirs).mean() < 1e-3


def test_nobody_is_cut_out_of_a_frame_without_persons() -> None:
    crops = crops_of(DeviceWarp(CPU), "msra", (64, 48), picture(20, 30), np.zeros((0, 4)))
    assert crops.shape == (0, 64, 48, 3) and crops.dtype == torch.uint8


class SmallMemory(DeviceWarp):
    """A device with memory for a given number of regions."""

    fits = 0
    seen: list[int]

    def cut(self, frame: torch.Tensor, inverse: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
        self.seen.append(len(inverse))
        if len(inverse) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().cut(frame, inverse, size)


@pytest.mark.parametrize(("fits", "seen"), [(3, [8, 4, 2, 2, 2, 2, 1, 2, 2, 2, 2, 1]), (0, [8, 4, 2, 1])])
def test_where_memory_runs_out_fewer_regions_are_cut_out_at_once_and_in_the_end_by_the_cpu(fits, seen) -> None:
    warp = SmallMemory(CPU, together=8)
    warp.fits, warp.seen = fits, []
    image, box = picture(50, 60), np.random.default_rng(2).uniform(0, 50, (9, 4))
    box[:, 2:] += box[:, :2]
    theirs = crops_of(warp_in_memory, "udp", (64, 48), image, box)
    for _ in range(2):
        assert largest_difference(crops_of(warp, "udp", (64, 48), image, box), theirs) <= TOLERANCE
    assert warp.seen == seen


@pytest.mark.processor
@pytest.mark.parametrize("flip_test", [False, True], ids=["plain", "flip"])
@pytest.mark.parametrize("name", ["vitpose-tiny", "hrnet-tiny"])
def test_poses_are_the_same_and_batches_span_frames(name: str, flip_test: bool, real_images: list[np.ndarray]) -> None:
    options = NetworkOptions(Engine("cpu", "torch", "fp32", 4), flip_test=flip_test)
    by_opencv = load_estimator(identify("estimator", name, options=options), options)
    assert isinstance(by_opencv, TopdownEstimator)
    by_torch = TopdownEstimator(by_opencv.network, by_opencv.spec, flip_test=flip_test, warp=DeviceWarp(CPU))
    frames = []
    for number, image in enumerate(real_images):
        size = (image.shape[0], image.shape[1])
        box = made_box(0.1 * number, size, persons=3)
        frames.append(("video", Frame(number, 0.1 * number, image), (box, np.ones(3, np.float32))))
    expected, found = (
        [poses for _, poses in estimate_topdown([*frames, ("video", None, None)], estimator, StageTimes())]
        for estimator in (by_opencv, by_torch)
    )
    assert len(expected) == len(real_images) + 1 and expected[-1] is None and found[-1] is None
    for one, other in zip(expected[:-1], found[:-1], strict=True):
        assert one is not None and other is not None and np.isfinite(one.keypoint).any()
        if TOLERANCE == 0:
            np.testing.assert_array_equal(other.keypoint, one.keypoint)
            np.testing.assert_array_equal(other.keypoint_score, one.keypoint_score)
        else:
            np.testing.assert_allclose(other.keypoint_score, one.keypoint_score, atol=0.05)


@pytest.fixture(scope="module")
def real_images(request: pytest.FixtureRequest) -> list[np.ndarray]:
    """Made frames of two shapes, and frames of a real video if it is there."""
    images = [made_frame(0.0, (180, 240), 3), made_frame(0.3, (240, 180), 3)]
    clip = Path(request.config.rootpath.parent) / "shared/data/videos/clips/torchvision/v_SoccerJuggling_g23_c01.avi"
    if clip.is_file():
        from pose_extraction.video.reader import VideoReader

        with VideoReader(clip, stride=30) as reader:
            images += [frame.image for frame in reader][:3]
    return images
