"""MAMP's masks, targets and loss compared with plain float64 loops, and the size of the paper's network."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pose_extraction.skeleton import COCO17, NTU25
from recognition.backbones.segments import SegmentTransformer
from recognition.data.batches import Batch
from recognition.pretraining.encoder import Encoder
from recognition.pretraining.mamp import MAMP, kept_tokens, masked_squares, normalise
from recognition.pretraining.motion import as_motion, motion_intensity, motion_of, segments_of
from recognition.pretraining.networks import build_encoder
from recognition.pretraining.schedule import learning_rate
from recognition.pretraining.settings import MAMPSettings, PretrainingLoop, PretrainSettings
from recognition.protocols.classifier import Classifier
from recognition.protocols.settings import FinetuneSettings

pytestmark = pytest.mark.processor


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def small(**settings: object) -> MAMP:
    torch.manual_seed(0)
    encoder = SegmentTransformer(num_joints=5, channels=3, max_frames=16, dim=16, depth=2, heads=2)
    encoder.unseen_as_masked = True
    return MAMP(encoder, MAMPSettings(decoder_depth=1, **settings), dimensions=2, heads=2).double()


def clips(number: int = 3, *, seed: int = 0) -> Batch:
    """Clips of two persons, the second absent from every other clip; some joints are unseen."""
    rng = np.random.default_rng(seed)
    keypoint = rng.normal(size=(number, 2, 16, 5, 3))
    keypoint[..., 2] = 0.9
    keypoint[0, 0, 3:6, 1] = 0
    keypoint[-1, 0, :, 4] = 0
    person = np.ones((number, 2), bool)
    person[::2, 1] = False
    keypoint[~person] = 0
    return Batch(
        torch.as_tensor(keypoint),
        torch.as_tensor(person),
        torch.ones(number, 16, dtype=torch.bool),
        torch.full((number,), -1),
        torch.arange(number),
        tuple("abcdef"[:number]),
    )


def test_the_networks_have_the_published_sizes():
    """The encoder's mask token, which MAMP does not have, is not counted."""
    encoder = SegmentTransformer(num_joints=25, channels=3)
    assert count(encoder) - 256 == 6_336_000
    for depth, parameters in ((3, 8_789_004), (5, 10_368_524)):
        assert count(MAMP(encoder, MAMPSettings(decoder_depth=depth), dimensions=3)) - 256 == parameters
    settings = PretrainSettings()
    tuned = Classifier(Encoder(encoder, settings, NTU25, 3), 60, FinetuneSettings())
    assert count(tuned) - 256 == 19_572_284


def test_a_tenth_of_the_tokens_is_encoded():
    assert kept_tokens(30 * 25, 0.9) == 74
    model = MAMP(SegmentTransformer(num_joints=25, channels=3, dim=16, depth=1, heads=2), MAMPSettings(), dimensions=3)
    x = torch.randn(2, 120, 25, 3)
    kept, hidden = model.choose(x, x[..., 0] != 9, torch.arange(2), torch.zeros(2, dtype=torch.int64), epoch=0)
    assert kept.shape == (2, 74) and hidden.shape == (2, 676)
    together = torch.cat([kept, hidden], 1).sort(1).values
    assert torch.equal(together, torch.arange(750).expand(2, -1))


@pytest.mark.parametrize("stride", [1, 4, 5, 9])
def test_motion_is_the_difference_to_a_later_frame_where_both_are_seen(stride):
    rng = np.random.default_rng(0)
    place, seen = rng.normal(size=(2, 8, 3, 2)), rng.random((2, 8, 3)) < 0.7
    motion, known = motion_of(torch.as_tensor(place), torch.as_tensor(seen), stride=stride)
    step = min(stride, 7)
    expected, expected_known = np.zeros_like(place), np.zeros_like(seen)
    for frame in range(8 - step):
        expected_known[:, frame] = seen[:, frame] & seen[:, frame + step]
        difference = place[:, frame + step] - place[:, frame]
        expected[:, frame] = np.where(expected_known[:, frame, :, None], difference, 0)
    for frame in range(8 - step, 8):
        expected_known[:, frame] = seen[:, frame]
    np.testing.assert_allclose(motion.numpy(), expected)
    np.testing.assert_array_equal(known.numpy(), expected_known)


