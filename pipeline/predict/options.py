"""Options of a prediction: persons, time ranges, outputs, and the clips of a skeleton file."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.config import parse
from pipeline.extract.settings import ExtractSettings
from pipeline.inputs.videos import Source
from pose_extraction.errors import UsageError

# A probability, or the threshold that is stored in the run.
Threshold = float | Literal["auto"]


@dataclass(frozen=True)
class Scope:
    """The subjects to classify.

    Args:
        together: Whether to classify all persons together.
        persons: Whether to classify each person separately.
        explain: Whether to compute the attention of each joint.
        threshold: When the label is "unknown"; see `Confidence.rejection`.
    """

    together: bool
    persons: bool
    explain: bool = False
    threshold: Threshold | None = None


def scope_of(
    *,
    per_person: bool | None,
    windows: float | None,
    overlay: Path | None,
    explain: bool,
    threshold: Threshold | None,
) -> Scope:
    """Choose the subjects to classify, from the options of the command.

    Without windows, a clip is classified as a whole, and also person by person if that is requested or drawn. Windows
    are classified person by person, or for all persons together.

    Args:
        per_person: Whether to classify each person separately; None for the default of the mode.
        windows: Length of the sliding windows in seconds; None to classify whole clips.
        overlay: Overlay file or folder; None for no overlay.
        explain: Whether to compute the attention of each joint.
        threshold: Lowest probability of a reported label, from 0 to 1; "auto" for the run's own threshold; None for
            the same if the run has one.

    Raises:
        UsageError: A number is out of range.
    """
    if windows is not None and not (math.isfinite(windows) and windows > 0):
        raise UsageError(f"--windows {windows}: must be a number of seconds above 0, such as --windows 3")
    if isinstance(threshold, int | float) and not 0 <= threshold <= 1:
        raise UsageError(f"--threshold {threshold}: must be a probability from 0 to 1, such as 0.5, or auto")
    if windows is not None:
        return Scope(per_person is False, per_person is not False, explain, threshold)
    return Scope(True, bool(per_person) or (overlay is not None and per_person is None), explain, threshold)


@dataclass(frozen=True)
class SkeletonFileOptions:
    """Selection of clips in a skeleton file, and the location of their joints.

    Args:
        split: Use only the clips of this split; None for all clips.
        keypoint_files: Folder with the keypoint files of Kinetics-400; None for that of the run.
    """

    split: str | None = None
    keypoint_files: Path | None = None


@dataclass(frozen=True)
class PredictOptions:
    """Options of a prediction.

    Args:
        scope: The subjects to classify.
        windows: Length of sliding windows in seconds; None for one prediction per clip.
        overlay: Video to write; None for none. For several videos, a folder with one file per video.
        figures: Folder for attention figures if the scope requests them and there is no overlay.
        fps: Frames per second of raw streams and folders of images; None for the default of `VideoReader`.
        stream: Number of the video stream; None for the default one.
        notes: File for the notes on each video, written if there are any; None for no file.
        timed: Whether each prediction must contain its time, also that of a whole clip in a skeleton file.

    Raises:
        UsageError: The frame rate or the number of the stream is out of range.
    """

    scope: Scope
    windows: float | None = None
    overlay: Path | None = None
    figures: Path = Path("predictions")
    fps: float | None = None
    stream: int | None = None
    notes: Path | None = None
    timed: bool = False

    def __post_init__(self) -> None:
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise UsageError(f"--fps {self.fps}: must be a number of frames per second above 0, such as --fps 25")
        if self.stream is not None and self.stream < 0:
            raise UsageError(f"--stream {self.stream}: must be the number of a video stream, counted from 0")

    def overlay_of(self, source: Source) -> Path | None:
        """Return the overlay file of a video, or None."""
        if self.overlay is None or self.overlay.suffix.lower() == ".mp4":
            return self.overlay
        return self.overlay / f"{source.frame_dir}.mp4"

    def figure_of(self, source: Source) -> Path:
        """Return the figure file of a video: next to its overlay if there is one."""
        overlay = self.overlay_of(source)
        return self.figures / f"{source.frame_dir}.png" if overlay is None else overlay.with_suffix(".png")


@dataclass(frozen=True)
class Networks:
    """Networks of stage one; None selects the network of the run, or the default of `skelpipe extract`.

    Args:
        estimator: Name or ONNX file of the pose estimator; None for the one that the run was trained with.
        detector: Name or ONNX file of the person detector; None for that of the run, or the default.
        checkpoint: Weights to use instead of the official ones.
        detector_checkpoint: The same for the detector.
        detection_threshold: Minimum score of a person box, or "auto"; None for that of the run, or the default.
        tiles: "always", "never" or "auto": whether BlazePose searches tiles; None as for the threshold.

    Raises:
        UsageError: The threshold or `tiles` is invalid.
    """

    estimator: str | None = None
    detector: str | None = None
    checkpoint: str | None = None
    detector_checkpoint: str | None = None
    detection_threshold: float | str | None = None
    tiles: str | None = None

    def __post_init__(self) -> None:
        # Now, because it takes seconds to load a run.
        parse(self.search(), ExtractSettings, place=None)

    def search(self) -> dict[str, Any]:
        """Return the given settings of the search for persons, by their names in `ExtractSettings`."""
        given = {"detection_threshold": self.detection_threshold, "tiles": self.tiles}
        return {name: value for name, value in given.items() if value is not None}
