"""PCM3: all losses and gradients, prompts, mixtures, masks, alignment, bones and learning rates."""

import importlib
import random
import re
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.official.loading import (
    Difference,
    copy_weights,
    largest_difference,
    modules_of,
    randomise,
    stand_in,
)
from pose_extraction.skeleton import NTU25
from recognition.backbones.gru import GRUEncoder
from recognition.data.batches import Batch
from recognition.data.clip_transforms import ACROSS, MIDDLE, UPWARDS
from recognition.data.transforms.placement import to_aligned
from recognition.pretraining import pcm3 as our_module
from recognition.pretraining.pcm3 import PCM3
from recognition.pretraining.schedule import learning_rate
from recognition.pretraining.settings import PCM3Settings, PretrainingLoop
from recognition.pretraining.streams import bone_parents, to_stream
from recognition.pretraining.views import Mixture, body_parts, mix

CLIPS, FRAMES, QUEUE = 3, 8, 12
# The published code has this width built in.
HIDDEN = 1024
MIXTURE = Mixture("cut", 0.0, slice(2, 6), tuple(sorted((*range(4), 20, 12, 13, 14, 15))))
# First channel of a task prompt, for every use.
START = 5
PROMPTS = {
    "base_prompt": "domain_prompts.intra",
    "mix_prompt": "domain_prompts.inter",
    "mask_prompt": "domain_prompts.mask",
    "recons_prompt": "domain_prompts.predict",
    "cl_prompt": "task_prompts.contrast",
    "mp_prompt": "task_prompts.predict",
}
DECODER = {"linear.0": "fc1", "linear.1": "norm", "linear.3": "fc2", "recons_decoder.reconstruction": "out"}


def pcm3(root: Path) -> Iterator[Difference]:
    """Compare with a clone of JHang2020/PCM3."""
    # What the script of the pre-training imports besides the parts that are compared.
    unused = ("tqdm", "torch.utils.tensorboard", "dataset", "torchvision", "torchvision.transforms")
    with modules_of(root, {name: stand_in(name) for name in unused}):
        # The published encoder collects its results in tensors of the default type.
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            theirs = _theirs()
            for prompts in (True, False):
                yield from _losses(theirs, prompts=prompts)
            yield _mixture(theirs)
            yield _bones(theirs)
        finally:
            torch.set_default_dtype(before)
        yield _alignment()
        yield from _rates()


def _theirs() -> Any:
    published = importlib.import_module("moco.builder_mask_recons")
    sizes = {"en_input_size": 150, "en_hidden_size": HIDDEN, "en_num_layers": 2, "num_class": 16}
    network = published.MoCo("graph-based", sizes, dim=16, K=QUEUE, topk=QUEUE, mlp=True).double()
    # The recurrence of a wide GRU with large weights would amplify rounding.
    randomise(network, scale=0.01)
    network.queue.copy_(functional.normalize(network.queue, dim=0))
    return network.train()


def _ours(theirs: Any, *, prompts: bool) -> PCM3:
    settings = PCM3Settings(
        hidden=HIDDEN,
        layers=2,
        embedding=16,
        queue=QUEUE,
        domain_prompts=prompts,
        task_prompts=prompts,
        guidance=prompts,
    )
    network = PCM3(
        GRUEncoder(150, hidden=HIDDEN, layers=2),
        settings,
        max_persons=2,
        num_joints=25,
        channels=3,
        dimensions=3,
        parts=body_parts(NTU25),
        parents=torch.arange(25),
    ).double()
    weights = {}
    for name, tensor in theirs.state_dict().items():
        if name == "queue":
            weights["queue.keys"] = tensor.T.contiguous()
        elif name != "queue_ptr":
            weights[our_name(name)] = tensor
    copy_weights(network, weights, besides=("queue.next", "parents"))
    return network.train()


