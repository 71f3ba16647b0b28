"""PCM3's networks, memories, views and losses compared with their definitions."""

import math

import numpy as np
import pytest
import torch

from pose_extraction.errors import UsageError
from pose_extraction.skeleton import COCO17, H36M17, NTU25, layout_by_shape
from recognition.backbones.gru import GRUEncoder
from recognition.backbones.recurrence import GRULayer
from recognition.data.batches import Batch
from recognition.pretraining.gru_decoder import GRUDecoder
from recognition.pretraining.momentum import KeyQueue, follow
from recognition.pretraining.networks import build_encoder
from recognition.pretraining.pcm3 import PCM3, flatten_frames, info_nce, relation_distance
from recognition.pretraining.settings import PCM3Settings, PretrainSettings
from recognition.pretraining.streams import bone_parents, to_stream
from recognition.pretraining.views import Mixture, body_parts, disturbed, draw_mixture, draw_visible, mix

pytestmark = pytest.mark.processor

PARTS = body_parts(COCO17)
SMALL = {"hidden": 6, "layers": 2, "embedding": 5, "decoder_hidden": 7, "queue": 16, "prompt_size": 4, "mask_frames": 4}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def small(**settings: object) -> PCM3:
    torch.manual_seed(0)
    chosen = PCM3Settings.model_validate({**SMALL, **settings})
    encoder = GRUEncoder(2 * 17 * 3, hidden=chosen.hidden, layers=chosen.layers)
    model = PCM3(
        encoder,
        chosen,
        max_persons=2,
        num_joints=17,
        channels=3,
        dimensions=2,
        parts=PARTS,
        parents=torch.as_tensor(bone_parents(COCO17)),
    ).double()
    for prompt in (*model.domain_prompts.values(), *model.task_prompts.values()):
        torch.nn.init.normal_(prompt)
    return model


def clips(number: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(1)
    keypoint = torch.randn(number, 2, 3 * 8, 17, 3, generator=generator, dtype=torch.float64)
    return Batch(
        keypoint,
        torch.ones(number, 2, dtype=torch.bool),
        torch.ones(number, 24, dtype=torch.bool),
        torch.full((number,), -1),
        torch.arange(number),
        tuple("abcdef"[:number]),
    )


def test_the_networks_have_the_published_sizes():
    assert count(GRUEncoder(150)) == 44_998_956
    assert count(GRUDecoder(2048, 512, 150)) == 4_541_590


def test_the_layers_equal_the_published_loop_over_frames():
    """A bidirectional GRU that is called frame by frame runs forward in both directions."""
    torch.manual_seed(0)
    encoder = GRUEncoder(7, hidden=5, layers=3).double()
    published = torch.nn.GRU(7, 5, 3, bidirectional=True, batch_first=True).double()
    with torch.no_grad():
        for layer in range(3):
            for direction, of_ours in (("", encoder.first[layer]), ("_reverse", encoder.second[layer])):
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    getattr(published, f"{name}_l{layer}{direction}").copy_(getattr(of_ours, f"{name}_l0"))
    x = torch.randn(2, 6, 7, dtype=torch.float64)
    state, steps = None, []
    for frame in range(6):
        out, state = published(x[:, frame : frame + 1], state)
        steps.append(out)
    torch.testing.assert_close(encoder.recur(x), torch.cat(steps, 1), rtol=0, atol=1e-13)


def test_a_layer_and_its_gradients_equal_torchs():
    torch.manual_seed(0)
    ours, theirs = GRULayer(4, 3).double(), torch.nn.GRU(4, 3).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(5, 2, 4, dtype=torch.float64, requires_grad=True)
    state = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    mine, known = ours(x, state), theirs(x, state[None])[0]
    torch.testing.assert_close(mine, known)
    weight = torch.randn_like(known)
    found = torch.autograd.grad((mine * weight).sum(), [x, state, *ours.parameters()])
    expected = torch.autograd.grad((known * weight).sum(), [x, state, *theirs.parameters()])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_the_queue_drops_the_oldest_keys_first():
    queue = KeyQueue(5, 2)
    for start in (0, 3, 6):
        queue.put(torch.arange(start, start + 3)[:, None].expand(-1, 2).float())
    # 4 to 8 remain, the newest before the next position.
    assert queue.keys[:, 0].tolist() == [5, 6, 7, 8, 4] and int(queue.next) == 4


def test_the_momentum_encoder_follows_by_its_momentum():
    slow, fast = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    before = slow.weight.clone()
    follow(slow, fast, 0.75)
    torch.testing.assert_close(slow.weight, 0.75 * before + 0.25 * fast.weight)


def test_contrast_and_relations_equal_plain_loops():
    rng = np.random.default_rng(0)
    q, k, queue = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in rng.normal(size=(3, 4, 6)))
    found = info_nce(*map(torch.as_tensor, (q, k, queue)), 0.07)  # type: ignore[call-arg]
    distances = relation_distance(*map(torch.as_tensor, (q, k, queue)), query_temperature=0.1, key_temperature=0.05)
    for row in range(4):
        positive = math.exp(q[row] @ k[row] / 0.07)
        rest = sum(math.exp(q[row] @ m / 0.07) for m in queue)
        assert math.isclose(float(found[row]), -math.log(positive / (positive + rest)), rel_tol=1e-9)
        p_key = [math.exp(k[row] @ m / 0.05) for m in queue]
        p_query = [math.exp(q[row] @ m / 0.1) for m in queue]
        pairs = [(a / sum(p_key), b / sum(p_query)) for a, b in zip(p_key, p_query, strict=True)]
        assert math.isclose(float(distances[row]), sum(a * math.log(a / b) for a, b in pairs), rel_tol=1e-9)


