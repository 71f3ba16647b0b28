"""PCM3: encoder, mixtures, masks, losses with and without prompts, gradients, queue, momentum, learning rates."""

import importlib
import re
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.nn import functional

from benchmarks.official.loading import Difference, copy_weights, largest_difference, modules_of, randomise, stand_in
from pipeline.train.settings import pretrain_settings
from pose_extraction.skeleton import NTU25
from recognition.backbones.gru import GRUEncoder
from recognition.data.batches import Batch
from recognition.pretraining import pcm3 as ours_module
from recognition.pretraining.pcm3 import PCM3, PCM3Losses, flatten_frames
from recognition.pretraining.schedule import learning_rate
from recognition.pretraining.settings import PCM3Settings
from recognition.pretraining.views import VIEWS, Mixture, body_parts, draw_visible, mix

# The published code is written for 64 frames, NTU's joints and two persons, and its task prompts for this width.
FRAMES, JOINTS, PERSONS, WIDTH = 64, 25, 2, 1024
CLIPS, LAYERS, EMBEDDING, QUEUE, MOMENTUM = 3, 1, 16, 12, 0.9
# First channel of the task prompts, which both draw at random for every use.
START = 37
# Exchanged frames of a mixture in units of four frames, and exchanged parts of the body.
CUT_START, CUT_LENGTH, CUT_PARTS = 3, 7, 2
MIXUP_SHARE = 0.3
# Published mixtures by the number that the code draws.
KINDS = {"cut": 0.9, "resize": 0.4, "mixup": 0.1}
# Names of prompts: published and ours.
DOMAINS = {"base": "intra", "mix": "inter", "mask": "mask", "recons": "predict"}
TASKS = {"cl": "contrast", "mp": "predict"}
RENAMED = (
    (r"^encoder_q\.encoder\.gru\.(\w+)_l(\d+)_reverse$", r"encoder.second.\2.\1_l0"),
    (r"^encoder_q\.encoder\.gru\.(\w+)_l(\d+)$", r"encoder.first.\2.\1_l0"),
    (r"^encoder_q\.input_norm\.", "encoder.norm."),
    (r"^encoder_q\.fc\.", "projector."),
    (r"^encoder_k\.encoder\.gru\.(\w+)_l(\d+)_reverse$", r"key_encoder.second.\2.\1_l0"),
    (r"^encoder_k\.encoder\.gru\.(\w+)_l(\d+)$", r"key_encoder.first.\2.\1_l0"),
    (r"^encoder_k\.input_norm\.", "key_encoder.norm."),
    (r"^encoder_k\.fc\.", "key_projector."),
    (r"^linear\.0\.", "decoder.fc1."),
    (r"^linear\.1\.", "decoder.norm."),
    (r"^linear\.3\.", "decoder.fc2."),
    (r"^recons_decoder\.decoder\.(\w+)_l(\d+)$", r"decoder.layers.\2.\1_l0"),
    (r"^recons_decoder\.reconstruction\.", "decoder.out."),
    *((f"^{theirs}_prompt$", f"domain_prompts.{ours}") for theirs, ours in DOMAINS.items()),
    *((f"^{theirs}_prompt$", f"task_prompts.{ours}") for theirs, ours in TASKS.items()),
)


def pcm3(root: Path) -> Iterator[Difference]:
    """Compare with a clone of the PCM3 repository."""
    with modules_of(root):
        published = importlib.import_module("moco.builder_mask_recons")
        with double_by_default():
            yield from _encoder(published)
            yield from _mixtures(published)
            yield from _losses(published, prompted=True)
            yield from _losses(published, prompted=False)
    with modules_of(root):
        yield _masks()
    with modules_of(root, {"dataset": stand_in("dataset"), "tqdm": stand_in("tqdm")}):
        yield _rates()


@contextmanager
def double_by_default() -> Iterator[None]:
    """Create tensors in float64, as the published code creates some of its own."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _their_model(published: Any) -> nn.Module:
    sizes = {
        "en_input_size": JOINTS * 3 * PERSONS,
        "en_hidden_size": WIDTH,
        "en_num_layers": LAYERS,
        "num_class": EMBEDDING,
    }
    torch.manual_seed(0)
    theirs: nn.Module = published.MoCo("graph-based", sizes, dim=EMBEDDING, K=QUEUE, m=MOMENTUM, mlp=True)
    randomise(theirs, 0.02)
    # A single process.
    theirs.local_rank = -1  # type: ignore[assignment]
    return theirs


def _our_model(theirs: nn.Module, **settings: object) -> PCM3:
    chosen = PCM3Settings.model_validate(
        {
            "hidden": WIDTH,
            "layers": LAYERS,
            "embedding": EMBEDDING,
            "queue": QUEUE,
            "momentum": MOMENTUM,
            **settings,
        }
    )
    ours = PCM3(
        GRUEncoder(JOINTS * 3 * PERSONS, hidden=WIDTH, layers=LAYERS),
        chosen,
        max_persons=PERSONS,
        num_joints=JOINTS,
        channels=3,
        dimensions=3,
        parts=body_parts(NTU25),
        parents=torch.arange(JOINTS),
    )
    copy_weights(ours, _renamed(theirs.state_dict()), besides=("queue.keys", "queue.next"))
    with torch.no_grad():
        ours.queue.keys.copy_(theirs.get_buffer("queue").T)
    return ours


def _renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return published tensors by our names, without the queue."""
    weights = {}
    for name, tensor in state.items():
        ours = name
        for theirs, replacement in RENAMED:
            ours = re.sub(theirs, replacement, ours)
        if not name.startswith("queue"):
            weights[ours] = tensor
    return weights


