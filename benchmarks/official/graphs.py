"""The graph networks of PYSKL, and CTR-GCN and MS-G3D of their authors."""

import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from benchmarks.official.loading import (
    Difference,
    copy_weights,
    largest_difference,
    learned,
    modules_of,
    package,
    randomise,
    stand_in,
)
from recognition.backbones import build_backbone
from recognition.backbones.graph_networks.graph import INWARD, JOINTS
from recognition.settings import ModelSettings

FRAMES = 16
# The constant graphs of MS-G3D are computed in float32.
IN_SINGLE = 1e-6
Variant = Literal["authors", "pyskl"]
# Parts of published names and the corresponding parts of ours, applied in this order. `#` is a number.
STAGED = (
    (r"^(?:gcn|net|l)\.?(\d+)\.", r"blocks.\1."),
    (r"^data_bn\.", "input_norm."),
    (r"\.(?:gcn1|gcn)\.", ".joints."),
    (r"\.(?:tcn1|tcn)\.", ".time."),
    (r"\.residual\.(?:conv)\.", ".residual.convolution."),
    (r"\.residual\.bn\.", ".residual.norm."),
    (r"\.joints\.(?:A|PA)$", ".joints.graph"),
    (r"\.joints\.bn\.", ".joints.norm."),
    (r"\.joints\.alpha$", ".joints.share"),
)
OF_STGCNPP = (
    (r"\.joints\.conv\.", ".joints.convolution."),
    (r"\.time\.branches\.(\d)\.3\.conv\.", r".time.branches.\1.3.convolution."),
    (r"\.time\.transform\.", ".time.mix."),
    (r"\.time\.bn\.", ".time.norm."),
)
OF_AAGCN = (
    (r"\.conv_a\.", ".queries."),
    (r"\.conv_b\.", ".keys."),
    (r"\.conv_d\.", ".values."),
    (r"\.conv_sa\.", ".joint_attention."),
    (r"\.conv_ta\.", ".frame_attention."),
    (r"\.fc1c\.", ".channel_attention.0."),
    (r"\.fc2c\.", ".channel_attention.2."),
    (r"\.time\.conv\.", ".time.convolution."),
    (r"\.time\.bn\.", ".time.norm."),
)
OF_CTRGCN = (
    (r"\.joints\.convs\.(\d)\.conv1\.", r".joints.parts.\1.from_joint."),
    (r"\.joints\.convs\.(\d)\.conv2\.", r".joints.parts.\1.to_joint."),
    (r"\.joints\.convs\.(\d)\.conv3\.", r".joints.parts.\1.values."),
    (r"\.joints\.convs\.(\d)\.conv4\.", r".joints.parts.\1.refine."),
    (r"\.time\.branches\.(\d)\.3\.conv\.", r".time.branches.\1.3.convolution."),
    (r"\.time\.branches\.(\d)\.3\.bn\.", r".time.branches.\1.3.norm."),
)
OF_MSG3D = (
    (r"^data_bn\.", "input_norm."),
    (r"^gcn3d(\d)\.gcn3d\.(\d)\.gcn3d\.1\.(?:A_res|PA)$", r"blocks.\1.windows.\2.graph.learned"),
    (r"^gcn3d(\d)\.gcn3d\.(\d)\.gcn3d\.1\.mlp\.layers\.", r"blocks.\1.windows.\2.graph.mix."),
    (r"^gcn3d(\d)\.gcn3d\.(\d)\.out_conv\.", r"blocks.\1.windows.\2.collapse."),
    (r"^gcn3d(\d)\.gcn3d\.(\d)\.out_bn\.", r"blocks.\1.windows.\2.norm."),
    (r"^sgcn(\d)\.0\.(?:A_res|PA)$", r"blocks.\1.frames.0.learned"),
    (r"^sgcn(\d)\.0\.mlp\.layers\.", r"blocks.\1.frames.0.mix."),
    (r"^sgcn(\d)\.", r"blocks.\1.frames."),
    (r"^tcn(\d)\.", r"blocks.\1.time."),
    (r"\.conv\.", ".convolution."),
    (r"\.bn\.", ".norm."),
)
# Published networks count stages from one where these patterns have a number, ours from zero.
FROM_ONE = re.compile(r"^(l|gcn3d|sgcn|tcn)(\d+)\.")


def pyskl(root: Path) -> Iterator[Difference]:
    """Compare with a clone of kennymckormick/pyskl."""
    with modules_of(root, _frame_of_pyskl(root)):
        utilities = sys.modules["pyskl.utils"]
        utilities.Graph = importlib.import_module("pyskl.utils.graph").Graph  # type: ignore[attr-defined]
        # The published networks have a different normalisation of the second person; `VC` has one for both.
        spatial = {"layout": "coco", "mode": "spatial"}
        staged = {"graph_cfg": spatial, "num_person": 1}
        networks: dict[str, tuple[str, str, dict[str, Any], Any]] = {
            "stgcnpp": (
                "stgcn",
                "STGCN",
                {"graph_cfg": spatial, "gcn_adaptive": "init", "gcn_with_res": True, "tcn_type": "mstcn"},
                STAGED + OF_STGCNPP,
            ),
            "aagcn": ("aagcn", "AAGCN", staged, STAGED + OF_AAGCN),
            "ctrgcn": ("ctrgcn", "CTRGCN", staged, STAGED + OF_CTRGCN),
            "msg3d": (
                "msg3d",
                "MSG3D",
                {"graph_cfg": {"layout": "coco", "mode": "binary_adj"}, "num_person": 1},
                OF_MSG3D,
            ),
        }
        for name, (module, kind, sizes, names) in networks.items():
            published = getattr(importlib.import_module(f"pyskl.models.gcns.{module}"), kind)
            yield _compare(name, published(**sizes), names, variant="pyskl")


