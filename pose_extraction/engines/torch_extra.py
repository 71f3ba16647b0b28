"""PyTorch, which is optional: what needs it, and the error where it is not installed."""

from pose_extraction.engines.engine import has_module
from pose_extraction.errors import BackendError, installing

# The packages of the extra `torch`.
PACKAGES = ("lightning_fabric", "matplotlib", "sklearn", "tensorboard", "torch", "torchvision")


def require_torch(what: str) -> None:
    """Check that PyTorch is installed, without importing it.

    Args:
        what: What needs it, the subject of the message, such as "skelpipe train".

    Raises:
        BackendError: It is not installed.
    """
    if not has_module("torch"):
        raise needed(what, "torch")


def needed(what: str, module: str) -> BackendError:
    """Return the error for a module of the extra `torch` that cannot be imported."""
    name = "PyTorch" if module == "torch" else module
    return BackendError(
        f"{what} needs {name}, which is not installed; run {installing('torch')}. Without PyTorch, ONNX networks, "
        "BlazePose and recognizers exported as ONNX or OpenVINO work"
    )
