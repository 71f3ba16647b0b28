"""The connection to a Ray cluster, and how many actors its nodes have room for."""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipeline.cluster.options import MOST_CPUS_PER_ACTOR, MOST_CPUS_PER_GPU, ClusterOptions
from pose_extraction.errors import BackendError, SkelpipeError, UsageError

Found = TypeVar("Found")

# Before Ray is imported. With this variable, Ray would pack the project's folder and build an environment with uv on
# every worker when the command was started by `uv run`.
UV_RUN = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"
# A cluster that Ray starts here would report its use to Ray's makers.
USAGE_STATISTICS = "RAY_USAGE_STATS_ENABLED"
AUTHENTICATION = "RAY_AUTH_MODE"
# In the message of Ray about a node that takes too long to start.
NOT_STARTED = "timed out during startup"
GIB = 1 << 30
# Where Linux lists processes.
PROCESSES = Path("/proc")
# Seconds for which the head node may take to answer.
REACH_SECONDS = 10.0


@dataclass(frozen=True)
class Demand:
    """What one actor needs.

    Args:
        cpus: Number of cores.
        gpus: Number of GPUs, 0 or 1.
        memory: Bytes.
    """

    cpus: int
    gpus: int
    memory: int

    def options(self) -> dict[str, float]:
        """The same as options of a Ray actor."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "memory": self.memory}

    def fits(self, node: "Node") -> int:
        """Number of actors that a node has room for when it does nothing else."""
        counts = [node.cpus // self.cpus, node.memory // self.memory]
        return int(min([*counts, node.gpus // self.gpus] if self.gpus else counts))


@dataclass(frozen=True)
class Node:
    """A node that is part of the cluster now.

    Args:
        node_id: Ray's id.
        cpus: Number of cores that Ray may use.
        gpus: Number of GPUs.
        memory: Bytes that Ray may use.
    """

    node_id: str
    cpus: float
    gpus: float
    memory: float


@contextmanager
def connected(options: ClusterOptions) -> Iterator[None]:
    """Connects to the cluster, or starts one on this machine, for the duration of a block.

    Raises:
        BackendError: There is no cluster at the address, or it refuses the connection.
    """
    for name in (UV_RUN, USAGE_STATISTICS):
        os.environ.setdefault(name, "0")
    address = _local_or_given(options.address)
    if address == "local" and not _is_imported():
        # Ray makes the token. A cluster that exists has its own mode, which the user has to set here, too.
        os.environ.setdefault(AUTHENTICATION, "token")
    _check_reachable(address)
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    import ray

    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            first = str(error).strip().partition("\n")[0]
            raise BackendError(
                f"cannot connect to a Ray cluster at {options.address or 'the default address'} ({first}); check "
                "--address with `ray status --address=HOST:PORT`, and the token if the cluster asks for one"
            ) from error
        except Exception as error:
            # Ray has no class of its own for this.
            if NOT_STARTED not in str(error):
                raise
            raise BackendError(
                "Ray did not start on this machine within its 30 seconds; run the command again when the machine has "
                "less other work, or use --engine local"
            ) from error
    if in_main_thread and handler is not None:
        # Ray replaces the handler that turns SIGTERM into an orderly end.
        signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        if ours:
            with suppress(Exception):
                ray.shutdown()


def _is_imported() -> bool:
    """Whether Ray has read the mode of authentication already: one set now would hold for the cluster alone."""
    return "ray" in sys.modules


def _local_or_given(address: str | None) -> str | None:
    """Returns "local" if Ray would start a cluster, otherwise the address that it was given.

    Args:
        address: See `ClusterOptions`.
    """
    variable = os.environ.get("RAY_ADDRESS", "")
    # Ray prefers the variable to the argument "auto", too.
    if address in (None, "auto") and variable == "local":
        return variable
    return "local" if address is None and not variable and not _runs_here() else address


def _runs_here() -> bool:
    """Whether a cluster may run on this machine, which Ray would use. Ray itself may not be imported yet."""
    if not PROCESSES.is_dir():
        return True
    for process in PROCESSES.glob("[0-9]*"):
        with suppress(OSError):
            if (process / "comm").read_text(encoding="ascii", errors="replace").strip() == "gcs_server":
                return True
    return False


def _check_reachable(address: str | None) -> None:
    """Reports a wrong address at once: Ray would try it for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise BackendError(
            f"--address {address}: nothing answers there ({error}); start it with `ray start --head`, and give "
            "the address that it prints"
        ) from error


def cause_of(error: Exception) -> Exception:
    """Returns the exception that an actor raised; for others, such as the death of its process, the error itself."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error


def on_a_node(demand: Demand, call: Callable[..., Found], *arguments: object) -> Found:
    """Returns the result of a function that runs where an actor could.

    Args:
        demand: What an actor needs.
        call: The function.
        arguments: Its arguments.

    Raises:
        SkelpipeError: The function raises it, or no node can run it.
    """
    import ray

    try:
        found: Found = ray.get(ray.remote(**demand.options())(call).remote(*arguments))
    except ray.exceptions.RayError as error:
        cause = cause_of(error)
        if isinstance(cause, SkelpipeError):
            raise cause from error
        raise SkelpipeError(f"no node of the cluster can load the networks: {error}") from error
    return found


def living_nodes() -> list[Node]:
    """Returns the nodes of the cluster that are alive."""
    import ray

    nodes = []
    for node in ray.nodes():
        if node["Alive"]:
            resources = node["Resources"]
            amounts = (resources.get(name, 0.0) for name in ("CPU", "GPU", "memory"))
            nodes.append(Node(node["NodeID"], *amounts))
    return nodes


def demand_of(options: ClusterOptions, nodes: list[Node], device: str) -> Demand:
    """Returns what an actor needs, which determines its device.

    Args:
        options: See `ClusterOptions`.
        nodes: The nodes.
        device: "auto" uses the GPUs of the cluster if there are any; "cpu" or "cuda" enforce the kind.

    Raises:
        UsageError: The device is not a kind of device.
        BackendError: The nodes have no room for an actor.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(
            f"--device {device}: with --engine ray, give auto, cpu or cuda; Ray assigns the GPUs to actors"
        )
    with_gpu = [node for node in nodes if node.gpus >= 1]
    if device == "cuda" and not with_gpu and options.actors is None:
        raise BackendError(
            "--device cuda: no node of the cluster has a GPU; use --device cpu, or give --actors N if the cluster adds "
            "nodes on demand"
        )
    gpus = int(device == "cuda" or (device == "auto" and bool(with_gpu)))
    memory = int(options.actor_memory * GIB)
    cpus = options.actor_cpus
    if cpus is None:
        if gpus:
            shares = [node.cpus // node.gpus for node in with_gpu if node.cpus >= 1]
            cpus = int(max(1, min([*shares, MOST_CPUS_PER_GPU])))
        else:
            cpus = int(max(1, min([*(node.cpus for node in nodes if node.cpus >= 1), MOST_CPUS_PER_ACTOR])))
    demand = Demand(cpus, gpus, memory)
    if options.actors is None and not any(demand.fits(node) for node in nodes):
        raise BackendError(
            f"no node of the cluster has room for an actor with {cpus} cores{', a GPU' if gpus else ''} and "
            f"{options.actor_memory:g} GiB of memory; lower --actor-cpus or --actor-memory, or give --actors N if the "
            "cluster adds nodes on demand"
        )
    return demand
