"""A trained recognizer over many clips: on torch, OpenVINO or ONNX Runtime, clips of like length together.

Only persons that are there pass through the network, and a clip's result does not depend, but for rounding, on which
other clips shared its batch.
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

from pose_extraction.backends import Placement, cpu_count, resolve_placement
from pose_extraction.errors import WeightsError
from pose_extraction.openvino_core import openvino_core
from recognition.batches import Batch
from recognition.batching import ClipBatches, make_loader
from recognition.dataset import SkeletonDataset
from recognition.recognizer import Recognizer

if TYPE_CHECKING:
    from recognition.runs import Trained

# Clips at once: what the caches of a processor hold, and what keeps a GPU busy.
CPU_BATCH, GPU_BATCH = 16, 128
# The newest operators that the exporter used here knows how to write.
ONNX_OPSET = 17
INPUTS, OUTPUTS = ("keypoint", "frame_mask", "person_share"), ("features", "logits")


@dataclass(frozen=True)
class Scores:
    """What a recognizer says of N clips, in their data set's order.

    Args:
        probabilities: float32 (N, K), each row sums to 1.
        features: float32 (N, hidden), the head's hidden layer after ReLU.
        labels: int64 (N,), the data set's own, -1 for none.
        names: N ids.
        placement: Where the network ran.
    """

    probabilities: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    placement: Placement


class Network(Protocol):
    """Features (N, hidden) and logits (N, K) of a batch, float32."""

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
    """Runs a recognizer over a data set.

    Args:
        trained: The recognizer; stays as it is.
        dataset: Clips under the run's own transforms, without random draws.
        device: "auto", "cpu" or "cuda:N".
        batch_size: Clips at once; None: 16 on a CPU, 128 on a GPU.
        precision: "auto", "fp32", "bf16" or "fp16".
        backend: "auto", "torch", "openvino" or "onnxruntime".
        network: The recognizer as `network_for` gave it for this device, backend and precision, so that many data sets
            need not make it anew; None to make it.
        progress: Told the number of clips of every batch that is done.

    Raises:
        BackendError: Device, backend and precision do not go together on this machine.
        WeightsError: The network's output is not a number.
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
                f"{trained.path}: its output for clip {name} is not a number; train it again, or try --precision fp32"
            )
        probabilities[rows] = softmax(logits)
        for row, name in zip(rows, batch.names, strict=True):
            names[row] = name
        if progress is not None:
            progress(len(batch))
    return Scores(probabilities, features, np.asarray(dataset.labels, np.int64), tuple(names), placement)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (N, K) of logits (N, K), in float64 on the way."""
    raised = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)


def place(device: str, backend: str, precision: str) -> Placement:
    """Where a recognizer runs; "auto" is torch, but OpenVINO for fp32 on a CPU, where it is installed.

    On a CPU each is the faster one there (docs/recognition.md, "Speed").

    Raises:
        BackendError: It cannot be so on this machine.
    """
    # A recognizer is exported when it is needed, so that ONNX Runtime can be had, which runs nothing else.
    found = resolve_placement(device, backend, precision, onnx=backend == "onnxruntime")
    return replace(found, backend="torch") if backend == "auto" and found.precision == "bf16" else found


def network_for(recognizer: Recognizer, placement: Placement) -> Network:
    """The recognizer as a function of batches; the recognizer itself stays as it is."""
    if placement.backend == "torch":
        return TorchNetwork(recognizer, placement)
    content = export(recognizer)
    if placement.backend == "openvino":
        return _OpenVinoNetwork(content, placement)
    return _OnnxRuntimeNetwork(content, placement)


class TorchNetwork:
    """A recognizer on torch.

    Attributes:
        recognizer: Where it runs: itself on a CPU, a copy on a GPU.
        device: There.
    """

    def __init__(self, recognizer: Recognizer, placement: Placement) -> None:
        self.device = torch.device(placement.device)
        on_cpu = self.device.type == "cpu"
        self.recognizer = (recognizer if on_cpu else copy.deepcopy(recognizer).to(self.device)).eval()
        self._dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[placement.precision]

    def autocast(self) -> torch.autocast:
        """The precision that it answers in."""
        return torch.autocast(self.device.type, self._dtype, enabled=self._dtype is not None)

    def __call__(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode(), self.autocast():
            features, logits = self.recognizer.features(batch.to(self.device))
        return features.float().cpu().numpy(), logits.float().cpu().numpy()


class PackedRecognizer(nn.Module):
    """A recognizer as a function of tensors alone, for export: P persons of N clips, one after the other."""

    def __init__(self, recognizer: Recognizer) -> None:
        super().__init__()
        self.backbone = recognizer.backbone
        self.head = recognizer.head

    def forward(
        self, keypoint: torch.Tensor, frame_mask: torch.Tensor, person_share: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (N, hidden) and logits (N, K).

        Args:
            keypoint: float32 (P, T, V, C).
            frame_mask: bool (P, T).
            person_share: float32 (N, P), 1 over the clip's number of persons where a person is the clip's, else 0.
        """
        representation, _ = self.backbone.encode(keypoint, frame_mask=frame_mask)  # (P, T, V, C_r)
        frames = frame_mask.sum(dim=1, keepdim=True).to(representation.dtype)
        features = self.head.hidden(person_share @ (representation.sum(dim=1).flatten(1) / frames))
        return features, self.head.fc2(features)


def packed(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch as `PackedRecognizer` takes it."""
    clip_of = batch.person_mask.nonzero()[:, 0]
    share = torch.zeros(len(batch), len(clip_of))
    share[clip_of, torch.arange(len(clip_of))] = 1 / batch.person_mask.sum(dim=1)[clip_of]
    return batch.keypoint[batch.person_mask], batch.frame_mask[clip_of], share


def export(recognizer: Recognizer) -> bytes:
    """A recognizer as an ONNX network `PackedRecognizer` for any number of clips, persons and frames."""
    backbone = recognizer.backbone
    channels = 3
    frames = min(8, backbone.max_frames)
    mask = torch.ones(3, frames, dtype=torch.bool)
    # The example has padding, or the tracer would take the path of batches that have none.
    mask[0, frames // 2 :] = False
    example = (torch.zeros(3, frames, backbone.num_joints, channels), mask, torch.full((2, 3), 0.5))
    content = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        # Tracing warns of every Python branch on a shape.
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
            # Left to itself OpenVINO takes bf16 wherever the processor has it, also when fp32 was asked for.
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
