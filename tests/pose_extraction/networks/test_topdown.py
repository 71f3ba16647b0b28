"""The batched top-down pipeline compared with mmpose.apis.inference_topdown: same boxes, seeded weights, fp32."""

import numpy as np
import pytest

from pose_extraction.engines.engine import Engine
from pose_extraction.engines.image_networks import Normalisation, from_torch
from pose_extraction.networks.model_zoo import lookup
from pose_extraction.networks.openmmlab import mmlab, mmlab_packages
from pose_extraction.networks.topdown import TopdownEstimator, TopdownSpec
from pose_extraction.video.reader import VideoReader

pytestmark = [
    pytest.mark.processor,
    pytest.mark.skipif(bool(mmlab_packages.missing_packages()), reason="the OpenMMLab extra is not installed"),
]

NAMES = ("vitpose-s", "hrnet-w32")
BATCH = 4


@pytest.fixture(scope="module")
def frames(request: pytest.FixtureRequest) -> list[np.ndarray]:
    """Images with structure at all scales, so that half a pixel matters, and a real image if available."""
    generator = np.random.default_rng(0)
    pictures = []
    for height, width in ((360, 640), (257, 401)):
        picture = np.zeros((height, width, 3))
        for octave in (2, 8, 32, 128):
            coarse = generator.random((height // octave + 2, width // octave + 2, 3))
            picture += np.kron(coarse, np.ones((octave, octave, 1)))[:height, :width] * octave
        pictures.append((picture / picture.max() * 255).astype(np.uint8))
    clip = request.config.rootpath.parent / "shared/data/videos/clips/torchvision/v_SoccerJuggling_g23_c01.avi"
    if clip.is_file():
        with VideoReader(clip, end=0.04) as reader:
            pictures += [frame.image for frame in reader][:1]
    return pictures


# Inside the frame, partly outside, wider than high, tiny, fractional.
BOXES = np.array(
    [[40, 30, 180, 330], [-20, 100, 90, 400], [100, 50, 380, 140], [200, 80, 212, 99], [77.3, 20.7, 150.2, 211.9]],
    np.float32,
)


def published(network, config: str, picture: np.ndarray, *, flip_test: bool):
    """mmpose's result for each box, with its heat maps."""
    from mmpose.apis import inference_topdown

    settings = mmlab.load_config("mmpose", config)
    network.cfg = settings
    network.dataset_meta = {"flip_indices": [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]}
    network.test_cfg = {**settings.model.test_cfg, "flip_test": flip_test, "output_heatmaps": True}
    samples = inference_topdown(network, picture, BOXES)
    keypoint = np.concatenate([sample.pred_instances.keypoints for sample in samples])
    heatmaps = np.stack([np.asarray(sample.pred_fields.heatmaps) for sample in samples])
    return keypoint, heatmaps


@pytest.mark.slow
@pytest.mark.parametrize("flip_test", [False, True], ids=["plain", "flip"])
@pytest.mark.parametrize("name", NAMES)
def test_equals_inference_topdown(name: str, flip_test: bool, frames: list[np.ndarray]) -> None:
    config = lookup(name, "estimator").config
    network, facts = mmlab.build_topdown(config, seed=3)
    ours = TopdownEstimator(
        from_torch(
            mmlab.heatmap_function(network),
            Normalisation(facts.mean, facts.std, to_rgb=True),
            Engine("cpu", "torch", "fp32"),
            input_size=facts.input_size,
            batch_size=BATCH,
        ),
        TopdownSpec(facts.input_size, facts.codec, facts.box_scale, facts.shift_flipped, facts.blur_kernel),
        flip_test=flip_test,
    )
    # The second pass of the flip test does not depend on the picture.
    for picture in frames[:1] if flip_test else frames:
        their_keypoint, their_heatmaps = published(network, config, picture, flip_test=flip_test)
        crops = ours.crop(picture, BOXES)
        our_heatmaps = ours.heatmaps(crops.images)[0]
        largest = np.abs(their_heatmaps).max()
        np.testing.assert_allclose(our_heatmaps, their_heatmaps, rtol=0, atol=1e-5 * largest)

        same_maps, _ = ours.decode([their_heatmaps], crops.center, crops.scale)
        seen = ~np.isnan(same_maps[..., 0])
        assert seen.mean() > 0.3, "seeded heat maps should be positive somewhere, or this test compares nothing"
        assert np.abs(same_maps - their_keypoint)[seen].max() < 0.05

        own_maps, _ = ours.estimate(crops)
        ordered = np.sort(their_heatmaps.reshape(*their_heatmaps.shape[:2], -1), -1)
        clear = seen & (ordered[..., -1] - ordered[..., -2] > 1e-4 * largest)
        assert clear.any()
        assert np.abs(own_maps - their_keypoint)[clear].max() < 0.05


@pytest.mark.slow
def test_crops_equal_the_published_pipeline(frames: list[np.ndarray]) -> None:
    mmlab_packages.prepare()
    from mmpose.datasets.transforms import GetBBoxCenterScale, TopdownAffine

    for codec in ("udp", "msra"):
        ours = TopdownEstimator(None, TopdownSpec((256, 192), codec))  # type: ignore[arg-type]
        for picture in frames:
            crops = ours.crop(picture, BOXES)
            for index, box in enumerate(BOXES):
                results = {"img": picture, "bbox": box[None]}
                results = TopdownAffine((192, 256), use_udp=codec == "udp")(GetBBoxCenterScale()(results))
                np.testing.assert_array_equal(crops.images[index], results["img"])


def test_no_boxes_give_no_poses(frames: list[np.ndarray]) -> None:
    estimator = TopdownEstimator(None, TopdownSpec((256, 192)))  # type: ignore[arg-type]
    keypoint, score = estimator.estimate(estimator.crop(frames[0], np.zeros((0, 4))))
    assert keypoint.shape == (0, 17, 2)
    assert score.shape == (0, 17)
