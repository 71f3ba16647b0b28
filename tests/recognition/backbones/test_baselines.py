"""Common properties of the baselines: training with cross-entropy, all inference engines, refused settings."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from recognition.backbones import build_backbone
from recognition.backbones.baselines import NAMES, SMALL
from recognition.data.batches import Batch
from recognition.data.transforms.placement import to_camera, to_frame
from recognition.inference.clip_networks import network_for
from recognition.maskclr.objective import MaskCLR
from recognition.recognizer import PlainHead, Recognizer
from recognition.settings import DataSettings, MaskCLRSettings, ModelSettings, RunSettings, TrainingSettings
from recognition.training.preparation import prepare
from recognition.training.run import train
from test_support.clips.made_motions import write_motions

pytestmark = pytest.mark.processor

SIZES = {"poseconv3d": {"dim": 8}}


def small(name: str) -> Recognizer:
    torch.manual_seed(0)
    settings = ModelSettings(backbone=name, max_frames=100, **SIZES.get(name, {"dim": 12}))  # type: ignore[arg-type]
    return Recognizer(build_backbone(settings, num_joints=17, channels=3), 4, dropout=0.0)


def batch_of(frames: int = 10) -> Batch:
    generator = torch.Generator().manual_seed(1)
    person_mask = torch.tensor([[True, True], [True, False], [True, True]])
    keypoint = torch.rand(3, 2, frames, 17, 3, generator=generator) * person_mask[:, :, None, None, None]
    ones = torch.ones(3, frames, dtype=torch.bool)
    return Batch(keypoint, person_mask, ones, torch.tensor([0, 1, 2]), torch.arange(3), ("a", "b", "c"))


@pytest.mark.parametrize("name", NAMES)
def test_predictions_do_not_depend_on_the_batch_or_on_absent_persons(name: str) -> None:
    recognizer, batch = small(name).eval(), batch_of()
    with torch.inference_mode():
        whole = recognizer(batch)
        alone = recognizer(
            Batch(
                batch.keypoint[1:2, :1],
                batch.person_mask[1:2, :1],
                batch.frame_mask[1:2],
                batch.label[1:2],
                batch.index[1:2],
                ("b",),
            )
        )
    torch.testing.assert_close(whole[1:2], alone, rtol=1e-4, atol=1e-5)
    assert isinstance(recognizer.head, PlainHead)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("frames", [10, 7])
def test_onnx_matches_torch_for_any_number_of_frames(name: str, frames: int) -> None:
    recognizer, batch = small(name).eval(), batch_of(frames)
    features, logits = network_for(recognizer, Engine("cpu", "onnxruntime", "fp32"))(batch)
    with torch.inference_mode():
        expected_features, expected = recognizer.features(batch)
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(features, expected_features, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_masks_and_attention_are_refused(name: str) -> None:
    backbone = small(name).backbone
    for asked in ({"masked": torch.zeros(1, 4, 17, dtype=torch.bool)}, {"return_attention": True}):
        with pytest.raises(ValueError, match="cross-entropy"):
            backbone.encode(torch.zeros(1, 4, 17, 3), **asked)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_reaches_every_weight(name: str) -> None:
    objective = MaskCLR(small(name), MaskCLRSettings(), num_classes=4).train()
    losses = objective(batch_of(8), phase=1, epoch=0)
    losses.total.backward()
    for own, weight in objective.recognizer.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), own


@pytest.mark.slow
def test_baselines_learn_easily_distinguished_motions(tmp_path: Path) -> None:
    settings = RunSettings(
        out=str(tmp_path / "run"),
        data=DataSettings(
            file=str(write_motions(tmp_path / "made.pkl", clips=32, classes=("left arm", "right arm"))),
            num_frames=12,
            random_move=False,
            holdout=0,
            # Persons of one size in one place: a network of this width needs few steps.
            placement="box",
            scale_range_train=(2.0, 2.0),
        ),
        model=ModelSettings(backbone="stgcnpp", dim=12, depth=2, max_frames=12, dropout=0.0),
        training=TrainingSettings(
            objective="cross_entropy",
            phase1_epochs=12,
            phase2_epochs=0,
            batch_size=8,
            backbone_lr=3e-2,
            head_lr=3e-2,
            device="cpu",
            precision="fp32",
            schedule="cosine",
        ),
    )
    lines = (train(settings) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [line["train_loss"] for line in map(json.loads, lines) if line["kind"] == "epoch"]
    # At most 0.02 of the first epoch's loss with three seeds.
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("size", [(480, 640), (900, 300)])
def test_each_axis_of_the_frame_is_scaled_to_minus_one_to_one(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).uniform(0, 300, (1, 4, 17, 2)).astype(np.float32)
    score = np.ones((1, 4, 17), np.float32)
    score[0, 2, 5], pixels[0, 2, 5] = 0, np.nan
    found = to_frame(to_camera(pixels, size), score, size)
    height, width = size
    expected = np.nan_to_num((pixels - (width / 2, height / 2)) / (width / 2, height / 2))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not found[0, 2, 5].any()


def test_unsupported_settings_are_refused(tmp_path: Path) -> None:
    data = write_motions(tmp_path / "made.pkl", clips=12)
    good = RunSettings(
        data=DataSettings(file=str(data), num_frames=12),
        model=ModelSettings(backbone="aagcn", size="small", max_frames=12),
        training=TrainingSettings(objective="cross_entropy", phase2_epochs=0),
    )
    assert prepare(good).settings.model.dim == SMALL["aagcn"]["dim"]

    def refused(words: str, **sections: dict[str, object]) -> None:
        parts = {name: getattr(good, name).model_copy(update=changes) for name, changes in sections.items()}
        with pytest.raises(UsageError, match=words):
            prepare(good.model_copy(update=parts))

    refused("has no attention to mask by", training={"objective": "maskclr"})
    refused("clips of one length", data={"num_frames": "own", "max_frames": 12})
    volume = {"backbone": "poseconv3d", "max_frames": 4}
    refused("halves the number of frames and needs at least 5", model=volume, data={"num_frames": 4, "max_frames": 4})
    refused("supports only coco17 in 2D", data={"model_layout": "h36m17"})
    with pytest.raises(UsageError, match=r"model\.heads=4 has no effect with ctrgcn"):
        build_backbone(ModelSettings(backbone="ctrgcn", heads=4), num_joints=17, channels=3)
    with pytest.raises(UsageError, match=r"model\.depth=3 has no effect with poseconv3d"):
        build_backbone(ModelSettings(backbone="poseconv3d", depth=3), num_joints=17, channels=3)
    with pytest.raises(UsageError, match="not 25 joints"):
        build_backbone(ModelSettings(backbone="stgcnpp"), num_joints=25, channels=3)
