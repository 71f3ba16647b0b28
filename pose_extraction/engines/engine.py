"""Where and how a network runs: on which device, with which library, in which precision, in which batches."""

import importlib.util
import logging
from dataclasses import dataclass, replace
from typing import Literal, get_args

from pose_extraction.engines.devices import automatic_precision, parse_devices, resolve_device
from pose_extraction.errors import BackendError, UsageError, installing

Backend = Literal["auto", "torch", "openvino", "onnxruntime"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
BACKENDS: tuple[str, ...] = get_args(Backend)
PRECISIONS: tuple[str, ...] = get_args(Precision)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """Where and how a network runs. Values of "auto" depend on the machine; `resolve_engine` replaces them.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N"; for training also several GPUs, such as "cuda:0,1".
        backend: One of `BACKENDS`.
        precision: One of `PRECISIONS`.
        batch_size: Number of images or clips per batch; None selects it by device.
    """

    device: str = "auto"
    backend: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None

    @property
    def on_cpu(self) -> bool:
        """Whether the device is the CPU, once it is resolved."""
        return self.device == "cpu"

    @property
    def bf16(self) -> bool:
        """Whether the precision is bf16, once it is resolved."""
        return self.precision == "bf16"

    def facts(self) -> dict[str, str]:
        """Return what affects results, for records: device, backend and precision, but not the batch size."""
        return {"device": self.device, "backend": self.backend, "precision": self.precision}


def parse_engine(device: str, backend: str, precision: str, batch_size: int | None = None) -> Engine:
    """Return the engine that options of the command line describe.

    Args:
        device: Any known kind; whether it exists is known only when a network is loaded.
        backend: One of `BACKENDS`.
        precision: One of `PRECISIONS`.
        batch_size: See `Engine`.

    Raises:
        UsageError: A value is not allowed.
    """
    for name, value, known in (("--precision", precision, PRECISIONS), ("--backend", backend, BACKENDS)):
        if value not in known:
            raise UsageError(f"{name} {value}: must be one of {', '.join(known)}")
    parse_devices(device)
    return Engine(device, backend, precision, batch_size)


def has_module(name: str) -> bool:
    """Return whether a module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def resolve_engine(engine: Engine, *, onnx: bool) -> Engine:
    """Replace "auto" by what this machine offers, for inference.

    Args:
        engine: The requested engine.
        onnx: Whether the network is an ONNX file, which torch cannot run.

    Raises:
        BackendError: The device is unknown or missing, the backend is not installed, or the combination is unsupported.
    """
    device, backend, precision = engine.device, engine.backend, engine.precision
    # OpenVINO supports only the CPU, so it decides about the automatic device.
    device = "cpu" if device == "auto" and backend == "openvino" else resolve_device(device)
    if onnx and device != "cpu" and backend in ("auto", "onnxruntime") and not _onnxruntime_has_cuda():
        log.warning(
            "the installed onnxruntime does not support CUDA, so the ONNX network runs on the CPU; replace it with "
            "onnxruntime-gpu to use %s",
            device,
        )
        device = "cpu"
    if backend == "auto":
        backend = _best_backend(device, onnx=onnx)
    if precision == "auto":
        precision = "fp32" if backend == "onnxruntime" else automatic_precision(device, older_gpu="fp16")
    found = replace(engine, device=device, backend=backend, precision=precision)
    _refuse_unsupported(found, onnx=onnx)
    return found


def resolve_training_engine(device: str, precision: str) -> Engine:
    """Replace "auto" by what this machine offers, for training with torch.

    Args:
        device: "auto", "cpu", "cuda", "cuda:N" or several GPUs, such as "cuda:0,1".
        precision: "auto", "fp32" or "bf16".

    Raises:
        BackendError: The device is unknown or missing.
        UsageError: The devices differ in kind.
    """
    names = parse_devices(device)
    if len(names) > 1 and not names[0].startswith("cuda"):
        raise BackendError(f"unknown device {device!r}; use auto, cpu, cuda:0 or a list such as cuda:0,1")
    first, *others = (resolve_device(name) for name in names)
    if precision == "auto":
        precision = automatic_precision(first, older_gpu="fp32")
    return Engine(",".join([first, *(name.removeprefix("cuda:") for name in others)]), "torch", precision)


def _refuse_unsupported(engine: Engine, *, onnx: bool) -> None:
    device, backend, precision = engine.device, engine.backend, engine.precision
    if backend in ("openvino", "onnxruntime") and not has_module(backend):
        # ONNX Runtime is no extra.
        remedy = installing(backend) if backend == "openvino" else f"pip install {backend}"
        raise BackendError(f"backend {backend} is not installed; run {remedy}, or use --backend auto")
    if backend == "openvino" and device != "cpu":
        raise BackendError("backend openvino supports only the CPU; use --backend torch on a GPU")
    if backend == "torch" and onnx:
        raise BackendError("backend torch cannot run an ONNX file; use --backend openvino or onnxruntime")
    if backend == "onnxruntime" and not onnx:
        raise BackendError("backend onnxruntime supports only ONNX files; use --backend torch or openvino")
    if backend == "onnxruntime" and precision != "fp32":
        raise BackendError(
            f"backend onnxruntime cannot convert a network to {precision}; use --backend openvino, or a "
            f"{precision} ONNX file"
        )
    if device == "cpu" and precision == "fp16":
        raise BackendError("fp16 needs a GPU; on a CPU use --precision bf16 or fp32")


def _onnxruntime_has_cuda() -> bool:
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _best_backend(device: str, *, onnx: bool) -> str:
    if device != "cpu":
        return "onnxruntime" if onnx else "torch"
    if has_module("openvino"):
        return "openvino"
    return "onnxruntime" if onnx else "torch"
