"""What an actor needs, by what the nodes of a cluster offer. Without Ray."""

import os

import pytest

from pipeline.cluster import connection
from pipeline.cluster.connection import AUTHENTICATION, GIB, USAGE_STATISTICS, UV_RUN, Node, connected, demand_of
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


@pytest.fixture
def begun(monkeypatch):
    """Replaces Ray's start; returns the addresses that it was called with, and the variables that were set then."""
    ray = pytest.importorskip("ray")
    calls = []

    def init(address, **_):
        calls.append((address, {name: value for name, value in os.environ.items() if name.startswith("RAY_")}))

    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    # What the connection sets is undone, too.
    for name in (UV_RUN, USAGE_STATISTICS, AUTHENTICATION):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(ray, "init", init)
    return calls


def test_the_environment_of_uv_run_is_not_sent_to_every_worker_unless_the_user_asks_for_it(begun, monkeypatch):
    with connected(ClusterOptions(address="local")):
        pass
    monkeypatch.setenv(UV_RUN, "1")
    with connected(ClusterOptions(address="local")):
        pass
    assert [variables[UV_RUN] for _, variables in begun] == ["0", "1"]


def test_a_cluster_that_the_command_starts_asks_for_a_token(begun, tmp_path, monkeypatch):
    """One that exists has its own mode."""
    monkeypatch.setattr(connection, "PROCESSES", tmp_path)
    monkeypatch.setattr(connection, "_is_imported", lambda: False)
    for given, variable in (
        (None, None),
        ("local", None),
        (None, "local"),
        ("auto", "local"),
        (None, "auto"),
        ("auto", None),
        (None, "10.0.0.1:6379"),
        ("local", "set"),
    ):
        monkeypatch.delenv(AUTHENTICATION, raising=False)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        if variable == "set":
            monkeypatch.setenv(AUTHENTICATION, "disabled")
        elif variable is not None:
            monkeypatch.setenv("RAY_ADDRESS", variable)
        with connected(ClusterOptions(address=given)):
            pass
    assert [(address, variables.get(AUTHENTICATION)) for address, variables in begun] == [
        *[("local", "token")] * 4,
        (None, None),
        ("auto", None),
        (None, None),
        ("local", "disabled"),
    ]


def test_ray_that_was_imported_before_decides_about_the_token(begun, tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "PROCESSES", tmp_path)
    for name in (AUTHENTICATION, "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    with connected(ClusterOptions()):
        pass
    assert [(address, variables.get(AUTHENTICATION)) for address, variables in begun] == [("local", None)]


def test_a_cluster_on_this_machine_is_used(begun, tmp_path, monkeypatch):
    (tmp_path / "17").mkdir()
    (tmp_path / "17" / "comm").write_text("gcs_server\n")
    monkeypatch.setattr(connection, "PROCESSES", tmp_path)
    with connected(ClusterOptions()):
        pass
    # Elsewhere than on Linux, this is not known, and Ray decides.
    monkeypatch.setattr(connection, "PROCESSES", tmp_path / "nosuch")
    with connected(ClusterOptions()):
        pass
    assert [address for address, _ in begun] == [None, None]
    assert not any(AUTHENTICATION in variables for _, variables in begun)


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
