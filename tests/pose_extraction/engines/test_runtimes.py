"""Networks as functions of arrays: their errors."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pose_extraction.engines.engine import Engine
from pose_extraction.engines.runtimes import onnx_runner
from pose_extraction.errors import BackendError

RUNTIME = Engine("cpu", "onnxruntime", "fp32")


def sum_with_three_numbers() -> bytes:
    """A network that adds three numbers to its input, whose size it leaves open."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "three"], ["y"])],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(3, np.float32), "three")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.ModelProto.SerializeToString(model)


def test_errors_of_onnx_runtime_are_those_that_commands_report() -> None:
    content = sum_with_three_numbers()
    run = onnx_runner(content, RUNTIME)
    np.testing.assert_array_equal(run([np.arange(3, dtype=np.float32)])[0], [1, 2, 3])
    with pytest.raises(BackendError, match="try another --backend"):
        run([np.zeros(2, np.float32)])
    with pytest.raises(RuntimeError):
        onnx_runner(content[:-20], RUNTIME)
