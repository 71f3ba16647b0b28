"""An estimator that was exported as an ONNX file finds the same joints."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pose_extraction.engines.engine import Engine
from pose_extraction.networks.estimators import load_estimator
from pose_extraction.networks.identity import OWN, NetworkIdentity, NetworkOptions, identify
from pose_extraction.networks.model_zoo import lookup
from pose_extraction.networks.onnx_export import export_estimator
from pose_extraction.networks.onnx_models import estimator_from_onnx
from pose_extraction.networks.vitpose.architecture import Architecture

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
    export_estimator(identity, tmp_path / "tiny.onnx")
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
    export_estimator(identity, tmp_path / "hrnet.onnx")
    own = load_estimator(identity, NetworkOptions(Engine("cpu", "torch", "fp32", 1)))
    other = estimator_from_onnx(
        tmp_path / "hrnet.onnx", Engine("cpu", "onnxruntime", "fp32"), batch_size=1, flip_test=False
    )
    frame = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    images = own.crop(frame, np.array([20, 10, 120, 230], np.float32)).images
    (expected,), (found,) = own.heatmaps(images), other.heatmaps(images)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
