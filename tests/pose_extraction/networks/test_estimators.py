"""Identities of networks: their digest decides which clips have to be extracted again."""

import importlib.metadata
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.networks.identity import NetworkOptions, identify
from pose_extraction.networks.names import display_name

OPTIONS = NetworkOptions(Engine(device="cpu", backend="onnxruntime"))


def write_network(path: Path, *, weights_outside: bool = False) -> Path:
    weight = np.ones((17, 3, 1, 1), np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight"], ["maps"])],
        "test",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 8, 6])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["N", 17, 8, 6])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    outside = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0} if weights_outside else {}
    onnx.save_model(model, str(path), **outside)
    return path


def test_the_digest_of_an_onnx_network_includes_yaml_and_external_weights(tmp_path: Path) -> None:
    path = write_network(tmp_path / "own.onnx", weights_outside=True)
    digests = [identify("estimator", str(path), options=OPTIONS).digest]
    path.with_suffix(".yaml").write_text("box_scale: 2.0\n")
    digests.append(identify("estimator", str(path), options=OPTIONS).digest)
    outside = tmp_path / "weights.bin"
    outside.write_bytes(outside.read_bytes()[:-4] + np.float32(7).tobytes())
    digests.append(identify("estimator", str(path), options=OPTIONS).digest)
    assert len(set(digests)) == 3
    assert identify("estimator", str(path), options=OPTIONS).digest == digests[-1]


def test_random_weights_are_identified_by_their_seed() -> None:
    identity = identify("estimator", "ViTPose-S", checkpoint="seed:3", options=NetworkOptions(Engine(device="cpu")))
    assert (identity.digest, identity.seed, identity.file, identity.name) == ("seed:3", 3, None, "vitpose-s")
    with pytest.raises(UsageError, match="seed:N"):
        identify("estimator", "vitpose-s", checkpoint="seed:x", options=NetworkOptions(Engine(device="cpu")))


def test_detectors_run_in_fp32_by_default() -> None:
    detector = identify("detector", "rtmdet-nano", checkpoint="seed:0", options=NetworkOptions(Engine(device="cpu")))
    assert detector.engine.precision == "fp32"
    options = NetworkOptions(Engine(device="cpu", precision="bf16"))
    assert identify("detector", "rtmdet-nano", checkpoint="seed:0", options=options).engine.precision == "bf16"


def test_versions_of_runtimes_with_other_distribution_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_network(tmp_path / "own.onnx")
    known = identify("estimator", str(path), options=OPTIONS).facts()

    def only_onnxruntime_gpu(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", only_onnxruntime_gpu)
    assert identify("estimator", str(path), options=OPTIONS).facts() == known


def test_unknown_networks_are_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="vitpose"):
        identify("estimator", "vitpos", options=OPTIONS)
    with pytest.raises(WeightsError, match=r"nothing\.onnx"):
        identify("detector", str(tmp_path / "nothing.onnx"), options=OPTIONS)
    with pytest.raises(UsageError, match="own weights"):
        identify("estimator", str(write_network(tmp_path / "own.onnx")), checkpoint="seed:0", options=OPTIONS)


def test_display_names() -> None:
    assert display_name("folder/RTMPose-m.v2.onnx") == "RTMPose-m.v2"
    assert display_name("ViTPose") == "vitpose"
