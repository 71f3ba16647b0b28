"""The process-wide OpenVINO core."""

from functools import cache
from typing import Any


@cache
def openvino_core() -> Any:
    """Return the `openvino.Core` used for reading and compiling all models. It is never destroyed.

    Loading a core's CPU plugin sets an alternate signal stack for the calling thread, and unloading it frees that
    stack. If the last network that uses the plugin is destroyed in another thread, the first thread is left with a
    freed signal stack, and its next signal, such as Ctrl-C, causes a segmentation fault.
    """
    import openvino

    return openvino.Core()
