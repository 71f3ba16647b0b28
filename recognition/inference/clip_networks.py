"""A recognizer as a function of batches of clips, on torch, OpenVINO or ONNX Runtime."""

import copy
import io
import warnings
from collections import defaultdict
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import nn

from pose_extraction.engines.engine import Engine, resolve_engine
from pose_extraction.engines.runtimes import autocast, onnx_runner, torch_device
from recognition.data.batches import Batch, part_of
from recognition.data.descriptors.movement import SIZE
from recognition.recognizer import Recognizer

# Default batch sizes: small enough for a CPU's caches, large enough to use a GPU fully.
CPU_BATCH, GPU_BATCH = 16, 128
# Clips per call of a `SteadyNetwork` on a GPU: as many as hardly take longer than one.
GPU_CLIPS = 32
# Newest opset that the exporter supports.
ONNX_OPSET = 17
INPUTS, OUTPUTS = ("keypoint", "frame_mask", "person_share"), ("features", "logits")
# Fourth input of recognizers with a classifier of descriptors.
DESCRIPTOR = "descriptor"
_AXES = {
    "keypoint": {0: "persons", 1: "frames"},
    "frame_mask": {0: "persons", 1: "frames"},
    "person_share": {0: "clips", 1: "persons"},
}


class ClipNetwork(Protocol):
    """Function from a batch to features (N, hidden) and logits (N, K), float32."""

    def __call__(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]: ...


def resolve_clip_engine(engine: Engine) -> Engine:
    """Replace "auto" by what is fastest here: torch, or OpenVINO for fp32 on a CPU if it is installed.

    The measurements are in docs/recognition.md, "Speed".

    Args:
        engine: The requested engine.

    Returns:
        The engine, with a batch size.

    Raises:
        BackendError: The combination is not available on this machine.
    """
    # A recognizer is exported on demand, so ONNX Runtime is possible, which requires an exported network.
    found = resolve_engine(engine, onnx=engine.backend == "onnxruntime")
    if engine.backend == "auto" and found.bf16:
        found = replace(found, backend="torch")
    return replace(found, batch_size=found.batch_size or (CPU_BATCH if found.on_cpu else GPU_BATCH))


def network_for(recognizer: Recognizer, engine: Engine) -> ClipNetwork:
    """Create a function that maps batches to features and logits.

    Args:
        recognizer: The recognizer; not modified.
        engine: Where it runs; resolved.
    """
    if engine.backend == "torch":
        return TorchClipNetwork(recognizer, engine)
    return _ExportedClipNetwork(export(recognizer), engine)


def steady_network_for(recognizer: Recognizer, engine: Engine) -> ClipNetwork:
    """Create a function like `network_for`, whose result for a clip does not depend on the other clips of its batch.

    Args:
        recognizer: The recognizer; not modified.
        engine: Where it runs; resolved.
    """
    if engine.on_cpu:
        return SteadyNetwork(network_for(recognizer, engine), 1)
    clips = min(GPU_CLIPS, engine.batch_size or GPU_CLIPS)
    return SteadyNetwork(
        _HeadClipByClip(recognizer, engine) if engine.backend == "torch" else network_for(recognizer, engine), clips
    )


