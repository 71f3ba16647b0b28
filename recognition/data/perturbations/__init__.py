"""Perturbations of skeletons for robustness measurements (section 4.3 of the MaskCLR paper, and beyond it).

Each is drawn from a generator seeded with the seed and the clip's name, so that different models see the same
perturbation.
"""

from recognition.data.perturbations.base import GRID, Perturbation, Space, drop_joints, generator_of, grid_rows
from recognition.data.perturbations.estimator_errors import ErrorStatistics, EstimatorErrors, measure_errors
from recognition.data.perturbations.noise import GaussianNoise, ShiftedJoints
from recognition.data.perturbations.occlusion import (
    FrameMasking,
    JointOcclusion,
    PartOcclusion,
    SpatialOcclusion,
    TemporalOcclusion,
)
from recognition.data.perturbations.pipeline_damage import (
    DroppedPeople,
    FrameCrop,
    IdentitySwitches,
    LeftRightSwaps,
    LowerConfidence,
    LowerFrameRate,
)

__all__ = [
    "GRID",
    "DroppedPeople",
    "ErrorStatistics",
    "EstimatorErrors",
    "FrameCrop",
    "FrameMasking",
    "GaussianNoise",
    "IdentitySwitches",
    "JointOcclusion",
    "LeftRightSwaps",
    "LowerConfidence",
    "LowerFrameRate",
    "PartOcclusion",
    "Perturbation",
    "ShiftedJoints",
    "Space",
    "SpatialOcclusion",
    "TemporalOcclusion",
    "drop_joints",
    "generator_of",
    "grid_rows",
    "measure_errors",
]
