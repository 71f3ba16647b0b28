"""Run a network on a batch of images with torch, OpenVINO or ONNX Runtime.

All three backends take uint8 images (N, H, W, 3) in BGR, as decoded from a video. Normalisation is part of the
network, so that only a quarter of the bytes is copied to a GPU. The batch size is fixed; smaller batches are padded.
Kernels depend on the shape of the batch. With a fixed shape, the result for a crop is bit-identical whichever other
crops share its batch, so an interrupted and resumed run produces the same files as an uninterrupted one.
"""

import importlib.util
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pose_extraction.engines.openvino_core import openvino_core
from pose_extraction.errors import BackendError

if TYPE_CHECKING:
    import torch

BACKENDS = ("auto", "torch", "openvino", "onnxruntime")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
# Device files of NVIDIA's driver (natively, in containers and under WSL) and of AMD's.
GPU_DRIVER_TRACES = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
# Values of ONEDNN_MAX_CPU_ISA (torch and OpenVINO multiply with oneDNN) that exclude the bf16 instructions.
ISAS_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Placement:
    """Where and how a network runs. All fields are resolved; none is "auto".

    Args:
        device: "cpu" or "cuda:N".
        backend: "torch", "openvino" or "onnxruntime".
        precision: "fp32", "bf16" or "fp16".
    """

    device: str
    backend: str
    precision: str