def test_parts_cover_the_body_as_published():
    assert body_parts(NTU25) == (
        (0, 1, 2, 3, 20),
        (4, 5, 6, 7, 21, 22),
        (8, 9, 10, 11, 23, 24),
        (12, 13, 14, 15),
        (16, 17, 18, 19),
    )
    for layout in (COCO17, H36M17):
        assert sorted(joint for part in body_parts(layout) for joint in part) == list(range(17))
    with pytest.raises(UsageError, match="the body parts of joints9 are not known"):
        body_parts(layout_by_shape(9, 2))


def test_the_same_three_parts_are_masked_throughout_a_chunk():
    torch.manual_seed(0)
    parts = body_parts(NTU25)
    visible = draw_visible(64, 25, parts, strategy="topology", ratio=0.6, chunk=8)
    for start in range(0, 64, 8):
        chunk = visible[start : start + 8]
        assert (chunk == chunk[0]).all()
        assert sum(not chunk[0, list(part)].any() for part in parts) == 3
        assert all(chunk[0, list(part)].all() or not chunk[0, list(part)].any() for part in parts)
    assert len({tuple(visible[start].tolist()) for start in range(0, 64, 8)}) > 1


def test_mixtures_take_the_given_part_of_the_previous_clip():
    x = torch.arange(3.0)[:, None, None, None, None].expand(3, 1, 8, 17, 2) + torch.arange(8.0)[:, None, None] / 10
    mixed = mix(x, Mixture("cut", 0.1, slice(2, 4), (5, 7)))
    assert torch.equal(mixed[1, 0, 2:4, [5, 7]], x[0, 0, 2:4, [5, 7]]) and torch.equal(mixed[1, 0, 4:], x[1, 0, 4:])
    assert torch.equal(mixed[1, 0, 2:4, 6], x[1, 0, 2:4, 6])
    fast = mix(x, Mixture("resize", 0.1, slice(2, 4), (5, 7)))
    assert torch.equal(fast[1, 0, 2:4, 5], x[0, 0, [0, 2], 5])
    torch.testing.assert_close(mix(x, Mixture("mixup", 0.25, slice(0), ()))[1], 0.75 * x[1] + 0.25 * x[0])


def test_drawn_mixtures_have_the_published_sizes():
    torch.manual_seed(0)
    drawn = [draw_mixture(64, 25, body_parts(NTU25)) for _ in range(200)]
    cuts = [one for one in drawn if one.kind != "mixup"]
    assert {one.kind for one in drawn} == {"cut", "resize", "mixup"}
    assert {one.frames.stop - one.frames.start for one in cuts} == set(range(28, 45, 4))
    assert all(one.frames.stop <= 64 for one in cuts)
    assert {one.frames.start % 4 for one in cuts} == {0} and max(one.frames.stop for one in cuts) == 64
    for one in cuts:
        cells = (one.frames.stop - one.frames.start) * len(one.joints)
        assert math.isclose(one.share, cells / (64 * 25))


