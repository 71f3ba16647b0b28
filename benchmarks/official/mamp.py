"""MAMP: network, masks, loss and gradients, the fine-tuned classifier, its parameter groups, crops, learning rates."""

import importlib
import re
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from benchmarks.official.loading import Difference, copy_weights, largest_difference, modules_of, randomise
from pose_extraction.skeleton import NTU25
from recognition.backbones.segments import SegmentTransformer
from recognition.data.batches import Batch
from recognition.data.transforms.sampling import middle_part, resample_linear
from recognition.keyed_noise import gumbel_noise
from recognition.pretraining.encoder import Encoder
from recognition.pretraining.mamp import MAMP
from recognition.pretraining.schedule import learning_rate
from recognition.pretraining.settings import MAMPSettings, PretrainingLoop, PretrainSettings
from recognition.protocols.classifier import Classifier
from recognition.protocols.optimisation import layer_groups
from recognition.protocols.settings import FinetuneSettings
from recognition.recognizer import Recognizer
from recognition.settings import TrainingSettings
from recognition.training.recognizer_training import build_optimizer

FRAMES, JOINTS, CLASSES = 24, 25, 7
# torch computes the positions between frames in float32.
RESIZED = 5e-4
SIZES: dict[str, Any] = {"dim_feat": 32, "depth": 3, "num_heads": 4, "mlp_ratio": 4, "num_frames": FRAMES}
OURS: dict[str, Any] = {"num_joints": JOINTS, "channels": 3, "max_frames": FRAMES, "dim": 32, "depth": 3, "heads": 4}
# Parts of their names and the corresponding parts of ours, applied in this order.
RENAMED = (
    (r"^joints_embed\.proj\.", "joint_embedding."),
    (r"^decoder_blocks\.", "decoder.blocks."),
    (r"^decoder_(embed|norm)\.", r"decoder.\1."),
    (r"^decoder_pred\.", "decoder.predict."),
    (r"^decoder_pos_embed", "decoder.spatial_embedding"),
    (r"^decoder_temp_embed", "decoder.temporal_embedding"),
    (r"^mask_token", "decoder.mask_token"),
    (r"^pos_embed", "spatial_embedding"),
    (r"^temp_embed", "temporal_embedding"),
    (r"\.attn\.", ".attention."),
    (r"\.mlp\.", ".feed_forward."),
    (r"^head\.bn\.", "head.norm."),
)


def mamp(root: Path) -> Iterator[Difference]:
    """Compare with a clone of maoyunyao/MAMP."""
    with modules_of(root):
        yield from _pretraining()
        yield from _finetuning()
        yield from _crops()
        yield from _rates()


def _renamed(state: dict[str, torch.Tensor], encoder: str) -> dict[str, torch.Tensor]:
    """Return published tensors by our names; those of the encoder have the prefix `encoder`."""
    weights = {}
    for name, tensor in state.items():
        ours = name
        for theirs, replacement in RENAMED:
            ours = re.sub(theirs, replacement, ours)
        if ours == "joint_embedding.weight":
            # (C_e, C, l, 1): ours has the frames first.
            tensor = tensor.permute(0, 2, 1, 3)
        weights[ours if ours.startswith(("decoder.", "head.")) else encoder + ours] = tensor
    return weights


