"""PoseConv3D compared with its published size and a plain definition of its heat maps."""

import math

import pytest
import torch

from recognition.backbones.poseconv3d import PoseConv3D, heat_maps
from recognition.recognizer import Recognizer

pytestmark = pytest.mark.processor


def test_the_parameter_count_is_the_published_one() -> None:
    recognizer = Recognizer(PoseConv3D(num_joints=17), 60)
    assert sum(weight.numel() for weight in recognizer.parameters()) - 3 == 2_024_860


def test_heat_maps_are_gaussians_at_the_joints_scaled_by_score() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 4, 3, dtype=torch.float64) * 2 - 1
    x[..., 2] = x[..., 2].abs()
    x[1, 2, 3] = 0
    maps = heat_maps(x, side=8, sigma=0.6)
    assert maps.shape == (2, 4, 3, 8, 8)
    for s in range(2):
        for t in range(3):
            for v in range(4):
                across, down, score = x[s, t, v].tolist()
                for row in range(8):
                    for column in range(8):
                        # In an image of 8 cells, the first cell centre is half a cell from the border.
                        far = ((across + 1) * 4 - column - 0.5) ** 2 + ((down + 1) * 4 - row - 0.5) ** 2
                        expected = score * math.exp(-far / (2 * 0.6**2))
                        assert abs(maps[s, v, t, row, column].item() - expected) < 1e-12
    assert not maps[1, 3, 2].any()


def test_features_are_independent_of_joints_and_halve_time_once() -> None:
    torch.manual_seed(0)
    network = PoseConv3D(num_joints=5, width=4).eval()
    x = torch.rand(2, 8, 5, 3) * 2 - 1
    with torch.inference_mode():
        representation, attention = network.encode(x)
    assert attention is None and representation.shape == (2, 8, 5, 64)
    torch.testing.assert_close(representation[:, :, :1].expand_as(representation), representation)
    torch.testing.assert_close(representation[:, 0::2], representation[:, 1::2])
    assert not torch.equal(representation[:, 0], representation[:, 2])
