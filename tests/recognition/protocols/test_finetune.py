"""Fine-tuning: the same weights as from a training loop that is written out plainly, and a loss that is not finite."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from pose_extraction.engines.engine import Engine
from pose_extraction.errors import TrainingError
from pose_extraction.skeleton import COCO17
from recognition.data.batching import ClipBatches, make_loader
from recognition.data.clips import open_clips
from recognition.data.dataset import SkeletonDataset
from recognition.pretraining.encoder import Encoder
from recognition.pretraining.networks import build_encoder
from recognition.pretraining.settings import PretrainSettings
from recognition.protocols.classifier import Classifier
from recognition.protocols.finetune import finetune, finetune_frames
from recognition.protocols.frame_classifier import FrameClassifier
from recognition.protocols.optimisation import layer_groups, optimizer_of, set_rates
from recognition.protocols.settings import FinetuneSettings
from recognition.settings import ModelSettings
from test_support.clips.made_motions import write_motions

pytestmark = pytest.mark.processor

ENGINE = Engine("cpu", "torch", "fp32")
FRAMES = 12
# Batches of 7 clips: the gradient of a mean over clips is not exact in binary.
RECIPE = FinetuneSettings(epochs=3, batch_size=7, warmup_epochs=1, optimizer="sgd", lr=0.05, label_smoothing=0.1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    data = PretrainSettings(method="pcm3").data.model_copy(update={"num_frames": FRAMES})
    clips = open_clips(write_motions(tmp_path_factory.mktemp("data") / "motions.pkl"), data)
    return SkeletonDataset(clips, np.arange(20), data, train=True, seed=3)


@pytest.fixture
def encoder(dataset):
    settings = PretrainSettings(method="pcm3", pcm3={"hidden": 8, "layers": 1})
    torch.manual_seed(1)
    return Encoder(build_encoder(settings, dataset.layout), settings, dataset.layout, 2)


def train_plainly(classifier, encoder, dataset, labels_of):
    """Train in the textbook's way: one loss, one step per batch."""
    optimizer = optimizer_of(layer_groups(classifier, encoder, RECIPE), RECIPE)
    batches = ClipBatches(
        dataset.lengths, dataset.labels, batch_size=RECIPE.batch_size, train=True, seed=5, own_lengths=False
    )
    classifier.train()
    for epoch in range(RECIPE.epochs):
        for number, batch in enumerate(make_loader(dataset, batches.batches(epoch), workers=0), 1):
            set_rates(optimizer, RECIPE, epoch, number / len(batches))
            optimizer.zero_grad()
            logits = classifier(batch).flatten(0, -2)
            functional.cross_entropy(logits, labels_of(batch).flatten(), label_smoothing=0.1).backward()
            optimizer.step()


def assert_same_weights(one, other):
    theirs = dict(other.named_parameters())
    for name, value in one.named_parameters():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-6)


def test_fine_tuning_equals_a_plain_training_loop(encoder, dataset):
    before = copy.deepcopy(encoder)
    found = finetune(encoder, dataset, 3, RECIPE, seed=5, engine=ENGINE)
    torch.manual_seed(5)
    expected = Classifier(before, 3, RECIPE)
    start = copy.deepcopy(expected)
    train_plainly(expected, before, dataset, lambda batch: batch.label)
    assert not found.training and not torch.equal(found.head.weight, start.head.weight)
    assert_same_weights(found, expected)


def test_fine_tuning_of_frames_equals_a_plain_training_loop(encoder, dataset):
    labels = np.random.default_rng(0).integers(0, 3, (len(dataset), FRAMES))
    before = copy.deepcopy(encoder)
    found = finetune_frames(encoder, dataset, labels, 2, RECIPE, seed=5, engine=ENGINE)
    torch.manual_seed(5)
    expected = FrameClassifier(before, 2)
    train_plainly(expected, before, dataset, lambda batch: torch.as_tensor(labels)[batch.index])
    assert_same_weights(found, expected)
    assert set(found.state_dict()) == set(expected.state_dict())


def test_a_loss_that_is_not_finite_names_the_remedy(encoder, dataset):
    with torch.no_grad():
        next(encoder.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"the loss is nan at step 1 of epoch 1, .*--set finetune.lr=0.005"):
        finetune(encoder, dataset, 3, RECIPE, seed=5, engine=ENGINE)


def test_dropout_falls_on_segments_not_on_their_copies(dataset):
    torch.manual_seed(0)
    settings = PretrainSettings(
        method="mamp", model=ModelSettings(backbone="segments", dim=16, depth=1, heads=2, max_frames=FRAMES)
    )
    network = build_encoder(settings, COCO17)
    # R is 1 everywhere, so the mean of three segments after dropout is a multiple of 1 / (3 * (1 - p)).
    torch.nn.init.zeros_(network.norm.weight)
    torch.nn.init.ones_(network.norm.bias)
    classifier = Classifier(Encoder(network, settings, COCO17, 2), 4, FinetuneSettings(dropout=0.5, drop_path=0.0))
    classifier.head = torch.nn.Identity()
    batch = next(iter(make_loader(dataset, [[(0, position) for position in range(10)]], workers=0)))
    kept = classifier.train()(batch) * batch.person_mask.sum(1)[:, None] * 3 * 0.5
    torch.testing.assert_close(kept, kept.round(), rtol=0, atol=1e-5)
    assert kept.round().unique().tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(classifier.eval()(batch), torch.ones_like(kept), rtol=0, atol=1e-5)