def ctrgcn(root: Path) -> Iterator[Difference]:
    """Compare with a clone of Uason-Chen/CTR-GCN."""
    with modules_of(root, {"made_graph": stand_in("made_graph", Graph=CocoGraph)}):
        published = importlib.import_module("model.ctrgcn")
        theirs = published.Model(num_class=2, num_point=JOINTS, num_person=1, graph="made_graph.Graph")
        yield _compare("ctrgcn", theirs, STAGED + OF_CTRGCN, variant="authors")


def msg3d(root: Path) -> Iterator[Difference]:
    """Compare with a clone of kenziyuliu/MS-G3D."""
    with modules_of(root, {"made_graph": stand_in("made_graph", Graph=CocoGraph)}):
        published = importlib.import_module("model.msg3d")
        sizes = {"num_class": 2, "num_point": JOINTS, "num_person": 1, "num_gcn_scales": 13, "num_g3d_scales": 6}
        yield _compare("msg3d", published.Model(**sizes, graph="made_graph.Graph"), OF_MSG3D, variant="authors")


class CocoGraph:
    """COCO's joints for networks that take a class of graphs by name; weights that are learned replace its values."""

    def __init__(self) -> None:
        inward, self.A_binary = np.zeros((JOINTS, JOINTS)), np.zeros((JOINTS, JOINTS))
        for child, parent in INWARD:
            inward[parent, child] = self.A_binary[child, parent] = self.A_binary[parent, child] = 1
        self.A = np.stack([np.eye(JOINTS), inward, inward.T])


def _frame_of_pyskl(root: Path) -> Mapping[str, ModuleType]:
    """Return packages without the imports of OpenMMLab's framework, and what the networks need of it."""
    folder = root / "pyskl"
    registry = stand_in("registry", register_module=lambda *_, **__: lambda cls: cls)
    layers = {"ReLU": nn.ReLU, "BN": nn.BatchNorm2d}
    of_mmcv = stand_in(
        "mmcv.cnn",
        build_activation_layer=lambda settings: layers[settings["type"]](),
        build_norm_layer=lambda settings, channels: (settings["type"], layers[settings["type"]](channels)),
    )
    return {
        "mmcv": package("mmcv", folder / "missing"),
        "mmcv.cnn": of_mmcv,
        "mmcv.runner": stand_in("mmcv.runner"),
        "mmcv.utils": stand_in("mmcv.utils", _BatchNorm=nn.modules.batchnorm._BatchNorm),
        "pyskl": package("pyskl", folder),
        "pyskl.utils": package("pyskl.utils", folder / "utils", cache_checkpoint=None),
        "pyskl.models": package("pyskl.models", folder / "models"),
        "pyskl.models.gcns": package("pyskl.models.gcns", folder / "models" / "gcns"),
        "pyskl.models.builder": stand_in("pyskl.models.builder", BACKBONES=registry),
    }


def _compare(name: str, theirs: nn.Module, names: Any, *, variant: Variant) -> Difference:
    """Compare the pooled features of one person."""
    theirs = theirs.double().eval()
    randomise(theirs)
    # The others have only PYSKL's variant.
    chosen = variant if name in ("ctrgcn", "msg3d") else "authors"
    settings = ModelSettings.model_validate({"backbone": name, "variant": chosen})
    ours = build_backbone(settings, num_joints=JOINTS, channels=3).double().eval()
    weights = {}
    for original, tensor in learned(theirs).items():
        if original.startswith("fc."):
            continue
        ours_name = FROM_ONE.sub(lambda match: f"{match[1]}{int(match[2]) - 1}.", original)
        for pattern, replacement in names:
            ours_name = re.sub(pattern, replacement, ours_name)
        if ours_name.endswith(".learned"):
            own = ours.state_dict()[ours_name]
            tensor = tensor.reshape(own.shape)
            # PYSKL's graphs are transposed.
            tensor = tensor.transpose(1, 2) if variant == "pyskl" else tensor
        weights[ours_name] = tensor
    copy_weights(ours, weights, besides=("mask_token",))
    x = torch.randn(2, FRAMES, JOINTS, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    features = ours.encode(x)[0].mean(dim=(1, 2))
    if variant == "pyskl":
        expected = theirs(x[:, None])[:, 0].mean(dim=(2, 3))
    else:
        captured: list[torch.Tensor] = []
        linear = next(layer for layer in theirs.modules() if isinstance(layer, nn.Linear))
        linear.register_forward_pre_hook(lambda _, given: captured.append(given[0]))
        theirs(x.permute(0, 3, 1, 2)[..., None])
        (expected,) = captured
    return Difference(f"{name}, {variant}: features", largest_difference(features, expected), IN_SINGLE)
