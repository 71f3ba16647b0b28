"""PYSKL's inputs: Kinetics-400's crowds, normalisation by the frame, and heat maps."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.official.loading import Difference, largest_difference, modules_of, package, stand_in
from recognition.backbones.poseconv3d import heat_maps
from recognition.data.sources.kinetics import stack_persons
from recognition.data.transforms.placement import to_camera, to_frame

# Half-precision results of the published code, in pixels.
HALF = 0.5


def pyskl_data(root: Path) -> Iterator[Difference]:
    """Compare with a clone of kennymckormick/pyskl."""
    folder = root / "pyskl"
    registry = stand_in("registry", register_module=lambda *_, **__: lambda cls: cls)
    pipelines = "pyskl.datasets.pipelines"
    frame = {
        "pyskl": package("pyskl", folder),
        "pyskl.datasets": package("pyskl.datasets", folder / "datasets"),
        "pyskl.datasets.builder": stand_in("pyskl.datasets.builder", PIPELINES=registry),
        pipelines: package(pipelines, folder / "datasets" / "pipelines"),
        f"{pipelines}.compose": stand_in(f"{pipelines}.compose"),
        f"{pipelines}.formatting": stand_in(f"{pipelines}.formatting"),
    }
    with modules_of(root, frame):
        poses = importlib.import_module(f"{pipelines}.pose_related")
        yield from _crowds(poses)
        yield _normalisation(poses)
        yield _maps(importlib.import_module(f"{pipelines}.heatmap_related"))


def _crowds(poses: Any) -> Iterator[Difference]:
    """Compare the persons of a clip in which some frames have more than ten, and of one in which none has."""
    # SciPy has changed the result of its `mode`, which the published code indexes.
    poses.get_mode = lambda values: (None, [np.bincount(values).max()])
    rng = np.random.default_rng(0)
    for name, most in (("more than ten persons", 14), ("up to ten persons", 9)):
        frame = np.repeat(np.arange(6), rng.integers(most - 6, most + 1, 6))
        skeletons = rng.uniform(0, 300, (len(frame), 17, 3))
        # No two sums of scores are equal in half precision.
        skeletons[..., 2] = rng.permutation(np.linspace(0.1, 0.9, len(frame)))[:, None]
        given = {"total_frames": 6, "frame_inds": frame, "keypoint": skeletons.astype(np.float32)}
        found = poses.DecompressPose(squeeze=True, max_person=10)(given)
        ours, score = stack_persons(skeletons.astype(np.float32), frame)
        yield Difference(f"Kinetics-400, {name}: positions", largest_difference(ours, found["keypoint"]), HALF)
        yield Difference(f"Kinetics-400, {name}: scores", largest_difference(score, found["keypoint_score"]), 1e-3)


def _normalisation(poses: Any) -> Difference:
    rng = np.random.default_rng(0)
    keypoint, score = rng.uniform(0, 480, (2, 9, 17, 2)), rng.uniform(0.02, 1, (2, 9, 17))
    score[0, 3, 5] = 0
    given = {"keypoint": keypoint, "keypoint_score": score, "img_shape": (480, 640)}
    found = poses.PreNormalize2D()(given)["keypoint"]
    joints = np.where(score[..., None] > 0, keypoint, np.nan).astype(np.float32)
    ours = to_frame(to_camera(joints, (480, 640)), score, (480, 640))
    return Difference("normalisation by the frame", largest_difference(ours, found[..., :2]), 1e-5)


def _maps(published: Any) -> Difference:
    """Compare maps of joints whose places are half a cell apart, because ours have the cells' middles there."""
    rng = np.random.default_rng(0)
    # Well inside the map; the published Gaussian is cut off at three deviations.
    place, score = rng.uniform(5, 50, (1, 4, 17, 2)), rng.uniform(0.1, 1, (1, 4, 17))
    generator = published.GeneratePoseTarget(sigma=0.6)
    maps = np.zeros((4, 17, 56, 56), np.float32)
    for frame in range(4):
        for joint in range(17):
            generator.generate_a_heatmap(maps[frame, joint], place[:, frame, joint], score[:, frame, joint])
    half_a_cell = (place + 0.5) / 28 - 1
    x = torch.as_tensor(np.concatenate([half_a_cell, score[..., None]], axis=-1), dtype=torch.float32)
    ours = heat_maps(x)[0].transpose(0, 1)
    # The published Gaussian ends at three deviations.
    return Difference("heat maps, moved by half a cell", largest_difference(ours, maps), 0.012)
