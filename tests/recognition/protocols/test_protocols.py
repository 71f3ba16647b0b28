"""Parts of the protocols: a manually computed average precision, subsets, retrieval, occlusion, motion."""

import numpy as np
import pytest
import torch

from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.skeleton import COCO17
from recognition.backbones.segments import DropPath
from recognition.data.clips import open_clips
from recognition.data.dataset import SkeletonDataset
from recognition.pretraining.encoder import Encoder
from recognition.pretraining.networks import build_encoder
from recognition.pretraining.settings import PretrainSettings
from recognition.protocols.classifier import Classifier, set_drop_path
from recognition.protocols.detection import (
    Action,
    actions_of,
    average_precision,
    frame_labels,
    mean_average_precisions,
    temporal_iou,
)
from recognition.protocols.labelled_share import labelled_share
from recognition.protocols.linear import fit_linear, nearest_labels
from recognition.protocols.motion import MotionDecoder, centred, fit_decoder, mean_joint_error
from recognition.protocols.occlusion import OccludedDataset
from recognition.protocols.settings import FinetuneSettings, LinearSettings, MotionSettings
from recognition.protocols.stretches import StretchSampler
from recognition.protocols.windows import cut_windows, window_clips, window_settings, window_starts
from recognition.settings import DataSettings
from test_support.clips.made_motions import write_motions

pytestmark = pytest.mark.processor


def test_overlap_is_relative_to_the_joint_span():
    assert temporal_iou(Action("a", 0, 0, 10), Action("a", 0, 5, 20)) == 0.25
    assert temporal_iou(Action("a", 0, 0, 10), Action("a", 0, 15, 20)) < 0


def test_average_precision_of_a_manually_computed_case():
    """Correct, wrong, correct, and a third that matches an already matched truth: two of four truths are found.

    Precision at each: 1, 1/2, 2/3, 2/4; recall: 1/4, 1/4, 1/2, 1/2. Interpolated precision: 1, 2/3, 2/3, 1/2.
    Area: 1/4 * 1 + 0 + 1/4 * 2/3 + 0 = 5/12.
    """
    truths = [Action("a", 0, 0, 10), Action("a", 0, 20, 30), Action("b", 0, 0, 10), Action("b", 0, 50, 60)]
    proposals = [
        Action("a", 0, 0, 9, 0.9),
        Action("b", 0, 30, 40, 0.8),
        Action("b", 0, 1, 10, 0.7),
        Action("a", 0, 0, 10, 0.6),
    ]
    assert average_precision(proposals, truths) == pytest.approx(5 / 12)
    assert average_precision(proposals[::-1], truths) == pytest.approx(5 / 12)
    assert average_precision([], truths) == average_precision(proposals, []) == 0


def test_an_overlap_of_exactly_the_threshold_is_enough():
    """Frames 0 to 10 and 5 to 10 share 5 of 10, half of the joint span; 6 to 10 share less."""
    truth = Action("a", 0, 0, 10)
    assert average_precision([Action("a", 0, 5, 10)], [truth], overlap=0.5) == 1
    assert average_precision([Action("a", 0, 6, 10)], [truth], overlap=0.5) == 0


def test_means_are_over_all_classes_and_over_videos():
    truths = [Action("a", 0, 0, 10), Action("b", 1, 0, 10)]
    proposals = [Action("a", 0, 0, 10, 0.9), Action("b", 0, 0, 10, 0.8)]
    # Class 0 is found completely, class 1 never, class 2 does not occur.
    by_action, by_video = mean_average_precisions(proposals, truths, 3)
    assert by_action == pytest.approx(1 / 3) and by_video == pytest.approx(1 / 2)


