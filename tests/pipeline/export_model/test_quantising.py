"""Weights in 8 bits."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.export_model.quantising import write_in_8_bits
from pose_extraction.errors import WeightsError


def linear_layers(path: Path, *operators: str) -> dict[str, np.ndarray]:
    """Write a network of linear layers with 32 inputs and outputs, as torch exports them; return their weights."""
    rng = np.random.default_rng(0)
    weights, nodes = {}, []
    for number, operator in enumerate(operators):
        weights[f"w{number}"] = rng.normal(0, 0.2, (32, 32)).astype(np.float32)
        inputs = [f"x{number}", f"w{number}"]
        if operator == "Gemm":
            weights[f"b{number}"] = rng.normal(0, 1, 32).astype(np.float32)
            inputs.append(f"b{number}")
        options = {"transB": 1} if operator == "Gemm" else {}
        nodes.append(helper.make_node(operator, inputs, [f"x{number + 1}"], name=f"layer{number}", **options))
    graph = helper.make_graph(
        nodes, "layers",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["N", 32])],
        [helper.make_tensor_value_info(f"x{len(operators)}", TensorProto.FLOAT, ["N", 32])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return weights


def test_linear_layers_with_and_without_bias_have_8_bit_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    weights = linear_layers(path, "MatMul", "Gemm")
    values = np.random.default_rng(1).normal(size=(8, 32)).astype(np.float32)
    expected = values @ weights["w0"] @ weights["w1"].T + weights["b1"]
    write_in_8_bits(path)
    stored = {one.name: one.data_type for one in onnx.load(path).graph.initializer if len(one.dims) == 2}
    assert len(stored) == 2 and set(stored.values()) == {TensorProto.INT8}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x0": values})
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_a_network_without_linear_layers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "none", [value], [out])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(WeightsError, match="has no linear layers"):
        write_in_8_bits(path)
