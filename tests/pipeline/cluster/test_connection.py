"""What an actor needs, by what the nodes of a cluster offer. Without Ray."""

import pytest

from pipeline.cluster.connection import GIB, Node, connected, demand_of
from pipeline.cluster.options import ClusterOptions
from pose_extraction.errors import BackendError, UsageError

HEAD = Node("head", 0, 0, 8 * GIB)
SMALL = Node("small", 2, 0, 8 * GIB)
LARGE = Node("large", 64, 0, 64 * GIB)
GPUS = Node("gpus", 32, 4, 256 * GIB)


@pytest.mark.parametrize(
    ("nodes", "device", "cpus", "gpus"),
    [
        ([HEAD, LARGE], "auto", 4, 0),
        # Each node must have room for at least one.
        ([HEAD, LARGE, SMALL], "auto", 2, 0),
        ([HEAD, GPUS], "auto", 8, 1),
        ([HEAD, GPUS], "cpu", 4, 0),
        ([HEAD, GPUS, SMALL], "cuda", 8, 1),
    ],
)
def test_an_actor_fits_the_nodes(nodes, device, cpus, gpus):
    demand = demand_of(ClusterOptions(), nodes, device)
    assert (demand.cpus, demand.gpus) == (cpus, gpus)


def test_the_scarcest_resource_limits_the_actors_of_a_node():
    demand = demand_of(ClusterOptions(), [LARGE], "cpu")
    # 64 cores for 16 actors of 4 cores; 64 GiB for 21 actors of 3 GiB.
    assert demand.fits(LARGE) == 16
    assert demand_of(ClusterOptions(actor_memory=16), [LARGE], "cpu").fits(LARGE) == 4
    assert demand_of(ClusterOptions(), [GPUS], "cuda").fits(GPUS) == 4
    assert demand.fits(HEAD) == 0


def test_a_cluster_without_room_is_refused_with_the_remedy():
    with pytest.raises(BackendError, match="room for an actor with 100 cores and 3 GiB of memory; lower --actor-cpus"):
        demand_of(ClusterOptions(actor_cpus=100), [LARGE], "auto")
    with pytest.raises(BackendError, match="no node of the cluster has a GPU"):
        demand_of(ClusterOptions(), [LARGE], "cuda")


def test_a_cluster_that_grows_on_demand_needs_no_room_now():
    assert demand_of(ClusterOptions(actors=8, actor_cpus=100), [HEAD], "cuda").cpus == 100


def test_the_numbers_of_gpus_are_rays_task():
    with pytest.raises(UsageError, match="--device cuda:0,1: with --engine ray, give auto, cpu or cuda"):
        demand_of(ClusterOptions(), [GPUS], "cuda:0,1")


def test_a_wrong_address_is_reported_at_once():
    """Ray itself would try it for minutes."""
    options = ClusterOptions(address="127.0.0.1:9")
    with pytest.raises(BackendError, match=r"--address 127\.0\.0\.1:9: nothing answers there"), connected(options):
        pass


def test_a_node_that_takes_too_long_to_start_is_reported_with_the_remedy(monkeypatch):
    ray = pytest.importorskip("ray")

    def too_slow(**_):
        # Ray raises this class, and has this text.
        raise Exception(
            "The current node timed out during startup. This could happen because some of the raylet failed"
        )

    monkeypatch.setattr(ray, "init", too_slow)
    local = ClusterOptions(address="local")
    with pytest.raises(BackendError, match="Ray did not start on this machine within its 30 seconds"), connected(local):
        pass
    monkeypatch.setattr(ray, "init", lambda **_: 1 / 0)
    with pytest.raises(ZeroDivisionError), connected(local):
        pass
