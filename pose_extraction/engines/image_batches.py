"""Batches of images, in memory or on the device of a network that runs with torch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

# uint8 (N, H, W, 3) in BGR: an array, or a tensor of torch that is on the device of a network already.
Images = Any


def joined(parts: Sequence[Images]) -> Images:
    """Return several batches as one; in memory if they are not all on the same device."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import torch

    devices = {part.device for part in parts}
    return torch.cat(list(parts) if len(devices) == 1 else [part.cpu() for part in parts])


def mirror(images: Images) -> Images:
    """Return images with left and right exchanged."""
    return images[:, :, ::-1] if isinstance(images, np.ndarray) else images.flip(2)


def padded(images: Images, batch_size: int) -> Images:
    """Return a full batch: the images, and black ones.

    Raises:
        ValueError: There are more images than the batch holds.
    """
    if len(images) > batch_size:
        raise ValueError(f"batch of {len(images)} images exceeds the network's batch size of {batch_size}")
    if len(images) == batch_size:
        return images
    shape = (batch_size - len(images), *images.shape[1:])
    black = np.zeros(shape, images.dtype) if isinstance(images, np.ndarray) else images.new_zeros(shape)
    return joined([images, black])


def on_device(images: Images, device: "torch.device") -> "torch.Tensor":
    """Copy an array to a device, without waiting for the copy to end; a tensor that is there already stays."""
    import torch

    if device.type == "cuda":
        # Pinned memory uses the current device, and each thread has its own. Without this, every process opens a
        # context on the first GPU.
        torch.cuda.set_device(device)
    if not isinstance(images, np.ndarray):
        return images.to(device, non_blocking=True)
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
