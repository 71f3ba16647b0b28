"""Detectors of mmdet with random weights, changed so that they find something."""

from typing import Any

import numpy as np
import torch

from pose_extraction.networks.openmmlab import mmlab


def picture(height: int, width: int) -> np.ndarray:
    """Return an image of squares of random colours."""
    generator = np.random.default_rng(height)
    coarse = generator.integers(0, 255, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), np.uint8))[:height, :width]


def spread_scores(network: Any, config: mmlab.DetectorConfig) -> None:
    """Make the scores of an untrained network vary between cells; otherwise, features vanish from layer to layer."""
    frames = np.stack([picture(320, 320), picture(640, 640)[:320, :320]]).transpose(0, 3, 1, 2)
    pictures = torch.from_numpy(
        (frames - np.reshape(config.mean, (3, 1, 1))) / np.reshape(config.std, (3, 1, 1))
    ).float()
    if config.two_stage:
        layer = network.roi_head.bbox_head.fc_cls
        layer.weight.data[1:] = 0
        layer.weight.data[0] *= 40
        layer.bias.data.fill_(0)
        layer.bias.data[0] = 4
        return
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.SyncBatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()
        mmlab.raw_detection_function(network).train()(pictures)
        network.eval()
        levels = mmlab.raw_detection_function(network)(pictures)[: len(network.bbox_head.rtm_cls)]
    for layer, scores in zip(network.bbox_head.rtm_cls, levels, strict=True):
        layer.weight.data *= 1 / scores.std()
        layer.bias.data.fill_(-10)
        layer.weight.data[1:] = 0
        layer.bias.data[0] = 0
