"""AAGCN compared with its published size and a plain definition of its graphs and attention."""

import numpy as np
import pytest
import torch

from recognition.backbones.graph_networks.aagcn import AAGCN, AdaptiveGraphConvolution
from recognition.backbones.graph_networks.graph import JOINTS
from recognition.recognizer import Recognizer

pytestmark = pytest.mark.processor


def test_the_parameter_count_is_the_published_one_except_the_second_persons_normalisation() -> None:
    recognizer = Recognizer(AAGCN(channels=3), 60)
    assert sum(weight.numel() for weight in recognizer.parameters()) - 3 == 3_760_228 - 2 * 3 * JOINTS


def made_layer() -> AdaptiveGraphConvolution:
    torch.manual_seed(0)
    layer = AdaptiveGraphConvolution(3, 8).double().eval()
    with torch.no_grad():
        for weight in layer.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return layer


def test_graphs_are_the_sum_of_a_learned_graph_and_joint_similarities() -> None:
    layer, x = made_layer(), torch.randn(2, 3, 5, JOINTS, dtype=torch.float64)
    graphs = layer.graphs_of(x).detach().numpy()
    for k in range(3):
        query, key = layer.queries[k](x).detach().numpy(), layer.keys[k](x).detach().numpy()
        for u in range(JOINTS):
            for v in range(JOINTS):
                product = (query[..., u] * key[..., v]).sum(axis=(1, 2)) / (2 * 5)
                expected = layer.graph[k, u, v].item() + np.tanh(product) * layer.share.item()
                np.testing.assert_allclose(graphs[:, k, u, v], expected, rtol=1e-9)


def test_features_are_mixed_by_graphs_and_weighted_by_joint_frame_and_channel() -> None:
    layer, x = made_layer(), torch.randn(2, 3, 5, JOINTS, dtype=torch.float64)
    graphs = layer.graphs_of(x)
    mixed = torch.zeros(2, 8, 5, JOINTS, dtype=torch.float64)
    for k in range(3):
        taken = torch.zeros_like(x)
        for v in range(JOINTS):
            for u in range(JOINTS):
                taken[..., v] += x[..., u] * graphs[:, k, u, v, None, None]
        mixed += layer.values[k](taken)
    y = torch.relu(layer.norm(mixed) + layer.down(x))
    y = y * (1 + torch.sigmoid(layer.joint_attention(y.mean(2)))[:, :, None, :])
    y = y * (1 + torch.sigmoid(layer.frame_attention(y.mean(3)))[:, :, :, None])
    y = y * (1 + torch.sigmoid(layer.channel_attention(y.mean(3).mean(2)))[:, :, None, None])
    torch.testing.assert_close(layer(x), y)
