"""Options of `skelpipe extract --engine ray`."""

from dataclasses import dataclass

from pose_extraction.engines.engine import has_module
from pose_extraction.errors import BackendError, UsageError

# Memory in GiB that each actor declares. Ray itself would assume that an actor needs none, and start as many as there
# are cores. Networks, decoded frames and a long overlay of 1080p video stay below it.
ACTOR_MEMORY = 3.0
# On a CPU, more threads for one network gain little; more actors do.
MOST_CPUS_PER_ACTOR = 4
# With a GPU, the other cores of an actor decode videos.
MOST_CPUS_PER_GPU = 8
# Seconds without progress after which a video counts as hanging, in addition to the duration of the video: tracking,
# drawing and writing take time in proportion to it.
STALL_SECONDS = 300.0


@dataclass(frozen=True)
class ClusterOptions:
    """How an extraction uses a Ray cluster.

    Args:
        address: `HOST:PORT` of the head node, "auto", or "local" for a new one on this machine; None: that of the
            variable RAY_ADDRESS, else a cluster that runs on this machine, else a new one.
        actors: Number of actors; None for as many as the nodes have room for.
        actor_cpus: Cores of each actor; None selects by node.
        actor_memory: Memory of each actor in GiB, for Ray's placement.
        stall_seconds: Seconds without progress after which a video counts as hanging; None for `STALL_SECONDS` and
            the duration of the video.
        metrics_port: Port for Prometheus; None for no metrics.
    """

    address: str | None = None
    actors: int | None = None
    actor_cpus: int | None = None
    actor_memory: float = ACTOR_MEMORY
    stall_seconds: float | None = None
    metrics_port: int | None = None

    def __post_init__(self) -> None:
        values = {
            "--actors": self.actors,
            "--actor-cpus": self.actor_cpus,
            "--actor-memory": self.actor_memory,
            "--stall-timeout": self.stall_seconds,
        }
        for option, value in values.items():
            if value is not None and value <= 0:
                raise UsageError(f"{option} {value:g}: must be greater than 0")

    def patience(self, duration: float) -> float:
        """Seconds without progress after which an actor counts as hanging.

        Args:
            duration: Longest duration in seconds of the videos that it processes; 0 if unknown.
        """
        return STALL_SECONDS + duration if self.stall_seconds is None else self.stall_seconds


def check_ray() -> None:
    """Check that Ray is installed, without importing it.

    Raises:
        BackendError: It is not.
    """
    if not has_module("ray"):
        raise BackendError("--engine ray needs ray; install it with pip install 'skelpipe[ray]'")
