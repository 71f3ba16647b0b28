"""Devices of this machine, and the precisions that they compute fast in."""

import os
import re
from pathlib import Path

from pose_extraction.errors import BackendError, UsageError

# Device files of NVIDIA's driver (natively, on Jetson, in containers and under WSL) and of AMD's.
GPU_DRIVER_TRACES = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/nvhost-ctrl", "/dev/dxg", "/dev/kfd")
NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
# Values of ONEDNN_MAX_CPU_ISA (torch and OpenVINO multiply with oneDNN) that exclude the bf16 instructions.
ISAS_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
_KNOWN = re.compile(r"auto|cpu|cuda(:\d+)?")

# Set by `limit_cpus`.
_cpu_limit: int | None = None


def cpu_count() -> int:
    """Return the number of CPUs that this process may use, which containers, schedulers and `limit_cpus` can limit."""
    # macOS does not report which CPUs a process may use.
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return available if _cpu_limit is None else min(available, _cpu_limit)


def limit_cpus(count: int | None) -> None:
    """Limit the threads of networks that this process loads from now on.

    Several processes of one machine share its cores. Some libraries (ONNX Runtime) ignore the variables of OpenMP, so
    each network must be given its number of threads.

    Args:
        count: Number of CPUs, at least 1; None for no limit.
    """
    global _cpu_limit
    _cpu_limit = count


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


def cuda_count() -> int:
    """Return the number of CUDA devices."""
    # No driver means no device. This check avoids importing torch, which takes seconds.
    if not any(Path(trace).exists() for trace in GPU_DRIVER_TRACES):
        return 0
    try:
        import torch
    except ModuleNotFoundError:
        # ONNX Runtime uses GPUs, too; the driver lists those of NVIDIA.
        return len(list(NVIDIA_GPUS.glob("*")))

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def parse_devices(text: str) -> list[str]:
    """Split a list of devices: `cuda:0,1` -> ["cuda:0", "cuda:1"].

    Args:
        text: One device, or several separated by commas.

    Raises:
        UsageError: A name is empty or of no known kind, or the devices differ in kind.
    """
    names: list[str] = []
    for part in text.split(","):
        part = part.strip()
        names.append(f"cuda:{part}" if part.isdecimal() and names and names[0].startswith("cuda") else part)
    if not all(names):
        raise UsageError(f"device {text!r}: give auto, cpu, cuda:0, or several as cuda:0,1")
    if not all(_KNOWN.fullmatch(name) for name in names):
        raise UsageError(f"unknown device {text!r}; use auto, cpu, cuda:0 or a list such as cuda:0,1")
    if len(names) > 1 and ("auto" in names or len({name.partition(":")[0] for name in names}) > 1):
        raise UsageError(
            f"device {text!r}: all devices must be of the same kind, such as cuda:0,1, because "
            "results differ between kinds"
        )
    return names


def resolve_device(device: str) -> str:
    """Return "cpu" or "cuda:N" for "auto", "cpu", "cuda" or "cuda:N"; "auto" is the first GPU, if there is one.

    Raises:
        BackendError: The device is unknown, or this machine does not have it.
    """
    if device == "cpu":
        return device
    if device == "auto":
        return "cuda:0" if cuda_count() else "cpu"
    if device != "cuda" and not device.startswith("cuda:"):
        raise BackendError(f"unknown device {device!r}; use auto, cpu, cuda:0 or a list such as cuda:0,1")
    count, number = cuda_count(), "0" if device == "cuda" else device.removeprefix("cuda:")
    if not number.isdecimal() or int(number) >= count:
        raise BackendError(f"device {device} does not exist: this machine has {count} CUDA devices; use --device cpu")
    return f"cuda:{int(number)}"


def automatic_precision(device: str, *, older_gpu: str) -> str:
    """Return the precision for "auto": bf16 where the hardware computes in it.

    Args:
        device: "cpu" or "cuda:N".
        older_gpu: Precision on GPUs that would only emulate bf16.
    """
    if device == "cpu":
        return "bf16" if cpu_has_bf16() else "fp32"
    import torch

    return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else older_gpu