class SteadyNetwork:
    """Calls a network with one shape for each kind of clip, so that its results are equal to the last bit.

    Libraries choose their kernels by the shape of the input, and kernels round differently. Therefore each call has the
    same number of clips, all with the same numbers of persons and frames; repeated clips fill it up. On a CPU that
    number is one: how rows are divided among threads and vectors, and so how they round, depends on their position in
    a way that differs between processors.

    Args:
        network: The network.
        clips: Number of clips per call.
    """

    def __init__(self, network: ClipNetwork, clips: int) -> None:
        self._network, self._clips = network, clips

    def __call__(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        alike: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        sizes = zip(batch.person_mask.sum(dim=1).tolist(), batch.frame_mask.sum(dim=1).tolist(), strict=True)
        for row, size in enumerate(sizes):
            alike[size].append(row)
        found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for (persons, frames), rows in alike.items():
            for first in range(0, len(rows), self._clips):
                chosen = rows[first : first + self._clips]
                filled = chosen + [chosen[-1]] * (self._clips - len(chosen))
                features, logits = self._network(part_of(batch, filled, persons, frames))
                found.update((row, (features[place], logits[place])) for place, row in enumerate(chosen))
        return np.stack([found[row][0] for row in range(len(batch))]), np.stack(
            [found[row][1] for row in range(len(batch))]
        )


class TorchClipNetwork:
    """A recognizer that runs with torch.

    Attributes:
        recognizer: The recognizer on a CPU, a copy of it on a GPU.
        device: Device of the recognizer.
    """

    def __init__(self, recognizer: Recognizer, engine: Engine) -> None:
        self.device = torch_device(engine)
        self.recognizer = (recognizer if engine.on_cpu else copy.deepcopy(recognizer).to(self.device)).eval()
        self._engine = engine

    def autocast(self) -> torch.autocast:
        """Return an autocast context with the precision of the predictions."""
        return autocast(self._engine)

    def __call__(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode(), self.autocast():
            features, logits = self.recognizer.features(batch.to(self.device))
        return features.float().cpu().numpy(), logits.float().cpu().numpy()


class _HeadClipByClip(TorchClipNetwork):
    """Runs the head clip by clip: in products with few rows, the result of a row depends on its position."""

    def __call__(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        batch = batch.to(self.device)
        rows = [slice(row, row + 1) for row in range(len(batch))]
        with torch.inference_mode(), self.autocast():
            pooled = self.recognizer.encode(batch).dropped
            parts = [
                self.recognizer.of_pooled(pooled[row], None if batch.descriptor is None else batch.descriptor[row])
                for row in rows
            ]
            features, logits = (torch.cat(values) for values in zip(*parts, strict=True))
        return features.float().cpu().numpy(), logits.float().cpu().numpy()


class _ExportedClipNetwork:
    def __init__(self, content: bytes, engine: Engine) -> None:
        self._run = onnx_runner(content, engine)

    def __call__(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        features, logits = self._run([part.numpy() for part in packed(batch)])
        return features, logits


class PackedRecognizer(nn.Module):
    """A recognizer as a function of tensors, for export: P persons of N clips in sequence."""

    def __init__(self, recognizer: Recognizer) -> None:
        super().__init__()
        self.backbone = recognizer.backbone
        self.head = recognizer.head
        self.movement = recognizer.movement

    def forward(
        self,
        keypoint: torch.Tensor,
        frame_mask: torch.Tensor,
        person_share: torch.Tensor,
        descriptor: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (N, hidden) and logits (N, K).

        Args:
            keypoint: float32 (P, T, V, C).
            frame_mask: bool (P, T), True for frames that are not padding.
            person_share: float32 (N, P), 1 / number of persons of the clip for the clip's persons, 0 elsewhere.
            descriptor: float32 (N, D), if the recognizer has a classifier of descriptors.
        """
        representation, _ = self.backbone.encode(keypoint, frame_mask=frame_mask)  # (P, T, V, C_r)
        frames = frame_mask.sum(dim=1, keepdim=True).to(representation.dtype)
        features = self.head.hidden(person_share @ (representation.sum(dim=1).flatten(1) / frames))
        logits = self.head.fc2(features)
        if descriptor is not None and self.movement is not None:
            logits = self.movement.joined(logits, descriptor)
        return features, logits


def packed(batch: Batch) -> tuple[torch.Tensor, ...]:
    """Convert a batch to the inputs of `PackedRecognizer`."""
    clip_of = batch.person_mask.nonzero()[:, 0]
    share = torch.zeros(len(batch), len(clip_of))
    share[clip_of, torch.arange(len(clip_of))] = 1 / batch.person_mask.sum(dim=1)[clip_of]
    joints = (batch.keypoint[batch.person_mask], batch.frame_mask[clip_of], share)
    return joints if batch.descriptor is None else (*joints, batch.descriptor)


def export(recognizer: Recognizer) -> bytes:
    """Export a recognizer as an ONNX model of `PackedRecognizer` with dynamic numbers of clips, persons and frames."""
    backbone = recognizer.backbone
    channels = 3
    frames = min(8, backbone.max_frames)
    mask = torch.ones(3, frames, dtype=torch.bool)
    # The example contains padding; otherwise tracing would follow the branch for batches without padding.
    mask[0, frames // 2 :] = False
    example: tuple[torch.Tensor, ...] = (
        torch.zeros(3, frames, backbone.num_joints, channels),
        mask,
        torch.full((2, 3), 0.5),
    )
    names: tuple[str, ...] = INPUTS
    axes = dict(_AXES)
    if recognizer.movement is not None and recognizer.movement.is_fitted:
        example, names = (*example, torch.zeros(2, SIZE)), (*INPUTS, DESCRIPTOR)
        axes[DESCRIPTOR] = {0: "clips"}
    content = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        # Tracing warns about every Python branch that depends on a shape.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            PackedRecognizer(recognizer).eval(),
            example,
            content,  # type: ignore[arg-type]
            input_names=list(names),
            output_names=list(OUTPUTS),
            dynamic_axes=axes,
            opset_version=ONNX_OPSET,
            dynamo=False,
        )
    return content.getvalue()
