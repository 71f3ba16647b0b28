"""What the service and a worker process tell each other through a pipe."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.predict.options import Networks
from pose_extraction.engines.engine import Engine


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of a worker process.

    Args:
        run: Run whose networks are loaded at the start.
        networks: Networks of stage one of jobs that do not name others.
        engine: Device, backend, precision and batch size.
        allow: Folders whose videos jobs may name by path.
        allow_agpl: Whether jobs may use OpenPifPaf.
        most_frames: Number of frames beyond which a video is refused.
    """

    run: Path
    networks: Networks
    engine: Engine
    allow: tuple[Path, ...]
    allow_agpl: bool
    most_frames: int


@dataclass(frozen=True)
class RunJob:
    """To a worker: process a video.

    Args:
        job: Id of the job.
        folder: Folder of the job; results appear in it.
        source: The video.
        name: Name of the video.
        run: The run.
        settings: Values of `JobSettings`.
    """

    job: str
    folder: Path
    source: Path
    name: str
    run: Path
    settings: dict[str, Any]


@dataclass(frozen=True)
class CancelJob:
    """To a worker: stop processing a video."""

    job: str


@dataclass(frozen=True)
class PredictSkeletons:
    """To a worker: classify the clips of a skeleton file.

    Args:
        request: Number of the request.
        path: The file.
        run: The run.
        threshold: See `JobSettings`.
    """

    request: int
    path: Path
    run: Path
    threshold: Any = None


@dataclass(frozen=True)
class Describe:
    """To a worker: report the facts of a run."""

    run: Path


@dataclass(frozen=True)
class RunFacts:
    """From a worker: what a run can do.

    Args:
        run: The run.
        classes: Names of its actions.
        backbone: Name of its network; empty if it is not known.
        unknown: Whether it reports unlike actions as unknown.
        error: Why it cannot be used; None if it can.
    """

    run: Path
    classes: tuple[str, ...] = ()
    backbone: str = ""
    unknown: bool = False
    error: str | None = None


@dataclass(frozen=True)
class Ready:
    """From a worker: the networks of the default run are loaded, or cannot be loaded.

    Args:
        error: Why they cannot be loaded; None if they are.
    """

    error: str | None = None


@dataclass(frozen=True)
class Progress:
    """From a worker: how far a job is.

    Args:
        job: Id of the job.
        stage: "loading", "extracting", "recognizing", "drawing" or "copying".
        frames_done: Number of frames that have passed the stage.
        frames_total: Number of all frames; None if unknown.
        frames_per_second: Frames per second in this stage.
    """

    job: str
    stage: str
    frames_done: int = 0
    frames_total: int | None = None
    frames_per_second: float = 0.0

    @property
    def seconds_left(self) -> float | None:
        """Remaining time of the stage in seconds; None if unknown."""
        if self.frames_total is None or self.frames_per_second <= 0:
            return None
        return max(self.frames_total - self.frames_done, 0) / self.frames_per_second


@dataclass(frozen=True)
class Finished:
    """From a worker: a job has ended.

    Args:
        job: Id of the job.
        error: Why there is no result; None if there is one in the job's folder.
        kind: One word for the error; "cancelled" after `CancelJob`.
        outcome: What `Folders.outcome` returns if there is a result.
    """

    job: str
    error: str | None = None
    kind: str | None = None
    outcome: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answering:
    """From a worker: it begins to compute answers besides its job, or has sent all of them.

    Args:
        requests: Numbers of the requests for skeletons among them; None at the end.
    """

    requests: tuple[int, ...] | None


@dataclass(frozen=True)
class Predicted:
    """From a worker: answers for a skeleton file.

    Args:
        request: Number of the request.
        answers: One JSON object per clip, as `skelpipe predict --json` prints.
        error: Why there are none; None otherwise.
        internal: Whether the error is a fault of the service, not of the request.
        shared: Number of requests in the same batch.
    """

    request: int
    answers: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    internal: bool = False
    shared: int = 1
