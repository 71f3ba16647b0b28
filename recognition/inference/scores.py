"""Inference of a trained recognizer over many clips with torch, OpenVINO or ONNX Runtime, batched by length.

Only persons that are present pass through the network. Apart from rounding, the result of a clip does not depend on the
other clips of its batch.
"""

import copy
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import nn

from pose_extraction.engines.backends import Placement, cpu_count, resolve_placement
from pose_extraction.engines.openvino_core import openvino_core
from pose_extraction.errors import WeightsError
from recognition.data.batches import Batch
from recognition.data.batching import ClipBatches, make_loader
from recognition.data.dataset import SkeletonDataset
from recognition.recognizer import Recognizer

if TYPE_CHECKING:
    from recognition.runs import Trained


@dataclass(frozen=True)
class Engine:
    """Device, backend, precision and batch settings of a network; see `recognition.inference.scores.scores_of`."""

    device: str = "auto"
    batch_size: int | None = None
    precision: str = "auto"
    backend: str = "auto"


# Default batch sizes: small enough for a CPU's caches, large enough to use a GPU fully.
CPU_BATCH, GPU_BATCH = 16, 128
# Newest opset that the exporter supports.
ONNX_OPSET = 17
INPUTS, OUTPUTS = ("keypoint", "frame_mask", "person_share"), ("features", "logits")


@dataclass(frozen=True)
class Scores:
    """Predictions of a recognizer for N clips, in the order of the data set.

    Args:
        probabilities: float32 (N, K), each row sums to 1.
        features: float32 (N, hidden), hidden layer of the head after ReLU.
        labels: int64 (N,), labels of the data set; -1 for unlabelled clips.
        names: N clip ids.
        placement: Device, backend and precision that were used.
    """

    probabilities: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    placement: Placement


class Network(Protocol):
    """Function from a batch to features (N, hidden) and logits (N, K), float32."""

    def __call__(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]: ...


