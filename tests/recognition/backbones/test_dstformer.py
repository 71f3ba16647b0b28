"""DSTFormer compared with a plain reference, with padding, masked joints and each source of attention."""

import pytest
import torch

from recognition.backbones.dstformer import DSTFormer
from test_support.networks.made_backbones import DEPTH, HEADS, JOINTS, made_backbone, made_joints
from test_support.reference.backbones import dstformer

pytestmark = pytest.mark.processor

LENGTHS = (6, 4, 5)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["spatial", "average", "spatiotemporal"])
def test_output_equals_the_plain_reference(source: str) -> None:
    backbone = made_backbone("dstformer", attention=source, dim_representation=8)
    state = backbone.state_dict()
    joints, masked = made_joints(3, 6, JOINTS, 3), torch.rand(3, 6, JOINTS) < 0.3
    frame_mask = torch.arange(6) < torch.tensor(LENGTHS)[:, None]
    for mask, lengths in ((None, (6, 6, 6)), (frame_mask, LENGTHS)):
        representation, attention = backbone.encode(joints, frame_mask=mask, masked=masked, return_attention=True)
        for person, frames in enumerate(lengths):
            expected, scores = dstformer(
                state,
                joints[person, :frames],
                heads=HEADS,
                depth=DEPTH,
                source=source,
                masked=masked[person, :frames],
            )
            torch.testing.assert_close(representation[person, :frames], expected, rtol=0, atol=1e-9)
            torch.testing.assert_close(attention[person, :frames], scores, rtol=0, atol=1e-9)


def test_spatial_attention_ranks_joints_and_spatiotemporal_frames_too() -> None:
    joints = made_joints(2, 6, JOINTS, 3) * 5
    _, spatial = made_backbone("dstformer").encode(joints, return_attention=True)
    torch.testing.assert_close(spatial.sum(dim=2), torch.full((2, 6), float(JOINTS), dtype=torch.float64))
    _, both = made_backbone("dstformer", attention="spatiotemporal").encode(joints, return_attention=True)
    assert both.sum(dim=2).std() > 1e-3
    torch.testing.assert_close(both.mean(dim=(1, 2)), torch.ones(2, dtype=torch.float64))


def test_both_streams_have_equal_initial_weights() -> None:
    fusions = DSTFormer(num_joints=JOINTS, channels=3, dim=16, heads=2, depth=2).fusions
    assert not any(fusion.weight.any() for fusion in fusions)
    assert all(torch.equal(fusion.bias, torch.full((2,), 0.5)) for fusion in fusions)
