"""Parameter groups of a recognizer's optimiser, compared with MAMP's fine-tuning recipe written out plainly."""

import pytest
from torch import nn

from pose_extraction.skeleton import COCO17
from recognition.backbones.segments import SegmentTransformer
from recognition.pretraining.encoder import Encoder
from recognition.pretraining.settings import PretrainSettings
from recognition.protocols.optimisation import layer_groups
from recognition.protocols.settings import FinetuneSettings
from recognition.recognizer import Recognizer
from recognition.settings import TrainingSettings
from recognition.training.recognizer_training import build_optimizer

DEPTH, DECAY = 3, 0.8


def made() -> Recognizer:
    backbone = SegmentTransformer(num_joints=17, channels=3, max_frames=8, dim=8, depth=DEPTH, heads=2)
    return Recognizer(backbone, 4, hidden=6)


def expected_scale(name: str) -> float:
    """Embeddings are layer 0, the blocks follow, and all that is after them has the full rate."""
    if name.startswith("blocks."):
        return DECAY ** (DEPTH - int(name.split(".")[1]))
    return 1.0 if name.startswith("norm.") else DECAY ** (DEPTH + 1)


def test_groups_as_in_mamp_have_the_published_rates_and_decay() -> None:
    recognizer = made()
    settings = TrainingSettings(layer_decay=DECAY, weight_decay=0.05, parameter_groups="mamp")
    optimizer, scales = build_optimizer(recognizer, settings, (1e-3, 1e-2))
    groups = optimizer.param_groups
    found = {
        id(parameter): (scales[place] if place < len(scales) else None, group["weight_decay"])
        for place, group in enumerate(groups)
        for parameter in group["params"]
    }
    assert len(found) == len(list(recognizer.parameters()))
    for name, parameter in recognizer.named_parameters():
        scale, decay = found[id(parameter)]
        assert decay == (0.05 if parameter.dim() > 1 else 0), name
        if name.startswith("head."):
            assert scale is None
        else:
            assert scale == pytest.approx(expected_scale(name.removeprefix("backbone."))), name


def test_plain_groups_decay_everything_and_keep_the_last_normalisation_with_the_last_block() -> None:
    recognizer = made()
    optimizer, scales = build_optimizer(recognizer, TrainingSettings(layer_decay=DECAY), (1e-3, 1e-2))
    assert scales == pytest.approx([DECAY ** (DEPTH + 1 - place) for place in range(DEPTH + 1)])
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.01}
    last_block = [id(parameter) for parameter in optimizer.param_groups[DEPTH]["params"]]
    backbone = recognizer.backbone
    assert isinstance(backbone, SegmentTransformer) and id(backbone.norm.weight) in last_block


def test_the_finetune_protocol_has_the_published_rates_and_decay() -> None:
    network = made().backbone
    classifier = nn.ModuleDict({"encoder": Encoder(network, PretrainSettings(), COCO17, 2), "head": nn.Linear(8, 4)})
    encoder = classifier["encoder"]
    assert isinstance(encoder, Encoder)
    settings = FinetuneSettings(layer_decay=DECAY, weight_decay=0.05)
    found = {
        id(parameter): (group["scale"], group["weight_decay"])
        for group in layer_groups(classifier, encoder, settings)
        for parameter in group["params"]  # type: ignore[attr-defined]
    }
    for name, parameter in network.named_parameters():
        scale = pytest.approx(expected_scale(name))
        assert found[id(parameter)] == (scale, 0.05 if parameter.dim() > 1 else 0), name
    assert found[id(classifier["head"].weight)] == (1.0, 0.05)