def test_intensity_sums_the_motion_since_the_segment_before():
    rng = np.random.default_rng(1)
    place, seen = rng.normal(size=(1, 12, 2, 3)), rng.random((1, 12, 2)) < 0.8
    found = motion_intensity(torch.as_tensor(place), torch.as_tensor(seen), 4)
    for part in range(3):
        for joint in range(2):
            total = 0.0
            # The first segment has none before it, and takes the values of the second.
            for frame in range(4 * max(part, 1), 4 * max(part, 1) + 4):
                if seen[0, frame, joint] and seen[0, frame - 4, joint]:
                    total += np.abs(place[0, frame, joint] - place[0, frame - 4, joint]).sum()
            assert math.isclose(float(found[0, part, joint]), total)


def test_the_segment_that_moved_has_the_intensity_and_not_the_one_before():
    place = torch.zeros(1, 12, 1, 1, dtype=torch.float64)
    place[:, 8:] = 1
    seen = torch.ones(1, 12, 1, dtype=torch.bool)
    assert motion_intensity(place, seen, 4).flatten().tolist() == [0, 0, 4]
    assert motion_intensity(place[:, 6:10], seen[:, 6:10], 4).flatten().tolist() == [0]


def test_moving_joints_are_hidden_more_often_unless_masks_are_random():
    place = torch.zeros(200, 16, 5, 2, dtype=torch.float64)
    place[:, :, 2, 0] = torch.arange(16.0) % 3
    seen, who = torch.ones(200, 16, 5, dtype=torch.bool), torch.arange(200)
    shares = {}
    for masking in ("motion", "random"):
        model = small(masking=masking, ratio=0.5, temperature=0.3)
        _, hidden = model.choose(place, seen, who, torch.zeros_like(who), epoch=0)
        shares[masking] = float((hidden % 5 == 2).double().mean()) * 5
    assert shares["motion"] > 1.5 and abs(shares["random"] - 1) < 0.15


def test_masks_depend_on_epoch_and_clip_but_not_on_the_batch():
    model, batch = small(), clips(4)
    who = torch.arange(4)
    x = batch.keypoint[:, 0]
    args = (x[..., :2], (x != 0).any(-1), who, torch.zeros_like(who))
    kept, _ = model.choose(*args, epoch=3)
    alone, _ = model.choose(*(part[2:3] for part in args), epoch=3)
    other, _ = model.choose(*args, epoch=4)
    assert torch.equal(kept[2:3], alone) and not torch.equal(kept, other)


def test_targets_are_normalised_over_known_values():
    rng = np.random.default_rng(2)
    target, weight = rng.normal(3, 2, (2, 4, 8)), (rng.random((2, 4, 8)) < 0.7).astype(float)
    weight[0, 0] = 1
    found = normalise(torch.as_tensor(target), torch.as_tensor(weight)).numpy()
    for place in np.ndindex(2, 4):
        known = weight[place] > 0
        values = target[place][known]
        variance = values.var(ddof=1) if len(values) > 1 else 0
        np.testing.assert_allclose(found[place][known], (values - values.mean()) / np.sqrt(variance + 1e-6))
        assert not found[place][~known].any()


