"""CTR-GCN compared with its published size and a plain definition of its refined graphs."""

import numpy as np
import pytest
import torch

from recognition.backbones import build_backbone
from recognition.backbones.graph_networks.ctrgcn import CTRGCN, PysklCTRGCN, RefinedGraph, TemporalBranches
from recognition.backbones.graph_networks.graph import JOINTS, spatial_graph
from recognition.recognizer import Recognizer
from recognition.settings import ModelSettings

pytestmark = pytest.mark.processor


def test_the_parameter_count_is_the_published_one_except_the_second_persons_normalisation() -> None:
    recognizer = Recognizer(CTRGCN(channels=3), 60)
    assert sum(weight.numel() for weight in recognizer.parameters()) - 3 == 1_436_496 - 2 * 3 * JOINTS


@pytest.mark.parametrize("transposed", [False, True], ids=["authors", "pyskl"])
def test_every_channel_has_a_graph_refined_by_the_differences_of_joints(transposed: bool) -> None:
    torch.manual_seed(0)
    layer = RefinedGraph(3, 4, transposed=transposed).double()
    x, graph = torch.randn(2, 3, 5, JOINTS, dtype=torch.float64), spatial_graph()[1].double()
    share = torch.tensor([0.7], dtype=torch.float64)

    def of(part: torch.nn.Conv2d, values: np.ndarray) -> np.ndarray:
        weight, bias = part.weight[..., 0, 0].detach().numpy(), part.bias.detach().numpy()
        return weight @ values + bias

    given, found = x.numpy(), layer(x, graph, share).detach().numpy()
    for n in range(2):
        mean = given[n].mean(axis=1)  # (3, V)
        for u in range(JOINTS):
            expected = np.zeros((4, 5))
            for v in range(JOINTS):
                row, column = (v, u) if transposed else (u, v)
                difference = np.tanh(of(layer.from_joint, mean[:, row]) - of(layer.to_joint, mean[:, column]))
                weight = graph[row, column].item() + 0.7 * of(layer.refine, difference)  # one for each of 4 channels
                values = np.stack([of(layer.values, given[n, :, t, v]) for t in range(5)], axis=1)
                expected += weight[:, None] * values
            np.testing.assert_allclose(found[n, :, :, u], expected, rtol=1e-9)


def test_temporal_branches_span_four_frames_per_side_and_keep_joints_separate() -> None:
    torch.manual_seed(0)
    layer = TemporalBranches(16, 1).double().eval()
    x = torch.randn(1, 16, 21, 4, dtype=torch.float64)
    changed = x.clone()
    changed[:, :, 10, 2] += 1
    reached = (layer(changed) - layer(x)).abs().sum(dim=1)[0] > 1e-9
    assert not reached[:, [0, 1, 3]].any()
    assert set(reached[:, 2].nonzero()[:, 0].tolist()) == {6, 8, 9, 10, 11, 12, 14}
    assert TemporalBranches(16, 2).double()(x).shape == (1, 16, 11, 4)


def test_the_variant_of_pyskl_has_the_same_weights_but_other_results() -> None:
    torch.manual_seed(0)
    authors, pyskl = CTRGCN(channels=3, width=16, depth=3).eval(), PysklCTRGCN(channels=3, width=16, depth=3).eval()
    pyskl.load_state_dict(authors.state_dict())
    x = torch.randn(1, 12, JOINTS, 3)
    assert not torch.allclose(authors.encode(x)[0], pyskl.encode(x)[0])
    # ReLU after the temporal branches, before the residual path is added.
    assert (pyskl.blocks[1].time(torch.randn(1, 16, 12, JOINTS)) >= 0).all()


@pytest.mark.parametrize(("variant", "network"), [("authors", CTRGCN), ("pyskl", PysklCTRGCN)])
def test_the_setting_selects_the_variant(variant: str, network: type) -> None:
    settings = ModelSettings.model_validate({"backbone": "ctrgcn", "dim": 16, "depth": 2, "variant": variant})
    assert type(build_backbone(settings, num_joints=17, channels=3)) is network
