"""ST-GCN++ compared with its published size and a plain definition of its graph convolution."""

import numpy as np
import pytest
import torch

from recognition.backbones.graph_networks.graph import INWARD, JOINTS, joint_distances, spatial_graph
from recognition.backbones.graph_networks.stgcnpp import STGCNPP, GraphConvolution, ManyTemporalConvolutions
from recognition.recognizer import Recognizer

pytestmark = pytest.mark.processor


def test_the_parameter_count_is_the_published_one() -> None:
    recognizer = Recognizer(STGCNPP(channels=3), 60)
    assert sum(weight.numel() for weight in recognizer.parameters()) - 3 == 1_393_016


def test_the_graph_has_edges_towards_the_nose_and_back() -> None:
    own, inward, outward = spatial_graph()
    torch.testing.assert_close(own, torch.eye(JOINTS))
    parents = dict(INWARD)
    for joint in range(JOINTS):
        children = [child for child, parent in INWARD if parent == joint]
        # One graph averages the children of a joint, the other takes its parent.
        assert inward[:, joint].nonzero()[:, 0].tolist() == sorted(children)
        assert inward[children, joint].sum() == (1 if children else 0)
        assert outward[:, joint].nonzero()[:, 0].tolist() == ([parents[joint]] if joint in parents else [])
    assert joint_distances()[0, 9] == 3 and joint_distances()[15, 16] == 8


def test_the_graph_convolution_equals_plain_loops() -> None:
    torch.manual_seed(0)
    layer = GraphConvolution(3, 4).double().eval()
    with torch.no_grad():
        layer.graph += 0.1 * torch.randn_like(layer.graph)
        layer.norm.running_mean.normal_()
        layer.norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 3, 5, JOINTS, dtype=torch.float64)
    weight = layer.convolution.weight[..., 0, 0].detach().numpy().reshape(3, 4, 3)
    bias = layer.convolution.bias.detach().numpy().reshape(3, 4)
    graph, given = layer.graph.detach().numpy(), x.numpy()
    expected = np.zeros((2, 4, 5, JOINTS))
    for k in range(3):
        for v in range(JOINTS):
            for u in range(JOINTS):
                mapped = np.einsum("oc,nct->not", weight[k], given[..., u]) + bias[k][None, :, None]
                expected[..., v] += graph[k, u, v] * mapped
    expected = torch.from_numpy(expected)
    down, norm = layer.down(x), layer.norm(expected)
    torch.testing.assert_close(layer(x), torch.relu(norm + down))


def test_temporal_branches_span_their_dilation_and_keep_joints_separate() -> None:
    torch.manual_seed(0)
    layer = ManyTemporalConvolutions(12, 1).double().eval()
    x = torch.randn(1, 12, 21, 4, dtype=torch.float64)
    changed = x.clone()
    changed[:, :, 10, 2] += 1
    reached = (layer(changed) - layer(x)).abs().sum(dim=1)[0] > 1e-9
    assert not reached[:, [0, 1, 3]].any()
    assert reached[:, 2].nonzero()[:, 0].tolist() == [6, 7, 8, 9, 10, 11, 12, 13, 14]
    assert ManyTemporalConvolutions(12, 2).double()(x).shape == (1, 12, 11, 4)
