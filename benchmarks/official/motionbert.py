"""MotionBERT and MaskCLR: DSTFormer, its attention, the reading of clips, and learning rates."""

import importlib
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from benchmarks.official.loading import Difference, copy_weights, largest_difference, modules_of, randomise, stand_in
from recognition.backbones.dstformer import DSTFormer
from recognition.data.clips import open_clips
from recognition.data.dataset import SkeletonDataset
from recognition.data.legacy_reader import LegacyReader
from recognition.settings import DataSettings, TrainingSettings
from recognition.training.motionbert import our_name
from recognition.training.schedule import learning_rate_factor
from test_support.clips.made_clips import annotation, write_clips

SIZES: dict[str, Any] = {"depth": 3, "mlp_ratio": 2}
FRAMES, DIM, HEADS = 12, 32, 4
# Half-precision pixels are read; results of different libraries differ in the last bit of float32.
READING = 1e-6


def motionbert(root: Path) -> Iterator[Difference]:
    """Compare with a clone of Walter0807/MotionBERT."""
    with modules_of(root, {"easydict": stand_in("easydict")}):
        yield from _network(attention=False)
        yield from _reader()
    yield from _rates(root / "configs" / "action" / "MB_ft_NTU60_xsub.yaml")


def maskclr(root: Path) -> Iterator[Difference]:
    """Compare with a clone of vita-epfl/MaskCLR."""
    with modules_of(root, {"easydict": stand_in("easydict")}):
        yield from _network(attention=True)
        yield from _reader()


def _network(*, attention: bool) -> Iterator[Difference]:
    published = importlib.import_module("lib.model.DSTformer")
    # As the published scripts build it; the default of its class is another one.
    norm = partial(nn.LayerNorm, eps=1e-6)
    theirs = published.DSTformer(dim_feat=DIM, dim_rep=24, num_heads=HEADS, maxlen=FRAMES, norm_layer=norm, **SIZES)
    theirs = theirs.double().eval()
    randomise(theirs)
    ours = DSTFormer(
        num_joints=17, channels=3, max_frames=FRAMES, dim=DIM, heads=HEADS, dim_representation=24, **SIZES
    ).double()
    weights = {our_name(name): value for name, value in theirs.state_dict().items() if not name.startswith("head.")}
    copy_weights(ours, weights, besides=("mask_token",))
    x = torch.randn(2, FRAMES, 17, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x_theirs, x_ours = x.clone().requires_grad_(), x.clone().requires_grad_()
    result = theirs.get_representation(x_theirs)
    representation, received = ours.encode(x_ours, return_attention=True)
    expected = result[0] if attention else result
    yield Difference("DSTFormer: R", largest_difference(representation, expected))
    (gradient,) = torch.autograd.grad(expected.square().sum(), x_theirs)
    (ours_gradient,) = torch.autograd.grad(representation.square().sum(), x_ours)
    yield Difference("DSTFormer: gradient", largest_difference(ours_gradient, gradient))
    if attention:
        assert received is not None
        # The published map is a softmax of the attention that each joint receives.
        yield Difference("DSTFormer: A", largest_difference(received.softmax(dim=-1), result[1][..., 0]))


def _reader() -> Iterator[Difference]:
    """Compare `data.legacy`: the inputs of tests, and the frames drawn for training."""
    rng = np.random.default_rng(0)
    clips = [
        annotation(f"clip{number}", rng, frames=frames, persons=persons, unseen=0.1)
        for number, (frames, persons) in enumerate(((15, 1), (40, 2), (24, 2), (400, 2), (5, 1)))
    ]
    # Two persons whose slots are exchanged for some frames.
    clips[1]["keypoint"][:, 10:20] = clips[1]["keypoint"][::-1, 10:20].copy()
    data = DataSettings(legacy=True, num_frames=48)
    names = [clip["frame_dir"] for clip in clips]
    with tempfile.TemporaryDirectory() as folder:
        file = write_clips(Path(folder) / "made.pkl", clips, {"train": names, "val": names})
        published = importlib.import_module("lib.data.dataset_action")
        theirs = published.NTURGBD(str(file), "val", n_frames=48, random_move=False, scale_range=[2, 2])
        ours = SkeletonDataset(open_clips(file, data), np.arange(len(clips)), data, train=False)
        largest = max(largest_difference(ours[place].keypoint, theirs[place][0]) for place in range(len(clips)))
        yield Difference("reading of clips (data.legacy)", largest, READING)
        opened = open_clips(file, data)
        reader = LegacyReader(opened, np.array([clip["total_frames"] for clip in clips]), data, train=True)
    resample = importlib.import_module("lib.utils.utils_data").resample
    # The published code draws from this generator.
    np.random.seed(0)
    drawn = [resample(clip["total_frames"], 48, randomness=True) for clip in clips]
    different = sum(int((one != other).sum()) for one, other in zip(reader.frames, drawn, strict=True))
    yield Difference("frames drawn for training (data.legacy)", different, 0)


def _rates(config: Path) -> Iterator[Difference]:
    """Compare the learning rates of all epochs, which the published script multiplies by `lr_decay` after each."""
    if not config.is_file():
        return
    published, ours = yaml.safe_load(config.read_text(encoding="utf-8")), TrainingSettings()
    assert isinstance(ours.backbone_lr, float)
    largest = 0.0
    for name, rate in (("lr_backbone", ours.backbone_lr), ("lr_head", ours.head_lr)):
        for epoch in range(published["epochs"]):
            expected = published[name] * published["lr_decay"] ** epoch
            largest = max(largest, abs(rate * learning_rate_factor(ours, epoch, 1.0) - expected))
    yield Difference("learning rates of all epochs", largest)
    yield Difference("weight decay", abs(published["weight_decay"] - ours.weight_decay))