def test_the_masked_view_is_always_sheared():
    keypoint = np.random.default_rng(0).normal(size=(1, 4, 25, 3)).astype(np.float32)
    hidden = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sheared = disturbed(keypoint, 3, rng, corrupt=False)
        matrix, *_ = np.linalg.lstsq(keypoint.reshape(-1, 3), sheared.reshape(-1, 3), rcond=None)
        np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-4)
        other = disturbed(keypoint, 3, np.random.default_rng(seed), corrupt=True)
        changed = (other != keypoint).any(axis=(0, 1, 3)).sum()
        hidden += int((other == 0).all(axis=(0, 1, 3)).sum() == 15)
        assert changed in (15, 25)
    assert 3 < hidden < 20


def test_streams_are_differences_over_bones_and_over_time():
    parents = bone_parents(NTU25)
    # Bones as in 2s-AGCN, from the joint between the shoulders outwards; its tips of the hands hang on the thumbs.
    assert [parents[joint] for joint in (20, 1, 0, 4)] == [20, 20, 1, 20]
    assert [parents[joint] for joint in (21, 22, 23, 24)] == [22, 7, 24, 11]
    assert [bone_parents(NTU25, "layout")[joint] for joint in (21, 22, 23, 24)] == [7, 6, 11, 10]
    x = torch.randn(1, 1, 4, 25, 3)
    bones = to_stream(x, "bone", dimensions=3, parents=torch.as_tensor(parents))
    torch.testing.assert_close(bones[..., 4, :], x[..., 4, :] - x[..., 20, :])
    assert not bones[..., 20, :].any()
    motion = to_stream(x, "motion", dimensions=3, parents=torch.as_tensor(parents))
    torch.testing.assert_close(motion[:, :, 1], x[:, :, 2] - x[:, :, 1])
    assert not motion[:, :, -1].any()


def test_a_bone_or_motion_in_2d_is_seen_where_both_ends_are():
    parents = torch.as_tensor(bone_parents(COCO17))
    elbow, shoulder = COCO17.joints.index("left_elbow"), COCO17.joints.index("left_shoulder")
    assert parents[elbow] == shoulder
    x = torch.rand(1, 1, 4, 17, 3) + 0.1
    x[:, :, 2, shoulder] = 0
    bones = to_stream(x, "bone", dimensions=2, parents=parents)
    assert bones[0, 0, 1, elbow, 2] == x[0, 0, 1, elbow, 2]
    assert not bones[0, 0, 2, elbow].any() and not bones[0, 0, 2, shoulder].any()
    motion = to_stream(x, "motion", dimensions=2, parents=parents)
    torch.testing.assert_close(motion[0, 0, 0, :, 2], x[0, 0, 0, :, 2])
    assert not motion[0, 0, 1:3, shoulder].any() and not motion[0, 0, 3].any()
    assert motion[0, 0, 1:3, elbow].all()