def _views() -> torch.Tensor:
    """Return the three views of a few clips, (3, N, M, T, V, C)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(VIEWS, CLIPS, PERSONS, FRAMES, JOINTS, 3, generator=generator)


def _theirs(keypoint: torch.Tensor) -> torch.Tensor:
    """(N, M, T, V, C) as (N, C, T, V, M)."""
    return keypoint.permute(0, 4, 2, 3, 1)


@contextmanager
def _drawn(published: Any, kind: str) -> Iterator[None]:
    """Make the published code draw these numbers: a kind of mixture, its frames and parts, and the prompts' place."""

    def whole(low: int, high: int) -> int:
        # Number of parts, frames and their start; everything else is the place of a prompt.
        return {(2, 3): CUT_PARTS, (7, 11): CUT_LENGTH, (0, FRAMES // 4 - CUT_LENGTH): CUT_START}.get(
            (low, high), START
        )

    shares = iter([KINDS[kind], MIXUP_SHARE])
    drawn = stand_in("random", randint=whole, sample=lambda items, count: items[:count], random=lambda: next(shares))
    # Ours mixes each clip with the previous one, the published code with the one `n` places later.
    with (
        patch.object(published, "random", drawn),
        patch.object(published.torch, "randint", lambda *_, **__: torch.tensor([CLIPS - 1])),
    ):
        yield


def _mixture(published: Any, kind: str) -> Mixture:
    if kind == "mixup":
        return Mixture(kind, MIXUP_SHARE, slice(0, 0), ())
    joints = tuple(sorted(joint for part in published.body_parts[:CUT_PARTS] for joint in part))
    frames = slice(4 * CUT_START, 4 * (CUT_START + CUT_LENGTH))
    return Mixture(kind, 4 * CUT_LENGTH * len(joints) / (FRAMES * JOINTS), frames, joints)


def _visible() -> torch.Tensor:
    torch.manual_seed(1)
    return draw_visible(FRAMES, JOINTS, body_parts(NTU25), strategy="topology", ratio=0.6, chunk=8)


def _encoder(published: Any) -> Iterator[Difference]:
    theirs = _their_model(published).eval()
    ours = _our_model(theirs).eval()
    keypoint = _views()[0]
    flat = flatten_frames(keypoint)
    with torch.no_grad():
        features, _ = theirs.encoder_q(flat, knn_eval=True)  # type: ignore[operator]
        yield Difference("features of the encoder", largest_difference(ours.encoder(flat)[:, -1], features))


def _mixtures(published: Any) -> Iterator[Difference]:
    theirs = _their_model(published)
    keypoint = _views()[0]
    for kind in KINDS:
        with _drawn(published, kind):
            _, mixed, mask = theirs.ske_swap(_theirs(keypoint), 2, 3, 7, 11)  # type: ignore[operator]
        mixture = _mixture(published, kind)
        yield Difference(f"mixture {kind}: clips", largest_difference(_theirs(mix(keypoint, mixture)), mixed))
        yield Difference(f"mixture {kind}: share", abs(mixture.share - float(mask.mean())))


def _losses(published: Any, *, prompted: bool) -> Iterator[Difference]:
    """Compare a training step: losses, gradients of all kinds of weights, queue and momentum encoder."""
    what = "with prompts" if prompted else "without prompts"
    theirs = _their_model(published).train()
    without = {"domain_prompts": False, "task_prompts": False, "guidance": False, "distillation": 0.0}
    ours = _our_model(theirs, **({} if prompted else without)).train()
    views, visible = _views(), _visible()
    mask = torch.ones(CLIPS, FRAMES, PERSONS, JOINTS, 3)
    mask[:, :, 0] = visible[None, :, :, None].double()
    step = theirs.forward_pcm3_wprompt if prompted else theirs.forward_pcm3_woprompt
    with _drawn(published, "cut"):
        *logits, target, decoded, distillation = step(*map(_theirs, views), local_rank=-1, mask=mask)  # type: ignore[operator]
    contrast = sum(functional.cross_entropy(one, target) for one in logits)
    hidden = _theirs((1 - mask).permute(0, 2, 1, 3, 4))
    prediction = ((decoded - _theirs(views[2])) * hidden).square().sum() / hidden.sum()
    # `loss` of the published training loop; without prompts, it leaves out the distillation.
    total = contrast + 40 * prediction + (distillation if prompted else 0)
    found = _our_step(ours, views, visible, _mixture(published, "cut"))
    yield Difference(f"contrast, {what}", largest_difference(found.contrast, contrast))
    yield Difference(f"masked prediction, {what}", largest_difference(found.prediction, prediction))
    if prompted:
        yield Difference(f"distillation, {what}", largest_difference(found.distillation, distillation))
    yield Difference(f"loss, {what}", largest_difference(found.total, total))
    total.backward()
    found.total.backward()
    yield Difference(f"all gradients, {what}", _largest_gradient_difference(theirs, ours))
    if prompted:
        prompts = [getattr(theirs, f"{name}_prompt").grad for name in DOMAINS]
        note = "the batch normalisation removes domain prompts, in the published code, too"
        yield Difference(
            "gradients of published domain prompts", max(float(one.abs().max()) for one in prompts), note=note
        )
    yield Difference(f"queue, {what}", largest_difference(ours.queue.keys, theirs.get_buffer("queue").T))
    keys = (name for name in _renamed(theirs.state_dict()) if name.startswith("key_"))
    own, other = ours.state_dict(), _renamed(theirs.state_dict())
    slow = max(largest_difference(own[name].double(), other[name].double()) for name in keys)
    yield Difference(f"momentum encoder, {what}", slow)


def _our_step(ours: PCM3, views: torch.Tensor, visible: torch.Tensor, mixture: Mixture) -> PCM3Losses:
    keypoint = views.permute(1, 2, 0, 3, 4, 5).flatten(2, 3)
    batch = Batch(
        keypoint,
        torch.ones(CLIPS, PERSONS, dtype=torch.bool),
        torch.ones(CLIPS, VIEWS * FRAMES, dtype=torch.bool),
        torch.zeros(CLIPS, dtype=torch.int64),
        torch.arange(CLIPS),
        tuple(map(str, range(CLIPS))),
    )
    with (
        patch.object(ours_module, "draw_mixture", lambda *_: mixture),
        patch.object(ours_module, "draw_visible", lambda *_, **__: visible),
        patch.object(torch, "randint", lambda *_, **__: torch.tensor(START)),
    ):
        losses: PCM3Losses = ours(batch, epoch=0)
    return losses


def _largest_gradient_difference(theirs: nn.Module, ours: PCM3) -> float:
    own = dict(ours.named_parameters())
    wanted = _renamed({name: value for name, value in theirs.named_parameters() if value.requires_grad})
    largest = 0.0
    for name, parameter in wanted.items():
        ours_gradient, gradient = own[name].grad, parameter.grad
        if gradient is None:
            assert ours_gradient is None or not ours_gradient.any(), name
            continue
        assert ours_gradient is not None, name
        largest = max(largest, largest_difference(ours_gradient.flatten(), gradient.flatten()))
    return largest


def _masks() -> Difference:
    """Compare the masks for the same body parts, in the order in which both draw them."""
    published = importlib.import_module("utils")
    order = [torch.randperm(5, generator=torch.Generator().manual_seed(chunk)).tolist() for chunk in range(8)]
    theirs_order, ours_order = iter(order), iter(order)
    parts = body_parts(NTU25)
    # Published parts of the body in the order of ours.
    listed = sorted(published.body_parts, key=lambda part: parts.index(tuple(sorted(part))))
    drawn = stand_in("random", sample=lambda _, count: [listed[part] for part in next(theirs_order)[:count]])
    with patch.object(published, "random", drawn):
        mask = published.Jointmask3(0.6, PERSONS, JOINTS, 3)(torch.zeros(1, 3, FRAMES, JOINTS, PERSONS))
    with patch.object(torch, "randperm", lambda *_, **__: torch.tensor(next(ours_order))):
        visible = draw_visible(FRAMES, JOINTS, parts, strategy="topology", ratio=0.6, chunk=8)
    return Difference("masks: joints that differ", float((mask[0, :, 0, :, 0].bool() != visible).sum()), 0)


def _rates() -> Difference:
    published = importlib.import_module("pretrain_moco_mask")
    settings = pretrain_settings(["pcm3/ntu60_xsub"], {}).training
    # Options of the published script.
    arguments = Namespace(lr=0.02, cos=False, schedule=[351], epochs=451)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))])
    largest = 0.0
    for epoch in range(arguments.epochs):
        published.adjust_learning_rate(optimizer, epoch, arguments)
        largest = max(largest, abs(optimizer.param_groups[0]["lr"] - learning_rate(settings, epoch, 1.0)))
    return Difference("learning rates of all epochs", largest)
