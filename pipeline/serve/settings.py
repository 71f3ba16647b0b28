"""Settings of the service, and of one of its jobs: the options of `skelpipe predict` that concern one video."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from pipeline.config import parse
from pipeline.predict.options import Networks, PredictOptions, Scope, scope_of
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from pose_extraction.networks import model_zoo
from pose_extraction.networks.names import is_onnx

GIGABYTE = 1 << 30
# 24 hours at 30 frames per second.
MOST_FRAMES = 24 * 3600 * 30
# File names in the folder of a finished job.
OVERLAY_NAME = "overlay.mp4"


@dataclass(frozen=True)
class Pace:
    """How slowly the body of a request may arrive. Only the time in which the service waits for it counts.

    Args:
        least_rate: Bytes per second that must arrive in each window; 0 for any rate.
        window: Length of a window in seconds.
        idle: Seconds without any byte after which the request ends.
    """

    least_rate: int = 4096
    window: float = 30.0
    idle: float = 30.0


@dataclass(frozen=True)
class ServeSettings:
    """Settings of the service.

    Args:
        runs: Runs that clients can choose from; the first one is the default.
        data: Folder of jobs and of the database.
        token: Secret that clients must present; None for a service on the loopback interface without one.
        allow: Folders whose videos clients may name by path, and single videos.
        videos: Videos that become jobs when the service starts.
        most_upload: Largest upload in bytes.
        most_queued: Number of jobs that may wait.
        most_requests: Number of requests for skeletons that may wait.
        most_frames: Number of frames beyond which a video is refused.
        pace: How slowly uploads may arrive.
        devices: One worker process for each: "auto", "cpu" or "cuda:N".
        engine: Backend, precision and batch size of the networks.
        networks: Networks of stage one of jobs that do not name others.
        keep_days: Days after which finished jobs without corrections are removed; None to keep them.
        allow_agpl: Whether jobs may use OpenPifPaf, whose licence is the AGPL.
        least_free: Free disk space in bytes below which no job is accepted.
        drain_seconds: Time for the running jobs when the service stops.
        local: Whether the service listens on the loopback interface only.
        hosts: Names under which a proxy offers the service.
        pinned: Whether `runs` were chosen explicitly, so that the first one is the default in any case.
    """

    runs: tuple[Path, ...]
    data: Path
    token: str | None = None
    allow: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    most_upload: int = 4 * GIGABYTE
    most_queued: int = 1000
    most_requests: int = 256
    most_frames: int = MOST_FRAMES
    pace: Pace = field(default_factory=Pace)
    devices: tuple[str, ...] = ("auto",)
    engine: Engine = field(default_factory=Engine)
    networks: Networks = field(default_factory=Networks)
    keep_days: float | None = None
    allow_agpl: bool = False
    least_free: int = GIGABYTE
    drain_seconds: float = 30.0
    local: bool = True
    hosts: tuple[str, ...] = ()
    pinned: bool = False


class JobSettings(BaseModel):
    """Settings of a job; each has the meaning and the default of the option of `skelpipe predict`.

    Args:
        run: Identifier of a run of the service; None for its default.
        windows: Length of sliding windows in seconds; None to classify the video as a whole.
        per_person: Whether to classify each person separately; None for the default of the command.
        threshold: Lowest probability of a reported action, or "auto".
        explain: Whether to compute the attention of each joint.
        overlay: Whether to write a video with skeletons, ids and actions.
        estimator: Name of the pose estimator, or an ONNX file in an allowed folder.
        detector: The same for the person detector.
        fps: Frames per second of raw streams and folders of images.
        stream: Number of the video stream.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    run: str | None = None
    windows: float | None = None
    per_person: bool | None = None
    threshold: float | Literal["auto"] | None = None
    explain: bool = False
    overlay: bool = False
    estimator: str | None = None
    detector: str | None = None
    fps: float | None = None
    stream: int | None = None

    def scope(self) -> Scope:
        """Return the subjects to classify.

        Raises:
            UsageError: A number is out of range.
        """
        return scope_of(
            per_person=self.per_person,
            windows=self.windows,
            overlay=Path(OVERLAY_NAME) if self.overlay else None,
            explain=self.explain,
            threshold=self.threshold,
        )

    def options(self, folder: Path) -> PredictOptions:
        """Return the options of the prediction.

        Args:
            folder: Folder for the overlay and the figure.

        Raises:
            UsageError: A number is out of range.
        """
        overlay = folder / OVERLAY_NAME if self.overlay else None
        return PredictOptions(self.scope(), self.windows, overlay, folder, self.fps, self.stream)

    def networks(self, usual: Networks) -> Networks:
        """Return the networks of stage one: those of the job, or else the usual ones of the service."""
        if self.estimator is None and self.detector is None:
            return usual
        return Networks(
            self.estimator or usual.estimator,
            self.detector or usual.detector,
            None if self.estimator else usual.checkpoint,
            None if self.detector else usual.detector_checkpoint,
        )


def job_settings(values: Mapping[str, Any], settings: ServeSettings) -> JobSettings:
    """Parse and check the settings of a job.

    Args:
        values: Settings by name; text is read like `key=value` on a command line, so that "3" is a number.
        settings: Settings of the service.

    Raises:
        UsageError: A setting is unknown or out of range, or a network is not available to clients.
    """
    plain = {name: _read(name, value) for name, value in values.items()}
    found = parse({name: value for name, value in plain.items() if value is not None}, JobSettings, place="job")
    found.scope()
    if found.fps is not None and not (math.isfinite(found.fps) and found.fps > 0):
        raise UsageError(f"fps {found.fps}: must be a number of frames per second above 0, such as 25")
    if found.stream is not None and found.stream < 0:
        raise UsageError(f"stream {found.stream}: streams are counted from 0")
    for kind in ("estimator", "detector"):
        name = getattr(found, kind)
        if name is not None:
            _check_network(name, kind, settings)
    return found


def _read(name: str, value: Any) -> Any:
    if not isinstance(value, str) or name in ("run", "estimator", "detector"):
        return value or None if isinstance(value, str) else value
    try:
        return yaml.safe_load(value) if len(value) < 40 else value
    except yaml.YAMLError:
        return value


def _check_network(name: str, kind: str, settings: ServeSettings) -> None:
    """Check that clients may use a network.

    Raises:
        UsageError: It is unknown, lies outside the allowed folders, or has a licence that is not allowed.
    """
    if is_onnx(name):
        if allowed_path(name, settings.allow) is None:
            raise UsageError(f"{kind} {name}: is not in an allowed folder; start the service with --allow FOLDER")
        return
    check_licence(model_zoo.lookup(name, kind), settings.allow_agpl)


def check_licence(entry: model_zoo.ModelEntry, allow_agpl: bool) -> None:
    """Refuse a network under the AGPL unless it is allowed.

    Raises:
        UsageError: It is not allowed.
    """
    if entry.licence.startswith("AGPL") and not allow_agpl:
        raise UsageError(
            f"{entry.name}: has the licence {entry.licence}, which concerns users of a service, too; start the service "
            "with --allow-agpl, or choose another network"
        )


def allowed_path(name: str, allow: tuple[Path, ...]) -> Path | None:
    """Return the real path of an existing file or folder below one of the allowed folders; None for any other.

    Args:
        name: Path from a client. Links are followed before the comparison.
        allow: The folders.
    """
    try:
        path = Path(name).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        return None
    return path if any(path.is_relative_to(folder.resolve()) for folder in allow) else None
