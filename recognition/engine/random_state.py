"""State of all random generators, saved and restored."""

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def random_state(fabric: "Fabric") -> dict[str, Any]:
    """Return the states of all random generators: torch of every process, Python and NumPy. A collective call."""
    own = {"cpu": torch.get_rng_state()}
    if fabric.device.type == "cuda":
        own["cuda"] = torch.cuda.get_rng_state(fabric.device)
    of_processes = {}
    for name, state in own.items():
        # Each process fills in its own row; the sum over the processes contains all rows.
        rows = torch.zeros(fabric.world_size, len(state), dtype=state.dtype, device=fabric.device)
        rows[fabric.global_rank] = state.to(fabric.device)
        gathered: torch.Tensor = fabric.all_reduce(rows, reduce_op="sum")  # type: ignore[assignment]
        of_processes[name] = gathered.cpu()
    version, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "torch": of_processes,
        "python": random.getstate(),
        "numpy": (version, [int(key) for key in keys], int(position), int(has_gauss), float(cached)),
    }


def restore_random_state(state: dict[str, Any], fabric: "Fabric") -> bool:
    """Restore the states that `random_state` returned.

    Args:
        state: Result of `random_state`.
        fabric: Connection between the processes.

    Returns:
        False if the number of processes or the type of device has changed. The torch generators then continue from the
        seed, so dropout differs from that of an uninterrupted run.
    """
    random.setstate(state["python"])
    version, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((version, np.array(keys, np.uint32), position, has_gauss, cached))
    of_processes = state["torch"]
    if len(of_processes["cpu"]) != fabric.world_size or ("cuda" in of_processes) != (fabric.device.type == "cuda"):
        return False
    # A copy, because torch reads the state from the beginning of the memory that a row shares with the others.
    torch.set_rng_state(of_processes["cpu"][fabric.global_rank].clone())
    if "cuda" in of_processes:
        torch.cuda.set_rng_state(of_processes["cuda"][fabric.global_rank].clone(), fabric.device)
    return True