def test_scores_of_frames_become_runs_of_one_class():
    scores = np.full((60, 3), 0.1)
    scores[:, 2] = 0.8
    scores[10:30] = (0.7, 0.2, 0.1)
    scores[40:44] = (0.1, 0.8, 0.1)
    found = actions_of("v", scores, smooth=1, fewest=10)
    assert [(one.label, one.start, one.end) for one in found] == [(0, 10, 30)]
    assert found[0].confidence == pytest.approx(0.7)
    # A lower minimum length is satisfied, but averaging over more frames removes such a short run.
    assert len(actions_of("v", scores, smooth=1, fewest=4)) == 2
    assert len(actions_of("v", scores, smooth=15, fewest=4)) == 1


def test_frames_outside_of_actions_are_background():
    labels = frame_labels([Action("v", 1, 2, 4), Action("v", 0, 3, 9)], 6, 5)
    assert labels.tolist() == [5, 5, 1, 0, 0, 0]


def test_a_share_of_the_labels_has_all_classes_and_depends_on_the_seed():
    labels = np.repeat([0, 1, 2], [100, 50, 3])
    chosen = labelled_share(labels, 0.1, seed=3)
    assert np.bincount(labels[chosen]).tolist() == [10, 5, 1]
    assert np.array_equal(chosen, labelled_share(labels, 0.1, seed=3))
    assert not np.array_equal(chosen, labelled_share(labels, 0.1, seed=4))


def test_retrieval_uses_cosine_similarity():
    gallery = torch.tensor([[1.0, 0], [0, 10], [-1, -1]])
    found = nearest_labels([gallery], torch.tensor([7, 8, 9]), [torch.tensor([[0.1, 1.0], [5, 1], [-3, -2]])])
    assert found.tolist() == [8, 7, 9]


def test_retrieval_with_two_encoders_adds_their_cosines():
    """The first strongly prefers the clip of class 9, the second slightly prefers that of class 7."""
    first, second = torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([[3.0, 4], [4, 3]])
    queries = torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 1.0]])
    labels = torch.tensor([7, 9])
    assert [int(nearest_labels([one], labels, [q])) for one, q in zip((first, second), queries, strict=True)] == [9, 7]
    # 0 + 4/5 and 1 + 3/5, independent of the features' norms.
    for scale in (1, 100):
        assert int(nearest_labels([first, scale * second], labels, queries)) == 9


@pytest.mark.parametrize("normalise", [True, False])
def test_a_linear_classifier_learns_linearly_separable_classes(normalise):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 4, generator=generator)
    labels = (features[:, 0] + features[:, 1] > 0).long()
    settings = LinearSettings(epochs=40, batch_size=32, lr=0.1, normalise=normalise)
    network = fit_linear([features, features * 1.01], labels, 2, settings, seed=0)
    # With ten seeds: 0.965 to 0.995.
    assert (network(features).argmax(1) == labels).float().mean() > 0.85


@pytest.mark.parametrize("kind", ["spatial", "temporal"])
def test_an_occlusion_depends_on_the_clip_and_has_the_published_extent(kind, tmp_path):
    clips = open_clips(write_motions(tmp_path / "m.pkl"), DataSettings())
    dataset = SkeletonDataset(clips, np.arange(20), DataSettings(num_frames=16), train=False)
    occluded, again = (OccludedDataset(dataset, kind, seed=1) for _ in range(2))
    shares = set()
    for place in range(20):
        hidden = (occluded[place].keypoint == 0).all(axis=-1)[0] & (dataset[place].keypoint != 0).any(axis=-1)[0]
        assert np.array_equal(occluded[place].keypoint, again[place].keypoint)
        if kind == "temporal":
            gone = hidden.all(axis=1)
            assert np.diff(np.flatnonzero(gone)).max(initial=1) == 1 and not hidden[~gone].any()
        else:
            gone = hidden.all(axis=0)
            assert not hidden[:, ~gone].any()
        assert 0.2 <= gone.mean() <= 0.75
        shares.add(gone.mean())
    assert len(shares) > 2


