"""OpenVINO's one core of this process."""

from functools import cache
from typing import Any


@cache
def openvino_core() -> Any:
    """The `openvino.Core` that everything is read and compiled with; it lives as long as the process.

    When a core's CPU plugin is loaded, OpenVINO sets the calling thread's alternate signal stack, and frees that stack
    when the plugin goes. If the last network that holds the plugin goes in another thread, the first one is left with a
    stack that is no longer there, and its next signal, Ctrl-C for one, is a segmentation fault.
    """
    import openvino

    return openvino.Core()