def _clips(number: int = 3) -> torch.Tensor:
    """Return clips (N, M, T, V, C) of two persons, in which some joints stand still for a while."""
    generator = torch.Generator().manual_seed(0)
    moved = torch.randn(number, 2, FRAMES, JOINTS, 3, dtype=torch.float64, generator=generator)
    moved[:, :, FRAMES // 2 :, ::2] = 0
    return moved.cumsum(dim=2)


def _batch(keypoint: torch.Tensor) -> Batch:
    clips, persons, frames = keypoint.shape[:3]
    return Batch(
        keypoint,
        torch.ones(clips, persons, dtype=torch.bool),
        torch.ones(clips, frames, dtype=torch.bool),
        torch.zeros(clips, dtype=torch.int64),
        torch.arange(clips),
        tuple(map(str, range(clips))),
    )


def _pretraining() -> Iterator[Difference]:
    published = importlib.import_module("model_mamp.transformer")
    theirs = published.Transformer(**SIZES, decoder_dim_feat=32, decoder_depth=2, norm_skes_loss=True).double()
    randomise(theirs)
    settings = MAMPSettings(decoder_depth=2, temperature=0.8)
    ours = MAMP(SegmentTransformer(**OURS), settings, dimensions=3, heads=4).double()
    copy_weights(ours, _renamed(theirs.state_dict(), "encoder."), besides=("encoder.mask_token",))
    keypoint = _clips()
    batch = _batch(keypoint)
    clip, person = batch.person_mask.nonzero().unbind(1)
    noise = gumbel_noise(clip, person, FRAMES // 4, JOINTS, seed=0, epoch=3).flatten(1).double()
    # Uniform numbers that give the published code the same Gumbel noise.
    uniform = (-(-noise).exp()).exp()
    with patch.object(published.torch, "rand", lambda *_, **__: uniform):
        loss, _, hidden = theirs(keypoint.permute(0, 4, 2, 3, 1), mask_ratio=0.9, motion_aware_tau=0.8)
    ours_loss = ours(batch, epoch=3).total
    packed = keypoint.flatten(0, 1)
    seen = torch.ones(packed.shape[:3], dtype=torch.bool)
    kept, _ = ours.choose(packed, seen, clip, person, epoch=3)
    ours_hidden = torch.ones_like(hidden).scatter(1, kept, 0)
    yield Difference("masks, motion-aware: tokens that differ", float((ours_hidden != hidden).sum()), 0)
    yield Difference("loss", largest_difference(ours_loss, loss))
    loss.backward()
    ours_loss.backward()
    encoder: Any = ours.encoder
    pairs: tuple[tuple[str, Any, Any], ...] = (
        ("encoder", encoder.blocks[0].attention.qkv, theirs.blocks[0].attn.qkv),
        ("decoder", ours.decoder.predict, theirs.decoder_pred),
    )
    for name, own, other in pairs:
        yield Difference(f"gradient of the {name}", largest_difference(own.weight.grad, other.weight.grad))


def _finetuning() -> Iterator[Difference]:
    published = importlib.import_module("model.transformer")
    theirs = published.Transformer(**SIZES, num_classes=CLASSES, protocol="finetune").double()
    network = SegmentTransformer(**OURS)
    encoder = Encoder(network, PretrainSettings(), NTU25, 3)
    settings = FinetuneSettings(hidden=2048, layer_decay=0.8, weight_decay=0.05)
    ours = Classifier(encoder, CLASSES, settings).double()
    randomise(theirs)
    copy_weights(ours, _renamed(theirs.state_dict(), "encoder.network."), besides=("mask_token", "encoder.parents"))
    keypoint = _clips()
    logits = theirs.eval()(keypoint.permute(0, 4, 2, 3, 1))
    yield Difference("fine-tuned classifier: logits", largest_difference(ours.eval()(_batch(keypoint)), logits))
    yield from _groups(theirs, ours, encoder, settings)


def _groups(theirs: nn.Module, ours: Classifier, encoder: Encoder, settings: FinetuneSettings) -> Iterator[Difference]:
    """Compare the learning-rate factor and the weight decay of every parameter."""
    published = importlib.import_module("util.lr_decay")
    groups = published.param_groups_lrd(theirs, 0.05, no_weight_decay_list=[], layer_decay=0.8)
    by_parameter = {
        id(parameter): (group["lr_scale"], group["weight_decay"]) for group in groups for parameter in group["params"]
    }
    wanted = {
        next(iter(_renamed({name: parameter}, "encoder.network."))): by_parameter[id(parameter)]
        for name, parameter in theirs.named_parameters()
    }
    found: dict[int, tuple[float, float]] = {
        id(parameter): (float(group["scale"]), float(group["weight_decay"]))
        for group in layer_groups(ours, encoder, settings)
        for parameter in group["params"]
    }
    parameters = dict(ours.named_parameters())
    yield Difference("protocol finetune: rates and decay", _unequal(wanted, found, parameters))
    recognizer = Recognizer(encoder.network, CLASSES, hidden=settings.hidden)  # type: ignore[arg-type]
    chosen = TrainingSettings(layer_decay=0.8, weight_decay=0.05, parameter_groups="mamp")
    optimizer, scales = build_optimizer(recognizer, chosen, (1.0, 1.0))
    scales = [*scales, *[1.0] * (len(optimizer.param_groups) - len(scales))]
    found = {
        id(parameter): (scale, group["weight_decay"])
        for scale, group in zip(scales, optimizer.param_groups, strict=True)
        for parameter in group["params"]
    }
    parameters = {name.replace("backbone.", "encoder.network."): value for name, value in recognizer.named_parameters()}
    yield Difference("mamp/finetune: rates and decay", _unequal(wanted, found, parameters))


def _unequal(
    wanted: dict[str, tuple[float, float]],
    found: dict[int, tuple[float, float]],
    parameters: dict[str, nn.Parameter],
) -> float:
    return max(
        abs(one - other)
        for name, both in wanted.items()
        for one, other in zip(both, found[id(parameters[name])], strict=True)
    )


def _crops() -> Iterator[Difference]:
    """Compare the middle 95 % of clips of all lengths, resized to 120 frames."""
    published = importlib.import_module("feeder.tools")
    largest = 0.0
    for length in range(20, 301, 7):
        keypoint = np.random.default_rng(length).normal(size=(2, length, JOINTS, 3)).astype(np.float32)
        # (C, T, V, M)
        expected = published.valid_crop_resize(keypoint.transpose(3, 1, 2, 0), length, [0.95], 120)
        part = keypoint[:, middle_part(length, 0.95)]
        ours, _ = resample_linear(part, np.ones(part.shape[:3], np.float32), 120)
        largest = max(largest, largest_difference(ours, expected.transpose(3, 1, 2, 0)))
    yield Difference("middle part of test clips, resized", largest, RESIZED)


def _rates() -> Iterator[Difference]:
    published = importlib.import_module("util.lr_sched")
    settings = PretrainingLoop()
    arguments = Namespace(
        lr=settings.lr, min_lr=settings.lr_end, warmup_epochs=settings.warmup_epochs, epochs=settings.epochs
    )
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))])
    largest = max(
        abs(published.adjust_learning_rate(optimizer, epoch + 1, arguments) - learning_rate(settings, epoch, 1.0))
        for epoch in range(settings.epochs - 1)
    )
    yield Difference("learning rates at the ends of all epochs", largest)
    step = 1 / 313
    later = max(
        abs(
            published.adjust_learning_rate(optimizer, epoch + 0.5, arguments)
            - learning_rate(settings, epoch, 0.5 + step)
        )
        for epoch in range(settings.epochs)
    )
    yield Difference("learning rates of steps", later, note="one step ahead, so that the first step has a rate")
