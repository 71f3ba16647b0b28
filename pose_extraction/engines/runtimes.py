"""Networks as functions of arrays on OpenVINO and ONNX Runtime, and what torch needs to run in an `Engine`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pose_extraction.engines.devices import cpu_count
from pose_extraction.engines.engine import Engine
from pose_extraction.engines.openvino_core import openvino_core
from pose_extraction.engines.threads import waits_asleep
from pose_extraction.errors import BackendError

if TYPE_CHECKING:
    import torch

# Maps the network's inputs, in their order, to its outputs in float32.
Runner = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


def onnx_runner(content: bytes, engine: Engine) -> Runner:
    """Return a function that runs an ONNX network.

    Args:
        content: The serialised network.
        engine: Where it runs; the backend is "openvino" or "onnxruntime".
    """
    if engine.backend == "openvino":
        return openvino_runner(openvino_core().read_model(content), engine)
    return _onnxruntime_runner(content, engine)


def openvino_runner(model: Any, engine: Engine) -> Runner:
    """Return a function that runs an OpenVINO model.

    Args:
        model: An `openvino.Model`.
        engine: Its precision is "fp32" or "bf16".
    """
    properties = {
        # OpenVINO's default is bf16 wherever the CPU supports it, even if fp32 was requested.
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[engine.precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": cpu_count(),
        # Its idle threads sleep soon; but pinned to a core, a thread would wait for that core while others are free.
        "ENABLE_CPU_PINNING": not waits_asleep(),
    }
    compiled = openvino_core().compile_model(model, "CPU", properties)

    def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        outputs = compiled([np.ascontiguousarray(array) for array in inputs])
        # Copy: the next run overwrites the arrays.
        return [np.array(outputs[port], np.float32) for port in compiled.outputs]

    return run


def _onnxruntime_runner(content: bytes, engine: Engine) -> Runner:
    import onnxruntime

    providers: list[Any] = ["CPUExecutionProvider"]
    if not engine.on_cpu:
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(engine.device.removeprefix("cuda:"))}))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_count()
    if waits_asleep():
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    errors = _onnxruntime_errors()
    try:
        session = onnxruntime.InferenceSession(content, options, providers=providers)
    except errors as error:
        # As OpenVINO and torch do, so that callers name the file.
        raise RuntimeError(str(error)) from error
    names = [value.name for value in session.get_inputs()]

    def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        given = {name: np.ascontiguousarray(array) for name, array in zip(names, inputs, strict=True)}
        try:
            outputs = session.run(None, given)
        except errors as error:
            reason = " ".join(str(error).split())
            raise BackendError(f"ONNX Runtime cannot run the network ({reason}); try another --backend") from error
        return [np.asarray(output, np.float32) for output in outputs]

    return run


def _onnxruntime_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of ONNX Runtime, which have no common class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(one for one in vars(state).values() if isinstance(one, type) and issubclass(one, Exception))


def torch_device(engine: Engine) -> "torch.device":
    """Return the device of a network that runs with torch, set up for exact results."""
    import torch

    device = torch.device(engine.device)
    if device.type == "cuda":
        # PyTorch enables TF32 for convolutions by default, which keeps only 10 mantissa bits.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    return device


def torch_dtype(engine: Engine) -> "torch.dtype":
    """Return the type of the numbers in which a network computes with torch."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[engine.precision]


def autocast(engine: Engine) -> "torch.autocast":
    """Return a context in which a network with weights in fp32 computes in the precision of the engine."""
    import torch

    half = None if engine.precision == "fp32" else torch_dtype(engine)
    return torch.autocast(torch.device(engine.device).type, half, enabled=half is not None)