@pytest.mark.parametrize(("target", "shown"), [("motion", "joint"), ("joint", "joint"), ("motion", "motion")])
def test_the_loss_equals_a_loop_over_hidden_tokens(target, shown):
    model, batch = small(target=target, input=shown), clips()
    loss = model(batch, epoch=1)
    total = tokens = 0.0
    for clip, person in batch.person_mask.nonzero().tolist():
        x = batch.keypoint[clip, person][None]
        place, seen = x[..., :2], (x != 0).any(-1)
        kept, hidden = model.choose(place, seen, torch.tensor([clip]), torch.tensor([person]), epoch=1)
        predicted = model._predict(x, seen, kept, hidden)[0]
        values, known = (place, seen) if target == "joint" else motion_of(place, seen, stride=1)
        for row, token in enumerate(hidden[0].tolist()):
            part, joint = divmod(token, 5)
            frames = range(4 * part, 4 * part + 4)
            wanted = [float(values[0, f, joint, d]) for f in frames for d in range(2) if known[0, f, joint]]
            output = [predicted[row, 2 * i + d] for i, f in enumerate(frames) for d in range(2) if known[0, f, joint]]
            if wanted:
                deviation = math.sqrt((np.var(wanted, ddof=1) if len(wanted) > 1 else 0.0) + 1e-6)
                errors = [
                    (s.item() - (w - np.mean(wanted)) / deviation) ** 2 for s, w in zip(output, wanted, strict=True)
                ]
                total, tokens = total + np.mean(errors), tokens + 1
    assert math.isclose(float(loss.total), total / tokens, rel_tol=1e-9)
    assert int(loss.clips) == 3


def test_hidden_tokens_do_not_reach_the_encoder():
    """Predictions do not depend on masked values."""
    model, batch = small(masking="random"), clips(1)
    x = batch.keypoint[0, :1]
    place, seen = x[..., :2], (x != 0).any(-1)
    kept, hidden = model.choose(place, seen, torch.zeros(1).long(), torch.zeros(1).long(), epoch=0)
    before = model._predict(x, seen, kept, hidden)
    part, joint = divmod(int(hidden[0, 0]), 5)
    other = x.clone()
    other[0, 4 * part : 4 * part + 4, joint] += 1
    assert torch.equal(before, model._predict(other, seen, kept, hidden))
    part, joint = divmod(int(kept[0, 0]), 5)
    other[0, 4 * part : 4 * part + 4, joint] += 1
    assert not torch.equal(before, model._predict(other, seen, kept, hidden))


def test_an_unseen_segment_becomes_the_mask_token():
    encoder = SegmentTransformer(num_joints=5, channels=3, max_frames=8, dim=8, depth=1, heads=2)
    encoder.unseen_as_masked = True
    x = torch.randn(1, 8, 5, 3)
    x[0, :4, 2] = 0
    x[0, 4:6, 3] = 0
    places = encoder.spatial_embedding + encoder.temporal_embedding
    embedded = encoder.embed(x) - places
    torch.testing.assert_close(embedded[0, 0, 2], encoder.mask_token)
    # Two of four frames: half of the token and of the bias.
    weight, bias = encoder.joint_embedding.weight, encoder.joint_embedding.bias
    expected = weight @ x[0, 4:, 3].flatten() + (bias + encoder.mask_token) / 2
    torch.testing.assert_close(embedded[0, 1, 3], expected)


