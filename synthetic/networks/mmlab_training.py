"""Training of networks of OpenMMLab with their own loss functions."""

from collections.abc import Sequence
from typing import Any

import torch

from pose_extraction.networks.openmmlab.mmlab import DetectorConfig, TopdownConfig
from pose_extraction.networks.openmmlab.mmlab_packages import scope


def normalised(pictures: torch.Tensor, config: TopdownConfig | DetectorConfig) -> torch.Tensor:
    """Normalise images for the training of a network.

    Args:
        pictures: uint8 (N, H, W, 3) BGR.
        config: Configuration of the network.

    Returns:
        float32 (N, 3, H, W).
    """
    to_rgb = config.to_rgb if isinstance(config, DetectorConfig) else True
    ordered = pictures.flip(-1) if to_rgb else pictures
    planes = (ordered.float() - torch.tensor(config.mean)) / torch.tensor(config.std)
    return planes.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def detection_loss(network: Any, pictures: torch.Tensor, boxes: Sequence[torch.Tensor]) -> torch.Tensor:
    """Compute the training loss of a one-stage detector with the loss function of its head.

    Args:
        network: Network from `build_detector`.
        pictures: Images from `normalised`.
        boxes: float32 (K, 4) per image, x1 y1 x2 y2 in pixels, all of class 0.

    Returns:
        The sum of all losses, a scalar.
    """
    from mmengine.structures import InstanceData

    size = tuple(pictures.shape[2:])
    levels = [[level.float() for level in kind] for kind in network.bbox_head.forward(network.extract_feat(pictures))]
    truth = [InstanceData(bboxes=box, labels=torch.zeros(len(box), dtype=torch.long)) for box in boxes]
    facts = [{"img_shape": size, "pad_shape": size, "batch_input_shape": size} for _ in boxes]
    with scope("mmdet"):
        losses = network.bbox_head.loss_by_feat(*levels, truth, facts)
    return torch.stack([part for value in losses.values() for part in value]).sum()
