"""Backbones with a few thousand non-zero weights, and joints for them."""

import torch

from recognition.backbones import build_backbone
from recognition.backbones.base import Backbone
from recognition.settings import ModelSettings

# With "+motion" the network also receives the motion of joints.
NAMES = ("dstformer", "transformer", "sttformer", "dstformer+motion", "transformer+motion", "sttformer+motion")
JOINTS, HEADS, DEPTH = 5, 2, 3


def made_backbone(name: str, **settings: object) -> Backbone:
    """Return a small, deterministic float64 backbone in evaluation mode, with biases and statistics as if trained."""
    name, _, motion = name.partition("+")
    sizes = {
        "motion": bool(motion),
        "dim": 16,
        "depth": DEPTH,
        "heads": HEADS,
        "dim_representation": 16,
        "max_frames": 12,
    } | settings
    with torch.random.fork_rng():
        torch.manual_seed(1)
        backbone = build_backbone(ModelSettings(backbone=name, **sizes), num_joints=JOINTS, channels=3).double()
        with torch.no_grad():
            for weight in backbone.parameters():
                weight.add_(0.1 * torch.randn_like(weight))
            # Running statistics converge layer by layer, after those of earlier layers.
            for step in range(20):
                backbone.encode(made_joints(4, 6, JOINTS, 3, seed=step))
    return backbone.eval()


def made_joints(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parameters(backbone: Backbone) -> int:
    return sum(weight.numel() for weight in backbone.parameters())
