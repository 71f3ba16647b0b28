"""Weights of half precision, as they are shipped."""

from pathlib import Path

import torch

from pose_extraction.files import atomic_write


def pack(network: torch.nn.Module, path: Path) -> None:
    """Writes a network's bare state dictionary, in half precision where it has fractions.

    Args:
        network: As `training.train` returns it.
        path: The file, put in place by rename.
    """
    state = {
        name: tensor.half() if tensor.dtype.is_floating_point else tensor
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    with atomic_write(path) as file:
        torch.save(state, file)
