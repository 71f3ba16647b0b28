"""STTFormer compared with a plain reference, also if its tuples do not divide a sequence."""

import pytest
import torch

from recognition.backbones import build_backbone
from recognition.settings import ModelSettings
from test_support.networks.made_backbones import DEPTH, HEADS, JOINTS, made_backbone, made_joints
from test_support.reference.backbones import sttformer

pytestmark = pytest.mark.processor


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 3, 6])
def test_output_equals_the_plain_reference(length: int) -> None:
    backbone = made_backbone("sttformer", tuple_length=length)
    joints, masked = made_joints(3, 8, JOINTS, 3), torch.rand(3, 8, JOINTS) < 0.3
    lengths = (8, 6, 4)
    frame_mask = torch.arange(8) < torch.tensor(lengths)[:, None]
    for mask, own in ((None, (8, 8, 8)), (frame_mask, lengths)):
        representation, attention = backbone.encode(joints, frame_mask=mask, masked=masked, return_attention=True)
        for person, frames in enumerate(own):
            expected, scores = sttformer(
                backbone.state_dict(),
                joints[person, :frames],
                heads=HEADS,
                depth=DEPTH,
                length=length,
                masked=masked[person, :frames],
            )
            torch.testing.assert_close(representation[person, :frames], expected, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(attention[person, :frames], scores, rtol=1e-9, atol=1e-9)


def test_all_tuples_share_their_scores() -> None:
    _, attention = made_backbone("sttformer").encode(made_joints(2, 9, JOINTS, 3), return_attention=True)
    assert torch.equal(attention[:, :3], attention[:, 3:6]) and torch.equal(attention[:, :3], attention[:, 6:])
    assert (attention >= 0).all() and attention[:, :3].std() > 0
    # The scale determines the effect of attention on masking; it is that of backbones whose maps are distributions.
    torch.testing.assert_close(attention.mean(dim=(1, 2)), attention.new_ones(2))


@pytest.mark.parametrize(("frames", "length"), [(120, 6), (243, 3), (243, 6), (243, 9)])
def test_the_papers_tuple_lengths_work(frames: int, length: int) -> None:
    settings = ModelSettings(backbone="sttformer", dim=32, depth=2, tuple_length=length)
    backbone = build_backbone(settings, num_joints=17, channels=3).eval()
    with torch.no_grad():
        representation, attention = backbone.encode(torch.randn(1, frames, 17, 3), return_attention=True)
    assert representation.shape == (1, frames, 17, 32) and attention.shape == (1, frames, 17)
