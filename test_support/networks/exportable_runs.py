"""Runs with random weights for every kind of recognizer that can be exported, and clips for them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pose_extraction.skeleton import LAYOUTS
from recognition.confidence.confidence import Confidence
from recognition.confidence.feature_distance import FeatureDistance
from recognition.data.clip import Clip, clip_from_arrays
from recognition.data.descriptors.kernel_ridge import KernelRidge
from recognition.data.descriptors.movement import SIZE
from recognition.recognizer import Recognizer, build_recognizer
from recognition.runs import Trained
from recognition.settings import DataSettings, ModelSettings, RunSettings

CLASSES = ("wave", "jump", "squat", 'a "quoted" name, café')
# Settings of the configs `custom` and `small`, with networks of a few thousand weights.
CUSTOM = {
    "num_frames": "own", "max_frames": 48, "frame_rate": 12.0, "scores": "seen", "descriptors": True,
    "model_layout": "coco17",
}  # fmt: skip
SMALL = {"num_frames": 32, "max_frames": 32}
DSTFORMER = {"dim": 16, "depth": 1, "heads": 2, "dim_representation": 16, "hidden": 16, "max_frames": 48}
KINECT = {"layout": "ntu25", "dimensions": 3}
SEGMENTS = {"backbone": "segments", "dim": 16, "depth": 1, "heads": 2, "hidden": 16, "max_frames": 48}
GRAPHS = {"dim": 8, "depth": 5, "max_frames": 20}
# Settings of data and model, and the format of the clips, for every kind of run.
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "custom": (CUSTOM, {**DSTFORMER, "motion": True}, {}),
    "custom, one person": ({**CUSTOM, "max_persons": 1}, DSTFORMER, {}),
    "custom, five persons": ({**CUSTOM, "max_persons": 5, "score_threshold": 0.4}, DSTFORMER, {}),
    "everyday": (CUSTOM, {**SEGMENTS, "relative": True}, {}),
    "small": (SMALL, {**DSTFORMER, "max_frames": 32, "motion": True}, {}),
    "own lengths": ({"num_frames": "own", "max_frames": 48}, DSTFORMER, {}),
    "own lengths, short": ({"num_frames": "own", "max_frames": 16}, DSTFORMER, {}),
    "linear, part": ({"num_frames": 20, "resample": "linear", "part_test": 0.6, "part_min_frames": 3}, DSTFORMER, {}),
    "own, linear": ({"num_frames": "own", "max_frames": 30, "resample": "linear"}, DSTFORMER, {}),
    "rate, part": ({**CUSTOM, "part_test": 0.7, "descriptors": False, "max_frames": 20}, DSTFORMER, {}),
    "frame": ({"num_frames": 16, "placement": "frame"}, DSTFORMER, {}),
    "h36m17": ({"num_frames": 16, "model_layout": "h36m17"}, DSTFORMER, {"layout": "h36m17"}),
    **{
        f"3D, {placement}": ({"num_frames": 16, "placement": placement}, DSTFORMER, KINECT)
        for placement in ("box", "raw", "first_frame", "aligned", "upright")
    },
    "transformer": ({"num_frames": "own", "max_frames": 48}, {**DSTFORMER, "backbone": "transformer"}, {}),
    "sttformer": (
        {"num_frames": "own", "max_frames": 48},
        {"backbone": "sttformer", "dim": 16, "depth": 2, "heads": 2, "hidden": 16, "max_frames": 48},
        {},
    ),
    **{
        name: ({"num_frames": 20, "max_frames": 20}, {"backbone": name, **GRAPHS}, {})
        for name in ("stgcnpp", "aagcn", "ctrgcn")
    },
    "ctrgcn, pyskl": ({"num_frames": 20}, {"backbone": "ctrgcn", "variant": "pyskl", **GRAPHS}, {}),
    "msg3d": ({"num_frames": 20}, {"backbone": "msg3d", "dim": 12, "max_frames": 20}, {}),
    "poseconv3d": ({"num_frames": 8}, {"backbone": "poseconv3d", "dim": 8, "max_frames": 8}, {}),
    "mamp": ({"num_frames": 24, "resample": "linear", "part_test": 0.9, "placement": "first_frame"}, SEGMENTS, KINECT),
    "pcm3": (
        {"num_frames": 16, "resample": "linear", "placement": "upright"},
        {"backbone": "gru", "dim": 16, "depth": 2, "persons": 2, "max_frames": 16},
        KINECT,
    ),
}


def made_trained(
    data: dict[str, Any],
    model: dict[str, Any],
    *,
    layout: str = "coco17",
    dimensions: int = 2,
    kind: str = "combined",
    threshold: float | None = None,
    of_descriptors: bool = False,
    path: Path = Path("run"),
) -> Trained:
    """Return a run with random weights; if it has descriptors, with a random classifier of them.

    Args:
        data: Settings of its data.
        model: Settings of its model.
        layout: Joint layout that the network sees.
        dimensions: Coordinates per joint.
        kind: Its unknown score.
        threshold: Its threshold.
        of_descriptors: Whether that score is of its classifier of descriptors alone.
        path: Its path.
    """
    settings = RunSettings(data=DataSettings(**data), model=ModelSettings(**model))
    rng = np.random.default_rng(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        recognizer = build_recognizer(
            settings.model,
            num_joints=LAYOUTS[layout].num_joints,
            channels=3,
            num_classes=len(CLASSES),
            movement_shape=(0, SIZE) if settings.data.descriptors else None,
        )
        _as_if_trained(recognizer, settings)
    if recognizer.movement is not None:
        recognizer.movement.set_fitted(_made_classifier(rng), network_share=0.4)
    described = SIZE if settings.data.descriptors else recognizer.head.fc2.in_features
    distance = _made_distance(described, rng) if kind in ("combined", "distance") else None
    confidence = Confidence(1.3, kind, threshold, None, 50, distance, (0.7, 3.0), 0.02, of_descriptors)
    return Trained(
        recognizer=recognizer.eval(),
        settings=settings,
        label_names=CLASSES,
        layout=layout,
        channels=3,
        estimator=None,
        held_out={"top1": 0.9, "mean_class": 0.89, "loss": 0.4, "clips": 50},
        epoch=3,
        path=path,
        dimensions=dimensions,
        confidence=confidence,
    )


def _as_if_trained(recognizer: Recognizer, settings: RunSettings) -> None:
    """Change weights and statistics of normalisations, so that classes and layers matter as after a training."""
    for name, weight in recognizer.named_parameters():
        with torch.no_grad():
            weight.add_(0.05 * torch.randn_like(weight))
            if name == "head.fc2.weight":
                weight.mul_(25)
    norms = [module for module in recognizer.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 0.3
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    # Statistics that belong to the weights: poses that hardly move, in the network's coordinates.
    frames = settings.data.num_frames if isinstance(settings.data.num_frames, int) else 12
    shape = (6, frames, recognizer.backbone.num_joints, 3)
    with torch.no_grad():
        for _ in range(8 if norms else 0):
            x = torch.rand(shape[0], 1, *shape[2:]) - 0.5 + 0.05 * torch.randn(shape)
            representation, _ = recognizer.backbone.encode(x)
            recognizer.head.hidden(representation.mean(dim=1).flatten(1))


def _made_classifier(rng: np.random.Generator, rows: int = 30) -> KernelRidge:
    scale = rng.uniform(0.5, 2, SIZE)
    scale[::17] = 0
    return KernelRidge(
        mean=rng.normal(0, 0.3, SIZE),
        scale=scale,
        weight=rng.uniform(0, 0.1, SIZE),
        centres=rng.normal(0, 0.1, (rows, SIZE)),
        coefficients=rng.normal(0, 1, (rows, len(CLASSES))),
        kernel="exponential",
        width=0.3,
        penalty=0.1,
        sharpness=4.0,
        left_out=np.zeros((rows, len(CLASSES))),
    )


def _made_distance(size: int, rng: np.random.Generator, components: int = 6) -> FeatureDistance:
    return FeatureDistance(
        rng.normal(0, 0.1, size),
        rng.uniform(0.5, 2, size),
        rng.normal(0, size**-0.5, (size, components)),
        rng.normal(0, 1, (len(CLASSES), components)),
        rng.normal(0, 0.3, (components, components)),
    )


def made_clip(
    persons: int, frames: int, rate: float, *, seed: int = 0, layout: str = "coco17", dimensions: int = 2
) -> Clip:
    """Return a clip of people whose joints swing, with joints and persons that are not seen at times.

    Args:
        persons: M.
        frames: T.
        rate: Frames per second; the times waver a little.
        seed: Seed of everything random.
        layout: Joint layout.
        dimensions: Coordinates per joint.
    """
    rng = np.random.default_rng(seed)
    joints = LAYOUTS[layout].num_joints
    time = (np.arange(frames) + rng.uniform(-0.2, 0.2, frames) * (seed % 2)) / rate + rng.uniform(0, 100)
    place = rng.uniform(100, 400, (persons, 1, 1, dimensions))
    rest = rng.normal(0, 60, (persons, 1, joints, dimensions))
    reach = rng.normal(0, 25, (persons, 1, joints, dimensions))
    beat = np.sin(2 * np.pi * (rng.uniform(0.3, 2, (persons, 1, joints, 1)) * time[:, None, None] + rng.uniform()))
    drift = rng.normal(0, 20, (persons, 1, 1, dimensions)) * (time - time[0])[:, None, None]
    keypoint = place + rest + reach * beat + drift + rng.normal(0, 1, (persons, frames, joints, dimensions))
    score = rng.uniform(0.2, 1, (persons, frames, joints))
    score[rng.random(score.shape) < 0.15] = 0
    # A joint that is never seen, persons who come late, and frames without anybody.
    score[:, :, rng.integers(joints, size=2)] = 0
    for person in range(1, persons):
        score[person, : rng.integers(frames)] = 0
    score[:, frames // 2 : frames // 2 + frames // 10] = 0
    if not (score > 0).any():
        score[0, 0, 0] = 0.9
    if dimensions == 3:
        # Metres.
        keypoint /= 200
    keypoint[score == 0] = np.nan
    tracked = seed % 3 > 0
    size = (480, 640) if dimensions == 2 else None
    return clip_from_arrays(keypoint, score, size, name=f"clip{seed}", tracked=tracked, time=time)


def clips_for(name: str, count: int) -> list[Clip]:
    """Return clips in the format of one of `RUNS`."""
    form = RUNS[name][2]
    # The clips of a network in H36M-17 have COCO-17's joints.
    return made_clips(count, **({} if form.get("layout") == "h36m17" else form))


def made_clips(count: int, **options: Any) -> list[Clip]:
    """Return clips of one to five persons, 1 to 600 frames and several frame rates; for options see `made_clip`."""
    frames = (1, 2, 3, 5, 8, 13, 31, 48, 49, 90, 200, 600)
    rates = (30.0, 7.5, 12.0, 24.0, 25.0, 29.97, 60.0, 120.0)
    return [
        made_clip(1 + number % 5, frames[number % len(frames)], rates[number % len(rates)], seed=number, **options)
        for number in range(count)
    ]
