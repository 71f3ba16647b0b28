"""Devices and numeric precision of this machine."""

from pathlib import Path

import torch

from pose_extraction.engines.backends import cpu_has_bf16
from pose_extraction.errors import BackendError

RUNS = Path("runs")


CHANNELS = 3


def resolve_device(device: str) -> str:
    """Resolve a device name, including "auto", to "cpu", "cuda:0", "cuda:0,1" and so on.

    Raises:
        BackendError: The device does not exist on this machine.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda:0" if count else "cpu"
    if device == "cpu":
        return device
    if device == "cuda":
        device = "cuda:0"
    numbers = device.removeprefix("cuda:").split(",")
    if not device.startswith("cuda:") or not all(number.isdecimal() for number in numbers):
        raise BackendError(f"unknown device {device!r}; known are auto, cpu, cuda:0, cuda:0,1")
    if max(map(int, numbers)) >= count:
        raise BackendError(f"device {device} does not exist: this machine has {count} CUDA devices; try --device cpu")
    return device


def resolve_precision(precision: str, device: str) -> str:
    """Resolve a precision to "fp32" or "bf16". "auto" is bf16 if the hardware supports it, which halves the time."""
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        # Older GPUs emulate bf16 slowly.
        first = int(device.partition(":")[2].split(",")[0] or 0)
        return "bf16" if torch.cuda.get_device_capability(first) >= (8, 0) else "fp32"
    return "bf16" if cpu_has_bf16() else "fp32"