def scores_of(
    trained: "Trained",
    dataset: SkeletonDataset,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    precision: str = "auto",
    backend: str = "auto",
    network: Network | None = None,
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """Run a recognizer on a data set.

    Args:
        trained: The recognizer; not modified.
        dataset: Clips with the run's transforms, without random augmentation.
        device: "auto", "cpu" or "cuda:N".
        batch_size: Clips per batch; None: 16 on a CPU, 128 on a GPU.
        precision: "auto", "fp32", "bf16" or "fp16".
        backend: "auto", "torch", "openvino" or "onnxruntime".
        network: Result of `network_for` for this device, backend and precision, to reuse it for several data sets; None
            to create it.
        progress: Called with the number of clips of every finished batch.

    Raises:
        BackendError: Device, backend and precision cannot be combined on this machine.
        WeightsError: The output of the network is not finite.
    """
    placement = place(device, backend, precision)
    network = network or network_for(trained.recognizer, placement)
    own_lengths = bool(len(dataset)) and int(np.ptp(dataset.lengths)) > 0
    batches = ClipBatches(
        dataset.lengths,
        dataset.labels,
        batch_size=batch_size or (CPU_BATCH if placement.device == "cpu" else GPU_BATCH),
        train=False,
        seed=0,
        own_lengths=own_lengths,
    ).batches(0)
    head = trained.recognizer.head.fc2
    features = np.zeros((len(dataset), head.in_features), np.float32)
    probabilities = np.zeros((len(dataset), head.out_features), np.float32)
    names = [""] * len(dataset)
    for positions, batch in zip(batches, make_loader(dataset, batches, workers="auto"), strict=True):
        rows = [position for _, position in positions]
        features[rows], logits = network(batch)
        wrong = ~np.isfinite(logits).all(axis=1)
        if wrong.any():
            name = batch.names[int(wrong.argmax())]
            raise WeightsError(
                f"{trained.path}: its output for clip {name} is not finite; train it again, or try --precision fp32"
            )
        probabilities[rows] = softmax(logits)
        for row, name in zip(rows, batch.names, strict=True):
            names[row] = name
        if progress is not None:
            progress(len(batch))
    return Scores(probabilities, features, np.asarray(dataset.labels, np.int64), tuple(names), placement)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities (N, K), float32, for logits (N, K); computed in float64."""
    raised = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)


def place(device: str, backend: str, precision: str) -> Placement:
    """Choose device, backend and precision; the automatic backend is torch, or OpenVINO for fp32 on a CPU if installed.

    On a CPU, this is the fastest choice (docs/recognition.md, "Speed").

    Args:
        device: "auto", "cpu" or "cuda:N".
        backend: "auto", "torch", "openvino" or "onnxruntime".
        precision: "auto", "fp32", "bf16" or "fp16".

    Raises:
        BackendError: The combination is not available on this machine.
    """
    # A recognizer is exported on demand, so ONNX Runtime is possible, which requires an exported network.
    found = resolve_placement(device, backend, precision, onnx=backend == "onnxruntime")
    return replace(found, backend="torch") if backend == "auto" and found.precision == "bf16" else found


def network_for(recognizer: Recognizer, placement: Placement) -> Network:
    """Create a function that maps batches to features and logits; the recognizer itself is not modified."""
    if placement.backend == "torch":
        return TorchNetwork(recognizer, placement)
    content = export(recognizer)
    if placement.backend == "openvino":
        return _OpenVinoNetwork(content, placement)
    return _OnnxRuntimeNetwork(content, placement)


class TorchNetwork:
    """A recognizer that runs with torch.

    Attributes:
        recognizer: The recognizer on a CPU, a copy of it on a GPU.
        device: Device of the recognizer.
    """

    def __init__(self, recognizer: Recognizer, placement: Placement) -> None:
        self.device = torch.device(placement.device)
        on_cpu = self.device.type == "cpu"
        self.recognizer = (recognizer if on_cpu else copy.deepcopy(recognizer).to(self.device)).eval()
        self._dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[placement.precision]

    def autocast(self) -> torch.autocast:
        """Return an autocast context with the precision of the predictions."""
        return torch.autocast(self.device.type, self._dtype, enabled=self._dtype is not None)

    def __call__(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode(), self.autocast():
            features, logits = self.recognizer.features(batch.to(self.device))
        return features.float().cpu().numpy(), logits.float().cpu().numpy()


class PackedRecognizer(nn.Module):
    """A recognizer as a function of tensors, for export: P persons of N clips in sequence."""

    def __init__(self, recognizer: Recognizer) -> None:
        super().__init__()
        self.backbone = recognizer.backbone
        self.head = recognizer.head

    def forward(
        self, keypoint: torch.Tensor, frame_mask: torch.Tensor, person_share: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (N, hidden) and logits (N, K).

        Args:
            keypoint: float32 (P, T, V, C).
            frame_mask: bool (P, T), True for frames that are not padding.
            person_share: float32 (N, P), 1 / number of persons of the clip for the clip's persons, 0 elsewhere.
        """
        representation, _ = self.backbone.encode(keypoint, frame_mask=frame_mask)  # (P, T, V, C_r)
        frames = frame_mask.sum(dim=1, keepdim=True).to(representation.dtype)
        features = self.head.hidden(person_share @ (representation.sum(dim=1).flatten(1) / frames))
        return features, self.head.fc2(features)


def packed(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Convert a batch to the inputs of `PackedRecognizer`."""
    clip_of = batch.person_mask.nonzero()[:, 0]
    share = torch.zeros(len(batch), len(clip_of))
    share[clip_of, torch.arange(len(clip_of))] = 1 / batch.person_mask.sum(dim=1)[clip_of]
    return batch.keypoint[batch.person_mask], batch.frame_mask[clip_of], share


def export(recognizer: Recognizer) -> bytes:
    """Export a recognizer as an ONNX model of `PackedRecognizer` with dynamic numbers of clips, persons and frames."""
    backbone = recognizer.backbone
    channels = 3
    frames = min(8, backbone.max_frames)
    mask = torch.ones(3, frames, dtype=torch.bool)
    # The example contains padding; otherwise tracing would follow the branch for batches without padding.
    mask[0, frames // 2 :] = False
    example = (torch.zeros(3, frames, backbone.num_joints, channels), mask, torch.full((2, 3), 0.5))
    content = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        # Tracing warns about every Python branch that depends on a shape.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            PackedRecognizer(recognizer).eval(),
            example,
            content,  # type: ignore[arg-type]
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes={
                "keypoint": {0: "persons", 1: "frames"},
                "frame_mask": {0: "persons", 1: "frames"},
                "person_share": {0: "clips", 1: "persons"},
            },
            opset_version=ONNX_OPSET,
            dynamo=False,
        )
    return content.getvalue()


class _OpenVinoNetwork:
    def __init__(self, content: bytes, placement: Placement) -> None:
        properties = {
            # By default OpenVINO uses bf16 on every CPU that supports it, even if fp32 was requested.
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[placement.precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": cpu_count(),
        }
        core = openvino_core()
        self._compiled: Any = core.compile_model(core.read_model(content), "CPU", properties)

    def __call__(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        outputs = self._compiled({name: part.numpy() for name, part in zip(INPUTS, packed(batch), strict=True)})
        features, logits = (np.array(outputs[name], np.float32) for name in OUTPUTS)
        return features, logits


class _OnnxRuntimeNetwork:
    def __init__(self, content: bytes, placement: Placement) -> None:
        import onnxruntime

        providers: list[Any] = ["CPUExecutionProvider"]
        if placement.device != "cpu":
            number = int(placement.device.removeprefix("cuda:"))
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": number}))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cpu_count()
        self._session: Any = onnxruntime.InferenceSession(content, options, providers=providers)

    def __call__(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        given = {name: part.numpy() for name, part in zip(INPUTS, packed(batch), strict=True)}
        features, logits = self._session.run(list(OUTPUTS), given)
        return np.asarray(features, np.float32), np.asarray(logits, np.float32)
