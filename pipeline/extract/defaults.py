"""Default values of `skelpipe extract`, for its settings and its help page, without importing anything."""

from pathlib import Path

OUT = Path("skeletons")
LABELS = "auto"

ESTIMATOR = "vitpose"
DETECTOR = "rtmdet"
DEVICE = "auto"
BACKEND = "auto"
PRECISION = "auto"
BATCH_SIZE = "auto"
DETECT_EVERY = "auto"
DETECTION_THRESHOLD = "auto"
SQUARE_INPUT = False
FLIP_TEST = False
MAX_PERSONS = 10
SMOOTH = False
STRIDE = 1
OVERLAY = False
WORKERS = "auto"