def our_name(name: str) -> str:
    """Return our name of a tensor of the published network."""
    if name in PROMPTS:
        return PROMPTS[name]
    for theirs, ours in DECODER.items():
        if name.startswith(f"{theirs}."):
            return f"decoder.{ours}.{name.rpartition('.')[2]}"
    if layer := re.match(r"recons_decoder\.decoder\.(\w+)_l(\d)$", name):
        return f"decoder.layers.{layer[2]}.{layer[1]}_l0"
    branch = "" if name.startswith("encoder_q.") else "key_"
    rest = name.partition(".")[2]
    if layer := re.match(r"encoder\.gru\.(\w+?)_l(\d)(_reverse)?$", rest):
        return f"{branch}encoder.{'second' if layer[3] else 'first'}.{layer[2]}.{layer[1]}_l0"
    if rest.startswith("fc."):
        return f"{branch}projector.{rest.removeprefix('fc.')}"
    return f"{branch}encoder.norm.{rest.rpartition('.')[2]}"


@contextmanager
def _same_draws(theirs: Any, visible: torch.Tensor) -> Iterator[None]:
    """Let both networks use one mixture, one mask, and one place of the task prompts."""
    cells = torch.zeros(FRAMES, 25, dtype=torch.float64)
    cells[MIXTURE.frames, list(MIXTURE.joints)] = 1
    mixture = Mixture("cut", float(cells.mean()), MIXTURE.frames, MIXTURE.joints)

    def mixed(x: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        ours = mix(x.permute(0, 4, 2, 3, 1), mixture)
        return torch.arange(len(x)).roll(1), ours.permute(0, 4, 2, 3, 1), cells

    with (
        patch.object(theirs, "ske_swap", mixed),
        patch.object(random, "randint", lambda *_: START),
        patch.object(our_module, "draw_mixture", lambda *_: mixture),
        patch.object(our_module, "draw_visible", lambda *_, **__: visible),
        patch.object(torch, "randint", lambda *_, **__: torch.tensor(START)),
    ):
        yield


def _losses(theirs: Any, *, prompts: bool) -> Iterator[Difference]:
    kind = "with prompts" if prompts else "without prompts"
    theirs.zero_grad()
    ours = _ours(theirs, prompts=prompts)
    views = torch.randn(3, CLIPS, 2, FRAMES, 25, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    visible = torch.ones(FRAMES, 25, dtype=torch.bool)
    for part in body_parts(NTU25)[1:4]:
        visible[2:6, list(part)] = False
    # (N, T, M, V, C); the second person is never masked.
    mask = torch.stack([visible, torch.ones_like(visible)], 1)[None, ..., None].double().expand(CLIPS, -1, -1, -1, 3)
    query, key, whole = (view.permute(0, 4, 2, 3, 1).clone() for view in views)
    forward = theirs.forward_pcm3_wprompt if prompts else theirs.forward_pcm3_woprompt
    with _same_draws(theirs, visible):
        intra, inter, recons, masked, label, rebuilt, distillation = forward(
            query, key, whole.clone(), local_rank=-1, mask=mask.clone()
        )
        ours_losses = ours(_batch(views), epoch=0)
    contrast = sum(functional.cross_entropy(logits, label) for logits in (intra, inter, recons, masked))
    region = 1 - mask.permute(0, 4, 1, 3, 2)
    prediction = (((rebuilt - whole) * region) ** 2).sum() / region.sum()
    yield Difference(f"contrast, {kind}", largest_difference(ours_losses.contrast, contrast))
    yield Difference(f"distillation, {kind}", largest_difference(ours_losses.distillation, distillation))
    yield Difference(f"prediction, {kind}", largest_difference(ours_losses.prediction, prediction))
    (contrast + distillation + 40 * prediction).backward()
    ours_losses.total.backward()
    parameters = dict(ours.named_parameters())
    largest = max(
        largest_difference(parameters[our_name(name)].grad.reshape(value.grad.shape), value.grad)
        for name, value in theirs.named_parameters()
        if value.grad is not None and (prompts or name not in PROMPTS)
    )
    yield Difference(f"gradients of all weights, {kind}", largest, 1e-8)
    if prompts:
        domain = max(float(getattr(theirs, name).grad.abs().max()) for name in list(PROMPTS)[:4])
        yield Difference("largest gradient of a published domain prompt", domain, 1e-8, "they have no effect")
    yield Difference(f"queue after the step, {kind}", largest_difference(ours.queue.keys, theirs.queue.T))


def _batch(views: torch.Tensor) -> Batch:
    """Return the three views (3, N, M, T, V, C) as a batch, concatenated in time."""
    return Batch(
        torch.cat(list(views), dim=2),
        torch.ones(CLIPS, 2, dtype=torch.bool),
        torch.ones(CLIPS, 3 * FRAMES, dtype=torch.bool),
        torch.zeros(CLIPS, dtype=torch.int64),
        torch.arange(CLIPS),
        tuple(map(str, range(CLIPS))),
    )


def _mixture(theirs: Any) -> Difference:
    """Compare the three kinds of mixtures; the other clip is the previous one of the batch."""
    parts = [0, 3]
    joints = tuple(sorted(joint for part in parts for joint in body_parts(NTU25)[part]))
    x = torch.randn(CLIPS, 3, 64, 25, 2, dtype=torch.float64)
    largest = 0.0
    for chance, kind in ((0.9, "cut"), (0.4, "resize"), (0.1, "mixup")):
        # Numbers of parts, of groups of four frames, and the first of these; the kind, and the share of mixup.
        numbers, shares = [2, 9, 4], [chance, 0.3]
        with (
            patch.object(random, "randint", side_effect=numbers),
            patch.object(random, "sample", lambda given, _: [given[part] for part in parts]),
            patch.object(random, "random", side_effect=shares),
            patch.object(torch, "randint", lambda *_: torch.tensor([CLIPS - 1])),
        ):
            _, expected, cells = theirs.ske_swap(x.clone(), 2, 3, 7, 11)
        mixture = Mixture(kind, 0.3, slice(16, 52), joints)
        ours = mix(x.permute(0, 4, 2, 3, 1), mixture).permute(0, 4, 2, 3, 1)
        largest = max(largest, largest_difference(ours, expected))
        share = 0.3 if kind == "mixup" else 36 * len(joints) / (64 * 25)
        largest = max(largest, abs(float(cells.mean()) - share) / 100)
    return Difference("mixtures", largest)


def _alignment() -> Difference:
    published = importlib.import_module("data_gen.preprocess")
    published.tqdm = lambda values: values
    rng = np.random.default_rng(0)
    keypoint = rng.normal(size=(2, 30, 25, 3)).cumsum(axis=1) + 3
    # The second person comes late and leaves early.
    keypoint[1, :4] = keypoint[1, 20:] = 0
    expected = published.pre_normalization(keypoint.transpose(3, 1, 2, 0)[None].copy())[0].transpose(3, 1, 2, 0)
    score = (keypoint != 0).any(axis=-1).astype(np.float32)
    joints = np.where(score[..., None] > 0, keypoint, np.nan).astype(np.float32)
    ours, _ = to_aligned(joints, score, joint=MIDDLE, upwards=UPWARDS, across=ACROSS)
    return Difference("alignment (data.placement=aligned)", largest_difference(np.nan_to_num(ours), expected), 1e-4)


def _bones(theirs: Any) -> Difference:
    """Compare the bones that the published network lists."""
    x = torch.randn(2, 4, 25, 3, dtype=torch.float64)
    expected = torch.zeros_like(x)
    for joint, parent in theirs.Bone:
        expected[..., joint - 1, :] = x[..., joint - 1, :] - x[..., parent - 1, :]
    ours = to_stream(x, "bone", dimensions=3, parents=torch.as_tensor(bone_parents(NTU25)))
    return Difference("bones", largest_difference(ours, expected))


def _rates() -> Iterator[Difference]:
    published = importlib.import_module("pretrain_moco_mask")
    settings = PretrainingLoop(
        epochs=451, optimizer="sgd", lr=0.02, schedule="step", lr_steps=(351,), warmup_epochs=0, weight_decay=1e-4
    )
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    arguments = Namespace(lr=0.02, cos=False, schedule=[351], epochs=451)
    largest = 0.0
    for epoch in range(settings.epochs):
        published.adjust_learning_rate(optimizer, epoch, arguments)
        largest = max(largest, abs(optimizer.param_groups[0]["lr"] - learning_rate(settings, epoch, 1.0)))
    yield Difference("learning rates of all epochs", largest)
