"""`skelpipe info`: the facts that a bug report needs."""

import importlib.metadata
import importlib.util
import json
import os
import platform
from typing import Any

from rich.console import Console
from rich.table import Table

from pose_extraction._version import __version__
from pose_extraction.cache import default_cache_dir
from pose_extraction.engines.devices import cpu_count, cpu_has_bf16, cuda_count
from pose_extraction.engines.engine import has_module
from pose_extraction.engines.openvino_core import openvino_core
from pose_extraction.networks.openmmlab import mmlab_packages

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "av",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "mmpose",
    "mmdet",
    "mmpretrain",
    "onedl-mmengine",
    "mmcv-lite",
    "openpifpaf",
)

# Networks whose packages pip cannot install by name, in the table.
OTHER_NETWORKS = {"mmlab": "OpenMMLab networks", "openpifpaf": "OpenPifPaf"}


def collect() -> dict[str, Any]:
    """Collects versions (None if not installed), devices, and the state of each backend and of optional networks."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": {"name": _processor(), "usable_cores": cpu_count(), "bf16": cpu_has_bf16()},
        "gpus": _gpus(),
        "versions": {"skelpipe": __version__} | {name: _version(name) for name in PACKAGES},
        "backends": {"torch": _torch(), "openvino": _openvino(), "onnxruntime": _onnxruntime()},
        "extras": {"mmlab": _mmlab(), "openpifpaf": _openpifpaf()},
        "cache": str(default_cache_dir()),
        "environment": {key: value for key, value in sorted(os.environ.items()) if key.startswith("SKELPIPE_")},
    }


def info(*, as_json: bool = False, console: Console | None = None) -> None:
    """Prints the result of `collect` as a table or as JSON.

    Args:
        as_json: Whether to print JSON.
        console: Console for the output; standard output if None.
    """
    facts = collect()
    console = console or Console()
    if as_json:
        console.file.write(json.dumps(facts, indent=2) + "\n")
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    processor = facts["processor"]
    table.add_row("python", f"{facts['python']} on {facts['system']}")
    bf16 = "with bf16" if processor["bf16"] else "without bf16"
    table.add_row("processor", f"{processor['name']}, {processor['usable_cores']} usable cores, {bf16}")
    table.add_row("GPUs", "\n".join(facts["gpus"]) or "none visible")
    for section in ("versions", "backends", "extras"):
        for name, value in facts[section].items():
            titles = {"versions": name, "backends": f"backend {name}", "extras": OTHER_NETWORKS.get(name)}
            table.add_row(titles[section], value or "not installed")
    table.add_row("cache", facts["cache"])
    for name, value in facts["environment"].items():
        table.add_row(name, value)
    console.print(table)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:  # noqa: PTH123  (a system file)
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    except OSError:
        return platform.processor() or "unknown"


def _torch() -> str:
    return "usable" if has_module("torch") else "not installed; install the extra torch to train and for most networks"


def _gpus() -> list[str]:
    if not has_module("torch"):
        return [f"cuda:{number}" for number in range(cuda_count())]
    import torch

    return [f"cuda:{number} {torch.cuda.get_device_name(number)}" for number in range(torch.cuda.device_count())]


def _openvino() -> str:
    if importlib.util.find_spec("openvino") is None:
        return "not installed; install the extra openvino for faster inference on a CPU"
    devices = ", ".join(openvino_core().available_devices)
    return f"usable on {devices}" if devices else "installed, but no device found"


def _onnxruntime() -> str:
    import onnxruntime

    providers = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
    return f"usable with {', '.join(providers)}"


def _mmlab() -> str:
    missing = mmlab_packages.missing_packages()
    if missing:
        return f"not usable: {', '.join(missing)} not installed ({mmlab_packages.INSTALL_HINT})"
    try:
        mmlab_packages.prepare()
    except ImportError as error:
        return f"not usable: {error}"
    return "usable: hrnet, rtmdet, faster-rcnn; vitpose with --builder mmpose"


def _openpifpaf() -> str:
    # AGPL-3.0: only looked up here; it is imported only if it is chosen as estimator.
    if importlib.util.find_spec("openpifpaf") is None:
        return "not installed; AGPL-3.0, see docs/installation.md#openpifpaf"
    return "installed (AGPL-3.0); loaded only if chosen"
