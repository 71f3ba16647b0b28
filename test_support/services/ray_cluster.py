"""A Ray cluster on this machine for tests: a head without cores, and three nodes with one core each."""

import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pose_extraction.file_locks import lock

ROOT = Path(__file__).resolve().parents[2]
STORE = 80 << 20
ATTEMPTS = 3
NODES = 3
# Every node, for as long as this process runs. Ray holds a node by a function to be called at the end of the process.
# From Python 3.13 on, a forked process forgets these functions. The node's connection would then end there, without the
# threads that it needs, and the process, such as one that reads clips for a training, would crash.
_nodes: list[Any] = []


@contextmanager
def small_cluster() -> Iterator[Any]:
    """Runs a cluster for the duration of a block; yields `ray.cluster_utils.Cluster`.

    Its nodes have a cache folder of their own, whose path is in the attribute `cache`.
    """
    before = dict(os.environ)
    cache = tempfile.TemporaryDirectory(prefix="skelpipe-nodes-", ignore_cleanup_errors=True)
    # The processes of the cluster inherit these: where the project is, that no node reports to anyone, and that a token
    # which the user may have does not count.
    os.environ.update(PYTHONPATH=str(ROOT), RAY_USAGE_STATS_ENABLED="0", RAY_ENABLE_UV_RUN_RUNTIME_ENV="0")
    os.environ["RAY_AUTH_MODE"] = "disabled"
    from ray.cluster_utils import Cluster

    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False, "_system_config": quick}
    # Nothing here needs the autoscaler, or the output of workers.
    head |= {"no_monitor": True, "include_log_monitor": False}
    made = None
    try:
        # One test process at a time: each node consists of half a dozen processes.
        with open(Path(tempfile.gettempdir()) / f"skelpipe-ray-{os.getuid()}.lock", "a", opener=_no_links) as turn:
            lock(turn)
            made = _started(lambda: Cluster(initialize_head=True, head_node_args=head))
            made.cache = Path(cache.name)
            _nodes.append(made.head_node)
            for _ in range(NODES):
                add_node(made)
        yield made
    finally:
        with suppress(Exception):
            # A test may have killed some of its processes.
            if made is not None:
                made.shutdown()
        cache.cleanup()
        os.environ.clear()
        os.environ.update(before)


def add_node(cluster: Any) -> None:
    """Adds a node with one core."""
    before = set(cluster.worker_nodes)
    variables = {"SKELPIPE_CACHE": str(cluster.cache)}
    node = _started(lambda: cluster.add_node(num_cpus=1, object_store_memory=STORE, memory=4 << 30, env_vars=variables))
    _nodes.append(node)
    # Without those whose start has failed.
    cluster.worker_nodes = before | {node}


def _no_links(path: str, flags: int) -> int:
    """Opens a file that other users can replace by a link to one of ours."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _started(start: Callable[[], Any]) -> Any:
    """Starts processes of Ray; again if they need more than Ray's fixed 30 seconds, as next to much other work."""
    left = ATTEMPTS
    while True:
        try:
            return start()
        except Exception as error:
            _end_started(error)
            left -= 1
            if not left:
                raise


def _end_started(error: Exception) -> None:
    """Ends the processes of nodes whose start has failed. Only the frames of the error know these nodes."""
    from ray._private.node import Node

    nodes = {
        id(value): value
        for frame, _ in traceback.walk_tb(error.__traceback__)
        for value in frame.f_locals.values()
        if isinstance(value, Node)
    }
    _nodes.extend(nodes.values())
    for node in nodes.values():
        with suppress(Exception):
            node.kill_all_processes(check_alive=False, wait=True)
