"""A network that was exported as an ONNX file finds the same joints or boxes."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from pose_extraction.networks.estimators import load_detector, load_estimator
from pose_extraction.networks.identity import OWN, NetworkIdentity, NetworkOptions, identify
from pose_extraction.networks.model_zoo import lookup
from pose_extraction.networks.names import score_threshold_of
from pose_extraction.networks.onnx_export import check_exportable, export_network
from pose_extraction.networks.onnx_models import estimator_from_onnx
from pose_extraction.networks.openmmlab import mmlab
from pose_extraction.networks.vitpose.architecture import Architecture
from pose_extraction.oks import box_iou
from test_support.networks.untrained_detectors import picture, spread_scores

ENGINE = Engine("cpu", "torch", "fp32")


def tiny_vitpose(**sizes: object) -> NetworkIdentity:
    """Return a ViTPose with random weights, three blocks and tokens of 24 values."""
    entry = lookup("vitpose-b", "estimator")
    changed = replace(entry, vitpose=Architecture((256, 192), 24, 3, 2, **sizes))  # type: ignore[arg-type]
    return NetworkIdentity("vitpose-b", "estimator", "seed:0", ENGINE, changed, None, 0, OWN)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes", [{}, {"deconvolutions": (16, 16)}, {"expert_dim": 8}], ids=["simple", "classic", "plus"]
)
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_exported_vitpose_finds_the_same_joints(sizes: dict, backend: str, tmp_path: Path) -> None:
    identity = tiny_vitpose(**sizes)
    export_network(identity, tmp_path / "tiny.onnx")
    own = load_estimator(identity, NetworkOptions(Engine("cpu", "torch", "fp32", 2)))
    other = estimator_from_onnx(tmp_path / "tiny.onnx", Engine("cpu", backend, "fp32"), batch_size=2, flip_test=False)
    frame = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    for box in np.array([[20, 10, 120, 230], [150, 30, 300, 200], [0, 0, 60, 100]], np.float32):
        crops = own.crop(frame, box)
        (expected_maps,), (maps,) = own.heatmaps(crops.images), other.heatmaps(crops.images)
        np.testing.assert_allclose(maps, expected_maps, atol=1e-4 * np.abs(expected_maps).max())
        expected, expected_score = own.estimate(crops)
        found, score = other.estimate(other.crop(frame, box))
        # The maximum of the flat heat maps of random networks is ill-defined.
        np.testing.assert_allclose(found, expected, atol=0.5)
        np.testing.assert_allclose(score, expected_score, atol=1e-4)


@pytest.mark.slow
def test_exported_hrnet_has_the_same_heat_maps(tmp_path: Path) -> None:
    pytest.importorskip("mmpose")
    identity = identify("estimator", "hrnet-tiny", checkpoint="seed:0", options=NetworkOptions(ENGINE))
    export_network(identity, tmp_path / "hrnet.onnx")
    own = load_estimator(identity, NetworkOptions(Engine("cpu", "torch", "fp32", 1)))
    other = estimator_from_onnx(
        tmp_path / "hrnet.onnx", Engine("cpu", "onnxruntime", "fp32"), batch_size=1, flip_test=False
    )
    frame = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    images = own.crop(frame, np.array([20, 10, 120, 230], np.float32)).images
    (expected,), (found,) = own.heatmaps(images), other.heatmaps(images)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The RTMDet of the package, which was trained on rendered people, as an ONNX file."""
    pytest.importorskip("mmdet")
    path = tmp_path_factory.mktemp("exported") / "rendered.onnx"
    export_network(identify("detector", "rtmdet-nano-rendered", options=NetworkOptions(ENGINE)), path)
    return path


def assert_same_boxes(path: Path, backend: str, network: NetworkIdentity, threshold: float, frames: list) -> None:
    """Compare the boxes of an ONNX file with those of the network on torch, in a batch of frames of several sizes."""
    options = NetworkOptions(Engine("cpu", "torch", "fp32"), score_threshold=threshold, frame_batch=2)
    expected = load_detector(network, options).detect(frames)
    other = replace(options, engine=Engine("cpu", backend, "fp32"))
    found = load_detector(identify("detector", str(path), options=other), other).detect(frames)
    for (box, score), (expected_box, expected_score) in zip(found, expected, strict=True):
        assert len(expected_box) >= 3, "too few boxes to compare"
        # A score at the threshold, or an overlap at that of the suppression, may fall on either side.
        assert abs(len(box) - len(expected_box)) <= 0.05 * len(expected_box)
        partner = box_iou(expected_box, box).argmax(axis=1)
        same = np.isclose(box[partner], expected_box, rtol=1e-3, atol=0.05).all(axis=1)
        same &= np.isclose(score[partner], expected_score, atol=1e-3)
        assert same.mean() >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_exported_rtmdet_finds_the_same_boxes(rendered: Path, backend: str) -> None:
    """Wide, square and tall frames; a low threshold, so that there are many boxes."""
    network = identify("detector", "rtmdet-nano-rendered", options=NetworkOptions(ENGINE))
    frames = [picture(180, 320), picture(300, 300), picture(320, 180)]
    assert_same_boxes(rendered, backend, network, 0.02, frames)


@pytest.mark.slow
def test_exported_rtmdet_of_80_classes_finds_the_same_persons(shared_data: Path, tmp_path: Path) -> None:
    """The classes are named in the graph, and a real image has a depth of features that made ones lack."""
    pytest.importorskip("mmdet")
    entry = lookup("rtmdet-tiny", "detector")
    network, config = mmlab.build_detector(entry.package, entry.config, seed=1)
    spread_scores(network, config)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "weights.pth")
    changed = identify(
        "detector", "rtmdet-tiny", checkpoint=str(tmp_path / "weights.pth"), options=NetworkOptions(ENGINE)
    )
    export_network(changed, tmp_path / "rtmdet.onnx")
    files = sorted((shared_data / "real/coco_val2017/images").glob("*.jpg"))[:2]
    frames = [cv2.imread(str(file)) for file in files]
    assert_same_boxes(tmp_path / "rtmdet.onnx", "onnxruntime", changed, 0.6, frames)


@pytest.mark.slow
def test_exported_rtmdet_has_the_settings_of_the_network(rendered: Path) -> None:
    options = NetworkOptions(Engine("cpu", "onnxruntime", "fp32"))
    identity = identify("detector", str(rendered), options=options)
    own = load_detector(identity, options)
    entry = lookup("rtmdet-nano-rendered", "detector")
    assert own.spec.input_size == entry.input_size == (320, 320)  # type: ignore[attr-defined]
    assert own.score_threshold == score_threshold_of(str(rendered)) == entry.score_threshold  # type: ignore[attr-defined]
    # `extract --square-input` pads frames to the square.
    assert own.spec.oblong  # type: ignore[attr-defined]
    square = load_detector(identity, replace(options, oblong=False))
    assert not square.spec.oblong  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("faster-rcnn", "detector", "its second stage"),
        ("openpifpaf", "estimator", "only top-down estimators"),
        ("blazepose", "estimator", "needs no torch"),
        ("yolox-tiny", "detector", "is an ONNX file already"),
    ],
)
def test_networks_that_cannot_be_exported_are_refused(name: str, kind: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_exportable(lookup(name, kind))
