"""Default values of `skelpipe extract`, for its settings and its help page, without importing anything."""

from pathlib import Path
from typing import Final

OUT: Final = Path("skeletons")
LABELS: Final = "auto"

ESTIMATOR: Final = "vitpose"
DETECTOR: Final = "auto"
DEVICE: Final = "auto"
BACKEND: Final = "auto"
PRECISION: Final = "auto"
BATCH_SIZE: Final = "auto"
DETECT_EVERY: Final = "auto"
DETECTION_THRESHOLD: Final = "auto"
SQUARE_INPUT: Final = False
FLIP_TEST: Final = False
TILES: Final = "auto"
BUILDER: Final = "auto"
MAX_PERSONS: Final = 10
SMOOTH: Final = False
STRIDE: Final = 1
CHUNK: Final = None
OVERLAY: Final = False
DECODER: Final = "cpu"
WORKERS: Final = "auto"
ENGINE: Final = "local"
