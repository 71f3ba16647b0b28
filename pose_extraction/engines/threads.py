"""How threads of the numeric libraries wait for work: asleep, so that other processes can use their cores.

By default they spin, and several processes on one machine then take the cores from each other. The variables only take
effect before the libraries are loaded, and child processes inherit them.
"""

import os
from collections.abc import MutableMapping

OPENMP_POLICY = "OMP_WAIT_POLICY"
# OpenMP in general, its implementation by Intel and LLVM, and that by GNU, which torch uses on Linux.
SLEEPING = {OPENMP_POLICY: "PASSIVE", "KMP_BLOCKTIME": "0", "GOMP_SPINCOUNT": "0"}


def wait_asleep(environment: MutableMapping[str, str] = os.environ) -> None:
    """Make threads sleep while they wait, except where the user has set a variable; call it before importing torch.

    Args:
        environment: Environment variables. With `OMP_WAIT_POLICY=ACTIVE` nothing is changed.
    """
    if environment.get(OPENMP_POLICY, "").upper() == "ACTIVE":
        return
    for name, value in SLEEPING.items():
        environment.setdefault(name, value)


def waits_asleep() -> bool:
    """Return whether threads of libraries that have no variable of their own, such as ONNX Runtime, should sleep."""
    return os.environ.get(OPENMP_POLICY, "").upper() == "PASSIVE"