@dataclass(frozen=True)
class Normalisation:
    """Normalisation of the input channels.

    Args:
        mean: Per-channel mean of values in [0, 255], in the channel order of the network.
        std: Per-channel standard deviation, in the same units and order.
        to_rgb: Whether BGR images are converted to RGB first.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    to_rgb: bool


class Network(Protocol):
    """A network with a fixed maximum batch size.

    Calling it with uint8 images (N, H, W, 3) in BGR, N <= `batch_size`, returns one float32 array of length N per
    output.
    """

    batch_size: int

    def __call__(self, images: np.ndarray) -> list[np.ndarray]: ...


def has_module(name: str) -> bool:
    """Return whether a module can be imported, without importing it."""
    return importlib.util.find_spec(name) is not None


def cpu_has_bf16() -> bool:
    """Return whether the CPU multiplies bf16 in hardware (AVX512-BF16 or AMX). Otherwise, bf16 is slower than fp32.

    If ONEDNN_MAX_CPU_ISA disables these instructions in oneDNN, the answer is False.
    """
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    if limit.upper() in ISAS_WITHOUT_BF16:
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def resolve_placement(device: str, backend: str, precision: str, *, onnx: bool) -> Placement:
    """Resolve the requested device, backend and precision, including "auto".

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N".
        backend: One of `BACKENDS`.
        precision: One of `PRECISIONS`.
        onnx: Whether the network is an ONNX file, which torch cannot run.

    Raises:
        BackendError: The device is unknown or missing, the backend is not installed, or the combination is unsupported.
    """
    if device == "auto":
        device = "cuda:0" if backend != "openvino" and _cuda_devices() else "cpu"
    if device == "cuda":
        device = "cuda:0"
    if device.startswith("cuda"):
        count = _cuda_devices()
        number = device.removeprefix("cuda:")
        if not number.isdecimal() or int(number) >= count:
            raise BackendError(
                f"device {device} does not exist: this machine has {count} CUDA devices; use --device cpu"
            )
    elif device != "cpu":
        raise BackendError(f"unknown device {device!r}; use auto, cpu, cuda:0 or a list such as cuda:0,1")

    if onnx and device != "cpu" and backend in ("auto", "onnxruntime") and not _onnxruntime_has_cuda():
        log.warning(
            "the installed onnxruntime does not support CUDA, so the ONNX network runs on the CPU; replace it with "
            "onnxruntime-gpu to use %s",
            device,
        )
        device = "cpu"
    if backend == "auto":
        backend = _best_backend(device, onnx=onnx)
    if backend in ("openvino", "onnxruntime") and not has_module(backend):
        raise BackendError(f"backend {backend} is not installed; install skelpipe[{backend}] or use --backend auto")
    if backend == "openvino" and device != "cpu":
        raise BackendError("backend openvino supports only the CPU; use --backend torch on a GPU")
    if backend == "torch" and onnx:
        raise BackendError("backend torch cannot run an ONNX file; use --backend openvino or onnxruntime")
    if backend == "onnxruntime" and not onnx:
        raise BackendError("backend onnxruntime supports only ONNX files; use --backend torch or openvino")

    if precision == "auto":
        precision = _best_precision(device, backend)
    if backend == "onnxruntime" and precision != "fp32":
        raise BackendError(
            f"backend onnxruntime cannot convert a network to {precision}; use --backend openvino, or a "
            f"{precision} ONNX file"
        )
    if device == "cpu" and precision == "fp16":
        raise BackendError("fp16 needs a GPU; on a CPU use --precision bf16 or fp32")
    return Placement(device, backend, precision)


def _cuda_devices() -> int:
    # No driver means no device. This check avoids importing torch, which takes seconds.
    if not any(Path(trace).exists() for trace in GPU_DRIVER_TRACES):
        return 0
    import torch

    # Disable TF32, which PyTorch enables for convolutions by default: it keeps only 10 mantissa bits.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return torch.cuda.device_count()


def _onnxruntime_has_cuda() -> bool:
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _best_backend(device: str, *, onnx: bool) -> str:
    if device != "cpu":
        return "onnxruntime" if onnx else "torch"
    if has_module("openvino"):
        return "openvino"
    return "onnxruntime" if onnx else "torch"


def _best_precision(device: str, backend: str) -> str:
    if backend == "onnxruntime":
        return "fp32"
    if device == "cpu":
        return "bf16" if cpu_has_bf16() else "fp32"
    import torch

    return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"


def from_torch(
    module: "torch.nn.Module",
    normalisation: Normalisation,
    placement: Placement,
    *,
    input_size: tuple[int, int],
    batch_size: int,
) -> Network:
    """Wrap a torch network.

    Args:
        module: Network that takes normalised float32 images (N, 3, H, W) and returns a tensor or a flat tuple of them.
        normalisation: Normalisation to insert before the network.
        placement: Where and how the network runs.
        input_size: (height, width) in pixels.
        batch_size: Fixed batch size.

    Returns:
        The wrapped network.
    """
    import torch

    class Normalised(torch.nn.Module):
        mean: torch.Tensor
        std: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.module = module
            self.register_buffer("mean", torch.tensor(normalisation.mean).view(1, 3, 1, 1))
            self.register_buffer("std", torch.tensor(normalisation.std).view(1, 3, 1, 1))
            self.dtype = torch.float32

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            planes = images.permute(0, 3, 1, 2)
            planes = planes.flip(1) if normalisation.to_rgb else planes
            outputs = self.module(((planes.float() - self.mean) / self.std).to(self.dtype))
            return tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)

    network = Normalised().eval()
    if placement.backend == "openvino":
        from pose_extraction.engines.openvino_cache import converted

        example = torch.zeros((batch_size, *input_size, 3), dtype=torch.uint8)
        return _OpenVinoNetwork(converted(network, example), placement, batch_size)
    return _TorchNetwork(network, placement, batch_size)


def from_onnx(
    path: Path,
    content: bytes,
    normalisation: Normalisation,
    placement: Placement,
    *,
    input_size: tuple[int, int],
    batch_size: int,
) -> Network:
    """Wrap an ONNX network with one input (N, 3, H, W).

    Args:
        path: Path of the file, used in error messages.
        content: Serialised network, possibly modified, for example to have a dynamic batch size.
        normalisation: Normalisation to apply before the network.
        placement: Where and how the network runs.
        input_size: (height, width) in pixels.
        batch_size: Fixed batch size, which the network must support.

    Returns:
        The wrapped network.

    Raises:
        BackendError: The runtime cannot load the network.
    """
    build: Callable[..., Network] = _onnx_on_openvino if placement.backend == "openvino" else _OnnxRuntimeNetwork
    try:
        return build(content, normalisation, placement, input_size, batch_size)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise BackendError(
            f"{path}: {placement.backend} cannot load this ONNX file ({reason}); try another --backend"
        ) from error


def _padded(images: np.ndarray, batch_size: int) -> np.ndarray:
    if len(images) > batch_size:
        raise ValueError(f"batch of {len(images)} images exceeds the network's batch size of {batch_size}")
    if len(images) == batch_size:
        return images
    padding = np.zeros((batch_size - len(images), *images.shape[1:]), images.dtype)
    return np.concatenate([images, padding])


class _TorchNetwork:
    def __init__(self, network: Any, placement: Placement, batch_size: int) -> None:
        import torch

        self.batch_size = batch_size
        self._device = torch.device(placement.device)
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[placement.precision]
        # Only the layers are converted. Normalisation stays in fp32: bf16 would round means such as 123.675.
        network.module.to(dtype)
        network.dtype = dtype
        self._network = network.to(self._device).to(memory_format=torch.channels_last)
        if self._device.type == "cuda":
            # Pinned memory uses the current device. Without this, every process opens a context on the first GPU.
            torch.cuda.set_device(self._device)

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        import torch

        count = len(images)
        batch = torch.from_numpy(np.ascontiguousarray(_padded(images, self.batch_size)))
        with torch.inference_mode():
            if self._device.type == "cuda":
                batch = batch.pin_memory().to(self._device, non_blocking=True)
            return [output[:count].float().cpu().numpy() for output in self._network(batch)]


class _OpenVinoNetwork:
    def __init__(self, model: Any, placement: Placement, batch_size: int) -> None:
        self.batch_size = batch_size
        properties = {
            # OpenVINO's default is bf16 wherever the CPU supports it, even if fp32 was requested.
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[placement.precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": cpu_count(),
        }
        self._compiled = openvino_core().compile_model(model, "CPU", properties)

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        count = len(images)
        outputs = self._compiled(np.ascontiguousarray(_padded(images, self.batch_size)))
        return [np.array(outputs[port][:count], np.float32) for port in self._compiled.outputs]


def _onnx_on_openvino(
    content: bytes, normalisation: Normalisation, placement: Placement, input_size: tuple[int, int], batch_size: int
) -> Network:
    import openvino
    from openvino.preprocess import ColorFormat, PrePostProcessor

    model = openvino_core().read_model(content)
    model.reshape([batch_size, 3, *input_size])
    processor = PrePostProcessor(model)
    source = processor.input(0)
    source.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    source.tensor().set_color_format(ColorFormat.BGR)
    source.model().set_layout(openvino.Layout("NCHW"))
    steps = source.preprocess().convert_element_type(openvino.Type.f32)
    if normalisation.to_rgb:
        steps = steps.convert_color(ColorFormat.RGB)
    steps.mean(list(normalisation.mean)).scale(list(normalisation.std))
    return _OpenVinoNetwork(processor.build(), placement, batch_size)


class _OnnxRuntimeNetwork:
    def __init__(
        self,
        content: bytes,
        normalisation: Normalisation,
        placement: Placement,
        input_size: tuple[int, int],
        batch_size: int,
    ) -> None:
        import onnxruntime

        self.batch_size = batch_size
        self._normalisation = normalisation
        self._mean = np.asarray(normalisation.mean, np.float32)
        self._std = np.asarray(normalisation.std, np.float32)
        providers: list[Any] = ["CPUExecutionProvider"]
        if placement.device != "cpu":
            number = int(placement.device.removeprefix("cuda:"))
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": number}))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cpu_count()
        self._session = onnxruntime.InferenceSession(content, options, providers=providers)
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        count = len(images)
        batch = _padded(images, self.batch_size)
        batch = batch[..., ::-1] if self._normalisation.to_rgb else batch
        planes = ((batch.astype(np.float32) - self._mean) / self._std).transpose(0, 3, 1, 2)
        outputs = self._session.run(None, {self._input: np.ascontiguousarray(planes)})
        return [np.asarray(output[:count], np.float32) for output in outputs]


def cpu_count() -> int:
    """Return the number of CPUs that this process may use, which containers and schedulers can limit."""
    return len(os.sched_getaffinity(0))
