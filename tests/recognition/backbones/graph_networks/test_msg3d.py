"""MS-G3D compared with its published size and a plain definition of its graphs and windows."""

import numpy as np
import pytest
import torch

from recognition.backbones import build_backbone
from recognition.backbones.graph_networks.graph import JOINTS, joint_distances
from recognition.backbones.graph_networks.msg3d import (
    MSG3D,
    MultiScaleGraph,
    Variant,
    WindowGraph,
    multi_scale_graph,
    window_distances,
)
from recognition.recognizer import Recognizer
from recognition.settings import ModelSettings

pytestmark = pytest.mark.processor


def test_the_parameter_count_is_the_published_one_except_the_second_persons_normalisation() -> None:
    recognizer = Recognizer(MSG3D(channels=3), 60)
    assert sum(weight.numel() for weight in recognizer.parameters()) - 3 == 2_975_763 - 2 * 3 * JOINTS


@pytest.mark.parametrize("variant", ["authors", "pyskl"])
def test_a_scale_connects_joints_exactly_k_bones_apart(variant: Variant) -> None:
    bones = (joint_distances().numpy() == 1).astype(int) + np.eye(JOINTS, dtype=int)
    graphs = multi_scale_graph(joint_distances(), 13, variant)
    for k in range(13):
        # Reachable in k steps but not in fewer, by powers of the adjacency.
        within = np.minimum(np.linalg.matrix_power(bones, k), 1)
        before = np.minimum(np.linalg.matrix_power(bones, k - 1), 1) if k else np.zeros_like(bones)
        expected = within - before + (np.eye(JOINTS) if k else 0)
        degree = expected.sum(axis=1)
        divisor = np.sqrt(np.outer(degree, degree)) if variant == "authors" else degree[:, None]
        np.testing.assert_allclose(graphs[k], expected / divisor, rtol=1e-6)


def test_the_setting_selects_the_normalisation_of_all_graphs() -> None:
    for variant in ("authors", "pyskl"):
        settings = ModelSettings.model_validate({"backbone": "msg3d", "dim": 24, "variant": variant})
        network = build_backbone(settings, num_joints=17, channels=3)
        layers = [part for part in network.modules() if isinstance(part, MultiScaleGraph)]
        sums = torch.cat([layer.graphs.sum(dim=-1).flatten() for layer in layers])
        # In PYSKL, the contributions to a joint sum to one.
        assert bool(torch.isclose(sums, torch.ones(())).all()) is (variant == "pyskl") and len(layers) == 9


def test_a_window_connects_all_its_frames() -> None:
    bones = (joint_distances().numpy() == 1).astype(int) + np.eye(JOINTS, dtype=int)
    tiled = np.tile(bones, (3, 3))
    distance = window_distances(3).numpy()
    reached = [np.minimum(np.linalg.matrix_power(tiled, k), 1) for k in range(1, 9)]
    for k, (now, before) in enumerate(zip(reached[1:], reached, strict=False), 2):
        np.testing.assert_array_equal(distance == k, now > before)
    np.testing.assert_array_equal(distance == 1, (tiled - np.eye(3 * JOINTS)) > 0)


def test_multi_scale_mixing_equals_plain_loops() -> None:
    torch.manual_seed(0)
    layer = MultiScaleGraph(joint_distances(), 3, 2, 4).double().eval()
    x = torch.randn(2, 2, 5, JOINTS, dtype=torch.float64)
    graphs = (layer.graphs + layer.learned).detach()
    taken = torch.zeros(2, 3, 2, 5, JOINTS, dtype=torch.float64)
    for k in range(3):
        for v in range(JOINTS):
            for u in range(JOINTS):
                taken[:, k, ..., v] += graphs[k, v, u] * x[..., u]
    torch.testing.assert_close(layer(x), layer.mix(taken.reshape(2, 6, 5, JOINTS)))


def test_windows_are_centred_and_zero_beyond_the_ends() -> None:
    torch.manual_seed(0)
    layer = WindowGraph(2, 4, 3, 2, first=False).double().eval()
    x = torch.randn(1, 2, 7, JOINTS, dtype=torch.float64)
    found = layer(x)
    assert found.shape == (1, 4, 4, JOINTS)
    for place, middle in enumerate((0, 2, 4, 6)):
        frames = [x[:, :, t] if 0 <= t < 7 else torch.zeros_like(x[:, :, 0]) for t in range(middle - 1, middle + 2)]
        window = torch.cat(frames, dim=-1)[:, :, None]  # (1, C, 1, 3 * V)
        joined = layer.graph(window).view(1, 2, 1, 3, JOINTS)
        torch.testing.assert_close(found[:, :, place], layer.norm(layer.collapse(joined)[:, :, :, 0])[:, :, 0])
