"""The head, its size and batch normalisation; pooling over valid frames and present persons."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from recognition.backbones.segments import SegmentTransformer
from recognition.recognizer import Recognizer, build_recognizer
from recognition.settings import ModelSettings
from test_support.networks.tiny_recognizer import NUM_JOINTS, TinyBackbone, made_batch, part_of, tiny_recognizer

pytestmark = pytest.mark.processor


@pytest.mark.parametrize(
    ("num_classes", "parameters"), [(60, 17_954_876), (120, 18_077_816), (400, 18_651_536)], ids=str
)
def test_parameters_of_the_papers_head(num_classes: int, parameters: int) -> None:
    with torch.device("meta"):
        recognizer = Recognizer(TinyBackbone(num_joints=17, dim_representation=512), num_classes)
    assert recognizer.head.fc1.in_features == 8704
    assert sum(parameter.numel() for parameter in recognizer.head.parameters()) == parameters


def test_pooling_averages_valid_frames_then_persons() -> None:
    recognizer, batch = tiny_recognizer().eval(), made_batch()
    pooled = recognizer.encode(batch).pooled
    for clip in range(len(batch)):
        persons = []
        for person in range(2):
            if batch.person_mask[clip, person]:
                frames = batch.keypoint[clip, person, batch.frame_mask[clip]]
                representation, _ = recognizer.backbone.encode(frames[None])
                persons.append(torch.stack(list(representation[0])).mean(0).flatten())
        torch.testing.assert_close(pooled[clip], torch.stack(persons).mean(0), rtol=0, atol=1e-12)


def test_absent_persons_do_not_pass_through_the_backbone() -> None:
    recognizer, batch = tiny_recognizer(), made_batch()
    recognizer(batch)
    assert recognizer.backbone.calls[-1]["persons"] == int(batch.person_mask.sum()) < 2 * len(batch)


def test_padding_of_persons_and_frames_changes_nothing() -> None:
    recognizer, batch = tiny_recognizer().eval(), made_batch()
    roomy = replace(
        batch,
        keypoint=torch.nn.functional.pad(batch.keypoint, (0, 0, 0, 0, 0, 4, 0, 1)),
        person_mask=torch.nn.functional.pad(batch.person_mask, (0, 1)),
        frame_mask=torch.nn.functional.pad(batch.frame_mask, (0, 4)),
    )
    torch.testing.assert_close(recognizer(roomy), recognizer(batch), rtol=0, atol=1e-12)


def test_logits_of_a_clip_do_not_depend_on_its_batch_in_evaluation() -> None:
    recognizer, batch = tiny_recognizer().eval(), made_batch()
    alone = recognizer(part_of(batch, slice(2, 3)))
    torch.testing.assert_close(recognizer(batch)[2:3], alone, rtol=0, atol=1e-12)


def test_features_are_the_hidden_layer_before_the_logits() -> None:
    recognizer, batch = tiny_recognizer().eval(), made_batch()
    features, logits = recognizer.features(batch)
    assert features.shape == (8, 7)
    assert features.min() == 0
    torch.testing.assert_close(logits, recognizer(batch))
    torch.testing.assert_close(logits, features @ recognizer.head.fc2.weight.T + recognizer.head.fc2.bias)


def test_dropout_acts_on_the_representation_and_only_in_training() -> None:
    batch = made_batch()
    recognizer = tiny_recognizer(dropout=0.5)
    encoded = recognizer.encode(batch)
    assert not torch.equal(encoded.dropped, encoded.pooled)
    torch.testing.assert_close(encoded.pooled, tiny_recognizer().encode(batch).pooled)
    # Elements of R are dropped in single frames, so a joint's mean over time changes but does not vanish.
    assert (encoded.dropped != 0).double().mean() > 0.9
    recognizer.eval()
    encoded = recognizer.encode(batch)
    assert encoded.dropped is encoded.pooled


def test_share_of_the_representation_that_is_dropped() -> None:
    batch = made_batch(600, num_frames=3)
    # Clips of one person and one frame, whose elements are not averaged with others.
    single = (batch.person_mask.sum(1) == 1) & (batch.frame_mask.sum(1) == 1)
    for share in (0.3, 0.5):
        dropped = tiny_recognizer(dropout=share).encode(batch).dropped[single]
        assert float((dropped == 0).double().mean()) == pytest.approx(share, abs=0.04)


def test_mean_of_many_dropouts_is_the_representation() -> None:
    recognizer, batch = tiny_recognizer(dropout=0.5), made_batch(4)
    torch.manual_seed(1)
    mean = torch.stack([recognizer.encode(batch).dropped for _ in range(2000)]).mean(0)
    torch.testing.assert_close(mean, recognizer.encode(batch).pooled, rtol=0, atol=0.06)


def test_dropout_treats_the_copies_of_a_segment_as_one_value() -> None:
    backbone = SegmentTransformer(num_joints=NUM_JOINTS, channels=3, max_frames=12, dim=16, depth=1, heads=2)
    # R is 1 everywhere, so the mean of T_e segments after dropout is a multiple of 1 / (T_e * (1 - p)).
    nn.init.zeros_(backbone.norm.weight)
    nn.init.ones_(backbone.norm.bias)
    recognizer = Recognizer(backbone, 3, hidden=4, dropout=0.5).double()
    batch = made_batch(40, num_frames=12)
    dropped = recognizer.encode(replace(batch, frame_mask=torch.ones_like(batch.frame_mask))).dropped
    whole = dropped[batch.person_mask.sum(1) == 1] * 3 * 0.5
    torch.testing.assert_close(whole, whole.round(), rtol=0, atol=1e-12)
    shares = [float((whole.round() == kept).double().mean()) for kept in range(4)]
    assert shares == pytest.approx([1 / 8, 3 / 8, 3 / 8, 1 / 8], abs=0.05)


def test_dropout_zeroes_channels_that_a_plain_head_classifies() -> None:
    """Before the mean over joints and frames it would only add a little noise to every channel."""
    backbone = TinyBackbone()
    backbone.plain_head = True
    recognizer, batch = Recognizer(backbone, 4, dropout=0.3).double(), made_batch(300)
    encoded = recognizer.encode(batch)
    means, dropped = recognizer.head.hidden(encoded.pooled), recognizer.head.hidden(encoded.dropped)
    zeroed = dropped == 0
    torch.testing.assert_close(dropped[~zeroed], means[~zeroed] / 0.7, rtol=0, atol=1e-12)
    assert float(zeroed.double().mean()) == pytest.approx(0.3, abs=0.05)


def test_batches_of_one_clip_can_be_trained() -> None:
    recognizer = tiny_recognizer()
    logits = recognizer(part_of(made_batch(), slice(0, 1)))
    logits.sum().backward()
    assert bool(logits.isfinite().all())
    assert int(recognizer.head.norm.num_batches_tracked) == 0


def test_masked_pathway_does_not_change_running_statistics() -> None:
    head = tiny_recognizer().head
    pooled = torch.randn(6, NUM_JOINTS * 6, dtype=torch.float64)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    masked = head(pooled, keep_statistics=False)
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    torch.testing.assert_close(head(pooled), masked)
    assert not torch.equal(head.norm.running_mean, before["norm.running_mean"])


def test_pooling_is_precise_under_autocast() -> None:
    recognizer, batch = tiny_recognizer(dropout=0.5).float(), made_batch()
    batch = replace(batch, keypoint=batch.keypoint.float())
    with torch.autocast("cpu", torch.bfloat16):
        encoded = recognizer.encode(batch)
    assert encoded.pooled.dtype == encoded.dropped.dtype == torch.float32


def test_a_recognizer_is_built_from_its_settings() -> None:
    settings = ModelSettings(dim=16, depth=1, heads=2, dim_representation=8, hidden=12, dropout=0.25, max_frames=6)
    recognizer = build_recognizer(settings, num_joints=NUM_JOINTS, channels=3, num_classes=9).eval()
    assert recognizer.num_classes == 9
    assert recognizer.dropout == 0.25
    assert recognizer.head.fc1.in_features == NUM_JOINTS * 8
    assert recognizer.head.fc1.out_features == 12
    batch = made_batch()
    logits = recognizer(replace(batch, keypoint=batch.keypoint.float()))
    assert logits.shape == (8, 9)
