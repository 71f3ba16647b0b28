"""The vanilla transformer compared with a plain reference, without the complete attention map in memory."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from recognition.backbones import layers
from test_support.networks.made_backbones import DEPTH, HEADS, JOINTS, made_backbone, made_joints
from test_support.reference.backbones import transformer

pytestmark = pytest.mark.processor


@pytest.mark.parametrize("map_limit", [layers.MAP_LIMIT, 1000, 1])
def test_output_equals_the_plain_reference(map_limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Independent of the number of queries per chunk, which need not divide the number of tokens."""
    monkeypatch.setattr(layers, "MAP_LIMIT", map_limit)
    backbone = made_backbone("transformer", dim_representation=8)
    joints, masked = made_joints(2, 6, JOINTS, 3), torch.rand(2, 6, JOINTS) < 0.3
    lengths = (6, 4)
    frame_mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    for mask, own in ((None, (6, 6)), (frame_mask, lengths)):
        representation, attention = backbone.encode(joints, frame_mask=mask, masked=masked, return_attention=True)
        for person, frames in enumerate(own):
            expected, scores = transformer(
                backbone.state_dict(), joints[person, :frames], heads=HEADS, depth=DEPTH, masked=masked[person, :frames]
            )
            torch.testing.assert_close(representation[person, :frames], expected, rtol=0, atol=1e-9)
            torch.testing.assert_close(attention[person, :frames], scores, rtol=0, atol=1e-9)


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation returns."""

    largest = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, torch.Tensor):
                self.largest = max(self.largest, value.numel())
        return result


def test_no_tensor_is_as_large_as_the_attention_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MAP_LIMIT", 100_000)
    backbone = made_backbone("transformer", max_frames=100).float()
    tokens = 100 * JOINTS
    with torch.no_grad(), LargestTensor() as seen:
        backbone.encode(torch.randn(1, 100, JOINTS, 3), return_attention=True)
    assert 50_000 < seen.largest <= 100_000 < HEADS * tokens**2
