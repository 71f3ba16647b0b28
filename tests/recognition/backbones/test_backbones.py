"""Common properties of the three backbones: sizes, clips of persons, padding, gradients, precision, export."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pose_extraction.errors import UsageError
from recognition.backbones import build_backbone, layers
from recognition.backbones.base import Backbone, motion
from recognition.backbones.batch_norm import CellNorm
from recognition.backbones.sttformer import STTFormer, channel_plan
from recognition.settings import ModelSettings
from test_support.networks.made_backbones import JOINTS, NAMES, made_backbone, made_joints, parameters

pytestmark = pytest.mark.processor

# STTFormer's authors also count their linear layer to 60 classes, and MotionBERT's the head for 3D poses.
CLASSES_60 = 512 * 60 + 60
HEAD_3D = 512 * 3 + 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 42_464_778),
        ({"dim": 256, "mlp_ratio": 4}, 16_001_549 - HEAD_3D),
        ({"backbone": "transformer"}, 15_898_112 + 262_656),
        ({"backbone": "sttformer"}, 11_651_570 - CLASSES_60),
        ({"backbone": "sttformer", "tuple_length": 6}, 11_768_615 - CLASSES_60),
    ],
    ids=["DSTFormer", "lite", "vanilla", "STTFormer l=3", "STTFormer l=6"],
)
def test_parameter_counts_match_the_papers(settings: dict, count: int) -> None:
    with torch.device("meta"):
        backbone = build_backbone(ModelSettings(**settings), num_joints=17, channels=3)
    assert parameters(backbone) - backbone.mask_token.numel() == count
    assert backbone.dim_representation == 512


@pytest.mark.slow
@pytest.mark.parametrize(("joints", "count"), [(25, 6_233_588), (17, 5_943_284)])
def test_sttformers_own_plan_has_the_published_parameter_count(joints: int, count: int) -> None:
    plan = [(64, 64, 16), (64, 64, 16), (64, 128, 32), (128, 128, 32), (128, 256, 64), *[(256, 256, 64)] * 3]
    with torch.device("meta"):
        backbone = STTFormer(num_joints=joints, channels=3, plan=plan, tuple_length=6)
    assert parameters(backbone) - backbone.mask_token.numel() + 256 * 60 + 60 == count


def test_the_channel_plan_matches_the_published_one_and_scales() -> None:
    assert channel_plan(512, 5) == [(128, 128, 32), (128, 256, 64), (256, 256, 64), (256, 512, 128), (512, 512, 128)]
    assert channel_plan(64, 3) == [(16, 16, 4), (16, 32, 8), (32, 64, 16)]
    assert channel_plan(64, 1) == [(16, 64, 16)]


@pytest.mark.parametrize("name", NAMES)
def test_clips_keep_their_order_and_absent_persons_are_zero(name: str) -> None:
    backbone = made_backbone(name)
    keypoint = made_joints(3, 2, 6, JOINTS, 3)
    person_mask = torch.tensor([[True, True], [True, False], [False, True]])
    frame_mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [True] * 6])
    masked = torch.rand(3, 2, 6, JOINTS) < 0.4
    # The content of absent persons must not matter.
    keypoint[1, 1] = torch.nan
    representation, attention = backbone(
        keypoint, person_mask=person_mask, frame_mask=frame_mask, masked=masked, return_attention=True
    )
    assert representation.shape == (3, 2, 6, JOINTS, backbone.dim_representation)
    assert attention.shape == (3, 2, 6, JOINTS)
    for clip, person in person_mask.nonzero().tolist():
        frames = int(frame_mask[clip].sum())
        alone, own = backbone.encode(
            keypoint[clip, person, None, :frames], masked=masked[clip, person, None, :frames], return_attention=True
        )
        torch.testing.assert_close(representation[clip, person, None, :frames], alone, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(attention[clip, person, None, :frames], own, rtol=1e-9, atol=1e-9)
        assert not representation[clip, person, frames:].any() and not attention[clip, person, frames:].any()
    assert not representation[~person_mask].any() and not attention[~person_mask].any()
    assert backbone(keypoint[:, :1].nan_to_num())[1] is None


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("frames", [6, 7])
@pytest.mark.parametrize("name", NAMES)
def test_padding_has_no_influence(name: str, frames: int, training: bool) -> None:
    """Checks values, attention, gradients and running statistics, with NaN in the padding."""
    joints = made_joints(3, frames, JOINTS, 3)
    padded = torch.full((3, 11, JOINTS, 3), torch.nan, dtype=torch.float64)
    padded[:, :frames] = joints
    frame_mask = (torch.arange(11) < frames).expand(3, -1)
    results = []
    for x, mask in ((joints, None), (padded, frame_mask)):
        backbone = made_backbone(name).train(training)
        representation, attention = backbone.encode(x, frame_mask=mask, return_attention=True)
        representation[:, :frames].square().sum().backward()
        gradients = [weight.grad for weight in backbone.parameters() if weight.grad is not None]
        results.append([representation[:, :frames], attention[:, :frames], *gradients, *backbone.buffers()])
        assert not representation[:, frames:].any() and not attention[:, frames:].any()
    for plain, from_padded in zip(*results, strict=True):
        torch.testing.assert_close(from_padded, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_without_padding_equals_no_mask(name: str) -> None:
    backbone, joints = made_backbone(name), made_joints(2, 6, JOINTS, 3)
    given, _ = backbone.encode(joints, frame_mask=torch.ones(2, 6, dtype=torch.bool))
    assert torch.equal(given, backbone.encode(joints)[0])


@pytest.mark.parametrize("name", NAMES)
def test_the_coordinates_of_a_masked_joint_have_no_influence(name: str) -> None:
    backbone, joints = made_backbone(name), made_joints(2, 6, JOINTS, 3)
    masked = torch.rand(2, 6, JOINTS) < 0.5
    other = torch.where(masked[..., None], made_joints(2, 6, JOINTS, 3, seed=9), joints)
    first, _ = backbone.encode(joints, masked=masked)
    second, _ = backbone.encode(other, masked=masked)
    assert torch.equal(first, second)
    assert not torch.allclose(first, backbone.encode(joints)[0])
    first.square().sum().backward()
    assert backbone.mask_token.grad.abs().sum() > 0


def test_motion_is_the_displacement_since_the_previous_frame_where_both_are_known() -> None:
    joints = made_joints(2, 6, JOINTS, 3)
    joints[0, 2, 1] = 0
    hidden = torch.rand(2, 6, JOINTS, generator=torch.Generator().manual_seed(3)) < 0.3
    moved = motion(joints, hidden)
    for s, t, v in itertools.product(range(2), range(6), range(JOINTS)):
        known = t > 0 and not any(hidden[s, at, v] or not joints[s, at, v].any() for at in (t - 1, t))
        wanted = 10 * (joints[s, t, v] - joints[s, t - 1, v]) if known else torch.zeros(3, dtype=torch.float64)
        assert moved[s, t, v].tolist() == pytest.approx(wanted.tolist(), abs=1e-12)
    assert torch.equal(motion(joints, None)[1, 1:], 10 * (joints[1, 1:] - joints[1, :-1]))


@pytest.mark.parametrize("name", ["dstformer", "transformer", "sttformer"])
def test_weights_without_motion_load_into_a_network_with_it(name: str) -> None:
    """With zero weights for motion the output is unchanged."""
    plain, informed = made_backbone(name), made_backbone(f"{name}+motion")
    missing, unexpected = informed.load_state_dict(plain.state_dict(), strict=False)
    assert (missing, unexpected) == (["motion_embedding.weight"], [])
    joints = made_joints(2, 6, JOINTS, 3)
    assert not torch.allclose(informed.encode(joints)[0], plain.encode(joints)[0])
    torch.nn.init.zeros_(informed.motion_embedding.weight)
    assert torch.equal(informed.encode(joints)[0], plain.encode(joints)[0])


@pytest.mark.parametrize("name", NAMES)
def test_attention_scores_carry_no_gradient_and_stay_float32_in_bfloat16(name: str) -> None:
    backbone, joints = made_backbone(name).float(), 0.2 * made_joints(2, 6, JOINTS, 3).float()
    exact, scores = backbone.encode(joints, return_attention=True)
    masked = torch.rand(2, 6, JOINTS) < 0.5
    with torch.autocast("cpu", torch.bfloat16):
        rough, rough_scores = backbone.encode(joints, return_attention=True)
        backbone(joints[:, None], masked=masked[:, None])[0].float().square().sum().backward()
    assert not scores.requires_grad and rough_scores.dtype == torch.float32
    torch.testing.assert_close(rough.float(), exact, rtol=0.1, atol=0.1)
    torch.testing.assert_close(rough_scores, scores, rtol=0.1, atol=0.05)
    assert all(weight.grad.isfinite().all() for weight in backbone.parameters())


@pytest.mark.parametrize("longest_plain", [0, 256])
def test_bfloat16_attention_is_the_same_with_both_kernels(longest_plain: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "LONGEST_PLAIN", longest_plain)
    query, key, value = made_joints(3, 2, 2, 7, 8)
    there = (torch.arange(7) < torch.tensor([7, 4])[:, None])[:, None, None]
    attention = layers.SelfAttention(16, 2).to(torch.bfloat16)
    mixed = attention.attend(layers.Projected(query.bfloat16(), key.bfloat16(), value.bfloat16()), there)
    exact = attention.double().attend(layers.Projected(query, key, value), there)
    torch.testing.assert_close(mixed.double(), exact, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_sequences_of_unsupported_size_are_refused(name: str) -> None:
    backbone = made_backbone(name)
    with pytest.raises(ValueError, match="of 13 frames is longer than this network's max_frames, 12"):
        backbone.encode(made_joints(1, 13, JOINTS, 3))
    with pytest.raises(ValueError, match=f"of 7 joints in a network built for {JOINTS}"):
        backbone.encode(made_joints(1, 6, 7, 3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 100}, r"model\.dim=100 is not divisible by model\.heads=8.*model\.dim=96"),
        ({"backbone": "transformer", "heads": 3}, r"not divisible by model\.heads=3"),
        ({"backbone": "sttformer", "dim": 100}, r"multiple of 16, such as 96"),
        ({"backbone": "sttformer", "dim_representation": 64}, r"leave it out or make them equal"),
        ({"backbone": "sttformer", "mlp_ratio": 2}, r"model\.mlp_ratio=2\.0 has no effect with sttformer"),
        ({"tuple_length": 3}, r"model\.tuple_length=3 has no effect with dstformer.*backbone=sttformer"),
        ({"backbone": "transformer", "attention": "average"}, r"backbone=dstformer"),
    ],
)
def test_incompatible_sizes_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_backbone(ModelSettings(**settings), num_joints=17, channels=3)


@pytest.mark.parametrize("name", NAMES)
def test_other_layouts_and_channels_work(name: str) -> None:
    for joints, channels in ((13, 2), (25, 3)):
        backbone_name, _, motion_too = name.partition("+")
        settings = ModelSettings(backbone=backbone_name, dim=32, depth=2, heads=2, motion=bool(motion_too))
        backbone: Backbone = build_backbone(settings, num_joints=joints, channels=channels)
        assert backbone.encode(torch.zeros(1, 4, joints, channels))[0].shape[:3] == (1, 4, joints)


def test_normalisation_over_unpadded_cells_equals_torch() -> None:
    cells = made_joints(4, 5, 6, seed=2).requires_grad_()
    there = torch.rand(4, 5, 1) < 0.6
    ours, plain = CellNorm(6).double(), torch.nn.BatchNorm1d(6).double()
    chosen = there[..., 0]
    for _ in range(2):
        out, expected = ours(cells, there), plain(cells[chosen])
        torch.testing.assert_close(out[chosen], expected, rtol=1e-9, atol=1e-9)
    for statistic, theirs in zip(ours.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(statistic, theirs)
    weight = made_joints(*expected.shape, seed=3)
    (of_ours,) = torch.autograd.grad((out[chosen] * weight).sum(), cells)
    (of_theirs,) = torch.autograd.grad((expected * weight).sum(), cells)
    torch.testing.assert_close(of_ours, of_theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_exported_backbone_gives_the_same_output(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime, which runs the export, is not installed")
    backbone, joints = made_backbone(name).float(), made_joints(2, 6, JOINTS, 3).float()
    torch.onnx.export(
        _Encoder(backbone.encode).eval(), (joints,), tmp_path / "net.onnx", dynamo=False, opset_version=17
    )
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    (exported,) = session.run(None, {session.get_inputs()[0].name: joints.numpy()})
    torch.testing.assert_close(torch.from_numpy(exported), backbone.encode(joints)[0].detach(), rtol=1e-4, atol=1e-5)


class _Encoder(torch.nn.Module):
    def __init__(self, encode: Callable) -> None:
        super().__init__()
        self.backbone, self.encode = encode.__self__, encode  # type: ignore[attr-defined]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encode(x)[0]


@pytest.mark.parametrize("name", NAMES)
def test_an_unseen_joint_equals_a_masked_one(name: str) -> None:
    x = made_joints(2, 6, JOINTS, 3)
    hidden = torch.rand(2, 6, JOINTS, generator=torch.Generator().manual_seed(5)) < 0.4
    occluded = x.masked_fill(hidden[..., None], 0)
    as_token = made_backbone(name)
    assert torch.equal(as_token.encode(occluded)[0], as_token.encode(x, masked=hidden)[0])
    # As published: the embedding of the image centre.
    embedded = made_backbone(name, unseen="embed")
    assert not torch.allclose(embedded.encode(occluded)[0], embedded.encode(x, masked=hidden)[0])
