"""Constants that all trainings share."""

from pathlib import Path

# Folder of the run directories.
RUNS = Path("runs")
# Coordinates and score of a joint.
CHANNELS = 3
