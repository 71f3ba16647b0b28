"""Errors of devices that run out of memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pose_extraction.errors import TrainingError


@contextmanager
def explain_out_of_memory(message: str) -> Iterator[None]:
    """Context manager that turns an out-of-memory error on CPU or GPU into a one-sentence message.

    Args:
        message: The message.

    Raises:
        TrainingError: Memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # torch has no error class of its own for the CPU.
        plain = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not plain and "DefaultCPUAllocator" not in str(error) and "not enough memory" not in str(error):
            raise
        raise TrainingError(message) from error
