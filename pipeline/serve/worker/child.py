"""What every process that the service starts does first."""

import ctypes
import os
import signal
import sys

from pose_extraction.engines.threads import wait_asleep

# Linux: the kernel sends this signal when the parent ends.
_PR_SET_PDEATHSIG = 1


def begin_child(niceness: int) -> None:
    """Prepare a process: it ends with the service, leaves Ctrl-C to it, and gives way to it.

    Args:
        niceness: Added to the niceness of the service, so that it answers while the process computes.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(os, "nice"):
        os.nice(niceness)
    wait_asleep()
