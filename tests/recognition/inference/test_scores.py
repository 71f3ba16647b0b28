"""One recognizer on three backends, with batches of any composition."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pose_extraction.engines.engine import Engine
from pose_extraction.errors import BackendError, WeightsError
from recognition.confidence.confidence import Confidence
from recognition.data.clips import ClipSet, open_clips
from recognition.data.dataset import SkeletonDataset, collate
from recognition.inference.clip_networks import CPU_BATCH, network_for, resolve_clip_engine
from recognition.inference.scores import scores_of
from recognition.recognizer import Recognizer, build_recognizer
from recognition.runs import Trained
from recognition.settings import DataSettings, ModelSettings, RunSettings
from test_support.clips.made_clips import annotation, write_clips

pytestmark = pytest.mark.processor

OWN = DataSettings(num_frames="own", max_frames=24)
SMALL = ModelSettings(dim=16, depth=2, heads=2, dim_representation=12, hidden=20, max_frames=24)


def cpu(backend: str, batch_size: int | None = None) -> Engine:
    return Engine("cpu", backend, "fp32", batch_size)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipSet:
    """Eleven clips of 3 to 33 frames with one or two persons, not sorted by length."""
    rng = np.random.default_rng(0)
    lengths = [9, 33, 3, 21, 12, 12, 5, 30, 7, 18, 4]
    made = [
        annotation(f"clip{n}", rng, label=n % 4, frames=frames, persons=1 + n % 2, unseen=0.1)
        for n, frames in enumerate(lengths)
    ]
    return open_clips(write_clips(tmp_path_factory.mktemp("clips") / "made.pkl", made), OWN)


def recognizer_of(backbone: str = "dstformer", **sizes: int) -> Recognizer:
    """Random weights, large enough to distinguish classes, and batch normalisation with real statistics."""
    torch.manual_seed(0)
    settings = SMALL.model_copy(update={"backbone": backbone, **sizes})
    if backbone in ("sttformer", "segments"):
        settings = settings.model_copy(update={"dim_representation": None})
    recognizer = build_recognizer(settings, num_joints=17, channels=3, num_classes=7)
    with torch.no_grad():
        for weights in recognizer.parameters():
            if weights.dim() > 1:
                weights.normal_(0, weights.shape[-1] ** -0.5)
        recognizer.head.norm.running_mean.normal_(0, 0.1)
        recognizer.head.norm.running_var.uniform_(0.05, 0.2)
    return recognizer.eval()


def trained_with(recognizer: Recognizer, settings: DataSettings = OWN) -> Trained:
    return Trained(
        recognizer=recognizer,
        settings=RunSettings(data=settings, model=SMALL),
        label_names=tuple("abcdefg"),
        layout="coco17",
        channels=3,
        estimator=None,
        held_out={},
        epoch=1,
        path=Path("runs/made/best.safetensors"),
    )


def one_by_one(recognizer: Recognizer, dataset: SkeletonDataset) -> tuple[np.ndarray, np.ndarray]:
    """Features and probabilities of single clips in float64, one person at a time."""
    recognizer = recognizer.double()
    features, probabilities = [], []
    with torch.no_grad():
        for place_ in range(len(dataset)):
            keypoint = torch.from_numpy(dataset[place_].keypoint).double()
            persons = [recognizer.backbone.encode(person[None])[0][0].mean(0).flatten() for person in keypoint]
            hidden = recognizer.head.hidden(torch.stack(persons).mean(0)[None])
            features.append(hidden[0].numpy())
            probabilities.append(recognizer.head.fc2(hidden)[0].softmax(0).numpy())
    recognizer.float()
    return np.stack(features), np.stack(probabilities)


@pytest.mark.parametrize(("precision", "backend"), [("fp32", "openvino"), ("bf16", "torch")])
def test_cpu_uses_the_fastest_backend_by_default(precision: str, backend: str) -> None:
    pytest.importorskip("openvino")
    assert resolve_clip_engine(Engine("cpu", "auto", precision)) == Engine("cpu", backend, precision, CPU_BATCH)
    assert resolve_clip_engine(Engine("cpu", "openvino", precision)).backend == "openvino"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "openvino", "onnxruntime"])
@pytest.mark.parametrize("backbone", ["dstformer", "transformer", "sttformer", "segments"])
def test_every_backend_equals_single_clip_results(clips: ClipSet, backbone: str, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    recognizer = recognizer_of(backbone)
    dataset = SkeletonDataset(clips, np.arange(len(clips)), OWN, train=False)
    features, probabilities = one_by_one(recognizer, dataset)
    counts: list[int] = []
    scores = scores_of(trained_with(recognizer), dataset, cpu(backend, 4), progress=counts.append)
    assert scores.names == tuple(clips.names) and sum(counts) == len(clips) == 11
    assert scores.labels.tolist() == [n % 4 for n in range(11)]
    np.testing.assert_allclose(scores.probabilities, probabilities, atol=1e-4)
    np.testing.assert_allclose(scores.features, features, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(scores.probabilities.sum(1), 1, atol=1e-6)
    # If the output did not depend on the input, any network would pass.
    assert np.ptp(probabilities, axis=0).max() > 0.05
    assert scores.engine == cpu(backend, 4)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("length", [3, 4])
def test_tuples_of_any_length_in_networks_of_any_depth(clips: ClipSet, length: int, depth: int, backend: str) -> None:
    """Sequences of one batch differ in their number of tuples, and the last tuple may be incomplete."""
    pytest.importorskip(backend)
    recognizer = recognizer_of("sttformer", depth=depth, tuple_length=length)
    dataset = SkeletonDataset(clips, np.arange(len(clips)), OWN, train=False)
    probabilities = one_by_one(recognizer, dataset)[1]
    for size in (1, 3):
        scores = scores_of(trained_with(recognizer), dataset, cpu(backend, size))
        np.testing.assert_allclose(scores.probabilities, probabilities, atol=1e-4)
    assert np.ptp(probabilities, axis=0).max() > 0.05


def test_fixed_length_clips_give_the_same_results(clips: ClipSet) -> None:
    settings = DataSettings(num_frames=16)
    recognizer = recognizer_of()
    dataset = SkeletonDataset(clips, np.array([7, 2, 5]), settings, train=False)
    scores = scores_of(trained_with(recognizer, settings), dataset, cpu("torch"))
    np.testing.assert_allclose(scores.probabilities, one_by_one(recognizer, dataset)[1], atol=1e-5)
    assert scores.names == ("clip7", "clip2", "clip5")


def test_inference_does_not_modify_the_recognizer(clips: ClipSet) -> None:
    recognizer = recognizer_of()
    before = {name: tensor.clone() for name, tensor in recognizer.state_dict().items()}
    dataset = SkeletonDataset(clips, np.arange(4), OWN, train=False)
    for backend in ("torch", "onnxruntime"):
        scores_of(trained_with(recognizer), dataset, cpu(backend))
    assert all(torch.equal(before[name], tensor) for name, tensor in recognizer.state_dict().items())
    assert not recognizer.training


def test_half_precision_is_close(clips: ClipSet) -> None:
    recognizer = recognizer_of()
    dataset = SkeletonDataset(clips, np.arange(len(clips)), OWN, train=False)
    full = scores_of(trained_with(recognizer), dataset, cpu("torch"))
    half = scores_of(trained_with(recognizer), dataset, Engine("cpu", "torch", "bf16"))
    assert half.engine.precision == "bf16" and half.features.dtype == np.float32
    difference = np.abs(full.probabilities - half.probabilities).max()
    assert 0 < difference < 0.05


def test_outputs_that_are_not_finite_are_reported_with_the_clip(clips: ClipSet) -> None:
    recognizer = recognizer_of()
    recognizer.head.fc2.bias.data[2] = torch.nan
    dataset = SkeletonDataset(clips, np.array([3]), OWN, train=False)
    with pytest.raises(WeightsError, match=r"best\.safetensors: its output for clip clip3 is not finite"):
        scores_of(trained_with(recognizer), dataset, cpu("torch"))


def test_incompatible_options_are_refused() -> None:
    with pytest.raises(BackendError, match="onnxruntime cannot convert a network to bf16"):
        resolve_clip_engine(Engine("cpu", "onnxruntime", "bf16"))
    with pytest.raises(BackendError, match="fp16 needs a GPU"):
        resolve_clip_engine(Engine("cpu", "torch", "fp16"))


def test_absent_persons_and_padding_have_no_influence(clips: ClipSet) -> None:
    """The content of cells of absent persons and padded frames has no influence."""
    dataset = SkeletonDataset(clips, np.array([0, 1, 2, 3]), OWN, train=False)
    batch = collate([dataset[place_] for place_ in range(4)])
    recognizer = recognizer_of()
    for backend in ("torch", "onnxruntime"):
        network = network_for(recognizer, Engine("cpu", backend, "fp32"))
        _, logits = network(batch)
        batch.keypoint[~batch.person_mask] = 1e3
        for clip in range(4):
            batch.keypoint[clip][:, ~batch.frame_mask[clip]] = 7
        np.testing.assert_allclose(network(batch)[1], logits, atol=1e-6)


def scaled(confidence: Confidence, dataset: SkeletonDataset, backend: str) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and unknown scores of a recognizer with this confidence."""
    trained = replace(trained_with(recognizer_of()), confidence=confidence)
    scores = scores_of(trained, dataset, cpu(backend))
    return scores.probabilities, scores.unknown


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "openvino", "onnxruntime"])
def test_every_backend_applies_temperature_and_doubt(clips: ClipSet, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    dataset = SkeletonDataset(clips, np.arange(len(clips)), OWN, train=False)
    plain, _ = scaled(Confidence(), dataset, backend)
    flat, unknown = scaled(Confidence(temperature=2.0), dataset, backend)
    # softmax(z / 2) is proportional to the square root of softmax(z).
    root = np.sqrt(plain.astype(np.float64))
    np.testing.assert_allclose(flat, root / root.sum(axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(unknown, -(flat * np.log(flat)).sum(axis=1), atol=1e-4)
    doubting, _ = scaled(Confidence(doubt=0.1), dataset, backend)
    np.testing.assert_allclose(doubting, 0.9 * plain + 0.1 / plain.shape[1], atol=1e-5)