def test_windows_cover_a_sequence_and_short_ones_are_padded(tmp_path):
    assert window_starts(100, 64, 32) == [0, 32, 36] and window_starts(10, 64, 32) == [0]
    clips = open_clips(write_motions(tmp_path / "m.pkl"), DataSettings())
    long = int(clips.lengths.argmax())
    made = window_clips(clips, [(long, 2), (0, 0)], length=12, score_threshold=0.0)
    dataset = SkeletonDataset(made, np.arange(2), window_settings(DataSettings(), 12), train=False)
    np.testing.assert_array_equal(made[0].keypoint, clips[long].keypoint[:, 2:14])
    assert dataset[1].keypoint.shape[1] == 12 and made.names[0].endswith("@2")


def test_windows_of_a_sequence_have_the_labels_of_its_frames(tmp_path):
    clips = open_clips(write_motions(tmp_path / "m.pkl"), DataSettings())
    first, second = int(clips.lengths.argmin()), int(clips.lengths.argmax())
    frames = int(clips.lengths[second])
    data = window_settings(DataSettings(), frames - 3)
    windows = cut_windows(clips, np.array([first, second]), data, stride=frames, train=False, seed=0)
    assert windows.origins == [(first, 0), (second, 0), (second, 3)]
    assert windows.sequences == [first, second] and windows.positions_of(second) == [1, 2]
    of_sequences = {first: np.full(int(clips.lengths[first]), 7), second: np.arange(frames)}
    labels = windows.labels(of_sequences, background=-5)
    assert np.array_equal(labels[1], np.arange(frames - 3)) and np.array_equal(labels[2], np.arange(3, frames))
    short = min(int(clips.lengths[first]), frames - 3)
    assert (labels[0, :short] == 7).all() and (labels[0, short:] == -5).all()


