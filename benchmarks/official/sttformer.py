"""STTFormer: features with tuples of three and of six frames."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.official.loading import Difference, copy_weights, largest_difference, learned, modules_of, randomise
from recognition.backbones.sttformer import STTFormer

PLAN = ((16, 16, 4), (16, 32, 8), (32, 32, 8))
FRAMES, JOINTS, HEADS = 12, 25, 3
SINGLE = 1e-5
RENAMED = (
    (r"^input_map\.0\.", "joint_embedding."),
    (r"^input_map\.1\.", "joint_embedding_norm."),
    (r"\.to_qkvs\.", ".query_key."),
    (r"\.alphas$", ".scale"),
    (r"\.att0s$", ".base_attention"),
    (r"\.out_nets\.0\.", ".mix."),
    (r"\.out_nets\.1\.", ".mix_norm."),
    (r"\.ff_net\.0\.", ".feed_forward."),
    (r"\.ff_net\.1\.", ".feed_forward_norm."),
    (r"\.out_nett\.0\.", ".across."),
    (r"\.out_nett\.1\.", ".across_norm."),
    (r"\.ress\.0\.", ".residual."),
    (r"\.ress\.1\.", ".residual_norm."),
    (r"\.rest\.0\.", ".across_residual."),
    (r"\.rest\.1\.", ".across_residual_norm."),
)


def sttformer(root: Path) -> Iterator[Difference]:
    """Compare with a clone of heleiqiu/STTFormer."""
    with modules_of(root):
        published = importlib.import_module("model.sttformer")
        for length in (3, 6):
            yield from _compare(published, length)


def _compare(published: object, length: int) -> Iterator[Difference]:
    theirs = published.Model(  # type: ignore[attr-defined]
        len_parts=length,
        num_classes=4,
        num_joints=JOINTS,
        num_frames=FRAMES,
        num_heads=HEADS,
        num_persons=1,
        num_channels=3,
        kernel_size=[3, 5],
        config=PLAN,
    )
    theirs = theirs.double().eval()
    randomise(theirs)
    ours = STTFormer(
        num_joints=JOINTS, channels=3, max_frames=FRAMES, plan=PLAN, heads=HEADS, tuple_length=length
    ).double()
    weights = {}
    for name, tensor in learned(theirs).items():
        if name.startswith("fc."):
            continue
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        weights[name] = tensor
    copy_weights(ours, weights, besides=("mask_token",))
    positions = 0.0
    for own, other in zip(ours.blocks, theirs.blocks, strict=True):
        position = other.pes.pe[0, :, 0].T
        positions = max(positions, largest_difference(own.position, position))
        # Both are computed in float32; deep networks amplify the difference.
        own.get_buffer("position").copy_(position)
    yield Difference(f"positions, tuples of {length} frames", positions, SINGLE)
    x = torch.randn(2, FRAMES, JOINTS, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    captured: list[torch.Tensor] = []
    theirs.fc.register_forward_pre_hook(lambda _, given: captured.append(given[0]))
    theirs(x.permute(0, 3, 1, 2)[..., None])
    features = ours.eval().encode(x)[0].mean(dim=(1, 2))
    yield Difference(f"features, tuples of {length} frames", largest_difference(features, captured[0]))