def test_a_step_adds_its_keys_to_the_queue_and_updates_the_momentum_encoder():
    model, batch = small(), clips()
    before, slow = model.queue.keys.clone(), model.key_encoder.first[0].weight_hh_l0.clone()
    with torch.no_grad():
        model.encoder.first[0].weight_hh_l0 += 1
    losses = model(batch, epoch=0)
    losses.total.backward()
    changed = (model.queue.keys != before).any(1)
    assert changed.tolist() == [True] * 4 + [False] * 12
    torch.testing.assert_close(model.queue.keys[:4].norm(dim=1), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(model.key_encoder.first[0].weight_hh_l0, slow + 0.001)
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
    assert all(parameter.grad is None for parameter in model.key_encoder.parameters())


def test_contrast_of_the_predicted_view_reaches_the_decoder_but_not_the_encoder_through_it():
    for guidance in (True, False):
        model = small(positives=["predict"], prediction=0.0, distillation=0.0, guidance=guidance, domain_prompts=False)
        model(clips(), epoch=0).total.backward()
        reached = model.decoder.out.weight.grad is not None and bool(model.decoder.out.weight.grad.any())
        assert reached is guidance
        assert not model.task_prompts["predict"].grad.any()


def largest_gradients(model: PCM3) -> dict[str, float]:
    model(clips(), epoch=0).total.backward()
    return {name: float(prompt.grad.abs().max()) for name, prompt in model.domain_prompts.items()}


def test_published_domain_prompts_have_no_gradient_because_the_normalisation_subtracts_them():
    assert max(largest_gradients(small()).values()) < 1e-12


def test_domain_prompts_after_the_normalisation_have_a_gradient_each():
    assert min(largest_gradients(small(domain_prompt_place="normalised")).values()) > 1e-4


def test_domain_prompts_after_the_normalisation_are_added_to_normalised_frames():
    model, x = small(domain_prompt_place="normalised"), clips().keypoint[:, :, :8]
    frames = flatten_frames(x)
    mean, variance = frames.mean((0, 1)), frames.var((0, 1), correction=0)
    expected = (frames - mean) / (variance + 1e-5).sqrt() + model.domain_prompts["mask"]
    torch.testing.assert_close(model._normalised(model.encoder, x, "mask"), expected, rtol=0, atol=1e-12)


def test_initial_weights_are_the_published_ones():
    """Xavier uniform for the matrices of the GRU, the last layer of the projector, and the prompts."""
    torch.manual_seed(0)
    settings = PretrainSettings.model_validate(
        {"method": "pcm3", "pcm3": {"hidden": 64, "layers": 2, "queue": 4, "prompt_size": 32}}
    )
    encoder = build_encoder(settings, NTU25)
    model = PCM3(
        encoder,
        settings.pcm3,
        max_persons=2,
        num_joints=25,
        channels=3,
        dimensions=3,
        parts=body_parts(NTU25),
        parents=torch.arange(25),
    )
    limits = [
        (encoder.first[0].weight_ih_l0, 3 * 64 + 150),
        (encoder.second[1].weight_hh_l0, 3 * 64 + 64),
        (model.projector[2].weight, 128 + 128),
        (model.domain_prompts["mask"], 300),
        (model.task_prompts["contrast"], 65),
    ]
    for values, fans in limits:
        limit = math.sqrt(6 / fans)
        assert 0.85 * limit < float(values.abs().max()) <= limit


def test_each_task_can_be_trained_alone():
    contrast = small(positives=["intra", "inter"], prediction=0.0)(clips(), epoch=0)
    assert contrast.contrast > 0 and contrast.prediction == 0
    model = small(positives=[])
    predicted = model(clips(), epoch=0)
    assert predicted.contrast == 0 and predicted.distillation == 0 and predicted.prediction > 0
    torch.testing.assert_close(predicted.total, 40 * predicted.prediction)


def test_only_the_first_persons_masked_joints_are_predicted():
    """Visible joints and scores have no prediction error."""
    model = small()
    decoded = torch.randn(1, 8, 2 * 17 * 2, dtype=torch.float64)
    whole = torch.randn(1, 2, 8, 17, 3, dtype=torch.float64)
    hidden = torch.zeros(2, 8, 17, 1, dtype=torch.bool)
    hidden[0, 2:4, 5:8] = True
    whole[0, 0, 2, 5] = 0
    found = model._prediction_loss(decoded, whole, hidden)
    errors = []
    for frame in range(2, 4):
        for joint in range(5, 8):
            if (frame, joint) == (2, 5):
                continue
            # Order of a frame's values: joints, then coordinates, then persons.
            output = decoded[0, frame].view(17, 2, 2)[joint, :, 0]
            errors.extend(((output - whole[0, 0, frame, joint, :2]) ** 2).tolist())
    assert math.isclose(float(found), sum(errors) / len(errors))


def test_the_predicted_view_has_decoded_positions_in_the_gaps_and_the_clips_scores():
    model = small()
    decoded = torch.randn(1, 8, 2 * 17 * 2, dtype=torch.float64)
    whole = torch.randn(1, 2, 8, 17, 3, dtype=torch.float64)
    kept = torch.ones(2, 8, 17, 1, dtype=torch.bool)
    kept[0, 2, 5] = False
    found = model._filled(whole, decoded, kept)
    assert torch.equal(found[0, 0, 2, 5, :2], decoded[0, 2].view(17, 2, 2)[5, :, 0])
    found[0, 0, 2, 5, :2] = whole[0, 0, 2, 5, :2]
    assert torch.equal(found, whole)


def test_frames_are_flattened_joints_first_persons_last():
    x = torch.arange(2 * 3 * 2.0).view(1, 2, 1, 3, 2)
    assert flatten_frames(x)[0, 0].tolist() == [
        float(x[0, m, 0, v, c]) for v in range(3) for c in range(2) for m in (0, 1)
    ]