def test_stretches_end_their_input_with_a_pose_and_contain_what_follows(tmp_path):
    path = write_motions(tmp_path / "m.pkl")
    content = read_pickle(path)
    # The first clip shows a person in its first frame only, so no stretch can begin a prediction.
    content["annotations"][0]["keypoint_score"][:, 1:] = 0
    content["annotations"][0]["keypoint"][:, 1:] = 0
    write_pickle(path, content)
    clips = open_clips(path, DataSettings())
    sampler = StretchSampler(clips, np.arange(4), window_settings(DataSettings(), 8), seen=6, predicted=3)
    assert sampler.length == 9 and sampler.indices.tolist() == [1, 2, 3]
    drawn = sampler.draw(np.random.default_rng(0), 5)
    again = sampler.draw(np.random.default_rng(0), 5)
    assert drawn.poses.shape[:2] == (5, 4) and np.array_equal(drawn.poses, again.poses, equal_nan=True)
    np.testing.assert_allclose(np.nanmean(drawn.poses[:, 0], axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(
        np.nanmax(np.nanmax(drawn.poses[:, 0], 1) - np.nanmin(drawn.poses[:, 0], 1), 1), 1, rtol=1e-5
    )
    one = sampler.draw_from(np.random.default_rng(0), 2)
    (start,) = [
        start
        for start in sampler.starts[2]
        if np.array_equal(centred(clips[2].keypoint[0, start : start + 9], 6)[0][5:], one.poses[0], equal_nan=True)
    ]
    assert len(one.seen) == 1 and start + 9 <= clips.lengths[2]


def test_windows_of_persons_with_identities_keep_them(tmp_path):
    path = write_motions(tmp_path / "m.pkl")
    data = read_pickle(path)
    for annotation in data["annotations"][::2]:
        annotation["track_id"] = np.arange(len(annotation["keypoint"]))
    write_pickle(path, data)
    clips = open_clips(path, DataSettings())
    made = window_clips(clips, [(0, 0), (1, 0)], length=8, score_threshold=0.0)
    assert [made[0].tracked, made[1].tracked] == [clips[0].tracked, clips[1].tracked] == [True, False]


def test_deeper_blocks_are_skipped_more_often():
    blocks = torch.nn.ModuleList(DropPath(0.0) for _ in range(4))
    set_drop_path(blocks, 0.3)
    assert [block.probability for block in blocks] == pytest.approx([0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("normalise", [True, False])
def test_a_large_common_component_of_pcm3_features_does_not_prevent_learning(normalise):
    """Features as after pre-training: mostly common to all clips, with small differences between them."""

    class Far(Encoder):
        def forward(self, batch):
            return 0.05 * batch + 40

    settings = PretrainSettings(method="pcm3", pcm3={"hidden": 2, "layers": 1})
    encoder = Far(build_encoder(settings, COCO17), settings, COCO17, 2)
    classifier = Classifier(encoder, 2, FinetuneSettings(normalise=normalise))
    clips = torch.tensor([[1.0, -1, 1, -1], [-1, 1, -1, 1]])
    apart = (classifier(clips)[0] - classifier(clips)[1]).detach()
    own = 2 * classifier.head[-1].weight @ clips[0] if normalise else 0.1 * classifier.head.weight @ clips[0]
    torch.testing.assert_close(apart, own.detach(), rtol=1e-3, atol=1e-4)


def test_the_decoder_accumulates_changes_and_initially_predicts_none():
    torch.manual_seed(0)
    decoder = MotionDecoder(5, 6, 8).double()
    features, pose = torch.randn(2, 5, dtype=torch.float64), torch.randn(2, 6, dtype=torch.float64)
    assert torch.equal(decoder(features, pose, 3)[:, 2], pose)
    usual = 3 + 0.1 * torch.randn(40, 6, dtype=torch.float64)
    usual[0, 2] = torch.nan
    decoder.standardise(usual[:, None])
    torch.testing.assert_close(decoder.mean, usual.nanmean(0))
    torch.testing.assert_close(decoder.deviation[0], usual[:, 0].std(correction=0))
    torch.nn.init.normal_(decoder.change.weight)
    future = decoder(features, pose, 3)
    state, expected = decoder.begin(features), pose
    for step in range(3):
        state = decoder.cell((expected - decoder.mean) / decoder.deviation, state)
        expected = expected + decoder.change(state) * decoder.deviation
        torch.testing.assert_close(future[:, step], expected)


def test_small_motions_are_learned_starting_from_no_motion():
    """Poses that move by hundredths of their unit, in a direction that the features contain."""

    def draw(rng, count):
        speed = torch.as_tensor(rng.normal(size=(count, 1, 4)), dtype=torch.float32)
        return speed[:, 0], 0.01 * speed * torch.arange(4)[:, None]

    torch.manual_seed(0)
    encoder, decoder = torch.nn.Linear(4, 4), MotionDecoder(4, 4, 16)
    fit_decoder(encoder, draw, decoder, MotionSettings(steps=100, lr=0.2), seed=0)
    features, poses = draw(np.random.default_rng(9), 50)
    error = (decoder(encoder(features), poses[:, 0], 3) - poses[:, 1:]).abs().mean()
    assert 0 < decoder.deviation.max() < 0.1
    # With ten seeds: 0.07 to 0.12 times the error of standing still.
    assert error < 0.5 * (poses[:, :1] - poses[:, 1:]).abs().mean()


def test_the_error_is_the_mean_distance_of_joints_in_their_unit():
    rng = np.random.default_rng(0)
    keypoint = rng.normal(size=(6, 5, 3)) * 7 + 100
    moved, middle, extent = centred(keypoint, 4)
    np.testing.assert_allclose(moved * extent + middle, keypoint)
    assert np.ptp(moved[3], axis=0).max() == pytest.approx(1)
    future, truth = np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 3))
    truth[0, 0, 0] = (3, 4, 0)
    truth[0, 1, 1] = np.nan
    # One joint has an error of 5, two are exact, and one is unknown.
    assert mean_joint_error(future, truth, np.array([2.0])) == pytest.approx(10 / 3)
