"""Options of `--engine ray`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pose_extraction.engines.engine import has_module
from pose_extraction.errors import BackendError, UsageError, installing

LOCAL, RAY = "local", "ray"
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
    """How a command uses a Ray cluster.

    Args:
        address: `HOST:PORT` of the head node, "auto", or "local" for a new one on this machine; None: that of the
            variable RAY_ADDRESS, else a cluster that runs on this machine, else a new one.
        actors: Number of actors; None for as many as the nodes have room for.
        actor_cpus: Cores of each actor; None selects by node.
        actor_memory: Memory of each actor in GiB, for Ray's placement.
        stall_seconds: Seconds without progress after which a task counts as hanging; None for `STALL_SECONDS` and
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
        raise BackendError(f"--engine ray needs ray; run {installing('ray')}")


# Options of commands, without "engine", and the fields of `ClusterOptions` that they set.
_FIELDS = {
    "address": "address",
    "actors": "actors",
    "actor_cpus": "actor_cpus",
    "actor_memory": "actor_memory",
    "stall_timeout": "stall_seconds",
    "metrics_port": "metrics_port",
}
CLUSTER_NAMES = frozenset({"engine", *_FIELDS})


def cluster_options(given: Mapping[str, Any]) -> ClusterOptions | None:
    """Returns the options of a cluster; None for this machine.

    Args:
        given: Options of a command by name; others are ignored, and all but "engine" may be missing.

    Raises:
        UsageError: The engine is unknown, or options of a cluster are given without one.
        BackendError: Ray is not installed.
    """
    values = {name: given[name] for name in _FIELDS if given.get(name) is not None}
    if given["engine"] not in (LOCAL, RAY):
        raise UsageError(f"--engine {given['engine']}: must be local or ray")
    if given["engine"] == LOCAL:
        for name, value in values.items():
            raise UsageError(f"--{name.replace('_', '-')} {value}: is an option of a cluster; add --engine ray")
        return None
    check_ray()
    return ClusterOptions(**{_FIELDS[name]: value for name, value in values.items()})
