"""Loading checkpoints with the names and wrapping of MotionBERT's published ones, and refusing others."""

import argparse
from pathlib import Path

import pytest
import torch

from pose_extraction.errors import WeightsError
from recognition.backbones.dstformer import DSTFormer
from recognition.training.motionbert import load_motionbert
from test_support.networks.made_backbones import DEPTH, HEADS, JOINTS, made_joints

pytestmark = pytest.mark.processor

DIM, FRAMES, HIDDEN, OUT = 16, 9, 32, 8


def made_network(**sizes: int) -> DSTFormer:
    sizes = {"num_joints": JOINTS, "dim": DIM, "max_frames": FRAMES, "dim_representation": OUT, "depth": DEPTH} | sizes
    return DSTFormer(channels=3, heads=HEADS, **sizes)


def published_names() -> dict[str, torch.Tensor]:
    """A state dictionary with the names of MotionBERT's DSTformer, and different values in every tensor."""
    shapes: dict[str, tuple[int, ...]] = {
        "temp_embed": (1, FRAMES, 1, DIM),
        "pos_embed": (1, JOINTS, DIM),
        "joints_embed.weight": (DIM, 3),
        "joints_embed.bias": (DIM,),
        "norm.weight": (DIM,),
        "norm.bias": (DIM,),
        "pre_logits.fc.weight": (OUT, DIM),
        "pre_logits.fc.bias": (OUT,),
        "head.weight": (3, OUT),
        "head.bias": (3,),
    }
    for level in range(DEPTH):
        for stream in ("st", "ts"):
            for half in ("s", "t"):
                block = f"blocks_{stream}.{level}"
                for norm in ("norm1", "norm2"):
                    shapes |= {f"{block}.{norm}_{half}.{kind}": (DIM,) for kind in ("weight", "bias")}
                for name, out, width in (
                    (f"attn_{half}.qkv", 3 * DIM, DIM),
                    (f"attn_{half}.proj", DIM, DIM),
                    (f"mlp_{half}.fc1", HIDDEN, DIM),
                    (f"mlp_{half}.fc2", DIM, HIDDEN),
                ):
                    shapes |= {f"{block}.{name}.weight": (out, width), f"{block}.{name}.bias": (out,)}
        shapes |= {f"ts_attn.{level}.weight": (2, 2 * DIM), f"ts_attn.{level}.bias": (2,)}
    random = torch.Generator().manual_seed(4)
    return {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}


def saved(
    path: Path, key: str, prefix: str, state: dict[str, torch.Tensor], extra: dict[str, torch.Tensor] | None = None
) -> Path:
    tensors = {prefix + name: value for name, value in state.items()} | (extra or {})
    content = {key: tensors, "epoch": 90, "lr": 2e-4}
    content["optimizer"] = {"state": {0: {"step": 3, "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-3}]}
    content["args"] = argparse.Namespace(config="configs/pretrain.yaml")
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("key", "prefix", "extra"),
    [
        ("model_pos", "module.", {}),
        ("model", "module.backbone.", {"module.head.fc1.weight": torch.ones(4, 4)}),
        ("model", "", {}),
    ],
    ids=["pre-training", "actions", "bare"],
)
def test_every_published_tensor_is_loaded(tmp_path: Path, key: str, prefix: str, extra: dict) -> None:
    state = published_names()
    path = saved(tmp_path / "best_epoch.bin", key, prefix, state, extra)
    network = made_network()
    token = network.mask_token.detach().clone()
    report = load_motionbert(network, path)
    heads = ["head.weight", "head.bias"]
    assert report.loaded == len(state) - len(heads)
    assert report.ignored == [*heads, *(name.removeprefix("module.") for name in extra)]
    assert report.absent == ["mask_token"] and torch.equal(network.mask_token, token)
    # All values differ, so the same multiset with the right shapes leaves only the names to check.
    ours = network.state_dict()
    for level in range(DEPTH):
        for stream in ("st", "ts"):
            for half, long in (("s", "spatial"), ("t", "temporal")):
                block, theirs = f"streams_{stream}.{level}.{long}", f"blocks_{stream}.{level}"
                for name, other in (
                    ("norm1.weight", f"norm1_{half}.weight"),
                    ("norm2.bias", f"norm2_{half}.bias"),
                    ("attention.qkv.weight", f"attn_{half}.qkv.weight"),
                    ("attention.proj.bias", f"attn_{half}.proj.bias"),
                    ("feed_forward.fc1.weight", f"mlp_{half}.fc1.weight"),
                    ("feed_forward.fc2.weight", f"mlp_{half}.fc2.weight"),
                ):
                    assert torch.equal(ours[f"{block}.{name}"], state[f"{theirs}.{other}"])
        assert torch.equal(ours[f"fusions.{level}.weight"], state[f"ts_attn.{level}.weight"])
    assert torch.equal(ours["spatial_embedding"], state["pos_embed"])
    assert torch.equal(ours["temporal_embedding"], state["temp_embed"])
    assert torch.equal(ours["representation.weight"], state["pre_logits.fc.weight"])
    assert network.encode(made_joints(1, 5, JOINTS, 3).float())[0].isfinite().all()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            {"max_frames": 12},
            r"module\.temp_embed has shape \(1, 9, 1, 16\), .* \(1, 12, 1, 16\).*max_frames=9, the length",
        ),
        ({"num_joints": 7}, r"module\.pos_embed has shape \(1, 5, 16\), .* \(1, 7, 16\).*number of joints"),
        (
            {"dim_representation": 32},
            r"pre_logits\.fc\.weight has shape \(8, 16\), .* \(32, 16\).*dim_representation=8",
        ),
        ({"dim": 32}, r"\(1, 9, 1, 16\), .* \(1, 9, 1, 32\).*model\.dim=16"),
        ({"depth": 1}, r"has 3 blocks, but the network has 1; set model\.depth=3"),
        ({"mlp_ratio": 4.0}, r"\(32, 16\), .* \(64, 16\).*model\.mlp_ratio=2$"),
    ],
)
def test_mismatching_shapes_are_refused_and_nothing_changes(tmp_path: Path, sizes: dict, message: str) -> None:
    path = saved(tmp_path / "best_epoch.bin", "model_pos", "module.", published_names())
    network = made_network(**sizes)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(WeightsError, match=message):
        load_motionbert(network, path)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_foreign_and_incomplete_files_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "other.bin", "model", "module.", {"conv.weight": torch.ones(1)})
    with pytest.raises(WeightsError, match=r"not a checkpoint of MotionBERT.*'module\.conv\.weight'.*--init"):
        load_motionbert(made_network(), path)
    state = published_names()
    del state["blocks_ts.1.attn_t.qkv.bias"]
    with pytest.raises(WeightsError, match=r"1 missing \(streams_ts\.1\.temporal\.attention\.qkv\.bias\)"):
        load_motionbert(made_network(), saved(tmp_path / "half.bin", "model_pos", "module.", state))
