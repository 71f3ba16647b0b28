"""Stage two of a run as one network of plain tensor operations: from joints and scores to probabilities."""

from dataclasses import dataclass

import torch
from torch import nn

from pose_extraction.errors import UsageError
from pose_extraction.skeleton import Skeleton
from recognition.backbones.gru import NAME as RECURRENT
from recognition.data.clip_transforms import layout_of_model
from recognition.exporting.confidence import CalibratedOutput
from recognition.exporting.descriptors import describe_clips
from recognition.exporting.persons import choose_persons, coco_to_h36m, follow_two
from recognition.exporting.placement import network_input, placed_in_space, to_camera
from recognition.exporting.sampling import Frames, resampled
from recognition.inference.predictor import input_format
from recognition.runs import Trained

OUTPUTS = ("probabilities", "unknown")


@dataclass(frozen=True)
class GraphInput:
    """One input of an exported recognizer.

    Args:
        name: Its name.
        type: Its NumPy type.
        shape: Its axes: N clips, M persons, T frames, and numbers.
        meaning: Unit, range, and what missing values look like.
    """

    name: str
    type: str
    shape: tuple[str | int, ...]
    meaning: str


def inputs_of(layout: Skeleton, dimensions: int) -> tuple[GraphInput, ...]:
    """Return the inputs of an exported recognizer, in their order.

    Args:
        layout: Joint layout of the clips.
        dimensions: Coordinates per joint, 2 or 3.
    """
    joints = layout.num_joints
    unit = "pixels of the upright frame" if dimensions == 2 else "any unit"
    return (
        GraphInput(
            "keypoint", "float32", ("N", "M", "T", joints, dimensions), f"joints in {unit}; NaN or score 0: not seen"
        ),
        GraphInput("score", "float32", ("N", "M", "T", joints), "scores of the joints, 0 to 1; 0: not seen"),
        GraphInput("frames", "int32", ("N",), "number of frames of each clip; further frames are padding"),
        GraphInput("size", "int32", ("N", 2), "height and width of the frame in pixels; unused in 3D"),
        GraphInput("time", "float64", ("N", "T"), "ascending times of the frames in seconds; unknown: frame / 30"),
        GraphInput("tracked", "bool", ("N",), "whether each slot holds the same person in all frames"),
    )


class ClipsToActions(nn.Module):
    """A run's transforms, descriptors, network and calibration, for clips of different lengths.

    It computes what `Predictor` computes for the same clips, up to rounding.

    Args:
        trained: The run; `check_exportable` has accepted it.
        rounding: See `resampled`; 0 unless the network will compute in single precision.
    """

    def __init__(self, trained: Trained, *, rounding: float = 0.0) -> None:
        super().__init__()
        form = input_format(trained)
        self.rounding = rounding
        self.settings = trained.settings.data
        self.layout, self.dimensions = form.layout, form.dimensions
        self.converts = layout_of_model(form, self.settings).name != form.layout.name
        recognizer = trained.recognizer
        self.backbone, self.head = recognizer.backbone, recognizer.head
        fitted = recognizer.movement is not None and recognizer.movement.is_fitted
        self.movement = recognizer.movement if fitted else None
        self.output = CalibratedOutput(trained.confidence)

    def forward(
        self,
        keypoint: torch.Tensor,
        score: torch.Tensor,
        frames: torch.Tensor,
        size: torch.Tensor,
        time: torch.Tensor,
        tracked: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return probabilities (N, K) and unknown scores (N,), float32; for the inputs see `inputs_of`."""
        count, size = frames.to(torch.int64), size.to(torch.int64)
        place = torch.arange(keypoint.shape[2], device=keypoint.device)
        there = (place < count[:, None])[:, None, :, None]
        seen = ~torch.isnan(keypoint).any(dim=-1) & (score > self.settings.score_threshold) & there
        keypoint, score = choose_persons(
            torch.where(seen[..., None], keypoint, 0.0), torch.where(seen, score, 0.0), self.settings.max_persons
        )
        if self.dimensions == 2:
            keypoint = to_camera(keypoint, size)
        else:
            keypoint, score = placed_in_space(keypoint, score, count, self.settings)
        if self.settings.max_persons >= 2:
            keypoint, score = follow_two(keypoint, score, tracked)
        if self.converts:
            keypoint, score = coco_to_h36m(keypoint, score)
        descriptor = describe_clips(keypoint, score, time, count) if self.settings.descriptors else None
        sampled = resampled(Frames(keypoint, score, count), time, self.settings, rounding=self.rounding)
        x, score = network_input(sampled.keypoint, sampled.score, size, self.settings)
        features, logits = self._network(x, score, sampled.count)
        own = None
        if descriptor is not None and self.movement is not None:
            own = self.movement(descriptor)
            logits = self.movement.joined_with(logits, own)
        probabilities, unknown = self.output(logits, features if descriptor is None else descriptor, own)
        return probabilities, unknown

    def _network(self, x: torch.Tensor, score: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (N, hidden) and logits (N, K); only persons who are seen pass through the backbone."""
        clips, places = score.shape[:2]
        kept = (score > 0).flatten(2).any(dim=2)  # (N, S)
        # Every clip has a person, even if nobody is seen.
        first = torch.arange(places, device=score.device) == 0
        kept = kept | (~kept.any(dim=1, keepdim=True) & first)
        row = kept.flatten().nonzero()[:, 0]
        clip_of = torch.div(row, places, rounding_mode="floor")
        x = x.flatten(0, 1)[row]
        mask = None
        if self.settings.num_frames == "own":
            mask = torch.arange(x.shape[1], device=x.device) < count[clip_of][:, None]
        representation, _ = self.backbone.encode(x, frame_mask=mask)  # (P, T, V, C_r)
        frames = count[clip_of][:, None].to(representation.dtype)
        belongs = (clip_of == torch.arange(clips, device=row.device)[:, None]).to(representation.dtype)  # (N, P)
        share = belongs / kept.sum(dim=1, keepdim=True)
        features = self.head.hidden(share @ (representation.sum(dim=1).flatten(1) / frames))
        return features, self.head.fc2(features)


def check_exportable(trained: Trained, kind: str) -> None:
    """Refuse runs whose stage two cannot be written as a graph.

    Args:
        trained: The run.
        kind: "onnx", "openvino" or "torch".

    Raises:
        UsageError: The run reads clips as the published code does, or OpenVINO computes its backbone differently.
    """
    if kind == "openvino" and trained.settings.model.backbone == RECURRENT:
        raise UsageError(
            f"--format openvino: {trained.path} is an encoder of PCM3, whose recurrent layers give other results in "
            "OpenVINO; use --format onnx"
        )
    if trained.settings.data.legacy:
        raise UsageError(
            f"{trained.path}: was trained with data.legacy=true, which reads clips in float16 as the published code "
            "does; that cannot be exported: train the run again with data.legacy=false"
        )