def test_zeros_of_static_joints_count_as_seen():
    """In 3D all channels of the motion are zero for static joints, and in the last frame."""
    x = torch.randn(1, 8, 5, 3)
    x[0, 0:4, 2] = x[0, 0, 2]
    x[0, 5, 3] = 0
    motion, known = as_motion(x, (x != 0).any(-1), dimensions=3)
    unknown = torch.zeros(1, 8, 5, dtype=torch.bool)
    unknown[0, 4:6, 3] = True
    assert torch.equal(known, ~unknown) and not motion[0, 7].any() and not motion[0, 0:3, 2].any()
    torch.manual_seed(0)
    encoder = SegmentTransformer(num_joints=5, channels=3, max_frames=8, dim=16, depth=1, heads=2)
    encoder.unseen_as_masked = True
    model = MAMP(encoder, MAMPSettings(decoder_depth=1, input="motion"), dimensions=3, heads=2)
    kept, hidden = torch.arange(6)[None], torch.arange(6, 10)[None]
    latent, _ = encoder.through_blocks(encoder.embed(motion, seen=known).flatten(1, 2)[:, :6])
    predicted = model._predict(x, (x != 0).any(-1), kept, hidden)
    torch.testing.assert_close(predicted, model.decoder(latent, kept, hidden))
    places = encoder.spatial_embedding + encoder.temporal_embedding
    embedded = encoder.embed(motion, seen=known) - places
    # The mask token has no share in a static segment, and half of one with two unknown frames.
    weight, bias = encoder.joint_embedding.weight, encoder.joint_embedding.bias
    torch.testing.assert_close(embedded[0, 0, 2], weight @ motion[0, :4, 2].flatten() + bias)
    expected = weight @ motion[0, 4:, 3].flatten() + (bias + encoder.mask_token) / 2
    torch.testing.assert_close(embedded[0, 1, 3], expected)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_an_encoder_of_motion_is_evaluated_on_motion(dimensions):
    """The position of a clip does not change its features."""
    settings = PretrainSettings(
        mamp={"input": "motion"},
        model={"backbone": "segments", "dim": 16, "depth": 1, "heads": 2, "max_frames": 8, "unseen": "mask_token"},
    )
    layout = NTU25 if dimensions == 3 else COCO17
    torch.manual_seed(0)
    encoder = Encoder(build_encoder(settings, layout), settings, layout, dimensions).eval()
    x = torch.randn(2, 1, 8, layout.num_joints, 3)
    x[0, 0, 2:4, 5] = 0
    moved = x.clone()
    moved[..., :dimensions] += 2 * (x != 0).any(-1, keepdim=True)
    ones = torch.ones(2, 1, dtype=torch.bool)
    batches = [
        Batch(joints, ones, torch.ones(2, 8, dtype=torch.bool), torch.zeros(2).long(), torch.arange(2), ("a", "b"))
        for joints in (x, moved)
    ]
    classifier = Classifier(encoder, 3, FinetuneSettings(hidden=8)).eval()
    for measure in (encoder, encoder.frames, encoder.frames_by_joints, classifier):
        one, other = (measure(batch) for batch in batches)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    # Different motion does.
    faster = replace(batches[0], keypoint=x * 1.5)
    assert not torch.allclose(encoder(batches[0]), encoder(faster), atol=1e-3)


def test_padding_does_not_change_a_clips_own_frames():
    torch.manual_seed(0)
    encoder = SegmentTransformer(num_joints=5, channels=3, max_frames=16, dim=8, depth=2, heads=2).double().eval()
    encoder.unseen_as_masked = True
    x = torch.randn(1, 10, 5, 3, dtype=torch.float64)
    alone, attention = encoder.encode(x, return_attention=True)
    padded = torch.cat([x, torch.full((1, 6, 5, 3), torch.nan, dtype=torch.float64)], 1)
    mask = (torch.arange(16) < 10)[None]
    among, received = encoder.encode(padded, frame_mask=mask, return_attention=True)
    torch.testing.assert_close(among[:, :10], alone)
    torch.testing.assert_close(received[:, :10], attention)
    assert not among[:, 10:].any() and not received[:, 10:].any()


def test_the_rate_warms_up_and_follows_a_cosine():
    loop = PretrainingLoop(epochs=400, warmup_epochs=20, lr=1e-3, lr_end=5e-4)
    assert math.isclose(learning_rate(loop, 0, 0.5), 1e-3 * 0.5 / 20)
    assert math.isclose(learning_rate(loop, 19, 1.0), 1e-3)
    assert math.isclose(learning_rate(loop, 209, 1.0), 7.5e-4)
    assert math.isclose(learning_rate(loop, 399, 1.0), 5e-4)
    steps = PretrainingLoop(epochs=451, warmup_epochs=0, lr=0.02, schedule="step", lr_steps=(351,))
    assert learning_rate(steps, 350, 1.0) == 0.02 and math.isclose(learning_rate(steps, 351, 0.1), 0.002)


def test_errors_of_unknown_values_are_ignored():
    predicted, target = torch.zeros(1, 2, 3), torch.tensor([[[1.0, 2, 3], [5, 5, 5]]])
    weight = torch.tensor([[[1.0, 1, 0], [0, 0, 0]]])
    total, tokens = masked_squares(predicted, target, weight)
    assert float(total) == 2.5 and int(tokens) == 1


def test_segments_are_frames_first():
    values = torch.arange(8.0).view(1, 4, 1, 2)
    assert segments_of(values, 2).tolist() == [[[[0.0, 1, 2, 3]], [[4.0, 5, 6, 7]]]]
